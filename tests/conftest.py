"""For all tests: one thread, a cache of their own, and no network."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, here and in child processes

import pytest
import torch

import children

torch.set_num_threads(1)
children.block_network()


@pytest.fixture(scope="session", autouse=True)
def _own_cache() -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="figment-cache-") as folder:
        os.environ["FIGMENT_CACHE"] = folder
        yield


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths, such as the default `runs/`, lead nowhere near the repository."""
    monkeypatch.chdir(tmp_path)
