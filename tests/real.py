"""Real data, where there is some."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def source(name: str) -> str:
    """The path of a data set in the folder that FIGMENT_DATA names; without one, the test is skipped."""
    folder = os.environ.get("FIGMENT_DATA")
    if not folder:
        pytest.skip("FIGMENT_DATA is not set: it names the folder of real data")
    return str(Path(folder) / name)
