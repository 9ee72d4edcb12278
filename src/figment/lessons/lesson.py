"""What a lesson is, what it works with, and what it tells: a picture, a short text, figures, and what they bear out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch

from figment.core.data import Batch, Dataset, Image, Split
from figment.core.errors import UsageError
from figment.core.noise import Noise
from figment.data import parse
from figment.evaluate.prdc import NEIGHBOURS
from figment.evaluate.report import reconstruction
from figment.explorer.scene import Scene
from figment.planning import plan
from figment.workbench import Watch, execute

SMALL = 64  # pixels of a picture that lessons are paced for


@dataclass(frozen=True)
class Claim:
    """Something the decks lead one to expect, the figures that speak to it, and whether this run bears it out."""

    expected: str
    measured: str
    holds: bool


@dataclass(frozen=True)
class Told:
    """What a lesson found: its picture, what one sees there (Markdown), figures, claims, and a film's frames."""

    picture: PIL.Image.Image
    text: str
    figures: Mapping[str, Any]
    claims: Sequence[Claim] = ()
    film: Sequence[PIL.Image.Image] = ()


@dataclass(frozen=True)
class Lesson:
    """One idea of the decks, shown by one command.

    `source` says where it is taught, `teaches` what, in a sentence. `data` is what it is shown on unless asked
    otherwise (None: it needs none); `needs` are those of `pictures`, `colours`, `labels`, `attributes`, `points` (of a
    plane), `pairs` (of pictures), `two kinds` (of them) it cannot do without.
    """

    name: str
    title: str
    source: str
    teaches: str
    make: Callable[[Stage], Told]
    data: str | None = "digits"
    needs: tuple[str, ...] = ("pictures",)


class Stage:
    """What a lesson works with: a data set, with settings `options`, and models that are trained on it when asked for
    and kept in `runs`."""

    def __init__(
        self,
        data: str | None,
        runs: Path,
        *,
        seed: int = 0,
        effort: float = 1.0,
        watch: Callable[[str], Watch] | None = None,
        announce: Callable[[str], None] | None = None,
        options: Mapping[str, Any] | None = None,
    ):
        self.options = dict(options or {})
        self.data, self.runs, self.seed, self.effort = data, runs, seed, effort
        self.say = announce or (lambda line: None)
        self._watch = watch
        self.used: dict[str, str] = {}

    @cached_property
    def dataset(self) -> Dataset:
        assert self.data is not None
        dataset = parse(self.data, self.options).build()
        for note in dataset.notes:
            self.say(note)
        return dataset

    def on(self, data: str, **options: Any) -> Stage:
        """The same stage with other data."""
        other = Stage(data, self.runs, seed=self.seed, effort=self.effort, watch=self._watch, announce=self.say,
                      options=options)  # fmt: skip
        other.used = self.used
        return other

    @property
    def form(self) -> Image:
        """The form of the pictures, in a lesson that needs pictures."""
        assert isinstance(self.dataset.spec.x, Image)
        return self.dataset.spec.x

    @property
    def pixels(self) -> int:
        x = self.dataset.spec.x
        return x.height * x.width if isinstance(x, Image) else SMALL

    def check(self, lesson: Lesson) -> None:
        """Raises UsageError where the data lacks something the lesson needs."""
        spec = self.dataset.spec
        there = {
            "pictures": isinstance(spec.x, Image),
            "colours": isinstance(spec.x, Image) and spec.x.channels == 3,
            "labels": spec.label is not None,
            "attributes": "attributes" in spec.c,
            "points": spec.x.shape == (2,),
            "pairs": "image" in spec.c,
            "two kinds": "other" in spec.c,
        }
        if (held_out := len(self.dataset.held_out)) <= NEIGHBOURS:
            raise UsageError(
                f"lesson {lesson.name} measures on held-out items, and {spec.name} has {held_out}: "
                f"more than {NEIGHBOURS} are needed."
            )
        missing = [need for need in lesson.needs if not there[need]]
        if missing:
            raise UsageError(
                f"lesson {lesson.name} needs {' and '.join(missing)}, and {spec.name} has none: "
                f"try --data {lesson.data}, or a folder of your own that has them."
            )

    def steps(self, steps: int) -> int:
        """The training steps of a lesson for pictures of this size: fewer of larger ones, so that it stays short."""
        return max(2, round(steps * self.effort * min(1.0, math.sqrt(SMALL / self.pixels))))

    def scene(self, name: str, kind: str, steps: int, **settings: Any) -> Scene:
        """A model of p(x) to explore, trained for `steps` of small pictures, or found in `runs` where it is finished.

        `settings` are dotted ones, written with a double underscore. Raises UsageError where `runs` holds another
        model of that name.
        """
        overrides = {key.replace("__", "."): value for key, value in settings.items()}
        size = "small" if self.pixels <= 4 * SMALL else "tiny"
        defaults = {"model.size": size, "model.conditional": False, "training.steps": self.steps(steps)}
        defaults |= {f"data.{key}": value for key, value in self.options.items()}
        value = plan(kind, str(self.data), seed=self.seed, overrides={**defaults, **overrides})
        folder = self.runs / f"{name}-{self.dataset.spec.name.replace(':', '-')}"
        self.used[folder.name] = str(folder)
        watch = self._watch(name) if self._watch else None
        return Scene(execute(value, folder, resume=True, watch=watch).path, seed=self.seed)

    def error(self, scene: Scene) -> float:
        """The mean squared error a number of held-out rows encoded and decoded, in model range."""
        found = reconstruction(scene.model, self.dataset)
        assert found is not None
        return found["mse"]

    def noise(self, count: int) -> Noise:
        """Streams of random numbers for so many items, from their beginning."""
        return Noise(self.seed, range(count))

    @cached_property
    def held_out(self) -> Batch:
        """Held-out rows, 1000 at most, in one fixed random order."""
        return _some(self.dataset.held_out, 1000)

    @cached_property
    def training(self) -> Batch:
        """Training rows, 2000 at most, in one fixed random order."""
        return _some(self.dataset.train, 2000)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes, where there are any."""
        label = self.dataset.spec.label
        return label.names if label else ()

    def examples(self, count: int) -> Batch:
        """Held-out rows to look at: of every label in turn, where there are labels."""
        batch, label = self.held_out, self.held_out.c.get("label")
        if label is None:
            return batch[:count]
        rank = torch.tensor([int((label[:i] == y).sum()) for i, y in enumerate(label)])
        order = np.lexsort((label.numpy(), rank.numpy()))[:count]
        return Batch(batch.x[order], {k: v[order] for k, v in batch.c.items()}, batch.rows[order])


def _some(split: Split, count: int) -> Batch:
    return split.gather(np.random.default_rng(0).permutation(len(split))[:count])
