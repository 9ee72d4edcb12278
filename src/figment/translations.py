"""Pictures made from pictures: of held-out examples, and of files of any size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor
from torch.nn import functional as F

from figment import registry
from figment.core.data import Batch, Dataset
from figment.core.errors import DataError, UsageError
from figment.core.model import CanSegment, CanTranslate, HasDirections, HasPairs, Model
from figment.core.processes import autocast, resolve_precision
from figment.data import ARCHIVES
from figment.data.decode import EXTENSIONS, PIXELS, Unreadable, header, picture
from figment.data.images import listing_of
from figment.pictures import grid, indexed, save_png, shades

TILE, MARGIN = 512, 64  # pixels a side of what is translated at once, and of what it sees around
Progress = Callable[[int], None]


@torch.no_grad()
def translated(model: Any, source: Tensor) -> Tensor:
    """A translator's picture of sources `(B, C, h, w)` of any size, in model range on the CPU; large ones in tiles.

    Raises Unreadable where it would have too many pixels.
    """
    height, width = source.shape[2:]
    with autocast(resolve_precision("auto", model.device, pictures=True), model.device):
        if max(height, width) <= TILE:
            return model.translate(source.to(model.device)).cpu().float().clamp(-1, 1)
        rows = [_row(model, source, 0)]
        scale = rows[0].shape[3] // width
        if scale**2 * height * width > PIXELS:
            raise Unreadable(f"it would become {scale * width}x{scale * height}, more than {PIXELS // 1_000_000} Mpx")
        rows += [_row(model, source, top) for top in range(TILE, height, TILE)]
    return torch.cat(rows, 2)


def _row(model: Any, source: Tensor, top: int) -> Tensor:
    tiles = []
    for left in range(0, source.shape[3], TILE):
        above, before = min(top, MARGIN), min(left, MARGIN)
        part = source[:, :, top - above : top + TILE + MARGIN, left - before : left + TILE + MARGIN]
        made = model.translate(part.to(model.device)).cpu()
        scale = made.shape[2] // part.shape[2]
        tiles.append(made[:, :, scale * above :, scale * before :][:, :, : scale * TILE, : scale * TILE])
    return torch.cat(tiles, 3).float().clamp(-1, 1)


def views(model: Any, batch: Batch) -> list[Tensor]:
    """Pictures `(B, 3, H, W)` of examples in model range, side by side: source, what the model makes of it, and the
    truth; where there is none, of each direction source, output, and the way back."""
    batch = batch.to(model.device)
    shown: list[Tensor] = []
    if isinstance(model, HasPairs):
        source, truth = model.pair(batch)
        shown = [F.interpolate(source, truth.shape[2:], mode="nearest"), model.translate(source), truth]
    elif isinstance(model, HasDirections):
        for direction, back, source in zip(model.directions, reversed(model.directions), model.ends(batch)):
            made = model.towards(direction).translate(source)
            shown += [source, made, model.towards(back).translate(made)]
    return [part.float().cpu().expand(-1, 3, -1, -1) for part in shown]


def preview(dataset: Dataset, model: Model, path: Path, count: int = 18) -> Tensor:
    """Writes held-out examples side by side, see `views`. Returns what the model makes of the first `(B, 3, H, W)`."""
    rows = np.arange(min(count, len(dataset.held_out)))
    shown = views(model, dataset.held_out.gather(rows).suited(model.spec))
    recipe = {"model": model.config.kind, "translations": len(rows)}
    pixels = model.spec.x.to_user(torch.stack(shown, 1).flatten(0, 1))
    save_png(grid(pixels, columns=9 if len(shown) == 3 else 2 * len(shown)), path, recipe)
    return shown[1]


@dataclass(frozen=True)
class Job:
    """A picture to translate: its name, what reads its file, and where the result goes."""

    name: str
    read: Callable[[], bytes | None]
    target: Path


def translate(
    model: Model,
    given: str | Path,
    out: str | Path,
    recipe: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    announce: Callable[[str], None] = lambda line: None,
    direction: str | None = None,
) -> list[Path]:
    """Makes a picture, or each picture of a folder or an archive, into what a model translates it to; `out` is a .png,
    or a folder. `direction` is one of a model that goes both ways (None: the first).

    A segmenter's is a palette picture, whose numbers are its classes. Each carries its recipe. `announce` receives a
    line on each file that cannot be read. Returns the files written. Raises UsageError, and DataError where nothing
    can be read.
    """
    if not isinstance(model, CanTranslate):
        instead = f"These do: {', '.join(_translators())}; and diffusion with --strength."
        raise UsageError(f"'{model.config.kind}' makes no picture from another. {instead}")
    made_with = {**(recipe or {}), "model": model.config.kind}
    way: Any = model
    if isinstance(model, HasDirections):
        made_with["direction"] = direction or model.directions[0]
        way = model.towards(made_with["direction"])
    elif direction is not None:
        raise UsageError(f"--direction: '{model.config.kind}' goes one way only. Leave it out.")
    if way.source.channels not in (1, 3):
        raise UsageError(f"the model starts from {way.source.channels} channels, which no picture file has.")
    return each(given, out, lambda data: _translated_file(way, data), made_with, progress, announce)


def each(
    given: str | Path,
    out: str | Path,
    make: Callable[[bytes | None], PIL.Image.Image],
    recipe: Mapping[str, Any],
    progress: Progress | None = None,
    announce: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Writes what is made of each picture's file to `out`; returns the files. Raises as `translate`."""
    written, faults = [], []
    for job in _jobs(Path(given), Path(out)):
        try:
            image = make(job.read())
        except Unreadable as fault:
            faults.append(f"{job.name}: {fault}")
            announce(f"left out, {faults[-1]}")
        else:
            save_png(image, job.target, {**recipe, "source": job.name})
            written.append(job.target)
        if progress is not None:
            progress(1)
    if not written:
        raise DataError(f"nothing in {given} can be read ({'; '.join(faults[:5])}).")
    return written


def holds_many(given: str | Path) -> bool:
    """Whether it is a folder or an archive of pictures."""
    return Path(given).is_dir() or Path(given).name.lower().endswith(ARCHIVES)


def count_of(given: str | Path) -> int:
    """How many pictures there are to translate."""
    return len(_pictures(listing_of(Path(given)).names)) if holds_many(given) and Path(given).exists() else 1


def _pictures(names: Sequence[str]) -> dict[str, int]:
    """The pictures among names of files, and their places, in order of names."""
    return {name: i for name, i in sorted(zip(names, range(len(names)))) if name.lower().endswith(EXTENSIONS)}


def _jobs(given: Path, out: Path) -> list[Job]:
    """What becomes of which file: a.jpg a.png, or a.jpg.png where there is an a.bmp. Raises UsageError, DataError."""
    if not given.exists():
        raise UsageError(f"there is no picture {given}.")
    if not holds_many(given):
        if out.suffix != ".png":
            raise UsageError(f"--out {out}: a picture is written as a .png.")
        return [Job(given.name, given.read_bytes, out)]
    if out.suffix or out.is_file():
        raise UsageError(f"--out {out}: the pictures of {given.name} are written into a folder.")
    listing = listing_of(given)
    found = _pictures(listing.names)
    if not found:
        raise DataError(f"there are no pictures in {given}.")
    stems = Counter(Path(name).with_suffix("") for name in found)
    own = {name: Path(name) if stems[Path(name).with_suffix("")] > 1 else Path(name).with_suffix("") for name in found}
    return [
        Job(name, partial(listing.read, place), out / own[name].with_name(f"{own[name].name}.png"))
        for name, place in found.items()
    ]


def _translated_file(way: Any, data: bytes | None) -> PIL.Image.Image:
    """A file's picture as a model makes it. Raises Unreadable."""
    head, device = header(data), way.device
    x = way.source.to_model(picture(data, (way.source.channels, head.height, head.width))[None].copy())
    if isinstance(way, CanSegment):
        with torch.no_grad():
            likely = way.segment(x.to(device))[0]
        return indexed(likely.argmax(0).cpu().numpy(), shades(len(likely)))
    return grid(way.source.to_user(translated(way, x)), scale=1)


def _translators() -> list[str]:
    kinds = registry.kinds("model")
    return [kind for kind in kinds if issubclass(registry.load("model", kind).model_class(), CanTranslate)]
