"""Drawn faces as files, in the forms that DATA takes."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import PIL.Image

from figment.core.config import parse
from figment.core.errors import UsageError, did_you_mean
from figment.data.attributes import NAME
from figment.data.faces import edges, paint, segmentation
from figment.data.faces.captions import TEMPLATES, captions
from figment.data.faces.dataset import FacesConfig
from figment.data.faces.drawing import SEGMENTS
from figment.data.faces.factors import COLUMN, NAMES, PARTS, factors
from figment.data.faces.tasks import SHADES

Form = Literal["pictures", "pairs", "masks"]
FORMS: tuple[str, ...] = get_args(Form)
MOST = 1_000_000  # faces in one folder
BLOCK = 512  # faces at a time


def write(
    out: str | Path,
    n: int,
    settings: Mapping[str, Any] | None = None,
    *,
    form: str = "pictures",
    start: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Draws faces start ... start + n - 1 into a new folder, whole or not at all, and returns it.

    `settings` are those of FacesConfig (size, seed, label) and values of factors that all faces share (hair=long).
    `pictures`: NAME.png, in a sub-folder a label; `pairs`: A/NAME.png the outlines, B/NAME.png the faces; `masks`:
    images/NAME.png and masks/NAME.png, a palette picture whose numbers are lines of classes.txt. Beside them lie
    attributes.csv and captions.jsonl, `{"file": ..., "captions": [...]}`. Raises UsageError.
    """
    out = Path(out)
    if out.exists():
        raise UsageError(f"{out} exists: choose another --out.")
    if form not in FORMS:
        raise UsageError(f"--as {form}: {did_you_mean(form, FORMS)}")
    if not 1 <= n <= MOST:
        raise UsageError(f"-n {n}: 1 to {MOST:,} faces are drawn at a time.")
    own = {key: value for key, value in (settings or {}).items() if key in ("size", "seed", "label")}
    config = parse(FacesConfig, {"kind": "faces", **own})
    fixed = {key: value for key, value in (settings or {}).items() if key not in own}
    indices = np.arange(start, start + n)
    values = factors(config.seed, indices, fixed)
    names = _names(indices, values, form, config.label)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".tmp-") as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        for first in range(0, n, BLOCK):
            part = slice(first, first + BLOCK)
            _pictures(made, names[part], values[part], form, config.size)
            if progress is not None:
                progress(len(names[part]))
        _tables(made, names, values)
        if form == "masks":
            (made / "classes.txt").write_text("\n".join(SEGMENTS) + "\n")
        made.chmod(0o755)
        made.rename(out)
    return out


def _names(indices: np.ndarray, values: np.ndarray, form: str, label: str) -> list[str]:
    """The path of each picture within the folder."""
    digits = max(6, len(str(indices[-1])))
    files = [f"{index:0{digits}d}.png" for index in indices]
    if form != "pictures":
        return [f"{'B' if form == 'pairs' else 'images'}/{file}" for file in files]
    if label == "none":
        return files
    levels = PARTS[COLUMN[label]].levels
    return [f"{levels[int(level)]}/{file}" for level, file in zip(values[:, COLUMN[label]], files)]


def _pictures(folder: Path, names: list[str], values: np.ndarray, form: str, size: int) -> None:
    _save(folder, names, [PIL.Image.fromarray(x) for x in paint(values, size)])
    if form == "pairs":
        drawings = [PIL.Image.fromarray(255 - x) for x in edges(values, size)]
        _save(folder, [name.replace("B/", "A/", 1) for name in names], drawings)
    elif form == "masks":
        masks = [PIL.Image.fromarray(x, "P") for x in segmentation(values, size)]
        for mask in masks:
            mask.putpalette(SHADES.astype(np.uint8).tobytes())
        _save(folder, [name.replace("images/", "masks/", 1) for name in names], masks)


def _save(folder: Path, names: list[str], images: list[PIL.Image.Image]) -> None:
    for name, image in zip(names, images):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        image.save(path)


def _tables(folder: Path, names: list[str], values: np.ndarray) -> None:
    with (folder / NAME).open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", *NAMES])
        for name, row in zip(names, values):
            cells = [part.levels[int(value)] if part.levels else str(value) for part, value in zip(PARTS, row)]
            table.writerow([name, *cells])
    said = zip(*(captions(values, k) for k in range(len(TEMPLATES))))
    lines = [json.dumps({"file": name, "captions": phrasings}) for name, phrasings in zip(names, said)]
    (folder / "captions.jsonl").write_text("\n".join(lines) + "\n")
