"""What an action of the explorer works on, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from figment.core.config import Config, parse
from figment.core.data import Batch, Dataset, Image
from figment.core.errors import DataError, UsageError
from figment.core.model import HasSampling, Model
from figment.core.progress import Watch, unwatched
from figment.core.run import DataConfig, RunFolder
from figment.data import parse as parse_data
from figment.data.decode import Crop
from figment.data.faces.dataset import FacesConfig
from figment.data.pictures import PictureConfig
from figment.evaluate.likelihood import check_form, given
from figment.explorer import action
from figment.latent.codes import Codec
from figment.use import load


@dataclass(frozen=True)
class Found:
    """What an action found: figures to print, and what it looks like; `frames` are the pictures of a film, `parts` new
    pictures one by one, by name, pixel for pixel."""

    figures: Mapping[str, Any]
    picture: PIL.Image.Image
    frames: Sequence[PIL.Image.Image] = ()
    parts: Mapping[str, PIL.Image.Image] = field(default_factory=dict)


class Scene:
    """A trained model with its data and its codec, each made when it is first asked for.

    `data` replaces the run's own; `sampling` are the family's choices (diffusion: sampler, steps, guidance); `watch`
    shows progress: `with watch("what is done", total) as advance: advance(3)`.
    """

    def __init__(
        self,
        run: str | Path,
        *,
        data: str | None = None,
        seed: int = 0,
        sampling: Mapping[str, Any] | None = None,
        device: str = "cpu",
        watch: Watch = unwatched,
    ):
        self.run, self.seed, self.sampling, self.device = Path(run), seed, dict(sampling or {}), device
        self.watch, self._data = watch, data

    @cached_property
    def model(self) -> Any:
        """The trained model, on its device. Raises UsageError, InvalidCheckpoint."""
        return load(self.run, self.device)

    @cached_property
    def dataset(self) -> Dataset:
        """The run's data, or that asked for. Raises UsageError where its form is not the model's, DataError."""
        try:
            dataset = self._source.build()
        except DataError as error:
            raise error if self._data else DataError(f"{error} Where it has moved, tell `explore` by --data.") from None
        check_form(self.model, dataset)
        return dataset

    @cached_property
    def _source(self) -> DataConfig:
        return self.alike(parse_data(self._data)) if self._data else RunFolder(self.run).read_run().data

    def alike(self, other: DataConfig) -> DataConfig:
        """Other data, its pictures brought to the model's size as the run's own were."""
        own, form = RunFolder(self.run).read_run().data, self.model.spec.x
        if isinstance(other, PictureConfig) and isinstance(form, Image):
            alike = {"crop": own.crop, "binarise": own.binarise} if isinstance(own, PictureConfig) else {}
            return other.model_copy(update={"size": (form.height, form.width), **alike})
        if isinstance(other, FacesConfig) and isinstance(form, Image) and form.height == form.width:
            return other.model_copy(update={"size": form.height})
        return other

    @property
    def crop(self) -> Crop:
        """How a picture of another shape comes to the size of the data's."""
        return self._source.crop if isinstance(self._source, PictureConfig) else "centre"

    @cached_property
    def codec(self) -> Codec:
        """The one way from pictures to codes and back, for every family. Raises UsageError where there is none."""
        return Codec(self.model, self.sampling, self.seed, self.watch)

    @property
    def title(self) -> str:
        return f"{self.model.config.kind} on {self.model.spec.name}"

    def gather(self, split: str, rows: Sequence[int] | np.ndarray) -> Batch:
        """Items of a split (`train`, `held`) with the conditions that the model knows by the same names, on its device.
        Raises UsageError."""
        source = self.dataset.train if split == "train" else self.dataset.held_out
        rows = np.asarray(rows, np.int64)
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(source):
            raise UsageError(f"{split}:{rows.max()}: there are {len(source):,} of these, counted from 0.")
        batch, known = source.gather(rows), given(self.model, self.dataset)
        return replace(batch, c={key: batch.c[key] for key in known}).to(self.model.device)

    def held_out(self, count: int) -> Batch:
        """The first `count` held-out items, or all there are."""
        return self.gather("held", range(min(count, len(self.dataset.held_out))))

    def require_pictures(self, name: str) -> None:
        """Raises UsageError where the model does not model pictures."""
        model: Model = self.model
        if not isinstance(model.spec.x, Image):
            raise UsageError(
                f"`{name}` shows pictures, and {model.spec.name} has rows of numbers. "
                "For rows there are reconstruct, interpolate and map."
            )


def explore(scene: Scene, name: str, words: Sequence[str] = (), settings: Mapping[str, Any] | None = None) -> Found:
    """Carries out one action by name: `explore(Scene("runs/vae-digits"), "interpolate", ["held:1", "held:7"])`.

    Raises UsageError for an action, a setting or a word that cannot be.
    """
    module = action(name)
    options: Config = parse(module.Options, settings or {})
    if scene.sampling and not isinstance(scene.model, HasSampling):
        raise UsageError(
            f"{', '.join(scene.sampling)}: `{name}` has no such setting (its own: "
            f"{', '.join(module.Options.model_fields) or 'none'}), and '{scene.model.config.kind}' has no choices at "
            "sampling time."
        )
    return module.explore(scene, words, options)
