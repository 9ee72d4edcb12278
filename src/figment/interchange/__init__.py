"""Models in the forms of other libraries."""

from __future__ import annotations

from pathlib import Path


def is_pipeline(folder: str | Path) -> bool:
    """Whether a folder is a pipeline of diffusers."""
    return (Path(folder) / "model_index.json").is_file()
