"""Pictures of which a part is missing, and several ways in which a model fills it."""

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
from figment.core.model import CanComplete, HasSampling, with_sampling
from figment.core.noise import Noise
from figment.data.decode import Unreadable, picture
from figment.explorer.inputs import Item, read
from figment.explorer.scene import Found, Scene
from figment.pictures import sheet

Part = Literal["left", "right", "top", "bottom", "centre"]


class Options(Config):
    """What is missing, and how many fillings to draw."""

    mask: Path | None = pydantic.Field(None, description="a picture that is white where pixels are missing")
    erase: Part | None = pydantic.Field(None, description="the half, or the middle, that is missing")
    count: int = pydantic.Field(6, ge=1, le=100, description="fillings of each picture")
    label: str | None = pydantic.Field(None, description="fill as of this label (default: the picture's own, if known)")


def complete(scene: Scene, words: Sequence[str], options: Options) -> Found:
    """x where it is known, elsewhere drawn from p(x | what is known).

    What is missing: white in `mask`, the part called `erase`, or else what is transparent in a picture file. Raises
    UsageError where nothing is, or the model cannot complete.
    """
    scene.require_pictures("complete")
    model, form = scene.model, scene.model.spec.x
    ways = with_sampling(model, {**getattr(model, "completion", {}), **scene.sampling})
    if not isinstance(ways, CanComplete):
        raise UsageError(_inability(scene))
    items = [read(scene, word) for word in words]
    rows = [_row(scene, ways, word, item, options) for word, item in zip(words, items)]
    cells = [list(form.to_user(part)) for part in torch.stack(rows, 1)]
    names = [item.name for item in items]
    captions = [names, *[[""] * len(names)] * (len(cells) - 1)]
    columns = ["given", "known", *(f"filled {i + 1}" for i in range(options.count))]
    title = f"{scene.title}: ways to fill what is missing"
    figures = {"fillings": options.count, "network_evaluations": ways.evaluations * ways.sampling.times}  # type: ignore[attr-defined]
    return Found(figures, sheet(cells, columns, captions=captions, title=title))


def _row(scene: Scene, ways: CanComplete, word: str, item: Item, options: Options) -> Tensor:
    """A picture, what is known of it, and its fillings: `(2 + count, C, H, W)`."""
    if item.x is None:
        raise UsageError(f"'{word}': complete takes picture files, held:N and train:N.")
    missing = _missing(scene, word, options)
    if not missing.any():
        raise UsageError(f"nothing is missing of {word}: give --mask, --erase, or a picture with transparent parts.")
    known, shape = item.x * (1 - missing), (options.count, *item.x.shape[1:])
    c = {key: value.expand(options.count) for key, value in _condition(scene, item.label, options).items()}
    noise = Noise(scene.seed, range(options.count))
    return torch.cat([item.x, known, ways.complete(known.expand(shape), (1 - missing).expand(shape), c, noise)])


def _inability(scene: Scene) -> str:
    model = scene.model
    if isinstance(model, HasSampling) and model.completion:
        return f"completing needs a sampler that adds noise, such as sampler={model.completion['sampler']}."
    return f"'{scene.model.config.kind}' cannot complete pictures. diffusion can: figment train diffusion --data DATA"


def _condition(scene: Scene, label: int | None, options: Options) -> dict[str, Tensor]:
    known = scene.model.spec.label
    if known is None:
        if options.label is not None:
            raise UsageError(f"label={options.label}: {scene.model.spec.name} has no labels.")
        return {}
    if options.label is not None:
        label = known.read(options.label)
    return {"label": torch.tensor([known.count if label is None else label], device=scene.model.device)}


def _missing(scene: Scene, word: str, options: Options) -> Tensor:
    """1 where a pixel is missing, else 0: `(1, 1, H, W)`."""
    form: Image = scene.model.spec.x
    missing = torch.zeros(1, 1, form.height, form.width, device=scene.model.device)
    if options.mask is not None:
        missing += _white(options.mask, _bytes(options.mask), scene)
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
