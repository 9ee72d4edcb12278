"""Members of .zip and .tar files, read in place: nothing is ever unpacked, and what looks hostile is refused."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import IO, Any

from figment.core.errors import DataError
from figment.data import cache, splits

ENTRIES = 500_000
RATIO = 200  # pictures are compressed already: what packs tighter than this is a bomb
SMALL = 1 << 20  # bytes below which a ratio means nothing
LARGEST = 1 << 29  # bytes of one member
COMPRESSED: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}

Found = tuple[list[str], list[tuple[int, ...]], Callable[[int], bytes | None]]


def listing(path: Path) -> Found:
    """Names, states and a reader of the files in an archive. Raises DataError where it is damaged or hostile."""
    try:
        return _zip(path) if zipfile.is_zipfile(path) else _tar(path)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        raise DataError(f"{path.name} is no readable archive: {error}") from None


def _zip(path: Path) -> Found:
    archive = zipfile.ZipFile(path)
    members = [member for member in archive.infolist() if not member.is_dir()]
    for member in members:
        mode = member.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise _refused(path, member.filename, "a link or a device")
        if member.flag_bits & 1:
            raise _refused(path, member.filename, "encrypted")
        if member.file_size > SMALL and member.file_size > RATIO * max(member.compress_size, 1):
            raise _refused(path, member.filename, f"it unpacks to more than {RATIO} times its size")
    members = _checked(path, members, [member.filename for member in members])

    def read(i: int) -> bytes | None:
        try:
            return archive.read(members[i]) if members[i].file_size <= LARGEST else None
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError):
            return None

    names = [member.filename for member in members]
    return names, [(*_state(path), member.header_offset) for member in members], read


def _tar(path: Path) -> Found:
    state = _state(path)
    plain = _plain(path)
    members = []
    with tarfile.open(plain, "r:") as archive:
        for member in archive:
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                raise _refused(path, member.name, "a link, a device or a sparse file")
            members.append((member.name, member.offset_data, member.size))
            if len(members) > ENTRIES:
                break
    members = _checked(path, members, [name for name, _, _ in members])

    def read(i: int) -> bytes | None:
        _, offset, size = members[i]
        if size > LARGEST:
            return None
        with plain.open("rb") as file:
            return os.pread(file.fileno(), size, offset)

    names = [name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for name, _, _ in members]
    return names, [(*state, offset) for _, offset, _ in members], read


def _checked(path: Path, members: list[Any], names: Iterable[str]) -> list[Any]:
    """The members to read, without hidden ones. Raises DataError for names that climb out, or occur twice."""
    if len(members) > ENTRIES:
        raise _refused(path, f"{len(members):,} entries", f"more than {ENTRIES:,}")
    seen: set[PurePosixPath] = set()
    kept = []
    for member, name in zip(members, names):
        place = PurePosixPath(name.replace("\\", "/"))
        if place.is_absolute() or place.parts[0].endswith(":") or ".." in place.parts:
            raise _refused(path, name, "it leads out of the archive")
        if place in seen:
            raise _refused(path, name, "it occurs twice")
        seen.add(place)
        if not any(part.startswith(".") or part == "__MACOSX" for part in place.parts):
            kept.append(member)
    return kept


def _plain(path: Path) -> Path:
    """The .tar itself, or an uncompressed copy in the cache, so that members can be read in any order."""
    with path.open("rb") as file:
        opener = COMPRESSED.get(file.read(2))
    if opener is None:
        return path
    limit = max(SMALL, RATIO * path.stat().st_size)

    def unpack(folder: Path) -> None:
        with opener(path, "rb") as packed, (folder / "plain.tar").open("wb") as out:
            while part := _part(path, packed):
                out.write(part)
                if out.tell() > limit:
                    raise _refused(path, "the archive", f"it unpacks to more than {RATIO} times its size")
                if shutil.disk_usage(folder).free < 1 << 28:
                    raise DataError(f"{path.name} needs more disk than there is in {cache.root()}: set FIGMENT_CACHE.")

    return cache.cached(splits.fingerprint(str(path.resolve()), str(_state(path))), unpack) / "plain.tar"


def _part(path: Path, packed: IO[bytes]) -> bytes:
    try:
        return packed.read(1 << 20)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{path.name} is no readable archive: {error}") from None


def _state(path: Path) -> tuple[int, ...]:
    place = path.stat()
    return place.st_size, place.st_mtime_ns, place.st_ctime_ns


def _refused(path: Path, name: str, why: str) -> DataError:
    shown = name.encode("utf-8", "backslashreplace").decode()
    return DataError(f"{path.name} is refused and nothing was written: {shown[:120]}: {why}.")
