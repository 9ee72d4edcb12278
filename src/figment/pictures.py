"""What samples look like, and pictures that carry the recipe they were made with."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from figment.core.data import Image, Spec, Vector
from figment.core.errors import FigmentError, UsageError
from figment.core.run import replacing

RECIPE = "figment"  # the text chunk with our JSON; "parameters" is the one other programs show
DESCRIPTION = 0x010E  # the EXIF tag that holds a film's recipe
LONGEST_RECIPE = 4_000_000  # bytes of JSON

# M. Okabe and K. Ito, "Color universal design" (2008): told apart by people of every colour vision.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f6f00", "#555555")
INK, PAPER, RULE = "#1d1b18", "#fdfcf9", "#d9d4c9"


def grid(pixels: np.ndarray, columns: int | None = None, scale: int | None = None) -> PIL.Image.Image:
    """Pictures uint8 `(N, H, W, C)` on one sheet, each pixel a block of `scale` x `scale`.

    One, three and four channels are grey, RGB and RGBA; any other number is laid out side by side in grey.
    """
    count, height, width, channels = pixels.shape
    if channels not in (1, 3, 4):
        pixels = pixels.transpose(0, 1, 3, 2).reshape(count, height, width * channels, 1)
        width, channels = width * channels, 1
    columns = min(count, columns or math.ceil(math.sqrt(count * height / width)))
    rows = math.ceil(count / columns)
    scale = scale or max(1, min(16, 640 // max(columns * width, rows * height)))
    gap = max(2, height * scale // 20) if count > 1 else 0
    blocks = pixels.repeat(scale, 1).repeat(scale, 2)
    high, wide = height * scale + gap, width * scale + gap
    sheet = np.full((rows * high - gap, columns * wide - gap, channels), 128, np.uint8)
    if channels == 4:
        sheet[..., 3] = 0
    for place, block in enumerate(blocks):
        top, left = place // columns * high, place % columns * wide
        sheet[top : top + high - gap, left : left + wide - gap] = block
    return PIL.Image.fromarray(sheet[..., 0] if channels == 1 else sheet)


def sheet(
    cells: Sequence[Sequence[np.ndarray | None]],
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    captions: Sequence[Sequence[str]] = (),
    title: str = "",
) -> PIL.Image.Image:
    """A table of pictures uint8 `(H, W, C)` (None: an empty place) with names left of rows and above columns, and a
    line under each picture."""
    height, width = next(cell.shape[:2] for row in cells for cell in row if cell is not None)
    across = max(len(row) for row in cells)
    scale = max(1, min(88 // height, 1400 // (across * width)))
    font, bold = (PIL.ImageFont.load_default(size) for size in (13, 17))
    gap, line = 6, 18
    wide = max(width * scale, *(int(font.getlength(text)) for row in captions for text in row), 0) + gap
    high = height * scale + gap + (line if captions else 0)
    left = 12 + max((int(font.getlength(name)) + 10 for name in rows), default=0)
    top = 12 + (28 if title else 0) + (line if columns else 0)
    size = (max(left + across * wide + 12 - gap, 24 + int(bold.getlength(title))), top + len(cells) * high + 12 - gap)
    page = PIL.Image.new("RGB", size, PAPER)
    pen = PIL.ImageDraw.Draw(page)
    pen.text((12, 8), title, INK, bold)
    for j, name in enumerate(columns):
        pen.text((left + j * wide + (wide - gap) / 2, top - 5), name, INK, font, anchor="ms")
    for i, row in enumerate(cells):
        if i < len(rows):
            pen.text((left - 10, top + i * high + height * scale / 2), rows[i], INK, font, anchor="rm")
        for j, cell in enumerate(row):
            x, y = left + j * wide + (wide - gap - width * scale) // 2, top + i * high
            if cell is not None:
                page.paste(grid(cell[None], scale=scale).convert("RGB"), (x, y))
            if captions and captions[i][j]:
                pen.text((x + width * scale / 2, y + height * scale + 14), captions[i][j], INK, font, anchor="ms")
    return page


def shades(count: int) -> list[list[int]]:
    """Colours uint8 of so many classes of pixels: paper for the first, then colours that are told apart."""
    hues = [PAPER, *COLOURS]
    table = [[int(hues[k % len(hues)][i : i + 2], 16) for i in (1, 3, 5)] for k in range(count)]
    return [[channel >> (k // len(hues)) for channel in row] for k, row in enumerate(table)]  # darker on every round


def indexed(numbers: np.ndarray, table: Sequence[Sequence[int]]) -> PIL.Image.Image:
    """Numbers `(H, W)` below 256 as a palette picture in the colours of a table."""
    image = PIL.Image.fromarray(numbers.astype(np.uint8), "P")
    image.putpalette(bytes(channel for row in table for channel in row))
    return image


def picture(spec: Spec, x: Tensor, c: Mapping[str, Tensor] | None = None) -> PIL.Image.Image:
    """What a batch x (model range) looks like: images as a grid, points of the plane as a scatter plot coloured by
    label, longer rows as lines over their columns, single numbers as a histogram."""
    shown = spec.x.to_user(x)
    if isinstance(spec.x, Image):
        return grid(shown)
    assert isinstance(spec.x, Vector)
    labels = c["label"].cpu().numpy() if c and "label" in c else None
    mean, scale = np.asarray(spec.x.mean), np.asarray(spec.x.scale)
    limits = np.stack([mean - 2.8 * scale, mean + 2.8 * scale], 1)
    names = spec.x.columns or ("",) * shown.shape[1]
    draw = _histogram if shown.shape[1] == 1 else scatter if shown.shape[1] == 2 else _lines
    return draw(shown, labels, limits, names)


def scatter(
    rows: np.ndarray, labels: np.ndarray | None = None, limits: Any = None, names: Sequence[str] = ("", "")
) -> PIL.Image.Image:
    """Points `(N, 2)`, a colour a label `(N,)`, on axes that cover `limits` `((x0, x1), (y0, y1))`."""
    figure, axes = drawing(4.8, 4.8)
    size = max(2.0, min(16.0, 9000 / max(1, len(rows))))
    axes.scatter(rows[:, 0], rows[:, 1], s=size, c=_colours(labels, len(rows)), alpha=0.65, linewidths=0)
    if limits is not None:
        axes.set(xlim=limits[0], ylim=limits[1])
    axes.set(xlabel=names[0], ylabel=names[1])
    return rendered(figure)


def _histogram(rows: np.ndarray, _labels: Any, limits: np.ndarray, names: Sequence[str]) -> PIL.Image.Image:
    figure, axes = drawing(4.8, 3.2)
    axes.hist(rows[:, 0], bins=60, range=tuple(limits[0]), density=True, color=COLOURS[0], alpha=0.8)
    axes.set(xlim=limits[0], xlabel=names[0], ylabel="density")
    return rendered(figure)


def _lines(rows: np.ndarray, labels: np.ndarray | None, limits: np.ndarray, names: Sequence[str]) -> PIL.Image.Image:
    figure, axes = drawing(6.4, 3.6)
    heights = (rows - limits[:, 0]) / (limits[:, 1] - limits[:, 0])  # each column on its own scale
    for row, colour in zip(heights[:200], _colours(labels, len(rows))):
        axes.plot(row, color=colour, alpha=0.35, linewidth=0.8)
    axes.set(xlim=(0, rows.shape[1] - 1), ylim=(0, 1), yticks=[])
    if len(names) <= 16:
        tilt = {"rotation": 30, "ha": "right"} if any(len(name) > 6 for name in names) else {}
        axes.set_xticks(range(len(names)), [name[:16] or str(i) for i, name in enumerate(names)], **tilt)
    return rendered(figure)


def _colours(labels: np.ndarray | None, count: int) -> list[str]:
    return [COLOURS[0 if labels is None else int(labels[i]) % len(COLOURS)] for i in range(count)]


def drawing(width: float, height: float) -> tuple[Any, Any]:
    """An empty matplotlib figure of so many inches and its axes, in the house style; no global state is touched."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), dpi=150, facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, panel(figure)


def panel(figure: Any, place: Any = 111) -> Any:
    """Axes in the house style at a place of a figure's grid."""
    axes = figure.add_subplot(place, facecolor=PAPER)
    axes.tick_params(colors=INK, length=0, labelsize=8)
    axes.grid(color=RULE, linewidth=0.5)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    return axes


def rendered(figure: Any) -> PIL.Image.Image:
    """The pixels of a figure made by `drawing`."""
    figure.canvas.draw()
    return PIL.Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")


def save_png(image: PIL.Image.Image, path: str | os.PathLike[str], recipe: Mapping[str, Any]) -> None:
    """Writes a picture whole or not at all, its recipe in the text chunks `figment` (JSON) and `parameters`.

    Raises UsageError where the recipe is longer than can be read back, FigmentError where the disk refuses.
    """
    path, text = Path(path), json.dumps(recipe, default=str)
    if len(text) > LONGEST_RECIPE:
        raise UsageError(f"the recipe of {path.name} has {len(text):,} bytes; at most {LONGEST_RECIPE:,} are kept.")
    chunks = PngInfo()
    chunks.add_text(RECIPE, text)
    chunks.add_itxt("parameters", parameters(recipe, image.size))
    _save(image, path, "PNG", pnginfo=chunks)


def save_film(
    frames: Sequence[PIL.Image.Image], path: str | os.PathLike[str], recipe: Mapping[str, Any], milliseconds: int = 90
) -> None:
    """Writes pictures as an endless WebP film, there and back, its recipe (JSON) as the image description.

    Raises FigmentError where the disk refuses.
    """
    described = PIL.Image.Exif()
    described[DESCRIPTION] = json.dumps(recipe, default=str)
    there_and_back = [*frames, *frames[-2:0:-1]]
    options = {"save_all": True, "append_images": there_and_back[1:], "duration": milliseconds, "loop": 0}
    _save(there_and_back[0], Path(path), "WEBP", lossless=True, exif=described, **options)


def _save(image: PIL.Image.Image, path: Path, form: str, **options: Any) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            image.save(file, form, **options)
    except OSError as error:
        raise FigmentError(f"cannot write {path}: {error.strerror or error}.") from None


def parameters(recipe: Mapping[str, Any], size: tuple[int, int]) -> str:
    """A recipe as the text picture programs show: prompt, negative prompt, then `Name: value` pairs."""
    usual = {"steps": "Steps", "sampler": "Sampler", "guidance": "CFG scale", "seed": "Seed", "model": "Model"}
    flat: dict[str, Any] = {}
    for key, value in recipe.items():
        flat.update(value if isinstance(value, Mapping) else {key: value})
    lines = [str(flat.pop("prompt", "") or "")]
    if negative := flat.pop("negative", None):
        lines.append(f"Negative prompt: {negative}")
    named = {usual.get(key, key.replace("_", " ").capitalize()): value for key, value in flat.items()}
    first = [name for name in usual.values() if name in named]
    pairs = {name: named[name] for name in (*first, *named) if named[name] is not None}
    pairs["Size"] = f"{size[0]}x{size[1]}"
    words = (
        (name, value if isinstance(value, str) else json.dumps(value, default=str)) for name, value in pairs.items()
    )
    lines.append(", ".join(f"{name}: {json.dumps(word) if ',' in word else word}" for name, word in words))
    return "\n".join(line for line in lines if line)


def read_recipe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The recipe a picture carries; neither its pixels nor more than a few megabytes of text are ever unpacked.

    Raises UsageError where the file is missing, no PNG, damaged, hostile, or carries none.
    """
    try:
        with PIL.Image.open(path, formats=["PNG"]) as image:  # Pillow bounds what a text chunk may unpack to
            text = image.info.get(RECIPE)
    except OSError as error:
        reason = error.strerror or "it is no PNG file, or it is damaged"
        raise UsageError(f"{path} cannot be read: {reason}.") from None
    except (ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise UsageError(f"{path} carries text that is not safe to unpack: {error}") from None
    if text is None:
        raise UsageError(f"{path} carries no recipe: it was not made by figment, or its text was stripped.")
    try:
        recipe = json.loads(text)
    except (ValueError, RecursionError):
        recipe = None
    if not isinstance(recipe, dict):
        raise UsageError(f"the recipe in {path} is damaged.")
    return recipe
