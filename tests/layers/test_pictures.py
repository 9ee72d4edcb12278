"""Grids and plots of samples; recipes travel inside pictures and hostile ones are refused."""

import struct
import zlib

import numpy as np
import PIL.Image
import pytest
import torch

from figment import pictures
from figment.core.data import Classes, Image, Spec, Vector
from figment.core.errors import FigmentError, UsageError


def test_grid_puts_each_picture_in_its_place() -> None:
    pixels = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1).repeat(3, 1).repeat(2, 2)
    sheet = np.asarray(pictures.grid(pixels, columns=3, scale=4))
    assert sheet.shape == (2 * 3 * 4 + 2, 3 * 2 * 4 + 4)
    assert [sheet[0, 0], sheet[0, 10], sheet[0, 20], sheet[14, 0], sheet[14, 10]] == [0, 1, 2, 3, 4]
    assert sheet[14, 20] == 128  # the sixth place is empty


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "L"), (3, "RGB"), (4, "RGBA"), (6, "L")])
def test_grid_takes_any_number_of_channels(channels: int, mode: str) -> None:
    assert pictures.grid(np.zeros((3, 5, 7, channels), np.uint8)).mode == mode


def test_one_picture_at_scale_one_is_itself() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1, 9, 5, 3), dtype=np.uint8)
    assert (np.asarray(pictures.grid(pixels, scale=1)) == pixels[0]).all()


@pytest.mark.parametrize("columns", [1, 2, 5])
def test_picture_of_rows_shows_them(columns: int) -> None:
    label = Classes(names=("a", "b"), frequencies=(0.5, 0.5))
    spec = Spec(name="rows", x=Vector(mean=(0.0,) * columns, scale=(1.0,) * columns), c={"label": label})
    x = torch.randn(30, columns, generator=torch.Generator().manual_seed(0))
    colours = torch.arange(30) % 2
    shown = np.asarray(pictures.picture(spec, x, {"label": colours}))
    moved = np.asarray(pictures.picture(spec, x / 2, {"label": colours}))
    assert shown.ndim == 3
    assert (shown != moved).any()


def test_picture_of_images_is_their_grid() -> None:
    spec = Spec(name="images", x=Image(channels=3, height=6, width=9))
    assert pictures.picture(spec, torch.zeros(4, 3, 6, 9)).mode == "RGB"


def test_recipe_comes_back_as_it_was(tmp_path) -> None:
    recipe = {
        "prompt": 'Früchte, 水果\n"quoted" \0 end ' + "x" * 100_000,
        "negative": "none\u2028",
        "seed": 2**62,
        "sampling": {"steps": 16, "guidance": 2.0},
    }
    path = tmp_path / "new" / "sample.png"
    pictures.save_png(PIL.Image.new("L", (8, 6)), path, recipe)
    assert pictures.read_recipe(path) == recipe
    assert [file.name for file in path.parent.iterdir()] == ["sample.png"]
    with PIL.Image.open(path) as image:
        shown = image.info["parameters"]
    assert shown.startswith("Früchte, 水果\n")
    assert shown.endswith(f"Negative prompt: none\u2028\nSteps: 16, CFG scale: 2.0, Seed: {2**62}, Size: 8x6")


def test_a_failed_write_leaves_the_old_picture(tmp_path) -> None:
    path = tmp_path / "sample.png"
    pictures.save_png(PIL.Image.new("L", (1, 1)), path, {"seed": 1})
    with pytest.raises(UsageError, match="recipe"):
        pictures.save_png(PIL.Image.new("L", (1, 1)), path, {"prompt": "x" * 5_000_000})
    with pytest.raises(FigmentError, match="cannot write"):
        pictures.save_png(PIL.Image.new("L", (1, 1)), path / "inside.png", {})
    assert pictures.read_recipe(path) == {"seed": 1}


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0\0"))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels + chunk(b"IEND", b"")


BOMB = zlib.compress(b'{"a": "' + b"0" * 50_000_000 + b'"}')


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (png(chunk(b"zTXt", b"figment\0\0" + BOMB)), "not safe"),
        (png(chunk(b"iTXt", b"figment\0\1\0\0\0" + BOMB)), "not safe"),
        (png(chunk(b"tEXt", b"figment\0" + b"[" * 100_000)), "damaged"),
        (png(chunk(b"tEXt", b"figment\0[1, 2]")), "damaged"),
        (png(chunk(b"tEXt", b"figment\0{")), "damaged"),
        (png(), "carries no recipe"),
        (png(chunk(b"tEXt", b"figment\0{}"))[:40], "cannot be read"),
        (b"GIF89a", "no PNG"),
        (b"", "no PNG"),
    ],
)
def test_hostile_and_foreign_files_are_refused(tmp_path, content: bytes, message: str) -> None:
    path = tmp_path / "hostile.png"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        pictures.read_recipe(path)


def test_a_missing_picture_is_named(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"none\.png cannot be read: No such file"):
        pictures.read_recipe(tmp_path / "none.png")
