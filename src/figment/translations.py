"""Pictures made from pictures: of held-out examples, and of files of any size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
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
from figment.core.model import CanSegment, CanTranslate, Model
from figment.core.processes import autocast, resolve_precision
from figment.data.decode import EXTENSIONS, Unreadable, header, picture
from figment.pictures import grid, indexed, save_png, shades

TILE, MARGIN = 512, 64  # pixels a side of what is translated at once, and of what it sees around
Progress = Callable[[int], None]


@torch.no_grad()
def translated(model: Any, source: Tensor) -> Tensor:
    """A translator's picture of sources `(B, C, h, w)` of any size, in model range on the CPU; large ones in tiles."""
    with autocast(resolve_precision("auto", model.device, pictures=True), model.device):
        height, width = source.shape[2:]
        rows = [_row(model, source, top) for top in range(0, height, TILE)] if max(height, width) > TILE else []
        made = torch.cat(rows, 2) if rows else model.translate(source.to(model.device)).cpu()
    return made.float().clamp(-1, 1)


def _row(model: Any, source: Tensor, top: int) -> Tensor:
    tiles = []
    for left in range(0, source.shape[3], TILE):
        above, before = min(top, MARGIN), min(left, MARGIN)
        part = source[:, :, top - above : top + TILE + MARGIN, left - before : left + TILE + MARGIN]
        made = model.translate(part.to(model.device)).cpu()
        scale = made.shape[2] // part.shape[2]
        tiles.append(made[:, :, scale * above :, scale * before :][:, :, : scale * TILE, : scale * TILE])
    return torch.cat(tiles, 3)


def views(model: Any, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Source, what the model makes of it, and the truth, of examples: `(B, 3, H, W)` each, in model range."""
    source, truth = model.pair(batch.to(model.device))
    made = model.translate(source)
    size = truth.shape[2:]
    alike = F.interpolate(source, size, mode="nearest")
    return tuple(part.float().cpu().expand(-1, 3, -1, -1) for part in (alike, made, truth))  # type: ignore[return-value]


def preview(dataset: Dataset, model: Model, path: Path, count: int = 18) -> None:
    """Writes held-out examples side by side: source, output, truth."""
    rows = np.arange(min(count, len(dataset.held_out)))
    shown = torch.stack(views(model, dataset.held_out.gather(rows).suited(model.spec)), 1).flatten(0, 1)
    save_png(
        grid(model.spec.x.to_user(shown), columns=9), path, {"model": model.config.kind, "translations": len(rows)}
    )


def translate(
    model: Model,
    given: str | Path,
    out: str | Path,
    recipe: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    announce: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Makes a picture, or each picture of a folder, into what a model translates it to; `out` is a .png, or a folder.

    A segmenter's is a palette picture, whose numbers are its classes. Each carries its recipe. `announce` receives a
    line on each file that cannot be read. Returns the files written. Raises UsageError, and DataError where nothing
    can be read.
    """
    if not isinstance(model, CanTranslate):
        raise UsageError(f"'{model.config.kind}' makes no picture from another. These do: {', '.join(_translators())}.")
    written, faults = [], []
    for file, target in list(_jobs(Path(given), Path(out))):
        try:
            image = _translated_file(model, file)
        except Unreadable as fault:
            faults.append(f"{file.name}: {fault}")
            announce(f"left out, {faults[-1]}")
        else:
            save_png(image, target, {**(recipe or {}), "model": model.config.kind, "source": file.name})
            written.append(target)
        if progress is not None:
            progress(1)
    if not written:
        raise DataError(f"nothing in {given} can be read ({'; '.join(faults[:5])}).")
    return written


def count_of(given: str | Path) -> int:
    """How many pictures there are to translate."""
    return len(_pictures(Path(given))) if Path(given).is_dir() else 1


def _pictures(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.name.lower().endswith(EXTENSIONS))


def _jobs(given: Path, out: Path) -> Iterator[tuple[Path, Path]]:
    """Which file becomes which: a.jpg a.png, or a.jpg.png where there is an a.bmp. Raises UsageError, DataError."""
    if not given.exists():
        raise UsageError(f"there is no picture {given}.")
    if given.is_file():
        if out.suffix != ".png":
            raise UsageError(f"--out {out}: a picture is written as a .png.")
        yield given, out
        return
    if out.suffix or out.is_file():
        raise UsageError(f"--out {out}: a folder of pictures is written into a folder.")
    if not (files := _pictures(given)):
        raise DataError(f"there are no pictures in {given}.")
    stems = Counter(file.with_suffix("") for file in files)
    for file in files:
        own = file.with_suffix(".png") if stems[file.with_suffix("")] == 1 else file.with_name(f"{file.name}.png")
        yield file, out / own.relative_to(given)


def _translated_file(model: Any, file: Path) -> PIL.Image.Image:
    data = file.read_bytes()
    head = header(data)
    source, device = model.source, model.device
    if source.channels not in (1, 3):
        raise UsageError(f"the model starts from {source.channels} channels, which no picture file has.")
    x = source.to_model(picture(data, (source.channels, head.height, head.width))[None].copy())
    if isinstance(model, CanSegment):
        with torch.no_grad():
            likely = model.segment(x.to(device))[0]
        return indexed(likely.argmax(0).cpu().numpy(), shades(len(likely)))
    return grid(model.spec.x.to_user(translated(model, x)), scale=1)


def _translators() -> list[str]:
    kinds = registry.kinds("model")
    return [kind for kind in kinds if issubclass(registry.load("model", kind).model_class(), CanTranslate)]
