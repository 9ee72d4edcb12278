"""Where trained feature networks and features of real data are kept: one safetensors file a key, with a header."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor


def folder() -> Path:
    """`FIGMENT_CACHE`, else the user's cache folder of this system."""
    import platformdirs

    return Path(os.environ.get("FIGMENT_CACHE") or platformdirs.user_cache_dir("figment")) / "evaluate"


def key(*parts: Any) -> str:
    """A name for what was computed from `parts`: 24 hexadecimal digits of a sha256."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:24]


def read(name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and figures kept under a key; None where there are none, or the file is damaged."""
    try:
        with safe_open(folder() / f"{name}.safetensors", framework="pt") as file:
            tensors = {entry: file.get_tensor(entry) for entry in file.keys()}  # noqa: SIM118 - not a mapping
            return tensors, json.loads((file.metadata() or {}).get("figures", "{}"))
    except (OSError, SafetensorError, ValueError):
        return None


def write(name: str, tensors: Mapping[str, Tensor], figures: Mapping[str, Any]) -> None:
    """Keeps tensors and figures under a key, whole or not at all; a cache that cannot be written is done without."""
    temporary = folder() / f".{name}-{os.getpid()}"
    try:
        folder().mkdir(parents=True, exist_ok=True)
        whole = {entry: tensor.detach().cpu().contiguous() for entry, tensor in tensors.items()}
        save_file(whole, temporary, metadata={"figures": json.dumps(figures)})
        os.replace(temporary, folder() / f"{name}.safetensors")
    except (OSError, SafetensorError):
        with suppress(OSError):
            temporary.unlink()
