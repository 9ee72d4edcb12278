"""Every item of some data at the form a model knows, with its name: to be judged one by one, whatever its size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from figment.core.data import Image, Spec
from figment.core.errors import DataError, UsageError
from figment.core.run import DataConfig
from figment.data.decode import pictures
from figment.data.pictures import UNUSED, PictureConfig, Source, assign

CHUNK = 512


@dataclass(frozen=True)
class Items:
    """x `(B, ...)` in model range; a name, a split ("" where unknown) and a label (None where unknown) of each; and
    the names of those that cannot be read, with the reasons."""

    x: Tensor
    names: list[str]
    splits: list[str]
    labels: list[str | None]
    faults: dict[str, str]


def items(config: DataConfig, spec: Spec, split: str | None = None) -> tuple[int, set[str], Iterator[Items]]:
    """How many items all splits have, or one, their labels, and the items themselves, brought to the form of `spec`.

    Pictures that come in no splits are of those that training on them by this `config` makes. Raises UsageError where
    that cannot be, and DataError where there are none.
    """
    found = _pictures(config, spec, split) if isinstance(config, PictureConfig) else _rows(config, spec, split)
    if not found[0]:
        hint = f" in a split '{split}': take another, or leave --split out" if split else ""
        raise DataError(f"there are no items to be judged{hint}.")
    return found


def _pictures(config: PictureConfig, spec: Spec, split: str | None) -> tuple[int, set[str], Iterator[Items]]:
    form = spec.x
    if not isinstance(form, Image) or form.channels not in (1, 3):
        raise UsageError(f"the model takes {form.kind} data of shape {form.shape}, which no picture file has.")
    source = config.source()
    named = [source.classes[k] if k >= 0 else None for k in source.label]
    home = _splits(config, source, split)
    wanted = [where != UNUSED and split in (None, where) for where in home]
    chosen = np.flatnonzero(np.array(wanted) & np.array([config.keeps(label) for label in named]))
    starts = np.cumsum([0, *source.blocks])

    def read() -> Iterator[Items]:
        for block in np.unique(np.searchsorted(starts, chosen, "right") - 1):
            files, start = source.read(int(block)), starts[block]
            here = chosen[(chosen >= start) & (chosen < starts[block + 1])]
            for part in np.split(here, range(CHUNK, len(here), CHUNK)):
                decoded = pictures([files[item - start] for item in part], form.shape, config.crop)
                good = part[decoded.positions]
                yield Items(
                    _in_range(form, decoded.pixels),
                    [source.describe(int(item)) for item in good],
                    [str(home[item]) for item in good],
                    [named[item] for item in good],
                    {source.describe(int(part[position])): why for position, why in decoded.faults.items()},
                )

    labels = {source.classes[k] for k in set(source.label[chosen].tolist()) if k >= 0}
    return len(chosen), labels, read()


def _splits(config: PictureConfig, source: Source, asked: str | None) -> np.ndarray:
    """The split of each item `(N,)`: as the source has it, or, where it has none of those asked for, as training
    would."""
    if asked is None or asked in source.split:
        return source.split
    survey, home = config.survey(source), source.split.copy()
    for name, positions in assign(source.split[survey.items], survey.digest).items():
        home[survey.items[positions]] = name
    return home


def _in_range(form: Image, pixels: np.ndarray) -> Tensor:
    """In model range; for a model of black and white pictures, white from half on."""
    x = form.to_model(pixels)
    return x.ge(0) * 2.0 - 1 if form.binary else x


def _rows(config: DataConfig, spec: Spec, split: str | None) -> tuple[int, set[str], Iterator[Items]]:
    dataset = config.build()
    mine, theirs, label = spec.x, dataset.spec.x, dataset.spec.label
    if mine.kind != theirs.kind or mine.shape != theirs.shape:
        raise UsageError(
            f"the model takes {mine.kind} data of shape {mine.shape}; {dataset.spec.name} has shape {theirs.shape}."
        )
    parts = {name: part for name, part in dataset.splits.items() if split in (None, name)}

    def read() -> Iterator[Items]:
        for name, part in parts.items():
            for start in range(0, len(part), CHUNK):
                batch = part.gather(np.arange(start, min(start + CHUNK, len(part))))
                labels = [label.names[k] for k in batch.c["label"].tolist()] if label else [None] * len(batch)
                x = batch.x if isinstance(mine, Image) else mine.to_model(theirs.to_user(batch.x))
                yield Items(x, [f"{name} {row}" for row in batch.rows], [name] * len(batch), labels, {})

    return sum(map(len, parts.values())), set(label.names if label else ()), read()
