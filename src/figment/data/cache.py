"""Folders of decoded data, made once: written whole or not at all, checked when opened, made again when damaged."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import platformdirs

from figment.core.errors import DataError

MANIFEST = "manifest.json"
UNUSED_DAYS = 60


def root() -> Path:
    """Where decoded data is kept: `FIGMENT_CACHE`, else the user's cache folder."""
    return Path(os.environ.get("FIGMENT_CACHE") or platformdirs.user_cache_dir("figment")) / "data"


def cached(key: str, make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills, made once for a key. Raises DataError where there is no room for it."""
    folder = root() / key
    if not _valid(folder):
        try:
            _publish(folder, make)
        except OSError as error:
            hint = "Set FIGMENT_CACHE to a folder with room."
            raise DataError(f"decoded data cannot be kept in {root()}: {error.strerror}. {hint}") from error
    os.utime(folder)
    return folder


def _publish(folder: Path, make: Callable[[Path], None]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder.parent)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".tmp-") as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        make(made)
        entries = {file.name: [file.stat().st_size, _checksum(file)] for file in sorted(made.iterdir())}
        (made / MANIFEST).write_text(json.dumps(entries))
        for file in made.iterdir():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        try:
            made.rename(folder)
        except OSError:  # another process was first; its folder is as good
            if not _valid(folder):
                raise


def _valid(folder: Path) -> bool:
    """Whether a folder is complete and undamaged; a damaged one is removed."""
    if not folder.exists():
        return False
    try:
        entries = json.loads((folder / MANIFEST).read_text())
        if all([(folder / name).stat().st_size, _checksum(folder / name)] == told for name, told in entries.items()):
            return True
    except (OSError, ValueError, AttributeError):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    return False


def _checksum(file: Path) -> int:
    value = 0
    with file.open("rb") as handle:
        while part := handle.read(1 << 22):
            value = zlib.crc32(part, value)
    return value


def _sweep(parent: Path) -> None:
    """Removes what was not opened for 60 days, and the leavings of processes that were killed."""
    for entry in parent.iterdir():
        days = (time.time() - entry.stat().st_mtime) / 86400
        if days > (1 if entry.name.startswith(".tmp-") else UNUSED_DAYS):
            shutil.rmtree(entry, ignore_errors=True)
