"""Pictures of which something is missing (a part, colours, detail), and several ways in which a model fills it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import PIL.Image
import pydantic
import torch
from PIL import ImageOps
from torch import Tensor

from figment.core.config import Config
from figment.core.data import Image
from figment.core.errors import UsageError
from figment.core.model import CanComplete, HasSampling, Projection, with_sampling
from figment.core.noise import Noise
from figment.data.decode import Unreadable, picture
from figment.explorer.inputs import Item, distinct, read
from figment.explorer.scene import Found, Scene
from figment.pictures import grid, sheet
from figment.pixels import known as kept

Part = Literal["left", "right", "top", "bottom", "centre", "colour", "detail"]


class Options(Config):
    """What is missing, and how many fillings to draw."""

    mask: Path | None = pydantic.Field(None, description="a picture that is white where pixels are missing")
    erase: Part | None = pydantic.Field(
        None, description="what is missing: a half, the middle, the colours, or what is finer than `factor` pixels"
    )
    factor: int = pydantic.Field(2, ge=2, le=32, description="erase=detail: the side of squares that are one colour")
    count: int = pydantic.Field(6, ge=1, le=100, description="fillings of each picture")
    label: str | None = pydantic.Field(None, description="fill as of this label (default: the picture's own, if known)")
    prompt: str | None = pydantic.Field(None, description="fill as this text says")


def complete(scene: Scene, words: Sequence[str], options: Options) -> Found:
    """x where it is known, elsewhere drawn from p(x | what is known).

    What is missing: white in `mask`, what is called `erase`, or else what is transparent in a picture file. Raises
    UsageError where nothing is, or the model cannot complete.
    """
    scene.require_pictures("complete")
    ways = with_sampling(scene.model, {**getattr(scene.model, "completion", {}), **scene.sampling})
    if not isinstance(ways, CanComplete):
        raise UsageError(_inability(scene))
    items = [read(scene, word) for word in words]
    rows = torch.stack([_row(scene, ways, word, item, options) for word, item in zip(words, items)])
    user = scene.model.spec.x.to_user
    columns = ["given", "known", *(f"filled {i + 1}" for i in range(options.count))]
    captions = [[item.name for item in items], *[[""] * len(items)] * (len(columns) - 1)]
    title = f"{scene.title}: ways to fill what is missing"
    page = sheet([list(user(part)) for part in rows.unbind(1)], columns, captions=captions, title=title)
    names = distinct([Path(item.name.replace(":", "-")).stem for item in items])
    parts = {
        f"{name}-{i + 1}": grid(user(filled[None]), scale=1)
        for name, row in zip(names, rows)
        for i, filled in enumerate(row[2:])
    }
    figures = {"fillings": options.count, "network_evaluations": ways.evaluations * ways.sampling.times}  # type: ignore[attr-defined]
    return Found(figures, page, parts=parts)


def _row(scene: Scene, ways: CanComplete, word: str, item: Item, options: Options) -> Tensor:
    """A picture, what is known of it, and its fillings: `(2 + count, C, H, W)`."""
    if item.x is None:
        raise UsageError(f"'{word}': complete takes picture files, held:N and train:N.")
    known, shape = _known(scene, word, options), (options.count, *item.x.shape[1:])
    c, noise = _condition(scene, item.label, options), Noise(scene.seed, range(options.count))
    seen = kept.shades(item.x) if options.erase == "colour" else known(item.x)
    return torch.cat([item.x, seen, ways.complete(item.x.expand(shape), known, c, noise)])


def _known(scene: Scene, word: str, options: Options) -> Projection:
    """What is known of a picture. Raises UsageError where all is."""
    form: Image = scene.model.spec.x
    if options.erase == "colour":
        if form.channels != 3:
            raise UsageError(f"erase=colour: {scene.model.spec.name} has {form.channels} channels, and so no colours.")
        return kept.grey
    if options.erase == "detail":
        if form.height % options.factor or form.width % options.factor:
            raise UsageError(
                f"factor={options.factor} does not divide {form.height} x {form.width}: take one that does."
            )
        return kept.coarse(options.factor)
    missing = _missing(scene, word, options)
    if not missing.any():
        raise UsageError(f"nothing is missing of {word}: give --mask, --erase, or a picture with transparent parts.")
    return kept.pixels(1 - missing)


def _inability(scene: Scene) -> str:
    model = scene.model
    if isinstance(model, HasSampling) and model.completion:
        return f"completing needs a sampler that adds noise, such as sampler={model.completion['sampler']}."
    return f"'{scene.model.config.kind}' cannot complete pictures. diffusion can: figment train diffusion --data DATA"


def _condition(scene: Scene, label: int | None, options: Options) -> dict[str, Tensor]:
    spec = scene.model.spec
    given = spec.given(options.label, options.prompt)
    if label is not None and spec.label is not None and "label" not in given:
        given["label"] = torch.tensor(label)
    return {key: value.to(scene.model.device) for key, value in spec.told(given, options.count).items()}


def _missing(scene: Scene, word: str, options: Options) -> Tensor:
    """1 where a pixel is missing, else 0: `(1, 1, H, W)`."""
    form: Image = scene.model.spec.x
    missing = torch.zeros(1, 1, form.height, form.width, device=scene.model.device)
    if options.mask is not None:
        white = _white(options.mask, _bytes(options.mask), scene)
        given = _size(Path(word)) if Path(word).is_file() else (form.width, form.height)
        if not any(_alike(_size(options.mask), size) for size in (given, (form.width, form.height))):
            raise UsageError(
                f"{options.mask} is {_by(_size(options.mask))} pixels, and {word} {_by(given)}: "
                "give a mask of the same size, or of the same shape."
            )
        missing += white
    if options.erase is not None:
        half, quarter = (form.height // 2, form.width // 2), (form.height // 4, form.width // 4)
        middle = (..., slice(quarter[0], form.height - quarter[0]), slice(quarter[1], form.width - quarter[1]))
        place = {
            "left": (..., slice(half[1])),
            "right": (..., slice(half[1], None)),
            "top": (..., slice(half[0]), slice(None)),
            "bottom": (..., slice(half[0], None), slice(None)),
            "centre": middle,
        }
        missing[place[options.erase]] = 1
    if options.mask is None and options.erase is None and Path(word).is_file():
        with PIL.Image.open(word) as image:
            opacity = ImageOps.exif_transpose(image).convert("RGBA").getchannel("A")
        file = io.BytesIO()
        opacity.point(lambda value: 255 - value).save(file, "PNG")
        missing += _white(Path(word), file.getvalue(), scene)
    return missing.clamp(max=1)


def _size(path: Path) -> tuple[int, int]:
    """Width and height of a picture file, as it is shown."""
    with PIL.Image.open(path) as image:
        return ImageOps.exif_transpose(image).size


def _alike(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Whether two sizes are of one shape, but for a rounded pixel."""
    return abs(a[0] * b[1] - a[1] * b[0]) <= max(b)


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None


def _white(path: Path, data: bytes, scene: Scene) -> Tensor:
    form: Image = scene.model.spec.x
    try:
        grey = picture(data, (1, form.height, form.width), scene.crop)
    except Unreadable as fault:
        raise UsageError(f"{path} cannot be used: {fault}.") from None
    return torch.from_numpy(grey > 127).float().to(scene.model.device)[None]
