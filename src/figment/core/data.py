"""The vocabulary of data: what is modelled, what it is conditioned on, and the splits it comes in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import pydantic
import torch
from torch import Tensor

from figment.core.config import Config
from figment.core.errors import UsageError, did_you_mean
from figment.core.noise import Noise
from figment.core.text import Tokens

FORMAT = 1


class Grid(Config):
    """Numbers of places `(B, C, H, W)`; abstract."""

    channels: int = pydantic.Field(ge=1)
    height: int = pydantic.Field(ge=1)
    width: int = pydantic.Field(ge=1)

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.channels, self.height, self.width)

    @property
    def dimensions(self) -> int:
        return self.channels * self.height * self.width


class Image(Grid):
    """Pictures `(B, C, H, W)` in [-1, 1], made from 8-bit pixels; `binary` where only black and white occur."""

    kind: Literal["image"] = "image"
    levels: int = 256
    binary: bool = False

    def to_model(self, stored: np.ndarray) -> Tensor:
        """uint8 `(B, C, H, W)` -> float `(B, C, H, W)` in [-1, 1]."""
        return torch.from_numpy(np.ascontiguousarray(stored)).float().mul_(2 / 255).sub_(1)

    def null(self, like: Tensor) -> Tensor:
        return torch.zeros_like(like)

    def to_user(self, x: Tensor) -> np.ndarray:
        """float `(B, C, H, W)` in [-1, 1] -> uint8 `(B, H, W, C)`; out-of-range values are clipped."""
        pixels = (x.detach().float().cpu() + 1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).contiguous().numpy()


class Vector(Config):
    """Rows `(B, D)`, standardised: model value = (user value - mean) / scale."""

    kind: Literal["vector"] = "vector"
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    columns: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int]:
        return (len(self.mean),)

    @property
    def dimensions(self) -> int:
        return len(self.mean)

    def to_model(self, stored: np.ndarray) -> Tensor:
        """float32 `(B, D)` in user units -> standardised `(B, D)`."""
        scaled = (stored.astype(np.float64) - np.asarray(self.mean)) / np.asarray(self.scale)
        return torch.from_numpy(scaled.astype(np.float32))

    def to_user(self, x: Tensor) -> np.ndarray:
        """Standardised `(B, D)` -> float32 `(B, D)` in user units."""
        rows = x.detach().double().cpu().numpy() * np.asarray(self.scale) + np.asarray(self.mean)
        return rows.astype(np.float32)


class Latent(Grid):
    """Codes of pictures `(B, c, h, w)`, standardised: what a model of a second stage learns."""

    kind: Literal["latent"] = "latent"

    def to_model(self, stored: np.ndarray) -> Tensor:
        """Codes as they are."""
        return torch.from_numpy(stored)

    def to_user(self, x: Tensor) -> np.ndarray:
        return x.detach().float().cpu().numpy()


class Classes(Config):
    """One label of K, int64 `(B,)`; the null value is K. `frequencies` are those of the training split."""

    kind: Literal["classes"] = "classes"
    names: tuple[str, ...]
    frequencies: tuple[float, ...]

    @property
    def count(self) -> int:
        return len(self.names)

    def to_model(self, stored: np.ndarray) -> Tensor:
        """Labels as they are: int64 `(B,)`."""
        return torch.from_numpy(stored)

    def null(self, like: Tensor) -> Tensor:
        """The null value in the form of `like`: labels `(B,)`, or soft ones `(B, K + 1)`."""
        if like.is_floating_point():
            return self.soft(torch.full((len(like),), self.count, device=like.device))
        return torch.full_like(like, self.count)

    def soft(self, label: Tensor) -> Tensor:
        """Labels `(B,)` as weights `(B, K + 1)` of the classes and, last, of none; so are their mixtures."""
        return torch.nn.functional.one_hot(label, self.count + 1).float()

    def draw(self, noise: Noise) -> Tensor:
        """Labels by training frequency: int64 `(B,)`."""
        edges = torch.tensor(np.cumsum(self.frequencies) / np.sum(self.frequencies), dtype=torch.float32)
        return torch.bucketize(noise.uniform(()), edges[:-1], right=True)

    def read(self, text: str) -> int:
        """A class by name, or by number where the names are no numbers. Raises UsageError."""
        if text in self.names:
            return self.names.index(text)
        if text.isdecimal() and int(text) < self.count and not any(name.isdecimal() for name in self.names):
            return int(text)
        raise UsageError(f"There is no label '{text}'. {did_you_mean(text, self.names)}")


class Factor(Config):
    """A named attribute of an item: a number, or one of `levels`."""

    name: str
    levels: tuple[str, ...] = ()


class Factors(Config):
    """Named attributes, float32 `(B, F)`: numbers themselves, levels by index; NaN is unknown, and the null value."""

    kind: Literal["factors"] = "factors"
    factors: tuple[Factor, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(factor.name for factor in self.factors)

    def to_model(self, stored: np.ndarray) -> Tensor:
        """Attributes as they are: float32 `(B, F)`."""
        return torch.from_numpy(stored)

    def null(self, like: Tensor) -> Tensor:
        return torch.full_like(like, float("nan"))


class Masks(Config):
    """The class of each pixel, one of K, int64 `(B, H, W)`; the null value is K."""

    kind: Literal["masks"] = "masks"
    names: tuple[str, ...]
    height: int = pydantic.Field(ge=1)
    width: int = pydantic.Field(ge=1)

    @property
    def count(self) -> int:
        return len(self.names)

    def to_model(self, stored: np.ndarray) -> Tensor:
        """uint8 `(B, H, W)` -> int64 `(B, H, W)`."""
        return torch.from_numpy(np.ascontiguousarray(stored)).long()

    def null(self, like: Tensor) -> Tensor:
        return torch.full_like(like, self.count)


Value = Annotated[Image | Vector | Latent, pydantic.Field(discriminator="kind")]
Condition = Annotated[Classes | Image | Factors | Masks | Tokens, pydantic.Field(discriminator="kind")]


class Spec(Config):
    """All that a model must know of its data: the type of `x` and of each condition; of the conditions that it is not
    told, the names. Written to `spec.json`."""

    name: str
    x: Value
    c: dict[str, Condition] = {}
    untold: tuple[str, ...] = ()
    format: int = FORMAT

    @property
    def label(self) -> Classes | None:
        """The class condition, where there is one."""
        part = self.c.get("label")
        return part if isinstance(part, Classes) else None

    @property
    def text(self) -> Tokens | None:
        """The text condition, where there is one."""
        part = self.c.get("text")
        return part if isinstance(part, Tokens) else None

    def told_only(self, keys: Collection[str]) -> Spec:
        """With those of its conditions that are among these."""
        left_out = tuple(key for key in self.c if key not in keys)
        c = {key: part for key, part in self.c.items() if key in keys}
        return self.model_copy(update={"c": c, "untold": self.untold + left_out})

    def labels(self, c: Mapping[str, Tensor], count: int, device: torch.device | str) -> Tensor:
        """The class of each of `count` items `(B,)`: that given, else the null value; 0 where there are no classes."""
        if self.label is None:
            return torch.zeros(count, dtype=torch.int64, device=device)
        return c["label"] if "label" in c else torch.full((count,), self.label.count, device=device)

    def given(self, label: str | None = None, prompt: str | None = None) -> dict[str, Tensor]:
        """The conditions that a label and a text asked for fix, of one item. Raises UsageError where the model knows
        none such."""
        fixed = {}
        if label is not None:
            if self.label is None:
                raise UsageError(f"label {label}: {self._unknown('label', 'labels')}")
            fixed["label"] = torch.tensor(self.label.read(label))
        if prompt is not None:
            if self.text is None:
                raise UsageError(f"prompt '{prompt}': {self._unknown('text', 'captions')}")
            fixed["text"] = self.text.read(prompt)
        return fixed

    def _unknown(self, key: str, what: str) -> str:
        """That a condition cannot be asked for, and what can be done."""
        told = "a label: --label NAME" if self.label else "a prompt: --prompt TEXT" if self.text else ""
        instead = f"Give it {told}" if told else "Leave it out"
        if key not in self.untold:
            return f"this model was trained without {what} ({self.name}). {instead}."
        return (
            f"this model was not told the {what} of {self.name}. {instead}, or train one that is: "
            f"diffusion with model.condition={key}, latent-diffusion or cascade with model.denoiser.condition={key}."
        )

    def conditions(self, noise: Noise, given: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """One condition a sample: those given for all, else drawn as the training split has them."""
        drawn = {}
        for key, part in self.c.items():
            if not isinstance(part, Classes | Tokens):
                raise UsageError(f"These samples need a '{key}' to start from: use `figment translate`.")
            if given and key in given:
                drawn[key] = given[key].expand(len(noise), *given[key].shape)
            else:
                drawn[key] = part.draw(noise.stream(f"condition-{key}"))
        return drawn

    def told(self, given: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
        """The conditions of `count` items: those given for all, else the null value."""
        drawn = self.conditions(Noise(0, range(count)), given)
        return {key: value if key in given else self.c[key].null(value) for key, value in drawn.items()}

    def shared(self, other: Spec) -> set[str]:
        """The conditions whose numbers mean the same in both: labels of the same names, texts of the same words."""
        return {key for key, part in self.c.items() if key in other.c and _meaning(part) == _meaning(other.c[key])}

    def gathered(
        self, stored: Mapping[str, np.ndarray], rows: np.ndarray, seed: int | None = None
    ) -> dict[str, Tensor]:
        """Some rows of stored conditions in model form: pictures in [-1, 1], of several texts the first or, with a
        seed, any, all else as it is."""
        parts = ((key, self.c[key], values[rows]) for key, values in stored.items())
        return {key: part.to_model(v, seed) if isinstance(part, Tokens) else part.to_model(v) for key, part, v in parts}

    def nulled(self, c: Mapping[str, Tensor], mask: Tensor) -> dict[str, Tensor]:
        """Conditions with their null value where `mask` `(B,)` is true: for guidance and for dropping conditions.
        Pictures stay, for what is drawn from one begins with it."""
        out = dict(c)
        for key, value in c.items():
            if not isinstance(self.c[key], Image):
                out[key] = torch.where(mask.view(-1, *[1] * (value.ndim - 1)), self.c[key].null(value), value)
        return out


def _meaning(part: Condition) -> Any:
    """What the numbers of a condition stand for."""
    return (part.tokenizer, part.length) if isinstance(part, Tokens) else getattr(part, "names", None)


@dataclass(frozen=True)
class Batch:
    """`(x, c)`: what is modelled and what it is conditioned on; `rows` are the positions in the split."""

    x: Tensor
    c: Mapping[str, Tensor]
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: torch.device) -> Batch:
        return replace(
            self,
            x=self.x.to(device, non_blocking=True),
            c={k: v.to(device, non_blocking=True) for k, v in self.c.items()},
        )

    def suited(self, spec: Spec) -> Batch:
        """The batch with those conditions only that a model of this spec knows."""
        return replace(self, c={key: value for key, value in self.c.items() if key in spec.c})

    def __getitem__(self, part: slice) -> Batch:
        return Batch(self.x[part], {k: v[part] for k, v in self.c.items()}, self.rows[part])


class Split(Protocol):
    """Rows that can be gathered in any order. `blocks` are the sizes of runs of rows that are cheap to read
    together (None: every row is equally cheap); the order of an epoch keeps to them."""

    @property
    def spec(self) -> Spec: ...

    def __len__(self) -> int: ...

    @property
    def blocks(self) -> Sequence[int] | None: ...

    def gather(self, rows: np.ndarray, seed: int | None = None) -> Batch:
        """The rows, decoded, in model range, on the CPU: always the same, or, with a seed, what has chance in it drawn
        anew, a pure function of (rows, seed)."""
        ...


@dataclass(frozen=True)
class ArraySplit:
    """A split held (or memory-mapped) as one array: uint8 `(N, C, H, W)` pictures or float32 `(N, D)` rows."""

    spec: Spec
    x: np.ndarray
    c: Mapping[str, np.ndarray]
    blocks: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.x)

    def gather(self, rows: np.ndarray, seed: int | None = None) -> Batch:
        stored = self.x.take(rows, axis=0)
        return Batch(self.spec.x.to_model(stored), self.spec.gathered(self.c, rows, seed), rows)


class NoisySplit(ABC):
    """A split whose x has chance in it."""

    @abstractmethod
    def entropy(self, rows: np.ndarray) -> Tensor:
        """Nats of chance in each of these rows `(B,)`: on average, no model gives them more than minus that."""


@dataclass(frozen=True)
class Modes:
    """Peaks of equal weight: their centres `(K, D)` and the deviation of the isotropic normal around each, in user
    units."""

    centres: np.ndarray
    deviation: float


@dataclass(frozen=True)
class Dataset:
    """What `DataConfig.build()` returns: a spec and its splits (`train` always; `valid`, `test` where there is enough).

    `notes` are sentences to print (what was resized, skipped, held out); `content` is a hash of the training data.
    """

    spec: Spec
    splits: Mapping[str, Split]
    content: str
    notes: Sequence[str] = ()
    log_density: Any = None  # callable float32 (N, D) in user units -> (N,) nats, for toys that know theirs
    modes: Modes | None = None  # of toys that have some

    @property
    def train(self) -> Split:
        return self.splits["train"]

    @property
    def held_out(self) -> Split:
        """The split for floors, likelihood and memorisation: `test`, else `valid`, else (tiny data) `train`; one row
        alone has no spread, and is passed over."""
        return next((self.splits[name] for name in ("test", "valid") if len(self.splits.get(name, ())) > 1), self.train)
