"""Hostile and broken data: handled as documented or listed, refused with exit 3, nothing written elsewhere."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pictures_of_all_kinds as made
from figment import data
from figment.core.errors import DataError
from figment.data import archives
from figment.data.check import check
from figment.data.decode import Unreadable, header, picture


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIGMENT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder of twelve good pictures."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, file in files(12).items():
        (folder / name).write_bytes(file)
    return folder


def files(count: int) -> dict[str, bytes]:
    return {f"{i}.png": made.encoded(made.scene(np.random.default_rng(i), 12, 10), "PNG") for i in range(count)}


@pytest.mark.parametrize("name", made.broken(np.random.default_rng(0)))
def test_broken_picture_is_unreadable_before_and_not_during_training(name: str, mine: Path) -> None:
    (mine / name).write_bytes(made.broken(np.random.default_rng(0))[name])
    report = check(data.parse(str(mine)))
    assert [fault["file"] for fault in report["broken"]] == [name]
    assert report["broken"][0]["reason"]
    assert report["count"] == sum(report["splits"].values()) == 12


def test_vast_picture_is_refused_from_its_header() -> None:
    vast = made.encoded(Image.new("1", (8001, 8000)), "PNG")
    for read in (header, lambda file: picture(file, (1, 8, 8))):
        with pytest.raises(Unreadable, match="64 Mpx"):
            read(vast)


def test_one_pixel_will_do(mine: Path) -> None:
    Image.new("RGB", (1, 1), "red").save(mine / "dot.png")
    report = check(data.parse(str(mine)))
    assert report["count"] == 13
    assert "1x1" in report["sizes"]


@pytest.mark.parametrize("cut", [1, 3, 10, 30, 60, 90])
@pytest.mark.parametrize("name", made.kinds(np.random.default_rng(0), 30, 20))
def test_cut_files_give_a_picture_or_a_reason(name: str, cut: int) -> None:
    whole = made.kinds(np.random.default_rng(0), 30, 20)[name]
    for damaged in (whole[: len(whole) * cut // 100], flipped(whole, cut)):
        try:
            assert picture(damaged, (3, 16, 16)).shape == (3, 16, 16)
        except Unreadable as fault:
            assert str(fault)  # noqa: PT017 - either outcome is right


def flipped(file: bytes, seed: int) -> bytes:
    """A file with one byte in twenty replaced."""
    generator = np.random.default_rng(seed)
    content = np.frombuffer(file, np.uint8).copy()
    where = generator.integers(0, len(content), max(1, len(content) // 20))
    content[where] = generator.integers(0, 256, len(where))
    return content.tobytes()


def test_symlinks_are_followed_once(mine: Path, tmp_path: Path) -> None:
    (mine / "loop").symlink_to(mine, target_is_directory=True)
    (mine / "nowhere.png").symlink_to(tmp_path / "absent.png")
    (mine / "a.png").symlink_to(mine / "b.png")
    (mine / "b.png").symlink_to(mine / "a.png")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "more.png").write_bytes(files(13)["12.png"])
    (mine / "more").symlink_to(elsewhere, target_is_directory=True)
    report = check(data.parse(str(mine)))
    assert report["count"] == 13
    assert {fault["file"] for fault in report["broken"]} == {"nowhere.png", "a.png", "b.png"}


def test_special_files_are_not_opened(mine: Path) -> None:
    os.mkfifo(mine / "pipe.png")  # opening it would wait for ever
    assert check(data.parse(str(mine)))["count"] == 12


def test_names_that_are_no_utf8_work_as_files_and_as_labels(tmp_path: Path) -> None:
    for label in (b"caf\xe9", b"plain"):
        folder = os.fsencode(tmp_path / "mine") + b"/" + label
        os.makedirs(folder)
        for name, file in files(8).items():
            Path(os.fsdecode(folder + b"/\xff" + name.encode())).write_bytes(file)
    (tmp_path / "mine" / "plain" / os.fsdecode(b"\xfe.png")).write_bytes(b"")
    report = check(data.parse(str(tmp_path / "mine")))
    assert report["labels"] == {"caf\\xe9": 8, "plain": 8}
    assert report["broken"][0]["file"] == "plain/\\xfe.png"
    assert data.parse(str(tmp_path / "mine")).build().spec.model_dump_json()


def test_duplicates_stay_on_one_side_in_whatever_form(tmp_path: Path) -> None:
    for i in range(60):
        scene = made.scene(np.random.default_rng(i), 12, 10)
        for form in ("png", "bmp", "ppm"):
            path = tmp_path / "mine" / form / f"{i}.{form}"
            path.parent.mkdir(parents=True, exist_ok=True)
            scene.save(path)
    report = check(data.parse(str(tmp_path / "mine")))
    assert report["duplicates"] == 120
    splits = data.parse(str(tmp_path / "mine")).build().splits
    sides = [{row.tobytes() for row in split.x} for split in splits.values()]  # type: ignore[attr-defined]
    assert not sides[0] & sides[1]
    assert sum(map(len, sides)) == 60


@pytest.mark.parametrize("good", [0, 1, 7])
def test_too_few_pictures_stop_training_with_counts(good: int, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, file in (files(good) | {f"bad{i}.png": b"no" for i in range(5)}).items():
        (folder / name).write_bytes(file)
    config = data.parse(str(folder))
    with pytest.raises(DataError, match=rf"{good} of {good + 5} pictures.*5 x not a picture") as caught:
        config.build()
    assert caught.value.exit_code == 3
    report = check(config)
    assert not report["usable"]
    assert len(report["broken"]) == 5


def test_few_good_pictures_are_not_said_to_be_unreadable(tmp_path: Path) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    for name, file in files(5).items():
        (folder / name).write_bytes(file)
    with pytest.raises(DataError, match=r"5 of 5 .* at least 8") as told:
        data.parse(str(folder)).build()
    assert "unreadable" not in str(told.value)


def test_empty_folder_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("soon")
    with pytest.raises(DataError, match=r"holds no pictures.*\.txt"):
        data.parse(str(tmp_path)).build()


def test_file_that_vanishes_while_streaming_is_named(mine: Path) -> None:
    split = data.parse(str(mine), {"stream": True}).build().train
    for path in mine.iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"\.png cannot be read any more"):
        split.gather(np.arange(4))


def as_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def as_tar(path: Path, members: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


PACKERS: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {
    "pets.zip": as_zip,
    "pets.tar": lambda path, members: as_tar(path, members, "w"),
    "pets.tar.gz": as_tar,
    "pets.tar.xz": lambda path, members: as_tar(path, members, "w:xz"),
}


@pytest.mark.parametrize("name", PACKERS)
@pytest.mark.parametrize("stream", [False, True])
def test_archive_is_as_good_as_its_folder(name: str, stream: bool, tmp_path: Path) -> None:
    members = {f"top/{'ab'[i % 2]}/{key}": file for i, (key, file) in enumerate(files(30).items())}
    members |= {"__MACOSX/._x.png": b"junk", "top/a/readme.txt": b"hello", "top/a/bad.png": b"bad"}
    archive = PACKERS[name](tmp_path / name, members)
    dataset = data.parse(str(archive), {"stream": stream}).build()
    assert dataset.spec.name == "pets"
    assert dataset.spec.label is not None
    assert dataset.spec.label.names == ("a", "b")
    assert sum(len(split) for split in dataset.splits.values()) == 30
    folder = tmp_path / "pets"
    for member, content in members.items():
        (folder / member).parent.mkdir(parents=True, exist_ok=True)
        (folder / member).write_bytes(content)
    unpacked = data.parse(str(folder / "top")).build()
    rows = np.arange(len(unpacked.train))
    found = {row.numpy().tobytes() for row in dataset.train.gather(rows).x}
    assert found == {row.numpy().tobytes() for row in unpacked.train.gather(rows).x}


@pytest.mark.parametrize("pack", [as_zip, as_tar])
@pytest.mark.parametrize("name", ["../out.png", "a/../../out.png", "/tmp/out.png", "C:/out.png", "..\\out.png"])
def test_names_that_lead_out_are_refused(name: str, pack: Callable[..., Path], tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    archive = pack(inner / "x", {**files(10), name: files(1)["0.png"]})
    refused(archive, "leads out", tmp_path)


def refused(archive: Path, why: str, root: Path) -> None:
    """Exit 3 naming the reason, and no file but the archive and the cache's own lies below the root."""
    named = archive.with_name("x.zip" if zipfile.is_zipfile(archive) else "x.tar.gz")
    archive.rename(named)
    with pytest.raises(DataError, match=why) as caught:
        data.parse(str(named)).build()
    assert caught.value.exit_code == 3
    assert {path.name for path in root.rglob("*") if path.is_file()} <= {named.name, "plain.tar", "manifest.json"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_tar_links_and_devices_are_refused(kind: bytes, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("link.png")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    refused(tmp_path / "x.tar.gz", "a link", tmp_path)


def test_zip_links_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        member = zipfile.ZipInfo("link.png")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, "/etc/passwd")
    refused(tmp_path / "x.zip", "a link", tmp_path)


@pytest.mark.parametrize("pack", [as_zip, as_tar])
def test_bombs_are_refused(pack: Callable[..., Path], tmp_path: Path) -> None:
    refused(pack(tmp_path / "x", {**files(3), "bomb.png": bytes(30_000_000)}), "more than 200 times", tmp_path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("form", ["zip", "tar.gz"])
def test_names_that_occur_twice_are_refused(form: str, tmp_path: Path) -> None:
    archive = tmp_path / f"x.{form}"
    if form == "zip":
        with zipfile.ZipFile(archive, "w") as zipped:
            for name in ("a.png", "b.png", "./a.png"):
                zipped.writestr(name, files(1)["0.png"])
    else:
        as_tar(archive, {"a.png": b"1", "./a.png": b"2"})
    refused(archive, "occurs twice", tmp_path)


@pytest.mark.parametrize("pack", [as_zip, as_tar])
def test_too_many_entries_are_refused(
    pack: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "ENTRIES", 40)
    refused(pack(tmp_path / "x", files(41)), "more than 40", tmp_path)


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"\x1f\x8b no gzip", b"x" * 2000])
def test_what_is_no_archive_is_a_data_error(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError):
        data.parse(str(tmp_path / name)).build()


@pytest.mark.parametrize("name", PACKERS)
def test_cut_archive_is_a_data_error_or_lists_its_losses(name: str, tmp_path: Path) -> None:
    archive = PACKERS[name](tmp_path / name, files(40))
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size * 2 // 3])
    try:
        report = check(data.parse(str(archive)))
    except DataError:
        return
    assert report["count"] < 40


def test_parquet_faults_are_data_errors(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "no.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="no readable Parquet"):
        data.parse(str(tmp_path / "no.parquet")).build()
    parquet.write_table(arrow.table({"a": [1, 2]}), tmp_path / "plain.parquet")
    with pytest.raises(DataError, match="no column holds pictures"):
        data.parse(str(tmp_path / "plain.parquet")).build()
    (tmp_path / "unlike").mkdir()
    cells = [{"bytes": file, "path": None} for file in files(20).values()]
    parquet.write_table(arrow.table({"image": cells}), tmp_path / "unlike" / "0.parquet")
    parquet.write_table(arrow.table({"img": cells}), tmp_path / "unlike" / "1.parquet")
    with pytest.raises(DataError, match=r"1\.parquet row 0: this file has no column 'image'"):
        data.parse(str(tmp_path / "unlike")).build()
    cells[3], cells[4] = None, {"bytes": b"junk", "path": None}
    parquet.write_table(arrow.table({"image": cells}), tmp_path / "holes.parquet")
    report = check(data.parse(str(tmp_path / "holes.parquet")))
    assert [fault["file"] for fault in report["broken"]] == ["holes.parquet row 3", "holes.parquet row 4"]


def test_cache_without_room_says_where_to_put_it(mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FIGMENT_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="FIGMENT_CACHE"):
        data.parse(str(mine)).build()
