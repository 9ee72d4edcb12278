"""One picture file -> uint8 `(C, H, W)`: any mode, any size, and nothing in the file is trusted."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

Image.init()
FORMATS: list[str] = [  # no other decoder of Pillow is let near a stranger's file
    name for name in ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "TGA")
    if name in Image.OPEN
]  # fmt: skip
EXTENSIONS = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2", ".tga"),
)
PIXELS = 64_000_000
GREY = frozenset(("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F"))
ORIENTATION = 0x0112

Crop = Literal["centre", "stretch"]
Shape = tuple[int, int, int]

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # the cap here is lower, and refuses
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # damaged files are listed, with reasons


class Unreadable(Exception):
    """A picture that cannot be used; the message is the reason, as `data check` lists it."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture says of itself before its pixels are decoded; the size is that after EXIF rotation."""

    width: int
    height: int
    mode: str
    grey: bool


@dataclass(frozen=True)
class Decoded:
    """The readable ones of some pictures: their positions `(n,)`, pixels `(n, C, H, W)`, and reasons for the rest."""

    positions: np.ndarray
    pixels: np.ndarray
    faults: dict[int, str]


def header(data: bytes | None) -> Header:
    """Raises Unreadable where the data is no picture, or one of more than 64 Mpx."""
    try:
        image = _open(data)
        width, height = image.size[::-1] if _orientation(image) >= 5 else image.size
        return Header(width, height, image.mode, _is_grey(image))
    except Unreadable:
        raise
    except Exception as error:
        raise Unreadable(_reason(error)) from None


def picture(data: bytes | None, shape: Shape, crop: Crop = "centre") -> np.ndarray:
    """uint8 `(C, H, W)`: upright, first frame, over white, cropped or stretched to size. Raises Unreadable."""
    channels, height, width = shape
    try:
        image = _open(data)
        if min(image.size) > 4 * max(height, width):
            image.draft(None, (2 * max(height, width),) * 2)  # JPEG: decodes at a fraction of the size
        if _orientation(image) > 1:
            image = ImageOps.exif_transpose(image)
        image = _flat(image, "L" if channels == 1 else "RGB")
        if image.size != (width, height):
            box = _centre(image.size, height, width) if crop == "centre" else None
            image = image.resize((width, height), Image.Resampling.BICUBIC, box, reducing_gap=3.0)
        return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)
    except Unreadable:
        raise
    except Exception as error:  # Pillow's decoders raise nearly every type there is on damaged files
        raise Unreadable(_reason(error)) from None


def pictures(data: Sequence[bytes | None], shape: Shape, crop: Crop = "centre") -> Decoded:
    """Many pictures of one shape, leaving out those that are unreadable."""
    pixels = np.empty((len(data), *shape), np.uint8)
    good: list[int] = []
    faults: dict[int, str] = {}
    for position, item in enumerate(data):
        try:
            pixels[len(good)] = picture(item, shape, crop)
            good.append(position)
        except Unreadable as fault:
            faults[position] = str(fault)
    return Decoded(np.array(good, np.int64), pixels[: len(good)], faults)


def mask(data: bytes | None, height: int, width: int, crop: Crop = "centre") -> np.ndarray:
    """int32 `(H, W)`: the number of each pixel, or its colour as 65536 R + 256 G + B; cropped or stretched to size by
    the nearest pixel. Raises Unreadable."""
    try:
        image = _open(data)
        if _orientation(image) > 1:
            image = ImageOps.exif_transpose(image)
        numbered = image.mode in ("P", "L", "1") or image.mode.startswith("I")
        image = image if numbered else image.convert("RGB")
        if image.size != (width, height):
            box = _centre(image.size, height, width) if crop == "centre" else None
            image = image.resize((width, height), Image.Resampling.NEAREST, box)
        values = np.asarray(image).astype(np.int32)
        return values if numbered else values @ np.array((65536, 256, 1), np.int32)
    except Unreadable:
        raise
    except Exception as error:
        raise Unreadable(_reason(error)) from None


def _open(data: bytes | None) -> Image.Image:
    if not data:
        raise Unreadable("missing, or not to be read" if data is None else "empty")
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    if image.width * image.height > PIXELS:
        raise Unreadable(f"{image.width}x{image.height} is more than {PIXELS // 1_000_000} Mpx")
    return image


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) to 8; above 4 width and height change places."""
    if image.format in ("JPEG", "MPO", "TIFF", "WEBP", "AVIF") or "exif" in image.info:
        return image.getexif().get(ORIENTATION, 1)
    return 1


def _is_grey(image: Image.Image) -> bool:
    if image.mode == "P" and image.palette is not None and image.palette.mode == "RGB":
        colours = np.frombuffer(image.palette.tobytes(), np.uint8).reshape(-1, 3)
        return bool((colours == colours[:, :1]).all())
    return image.mode in GREY


def _flat(image: Image.Image, mode: str) -> Image.Image:
    """8 bits a channel, transparent parts over white."""
    if image.mode == mode and "transparency" not in image.info:
        image.load()
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bit(image).convert(mode)
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        paper.alpha_composite(image.convert("RGBA"))
        return paper.convert(mode)
    return image.convert(mode)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Integers count to 65535 and floats to 1 (or to 255, where any exceeds 1)."""
    values = np.nan_to_num(np.asarray(image).astype(np.float64))
    top = 65535 if image.mode != "F" else 255 if values.max() > 1 else 1
    return Image.fromarray(np.rint(values.clip(0, top) * (255 / top)).astype(np.uint8))


def _centre(size: tuple[int, int], height: int, width: int) -> tuple[float, float, float, float]:
    """The largest central part of a picture `(width, height)` that has the shape asked for."""
    scale = min(size[0] / width, size[1] / height)
    left, top = (size[0] - scale * width) / 2, (size[1] - scale * height) / 2
    return left, top, left + scale * width, top + scale * height


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "not a picture"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {PIXELS // 1_000_000} Mpx"
    return (str(error) or type(error).__name__).splitlines()[0][:120]
