"""A part of a data set: some of its labels, some of its training rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import pydantic

from figment.core.data import ArraySplit, Classes, Dataset, Spec
from figment.core.errors import UsageError, did_you_mean
from figment.core.run import DataConfig
from figment.data import splits
from figment.data.captions import remembering
from figment.data.streaming import StreamSplit


def _names(value: Any) -> Any:
    words = value.split(",") if isinstance(value, str) else [value] if isinstance(value, int) else value
    return [str(word).strip() for word in words] if isinstance(words, list | tuple) else value


Names = Annotated[tuple[str, ...], pydantic.BeforeValidator(_names)]


class SelectedConfig(DataConfig):
    """Labelled data of which a part may be asked for."""

    only: Names = pydantic.Field((), description="keep these labels, separated by commas")
    without: Names = pydantic.Field((), description="leave these labels out")
    rows: int | None = pydantic.Field(None, ge=splits.FEWEST, description="train on so many items, drawn once from all")

    def selected(self, dataset: Dataset) -> Dataset:
        """What is asked for of a dataset that is stored; held-out items keep to the labels, and all of them stay.

        Raises UsageError for labels that are not there, or where too few items would be left to train on.
        """
        if not (self.only or self.without or self.rows):
            return dataset
        kept, rows = self._kept(dataset.spec), dict[str, np.ndarray]()
        stored = {name: s for name, s in dataset.splits.items() if isinstance(s, ArraySplit | StreamSplit)}
        for name, split in stored.items():
            found = np.flatnonzero(np.isin(split.c["label"], kept)) if dataset.spec.label else np.arange(len(split))
            if name == "train" and self.rows:
                found = np.sort(np.random.default_rng(0).permutation(found)[: self.rows])
            if len(found):
                rows[name] = found
        if (left := len(rows.get("train", ()))) < splits.FEWEST:
            raise UsageError(
                f"{dataset.spec.name}: {left} training items are left; at least {splits.FEWEST} are needed."
            )
        spec, place = _renumbered(dataset.spec, kept, stored["train"].c, rows["train"])
        if spec.text:
            text = remembering(spec.text, stored["train"].c["text"][rows["train"]])
            spec = spec.model_copy(update={"c": {**spec.c, "text": text}})
        parts = {name: _part(stored[name], chosen, spec, place) for name, chosen in rows.items()}
        counts = ", ".join(f"{name} {len(part):,} of {len(stored[name]):,}" for name, part in parts.items())
        content = splits.fingerprint(dataset.content, json.dumps(kept), rows["train"])
        notes = (*dataset.notes, f"A part is used: {counts}.")
        return replace(dataset, spec=spec, splits=parts, content=content, notes=notes)

    def keeps(self, label: str | None) -> bool:
        """Whether an item of this label is asked for; None is no label."""
        return (not self.only or label in self.only) and label not in self.without

    def _kept(self, spec: Spec) -> list[int]:
        """The classes that are left."""
        names = spec.label.names if spec.label else ()
        if not names and (self.only or self.without):
            raise UsageError(f"{spec.name} has no labels: leave data.only and data.without out.")
        for name in (*self.only, *self.without):
            if name not in names:
                raise UsageError(f"There is no label '{name}'. {did_you_mean(name, names)}")
        return [k for k, name in enumerate(names) if self.keeps(name)]


def _renumbered(
    spec: Spec, kept: list[int], stored: Mapping[str, np.ndarray], rows: np.ndarray
) -> tuple[Spec, np.ndarray]:
    """A spec with the classes that are kept, and their new numbers `(K,)`; one class alone is no label."""
    if spec.label is None:
        return spec, np.empty(0, np.int64)
    place = np.full(spec.label.count, -1)
    place[kept] = np.arange(len(kept))
    names = tuple(spec.label.names[k] for k in kept)
    label = Classes(names=names, frequencies=splits.frequencies(place[stored["label"][rows]], len(kept)))
    others = {key: part for key, part in spec.c.items() if key != "label"}
    return spec.model_copy(update={"c": {"label": label, **others} if len(kept) > 1 else others}), place


def _part(split: ArraySplit | StreamSplit, rows: np.ndarray, spec: Spec, place: np.ndarray) -> ArraySplit | StreamSplit:
    known = {key: values[rows] for key, values in split.c.items() if key in spec.c}
    c = {key: place[values] if key == "label" else values for key, values in known.items()}
    if isinstance(split, StreamSplit):
        return StreamSplit(spec, split.source, split.items[rows], c, split.crop)
    return ArraySplit(spec, split.x[rows], c)
