"""Which pictures a command speaks of: files, `held:12`, `train:3`, `sample:5`, `label:NAME`, `prompt:TEXT`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from figment.core.data import Image
from figment.core.errors import UsageError
from figment.data.decode import Unreadable, header, pictures
from figment.explorer.scene import Scene
from figment.latent.codes import Code

FORMS = "a picture file, held:N, train:N, sample:N, label:NAME, or prompt:TEXT"
MEAN_OF = 200  # items whose codes make the mean of a label, where encoding is one pass
MEAN_OF_FEW = 8  # and where it is a search or a long path


@dataclass(frozen=True)
class Chosen:
    """Items `(B, ...)` with their codes and what they are called."""

    x: Tensor
    code: Code
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class Item:
    """One item: as it is, x `(1, ...)` with its label where that is known; or as a code that is known already."""

    name: str
    x: Tensor | None = None
    label: int | None = None
    code: Code | None = None


def choose(scene: Scene, words: Sequence[str]) -> Chosen:
    """The items that words name, encoded together. Raises UsageError for a word that names none."""
    return encoded(scene, [read(scene, word) for word in words])


def encoded(scene: Scene, items: Sequence[Item]) -> Chosen:
    """Items with both x and code: pictures are encoded together, codes decoded together."""
    codec, label = scene.codec, scene.model.spec.label
    pictures = [item for item in items if item.x is not None]
    known = [item.code for item in items if item.code is not None]
    codes: Iterator[Code] = iter(())
    decoded: Iterator[Tensor] = iter(())
    if pictures:
        given = [label.count if item.label is None else item.label for item in pictures] if label else []
        x = torch.cat([item.x for item in pictures if item.x is not None])
        codes = iter(codec.encode(x, {"label": torch.tensor(given)} if label else {}).split())
    if known:
        decoded = iter(codec.decode(Code.joined(known)).split(1))
    code = [next(codes) if item.code is None else item.code for item in items]
    shown = [next(decoded) if item.x is None else item.x for item in items]
    return Chosen(torch.cat(shown), Code.joined(code), distinct([item.name for item in items]))


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Names by which items can be told apart: of those that are equal, the second ends in (2), and so on."""
    again = [names[:place].count(name) for place, name in enumerate(names)]
    return tuple(f"{name} ({more + 1})" if more else name for name, more in zip(names, again))


def varied(scene: Scene, count: int) -> list[str]:
    """Words for `count` held-out items, of each label in turn where there are labels."""
    rows = np.arange(min(len(scene.dataset.held_out), 512))
    labels = scene.dataset.held_out.gather(rows).c.get("label", torch.zeros(len(rows))).tolist()
    turn = [labels[:row].count(label) for row, label in enumerate(labels)]
    order = sorted(rows.tolist(), key=lambda row: (turn[row], labels[row])) if len(set(labels)) > 1 else rows.tolist()
    return [f"held:{row}" for row in order[:count]]


def read(scene: Scene, word: str) -> Item:
    """The item that a word names. Raises UsageError."""
    kind, colon, rest = word.partition(":")
    if word.isdecimal():
        kind, colon, rest = "held", ":", word
    if Path(word).is_file():
        return from_file(scene, Path(word))
    if kind in ("held", "train") and colon and rest.isdecimal():
        batch = scene.gather(kind, [int(rest)])
        label = int(batch.c["label"]) if "label" in batch.c else None
        return Item(f"{kind}:{rest}", batch.x, label)
    if kind == "sample" and rest.isdecimal():
        return Item(word, code=scene.codec.prior([int(rest)]))
    if kind == "prompt" and rest:
        return Item(rest, code=scene.codec.prior([0], scene.model.spec.given(prompt=rest)))
    if kind == "label" and rest:
        return Item(word, code=_mean_of_label(scene, rest))
    raise UsageError(f"'{word}' is no picture that can be found: give {FORMS}.")


def from_file(scene: Scene, path: Path) -> Item:
    """A picture file, brought to the model's size as the run's data was. Raises UsageError."""
    form = scene.model.spec.x
    if not isinstance(form, Image):
        raise UsageError(f"{path}: {scene.model.spec.name} has rows of numbers, no pictures: give held:N or train:N.")
    if form.channels not in (1, 3):
        raise UsageError(f"{path}: the model takes {form.channels} channels, which no picture file has.")
    try:
        data = path.read_bytes()
        if form.channels == 1 and not header(data).grey:
            raise UsageError(f"{path} is in colour and the model knows grey pictures only: convert it first.")
        decoded = pictures([data], form.shape, scene.crop)
    except Unreadable as fault:
        raise UsageError(f"{path} cannot be used: {fault}.") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    if decoded.faults:
        raise UsageError(f"{path} cannot be used: {decoded.faults[0]}.")
    x = form.to_model(decoded.pixels).to(scene.model.device)
    return Item(path.name, torch.where(x >= 0, 1.0, -1.0) if form.binary else x)


def _mean_of_label(scene: Scene, name: str) -> Code:
    """The mean of the codes of training items of one label. Raises UsageError where there is no such label."""
    known = scene.dataset.spec.label
    if known is None:
        raise UsageError(f"label:{name}: {scene.dataset.spec.name} has no labels: name pictures instead.")
    k = known.read(name)
    most = MEAN_OF if scene.codec.way == "encoder" else MEAN_OF_FEW
    found: list[np.ndarray] = []
    for start in range(0, len(scene.dataset.train), 1000):
        rows = np.arange(start, min(start + 1000, len(scene.dataset.train)))
        labels = scene.dataset.train.gather(rows).c["label"].numpy()
        found.append(rows[labels == k])
        if sum(map(len, found)) >= most:
            break
    rows = np.concatenate(found)[:most]
    if not len(rows):
        raise UsageError(f"label:{name}: no training picture has it.")
    batch = scene.gather("train", rows)
    return scene.codec.mean(scene.codec.encode(batch.x, batch.c))
