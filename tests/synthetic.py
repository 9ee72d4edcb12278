"""Small data of any shape, kept in a file that can be deleted, as a kind of its own: `synthetic`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from figment import registry
from figment.core.data import ArraySplit, Classes, Condition, Dataset, Image, Masks, Spec, Vector
from figment.core.model import ModelConfig
from figment.core.run import DataConfig
from figment.core.text import Tokens, Words

SHAPES = {
    "grey": (1, 8, 8),
    "odd": (3, 9, 7),
    "plane": (2,),
}
FORMS = [f"{shape}{labels}" for shape in SHAPES for labels in ("", "-labelled")]
PARTNERED = ("odd-pairs", "odd-masks", "odd-unpaired")  # with something beside each picture, for kinds that need it
CAPTIONED = "odd-captioned"  # for kinds that read text
TEXTS = np.array([["a dim one", "dim"], ["b so so", "grey"], ["c quite bright", "bright one"]])  # of each class
CLASSES = 3


class SyntheticConfig(DataConfig):
    """Two hundred rows of a file, to train on and to hold out."""

    kind: Literal["synthetic"] = "synthetic"
    path: str

    def build(self) -> Dataset:
        with np.load(self.path) as stored:
            x, label = stored["x"], stored["label"]
        spec = spec_of(Path(self.path).stem)
        said = np.stack([tokens.stored(own) for own in TEXTS[label]]) if (tokens := spec.text) else label
        beside = {"text": said, "label": label, "image": 255 - x[:, :1], "other": 255 - x[::-1]}
        beside["mask"] = x[:, :1].mean(1).astype(np.uint8) // 86
        c = {key: beside[key] for key in spec.c}
        parts = {"train": slice(0, 160), "test": slice(160, 200)}
        splits = {name: ArraySplit(spec, x[rows], {k: v[rows] for k, v in c.items()}) for name, rows in parts.items()}
        return Dataset(spec, splits, content="synthetic")


def spec_of(form: str) -> Spec:
    """The spec of one of FORMS, PARTNERED or CAPTIONED."""
    name, _, with_ = form.partition("-")
    shape = SHAPES[name]
    size = dict(zip(("height", "width"), shape[1:]))
    c: dict[str, Condition] = {}
    if with_ == "labelled":
        c["label"] = Classes(names=("a", "b", "c"), frequencies=(0.5, 0.25, 0.25))
    elif with_ == "pairs":
        c["image"] = Image(channels=1, **size)
    elif with_ == "unpaired":
        c["other"] = Image(channels=3, **size)
    elif with_ == "captioned":
        c["text"] = Tokens(tokenizer=Words.of(TEXTS.ravel()), length=4, examples=tuple(TEXTS.ravel()))
    elif with_ == "masks":
        c["mask"] = Masks(names=("a", "b", "c"), **size)
    x = (
        Image(channels=shape[0], height=shape[1], width=shape[2])
        if len(shape) == 3
        else Vector(mean=(1.0, -2.0), scale=(0.5, 3.0))
    )
    return Spec(name="synthetic", x=x, c=c)


def forms_for(config: type[ModelConfig]) -> list[str]:
    """Those of FORMS that a kind models; of PARTNERED where it cannot do without; CAPTIONED where it reads text."""
    fit = [form for form in (*FORMS, *PARTNERED) if config.lack(spec_of(form)) is None]
    read = [CAPTIONED] if "text" in config.conditions else []
    return [form for form in fit if form in FORMS or config.requires] + read


def write(form: str, folder: Path) -> SyntheticConfig:
    """Writes the data of such a form: blurred blobs, or two normal clusters, a shift a label."""
    generator, spec = np.random.default_rng(0), spec_of(form)
    label = generator.choice(CLASSES, 200, p=(0.5, 0.25, 0.25))
    z = generator.normal(size=(200, *spec.x.shape)) + 1.5 * label.reshape(-1, *[1] * len(spec.x.shape)) - 1
    if isinstance(spec.x, Image):
        x = (128 + 40 * z).clip(0, 255).astype(np.uint8)
    else:
        x = (z * spec.x.scale + spec.x.mean).astype(np.float32)
    path = folder / f"{form}.npz"
    np.savez(path, x=x, label=label.astype(np.int64))
    return SyntheticConfig(path=str(path))


registry.DATA["synthetic"] = "synthetic:SyntheticConfig"
registry._table.cache_clear()
