"""Writes a folder of pictures of every size and mode that people have, some of them broken."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

BROKEN = {
    "empty.png": b"",
    "text.png": b"this is no picture",
    "html.jpg": b"<html><body>404</body></html>" * 9,
    "header-only.png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
}


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def scene(generator: np.random.Generator, width: int, height: int) -> Image.Image:
    """A smooth RGB picture, different each time."""
    coarse = Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def kinds(generator: np.random.Generator, width: int, height: int) -> dict[str, bytes]:
    """One picture in each of the forms a folder may hold: file name -> content."""
    rgb = scene(generator, width, height)
    grey = np.asarray(rgb.convert("L"))
    alpha = Image.fromarray(np.where(grey > 128, 255, 0).astype(np.uint8))
    clear = rgb.copy()
    clear.putalpha(alpha)
    turned = Image.Exif()
    turned[0x0112] = 6
    frames = [scene(generator, width, height) for _ in range(2)]
    return {
        "rgb.png": encoded(rgb, "PNG"),
        "photo.jpg": encoded(rgb, "JPEG", quality=90),
        "turned.jpg": encoded(rgb, "JPEG", exif=turned),
        "cmyk.jpg": encoded(rgb.convert("CMYK"), "JPEG"),
        "grey.png": encoded(rgb.convert("L"), "PNG"),
        "grey.jpg": encoded(rgb.convert("L"), "JPEG"),
        "deep.png": encoded(Image.fromarray(grey.astype(np.uint16) * 257), "PNG"),
        "deep.tif": encoded(Image.fromarray(grey.astype(np.uint16) * 257), "TIFF"),
        "float.tif": encoded(Image.fromarray(grey.astype(np.float32) / 255), "TIFF"),
        "clear.png": encoded(clear, "PNG"),
        "clear.webp": encoded(clear, "WEBP"),
        "clear-grey.png": encoded(clear.convert("LA"), "PNG"),
        "palette.png": encoded(rgb.quantize(16), "PNG"),
        "palette-clear.png": encoded(rgb.quantize(16), "PNG", transparency=0),
        "bits.png": encoded(rgb.convert("1"), "PNG"),
        "moving.gif": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "moving.png": encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "old.bmp": encoded(rgb, "BMP"),
        "plain.ppm": encoded(rgb, "PPM"),
        "UPPER.JPG": encoded(rgb, "JPEG"),
    }


def broken(generator: np.random.Generator) -> dict[str, bytes]:
    """Ten files that no one can read: the texts above, cut ones, and one larger than the cap."""
    picture = scene(generator, 60, 50)
    cut = {
        name: encoded(picture, form) for name, form in (("cut.png", "PNG"), ("cut.jpg", "JPEG"), ("cut.webp", "WEBP"))
    }
    early = {f"early-{name}": data[:40] for name, data in list(cut.items())[:2]}
    vast = encoded(Image.new("1", (20_000, 20_000)), "PNG")
    return {**BROKEN, **{name: data[: len(data) // 2] for name, data in cut.items()}, **early, "vast.png": vast}


def folder(path: Path, count: int, labels: tuple[str, ...] = ("cats", "dogs"), seed: int = 0) -> Path:
    """`count` files, ten of them broken, in one folder a label."""
    generator = np.random.default_rng(seed)
    for label in labels:
        (path / label).mkdir(parents=True)
    for name, data in broken(generator).items():
        (path / labels[0] / name).write_bytes(data)
    written = 10
    while written < count:
        width, height = generator.integers(1 if written < 50 else 20, 300, 2).tolist()
        for name, data in list(kinds(generator, width, height).items())[: count - written]:
            (path / labels[written % len(labels)] / f"{written:05d}-{name}").write_bytes(data)
            written += 1
    return path
