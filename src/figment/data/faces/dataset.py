"""Drawn faces as a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic

from figment.core.data import ArraySplit, Classes, Condition, Dataset, Factors, Image, Masks, Spec
from figment.core.text import TokenizerName, Tokens
from figment.data import cache, splits
from figment.data.captions import TOKENIZER, tokens
from figment.data.faces import captions, paint, segmentation, tasks
from figment.data.faces.captions import TEMPLATES
from figment.data.faces.drawing import SEGMENTS
from figment.data.faces.factors import COLUMN, FACTORS, PARTS, factors
from figment.data.selection import SelectedConfig
from figment.data.unpaired import joined

DRAWING = 1  # counts changes of how a face looks
HELD_OUT = 1 << 40  # the first index of the test split


class FacesConfig(SelectedConfig):
    """Drawn faces with known factors: smile, mouth, eyes, turn, width, skin, hair, colour, glasses, shirt, background.

    Faces 0 ... count - 1 of the seed are trained on; a tenth as many, from index 2^40 on, are held out.
    """

    kind: Literal["faces"] = "faces"
    size: int = pydantic.Field(32, ge=8, le=512, description="pixels a side")
    count: int = pydantic.Field(20_000, ge=16, le=10_000_000, description="faces to train on; a tenth more to test")
    label: Literal["hair", "colour", "glasses", "shirt", "background", "none"] = pydantic.Field(
        "hair", description="the factor that is the class label"
    )
    seed: int = pydantic.Field(0, ge=0, lt=2**63, description="which faces are drawn")
    tokenizer: TokenizerName = pydantic.Field("words", description=TOKENIZER)
    task: tasks.Name | Literal["none", "parts", "glasses"] = pydantic.Field(
        "none", description="what comes with each face: the picture to start from in a task of translation; a mask; "
        "with glasses, the face of another without"
    )  # fmt: skip

    def build(self) -> Dataset:
        if self.task == "glasses":
            return _apart(self.model_copy(update={"task": "none"}).build())
        rows = {"train": np.arange(self.count), "test": HELD_OUT + np.arange(max(8, self.count // 10))}
        values = {name: factors(self.seed, indices) for name, indices in rows.items()}
        key = splits.fingerprint("faces", f"{DRAWING} {self.size} {self.count} {self.seed}")
        plain = self.task in ("none", "parts")
        x = self._drawn(values, key, "" if plain else f"{self.task} target")
        c: dict[str, dict[str, Any]] = {name: {"attributes": v} | self._labels(v) for name, v in values.items()}
        known: dict[str, Condition] = {"attributes": Factors(factors=FACTORS), **self._classes(c["train"])}
        known["text"], said = self._captions(values, key)
        c = {name: c[name] | {"text": said[name]} for name in c}
        if self.task == "parts":
            known["mask"] = Masks(names=SEGMENTS, height=self.size, width=self.size)
            given = self._drawn(values, key, "parts")
            c = {name: c[name] | {"mask": given[name][:, 0]} for name in c}
        elif not plain:
            given = self._drawn(values, key, f"{self.task} source")
            known["image"] = Image(channels=given["train"].shape[1], height=self.size, width=self.size)
            c = {name: c[name] | {"image": given[name]} for name in c}
        image = Image(channels=x["train"].shape[1], height=self.size, width=self.size)
        spec = Spec(name=self.kind if self.task == "none" else f"{self.kind}:{self.task}", x=image, c=known)
        dataset = Dataset(
            spec=spec,
            splits={name: ArraySplit(spec, x[name], c[name]) for name in rows},
            content=splits.fingerprint(key, self.label, *([] if self.task == "none" else [self.task])),
            notes=(f"{self.count:,} drawn faces to train on, {len(rows['test']):,} others held out.",),
        )
        return self.selected(dataset)

    def _drawn(self, values: dict[str, np.ndarray], key: str, form: str) -> dict[str, np.ndarray]:
        """The pictures of each split in a form ("": faces as they are), uint8 `(N, C, S, S)`, from the cache."""

        def make(folder: Path) -> None:
            for name, split in values.items():
                pixels = _painter(form)(split, self.size).transpose(0, 3, 1, 2)
                np.save(folder / f"{name}.npy", np.ascontiguousarray(pixels))

        folder = cache.cached(splits.fingerprint(key, form) if form else key, make)
        return {name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in values}

    def _captions(self, values: dict[str, np.ndarray], key: str) -> tuple[Tokens, dict[str, np.ndarray]]:
        """The form of the captions, and those of each split, a phrasing after the other, from the cache."""

        def make(folder: Path) -> None:
            told = list(zip(*(captions(np.concatenate(list(values.values())), k) for k in range(len(TEMPLATES)))))
            part, stored = tokens(told, np.arange(self.count), self.tokenizer)
            (folder / "form.json").write_text(part.model_dump_json())
            for name, split in zip(values, np.split(stored, [self.count])):
                np.save(folder / f"{name}.npy", split)

        folder = cache.cached(splits.fingerprint(key, "captions", str(TEMPLATES), self.tokenizer), make)
        part = Tokens.model_validate_json((folder / "form.json").read_text())
        return part, {name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in values}

    def _labels(self, values: np.ndarray) -> dict[str, np.ndarray]:
        return {} if self.label == "none" else {"label": values[:, COLUMN[self.label]].astype(np.int64)}

    def _classes(self, c: dict[str, np.ndarray]) -> dict[str, Classes]:
        if self.label == "none":
            return {}
        names = PARTS[COLUMN[self.label]].levels
        return {"label": Classes(names=names, frequencies=splits.frequencies(c["label"], len(names)))}


def _apart(dataset: Dataset) -> Dataset:
    """Faces with glasses beside others without."""

    def side(wearing: bool) -> Dataset:
        parts = {}
        for name, split in dataset.splits.items():
            assert isinstance(split, ArraySplit)
            rows = np.flatnonzero((split.c["attributes"][:, COLUMN["glasses"]] > 0) == wearing)
            parts[name] = ArraySplit(split.spec, split.x[rows], {key: v[rows] for key, v in split.c.items()})
        counts = ", ".join(f"{name} {len(part):,}" for name, part in parts.items())
        note = f"{counts} drawn faces {'with' if wearing else 'without'} glasses."
        return Dataset(dataset.spec, parts, splits.fingerprint(dataset.content, str(wearing)), (note,))

    return joined(side(False), side(True), "faces:glasses")


def _painter(form: str) -> tasks.Painter:
    if form == "parts":
        return lambda values, size: segmentation(values, size)[..., None]
    name, _, end = form.partition(" ")
    return getattr(tasks.TASKS[name], end) if form else paint  # type: ignore[index]
