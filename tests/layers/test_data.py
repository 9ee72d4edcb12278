"""Data: what a DATA string gives, that it is the same each time, and that pictures come out as they went in."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pictures_of_all_kinds as made
from figment import data
from figment.core.data import ArraySplit
from figment.core.errors import DataError, UsageError
from figment.core.order import Order
from figment.data import splits
from figment.data.check import check, render
from figment.data.decode import picture
from figment.data.images import ImagesConfig, layout
from figment.data.parquet import HubConfig, split_of
from figment.data.pictures import target
from figment.data.toys import NAMES, ToyConfig

REAL = os.environ.get("FIGMENT_DATA")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIGMENT_CACHE", str(tmp_path / "cache"))


def table(path: Path, count: int, size: tuple[int, int] = (9, 7), rows: int = 16, **columns: list[object]) -> Path:
    """A Parquet file of PNG pictures as the Hub serves it."""
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    generator = np.random.default_rng(count)
    cells = [{"bytes": made.encoded(made.scene(generator, *size), "PNG"), "path": None} for _ in range(count)]
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(arrow.table({"image": cells, **columns}), path, row_group_size=rows)
    return path


def pixels(split: object) -> np.ndarray:
    assert isinstance(split, ArraySplit)
    return split.x


@pytest.mark.parametrize("name", NAMES)
def test_toy_density_integrates_to_one_and_is_that_of_its_points(name: str) -> None:
    dataset = ToyConfig(name=name, count=4000).build()
    cells, width = 80, 8 / 80
    axis = (np.arange(cells) + 0.5) * width - 4
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    density = np.exp(dataset.log_density(grid)).reshape(20, 4, 20, 4)
    assert density.sum() * width**2 == pytest.approx(1, abs=5e-3)
    expected = density.sum((1, 3)) * width**2  # the mass of each of 20 x 20 larger cells
    edges = np.linspace(-4, 4, 21)
    found, _, _ = np.histogram2d(*pixels(dataset.train).T, bins=(edges, edges))
    assert np.abs(found / 4000 - expected).sum() < 2.2 * np.sqrt(expected / 4000).sum()


@pytest.mark.parametrize("text", ["digits", "toy:moons", "toy:checkerboard"])
def test_same_data_every_time(text: str) -> None:
    one, two = data.parse(text).build(), data.parse(text).build()
    assert one.content == two.content
    assert one.spec == two.spec
    for name in one.splits:
        assert np.array_equal(pixels(one.splits[name]), pixels(two.splits[name]))


def test_digits_are_the_scans() -> None:
    from sklearn.datasets import load_digits

    dataset = data.parse("digits").build()
    x = np.concatenate([pixels(split) for split in dataset.splits.values()])
    assert x.shape == (1797, 1, 8, 8)
    assert Counter(map(bytes, np.rint(x / 255 * 16).astype(np.uint8))) == Counter(
        map(bytes, load_digits().images.astype(np.uint8))
    )
    assert 120 < len(dataset.splits["test"]) < 240


def test_standardised_toy_has_zero_mean_and_unit_scale() -> None:
    train = data.parse("toy:pinwheel").build().train
    batch = train.gather(np.arange(len(train)))
    assert batch.x.mean(0).abs().max() < 1e-5
    assert (batch.x.std(0) - 1).abs().max() < 1e-4
    assert batch.c["label"].unique().tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "hint"),
    [("digit", "'digits'"), ("toy:moon", "'moons'"), ("toy:", "moons"), ("no/such/folder", "your own pictures")],
)
def test_unknown_data_says_what_to_type(text: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        data.parse(text)


def test_settings_reach_the_config_and_are_checked(tmp_path: Path) -> None:
    assert data.parse(str(tmp_path), {"size": [8, 12]}).model_dump()["size"] == (8, 12)
    with pytest.raises(UsageError, match="'sise' is not a setting"):
        data.parse(str(tmp_path), {"sise": 8})
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match=r"rows\.csv"):
        data.parse(str(tmp_path / "rows.csv"))


def test_every_listed_source_parses() -> None:
    names = [row["data"] for row in data.sources()]
    kinds = [data.parse(name).kind for name in names if name == name.lower()]
    assert set(kinds) == {"digits", "faces", "toy"}
    assert kinds.count("toy") == len(NAMES)


def test_equal_rows_fall_on_one_side_and_keep_it() -> None:
    digest = np.random.default_rng(0).integers(0, 2**64, 5000, dtype=np.uint64)
    out = splits.held_out(digest)
    assert 0.08 < out.mean() < 0.12
    assert np.array_equal(splits.held_out(np.tile(digest, 2)), np.tile(out, 2))
    assert np.array_equal(splits.held_out(digest[:2000]), out[:2000])
    assert splits.held_out(np.full(9, 7, np.uint64)).sum() == 0  # all equal: all to train on
    assert splits.held_out(np.arange(9, dtype=np.uint64) + np.uint64(2**63)).sum() == 1


def test_mixed_folder_trains_on_all_but_the_broken(tmp_path: Path) -> None:
    config = data.parse(str(made.folder(tmp_path / "mine", 90)))
    report = check(config)
    assert report["files"] == 90
    assert report["count"] == 80
    assert {Path(fault["file"]).name for fault in report["broken"]} == set(made.broken(np.random.default_rng(0)))
    assert report["labels"] == {"cats": 40, "dogs": 40}
    assert report["usable"]
    assert sum(report["splits"].values()) == 80
    assert "10 unreadable files are skipped" in render(report)
    dataset = config.build()
    assert dataset.spec.x.shape == (3, *dataset.spec.x.shape[1:])
    assert dataset.train.gather(np.arange(8)).x.shape == (8, *dataset.spec.x.shape)
    assert config.build().content == dataset.content


KINDS = made.kinds(np.random.default_rng(3), 40, 30)


@pytest.mark.parametrize("name", KINDS)
def test_every_mode_keeps_its_picture(name: str) -> None:
    """Each form against the RGB it was made from: up to what its own mode drops, and lossy compression."""
    rgb = np.asarray(made.scene(np.random.default_rng(3), 40, 30)).astype(float)
    luma = np.asarray(made.scene(np.random.default_rng(3), 40, 30).convert("L")).astype(float)
    if name == "turned.jpg":
        rgb, luma = np.rot90(rgb, -1), np.rot90(luma, -1)
    expected = rgb
    if "clear" in name and "palette" not in name:
        expected = np.where((luma > 128)[..., None], rgb if "grey" not in name else luma[..., None], 255)
    elif any(word in name for word in ("grey", "deep", "float")):
        expected = np.repeat(luma[..., None], 3, 2)
    height, width, _ = expected.shape
    found = picture(KINDS[name], (3, height, width)).transpose(1, 2, 0).astype(float)
    error = np.abs(found - expected).mean()
    if "moving" in name:
        assert found.shape == expected.shape
    elif name == "bits.png":
        assert set(np.unique(found)) == {0, 255}
    elif "palette" in name:
        assert error < 40
        assert ((found == 255).all(2).sum() > 20) == ("clear" in name)
    else:
        assert error < (8 if name.endswith(("jpg", "JPG", "webp")) else 1)


def test_animations_give_their_first_frame() -> None:
    frames = [Image.new("RGB", (6, 5), colour) for colour in ("red", "blue")]
    moving = made.encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert picture(moving, (3, 5, 6))[:, 2, 3].tolist() == [255, 0, 0]


def test_grey_folder_has_one_channel_and_bits_are_binary(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for i in range(12):
        bits = Image.fromarray(generator.integers(0, 2, (6, 9)).astype(np.uint8) * 255)
        bits.save(tmp_path / f"{i}.png")
    spec = data.parse(str(tmp_path)).build().spec
    assert spec.x.shape == (1, 6, 9)
    assert spec.x.binary
    made.scene(generator, 9, 6).save(tmp_path / "colour.png")
    spec = data.parse(str(tmp_path)).build().spec
    assert spec.x.shape == (3, 6, 9)
    assert not spec.x.binary


@pytest.mark.parametrize(
    ("sizes", "size", "expected"),
    [
        ({(28, 28): 5}, None, (1, 28, 28)),
        ({(40, 20): 5}, None, (1, 20, 40)),
        ({(300, 200): 5}, None, (1, 32, 48)),
        ({(300, 200): 5, (20, 30): 1}, None, (1, 32, 32)),
        ({(8, 9): 3, (10, 12): 3, (30, 11): 1}, None, (1, 10, 10)),
        ({(300, 200): 5, (150, 100): 2}, 16, (1, 16, 24)),
        ({(300, 200): 5, (20, 30): 1}, (5, 9), (1, 5, 9)),
    ],
)
def test_one_size_for_all(sizes: dict[tuple[int, int], int], size: object, expected: tuple[int, ...]) -> None:
    assert target(Counter(sizes), 1, size, limit=32) == expected  # type: ignore[arg-type]


def test_crop_is_central_and_stretch_keeps_all() -> None:
    bars = np.zeros((10, 30), np.uint8)
    bars[:, 10:20] = 255
    file = made.encoded(Image.fromarray(bars), "PNG")
    assert picture(file, (1, 10, 10)).min() == 255
    stretched = picture(file, (1, 10, 9), "stretch")[0, 5]
    assert stretched[4] > 250 > 5 > stretched[0]


def test_folders_are_labels_except_splits() -> None:
    split, label, classes, _ = layout(["top/train/b/1.png", "top/val/a/2.png", "top/test/b/x/3.png"])
    assert (split.tolist(), label.tolist(), classes) == (["train", "valid", "test"], [1, 0, 1], ("a", "b"))
    split, label, classes, remarks = layout(["10/a.png", "9/b.png", "c.png"])
    assert (split.tolist(), label.tolist(), classes) == (["", "", ""], [1, 0, -1], ("9", "10"))
    assert remarks
    assert layout(["only/a.png", "only/b.png"])[2] == ()


def test_split_folders_are_kept(tmp_path: Path) -> None:
    for name, count in (("train", 12), ("valid", 3), ("test", 5)):
        for i in range(count):
            place = tmp_path / name / "ab"[i % 2]
            place.mkdir(parents=True, exist_ok=True)
            made.scene(np.random.default_rng(i + 100 * count), 8, 8).save(place / f"{i}.png")
    dataset = data.parse(str(tmp_path)).build()
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 12, "valid": 3, "test": 5}
    assert dataset.spec.label is not None
    assert dataset.spec.label.names == ("a", "b")


def test_streaming_gives_the_same_batches(tmp_path: Path) -> None:
    path = table(tmp_path / "train.parquet", 300, label=[i % 3 for i in range(300)])
    whole, stream = (data.parse(str(path), {"stream": streams}).build() for streams in (False, True))
    assert stream.content == whole.content
    assert stream.spec == whole.spec
    blocks = stream.train.blocks
    assert blocks is not None
    assert len(blocks) == 19
    memory = ArraySplit(whole.spec, pixels(whole.train), whole.train.c, blocks)  # type: ignore[attr-defined]
    orders = [Order(3, split).batches(32) for split in (memory, stream.train)]
    for _ in range(20):  # more than two epochs
        one, two = (split.gather(next(order)) for split, order in zip((memory, stream.train), orders))
        assert np.array_equal(one.rows, two.rows)
        assert one.x.equal(two.x)
        assert one.c["label"].equal(two.c["label"])


def test_streaming_reads_each_block_about_once_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path / "train.parquet", 640, size=(4, 4), label=[i % 3 for i in range(640)])
    split = data.parse(str(path), {"stream": True}).build().train
    reads: list[int] = []
    original = split.source.read  # type: ignore[attr-defined]
    object.__setattr__(split.source, "read", lambda block: reads.append(block) or original(block))  # type: ignore[attr-defined]
    order = Order(0, split)
    for start in range(0, len(split), 32):
        split.gather(order.rows(start, min(start + 32, len(split))))
    assert set(reads) == set(range(40))
    assert len(reads) <= 48


def test_cache_is_used_and_a_damaged_one_is_made_again(tmp_path: Path) -> None:
    path = table(tmp_path / "x.parquet", 40)
    first = data.parse(str(path)).build()
    (file,) = (tmp_path / "cache").rglob("train.npy")
    before, x = file.stat().st_ino, pixels(first.train).copy()
    assert data.parse(str(path)).build().content == first.content
    assert file.stat().st_ino == before
    damaged = bytearray(file.read_bytes())
    damaged[-5] ^= 1
    file.write_bytes(damaged)
    again = data.parse(str(path)).build()
    assert np.array_equal(pixels(again.train), x)
    assert file.stat().st_ino != before
    (file.parent / "items.npz").unlink()
    assert data.parse(str(path)).build().content == first.content


def test_changed_files_are_noticed(tmp_path: Path) -> None:
    config = data.parse(str(made.folder(tmp_path / "mine", 40)))
    before = config.build()
    place = next((tmp_path / "mine" / "dogs").glob("*.bmp"))
    state = place.stat()
    changed = bytearray(place.read_bytes())
    changed[60:] = bytes(255 - value for value in changed[60:])
    place.write_bytes(changed)  # same size
    os.utime(place, ns=(state.st_atime_ns, state.st_mtime_ns))  # same time
    assert pixels(config.build().train).tobytes() != pixels(before.train).tobytes()


def test_parquet_finds_columns_splits_and_class_names(tmp_path: Path) -> None:
    table(
        tmp_path / "data" / "train-00000-of-00002.parquet",
        20,
        text=["a"] * 20,
        note=["-"] * 20,
        label=["cat", "dog"] * 10,
    )
    table(
        tmp_path / "data" / "train-00001-of-00002.parquet",
        10,
        text=["b"] * 10,
        note=["-"] * 10,
        label=["dog", "eel"] * 5,
    )
    table(tmp_path / "data" / "validation-00000-of-00001.parquet", 9, text=["c"] * 9, note=["-"] * 9, label=["cat"] * 9)
    dataset = data.parse(str(tmp_path)).build()
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 30, "valid": 9}
    assert dataset.spec.label is not None
    assert dataset.spec.label.names == ("cat", "dog", "eel")
    assert dataset.spec.x.shape == (3, 7, 9)
    assert dataset.spec.text is not None
    assert any("note" in note for note in dataset.notes)
    assert split_of(Path("plain/test/0000.parquet")) == "test"


def test_a_moved_shard_changes_sides(tmp_path: Path) -> None:
    for name, count in (("train", 20), ("test", 12)):
        table(tmp_path / name / "0.parquet", count)
    assert len(data.parse(str(tmp_path)).build().train) == 20
    for old, new in (("train", "x"), ("test", "train"), ("x", "test")):
        (tmp_path / old).rename(tmp_path / new)
    assert len(data.parse(str(tmp_path)).build().train) == 12


def test_unlabelled_test_split_is_left_out(tmp_path: Path) -> None:
    table(tmp_path / "train.parquet", 40, label=[0, 1] * 20)
    table(tmp_path / "test.parquet", 10, label=[-1] * 10)
    dataset = data.parse(str(tmp_path)).build()
    assert sum(len(split) for split in dataset.splits.values()) == 40
    assert dataset.spec.label is not None
    assert any("'test'" in note for note in dataset.notes)


def test_hub_goes_through_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("datasets")
    generator = np.random.default_rng(0)
    features = hub.Features(img=hub.Image(), fine=hub.ClassLabel(names=["a", "b"]), note=hub.Value("string"))
    rows = {"img": [made.scene(generator, 8, 6) for _ in range(30)], "fine": [0, 1] * 15, "note": ["x"] * 30}
    found = hub.DatasetDict(
        {name: hub.Dataset.from_dict(rows, features=features) for name in ("train", "test", "extra")}
    )
    monkeypatch.setattr(hub, "load_dataset", lambda *_, **__: found)
    dataset = data.parse("hf:someone/things").build()
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 30, "test": 30}
    assert dataset.spec.x.shape == (3, 6, 8)
    assert dataset.spec.label is not None
    assert dataset.spec.label.names == ("a", "b")
    with pytest.raises(UsageError, match="name"):
        data.parse("hf:no-owner")


@pytest.mark.parametrize(("config", "module"), [("x.parquet", "pyarrow"), ("hf:a/b", "datasets")])
def test_missing_extra_says_what_to_install(
    config: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.parquet").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=r"pip install 'figment\[data\]'"):
        data.parse(config).build()


def test_unreachable_hub_is_a_data_error(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("datasets")

    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("no network here")

    monkeypatch.setattr(hub, "load_dataset", offline)
    with pytest.raises(DataError, match="no network here"):
        HubConfig(name="a/b").build()


@pytest.mark.skipif(not REAL, reason="FIGMENT_DATA is not set: no real data here")
def test_mnist_is_whole() -> None:
    dataset = data.parse(f"{REAL}/mnist").build()
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 60_000, "test": 10_000}
    label = dataset.train.c["label"]  # type: ignore[attr-defined]
    assert np.bincount(label).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert pixels(dataset.train).mean() == pytest.approx(33.318, abs=0.01)  # the figure known for MNIST
    batch = dataset.train.gather(np.array([5, 3, 5]))
    assert batch.x.min() == -1
    assert batch.x.max() == 1
    assert batch.x[0].equal(batch.x[2])


def test_relative_config_survives_a_round_trip(tmp_path: Path) -> None:
    from figment.core.config import parse

    config = data.parse(str(tmp_path), {"size": 16, "stream": False})
    assert parse(ImagesConfig, config.model_dump(mode="json")) == config
