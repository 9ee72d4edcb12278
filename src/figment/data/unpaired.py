"""Pictures of two kinds that do not belong together: each of one comes beside some picture of the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pydantic

from figment.core.data import Batch, Dataset, Image, Spec, Split
from figment.core.errors import UsageError
from figment.data import splits
from figment.data.pictures import PictureConfig, SizedConfig

OTHER = "other"


@dataclass(frozen=True)
class UnpairedSplit:
    """x, and what is known of it, from `b`; c["other"], and c["other_KEY"] of what is known of that, from `a`.

    An x stands beside the same picture whenever it is gathered, and in training beside a new one at every step, drawn
    with return: rows of `b` come in the order of epochs, rows of `a` are a pure function of (rows, seed).
    """

    spec: Spec
    a: Split
    b: Split

    def __len__(self) -> int:
        return len(self.b)

    @property
    def blocks(self) -> Sequence[int] | None:
        return self.b.blocks

    def gather(self, rows: np.ndarray, seed: int | None = None) -> Batch:
        fixed = seed is None
        others = rows % len(self.a) if fixed else np.random.default_rng(seed).integers(len(self.a), size=len(rows))
        x, other = self.b.gather(rows, seed), self.a.gather(others, seed)
        return replace(x, c={**x.c, OTHER: other.x, **_others(other.c)})


def joined(a: Dataset, b: Dataset, name: str) -> Dataset:
    """The pictures of `b` beside those of `a`, split by split."""
    assert isinstance(a.spec.x, Image)
    spec = Spec(name=name, x=b.spec.x, c={**b.spec.c, OTHER: a.spec.x, **_others(a.spec.c)})
    beside = {key: a.splits[key] if len(a.splits.get(key, ())) else a.held_out for key in b.splits}
    parts = {key: UnpairedSplit(spec, beside[key], part) for key, part in b.splits.items() if len(part)}
    notes = (*(f"A: {note}" for note in a.notes), *(f"B: {note}" for note in b.notes))
    return Dataset(spec, parts, splits.fingerprint("unpaired", a.content, b.content), notes)


def sides(dataset: Dataset) -> tuple[Dataset, Dataset]:
    """A and B of a joined dataset, each alone."""
    parts = {key: part for key, part in dataset.splits.items() if isinstance(part, UnpairedSplit)}

    def side(name: str) -> Dataset:
        own: dict[str, Split] = {key: part.a if name == "A" else part.b for key, part in parts.items()}
        return Dataset(own["train"].spec, own, splits.fingerprint(dataset.content, name))

    return side("A"), side("B")


class UnpairedConfig(SizedConfig):
    """Two folders or archives of pictures, A and B, all brought to one size; settings are for both."""

    kind: Literal["unpaired"] = "unpaired"
    a: str = pydantic.Field(description="a folder, or an archive or Parquet file, of pictures of one kind")
    b: str = pydantic.Field(description="the same, of pictures of the other")

    def build(self) -> Dataset:
        a, b = (config.build() for config in self.sources())
        name = f"{a.spec.name}-and-{b.spec.name}"
        if a.spec.x.shape[1:] != b.spec.x.shape[1:]:
            side = min(*a.spec.x.shape[1:], *b.spec.x.shape[1:])
            a, b = (config.build() for config in self.override({"size": (side, side)}).sources())
        return joined(a, b, name)

    def sources(self) -> tuple[PictureConfig, PictureConfig]:
        """A and B as data of their own. Raises UsageError where one is no pictures."""
        return self._source(self.a), self._source(self.b)

    def _source(self, text: str) -> PictureConfig:
        from figment.data import parse

        config = parse(text, self.model_dump(exclude={"kind", "a", "b"}, exclude_defaults=True))
        if not isinstance(config, PictureConfig):
            raise UsageError(f"unpaired:A,B takes two folders or archives of pictures, and {text} is none.")
        return config


def _others(c: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{OTHER}_{key}": value for key, value in c.items()}
