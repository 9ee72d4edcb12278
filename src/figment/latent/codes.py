"""Codes of pictures, for every family that can decode: by its encoder, its equation run backwards, or by search."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from figment.core.data import Spec
from figment.core.errors import UsageError
from figment.core.model import CanDecode, CanDenoise, CanEncode, HasPrior, HasSampling, with_sampling
from figment.core.noise import Noise
from figment.core.progress import Watch, unwatched
from figment.latent.operations import operations
from figment.pixels.inverse import Inverse, inverse_of
from figment.pixels.inversion import EVALUATIONS, invert

Way = Literal["encoder", "equation", "search"]
A_WHILE = 1e12  # operations of a part of the work after which its progress is told
OPERATIONS = 1e13  # of floating point, that slow codes may take where nobody says of how many items: about two minutes


@dataclass(frozen=True)
class Code:
    """Where items lie: codes z `(B, ...)` and their conditions, labels as weights `(B, K + 1)` and texts as vectors
    `(B, L, E)`, so that all mix."""

    z: Tensor
    c: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self.z)

    def __getitem__(self, part: slice | Sequence[int] | Tensor) -> Code:
        return Code(self.z[part], {key: value[part] for key, value in self.c.items()})

    def at(self, z: Tensor) -> Code:
        """Other codes `(M, ...)` under the conditions of the one item here."""
        return Code(z, {key: value.expand(len(z), *value.shape[1:]) for key, value in self.c.items()})

    def split(self) -> list[Code]:
        """Each item by itself."""
        return [self[i : i + 1] for i in range(len(self))]

    @staticmethod
    def joined(codes: Sequence[Code]) -> Code:
        return Code(torch.cat([code.z for code in codes]), {k: torch.cat([e.c[k] for e in codes]) for k in codes[0].c})


class Codec:
    """x -> code and back, the same call for all families.

    `way` says how x is encoded: by an `encoder`; by the sampler's `equation` from data to noise (diffusion, Song et
    al., "Denoising diffusion implicit models", 2021); by `search` for the code that a generator turns into x (Zhu et
    al., "Generative visual manipulation on the natural image manifold", 2016). `options` are the sampling choices of a
    family that has any. Raises UsageError where a model does not decode.
    """

    def __init__(
        self,
        model: Any,
        options: Mapping[str, Any] | None = None,
        seed: int = 0,
        watch: Watch = unwatched,
        batch: int = 64,
    ):
        self.spec: Spec = model.spec
        self.device, self.seed, self.watch, self.batch = model.device, seed, watch, batch
        self.coder, self._model = model, model
        if isinstance(model, HasSampling):
            self.coder = with_sampling(model, {**model.invertible, **(options or {})})
        elif options:
            with_sampling(model, options)
        self.way: Way = self._way(model)

    def _way(self, model: Any) -> Way:
        if isinstance(self.coder, CanEncode) and isinstance(self.coder, CanDecode):
            return "encoder" if self.coder is model else "equation"
        if isinstance(self.coder, HasPrior):
            return "search"
        kind = model.config.kind
        if isinstance(model, HasSampling) and model.invertible:
            raise UsageError(f"'{kind}' has codes only without fresh noise: leave the sampler out, or set eta=0.")
        raise UsageError(
            f"'{kind}' has no codes: nothing in it decodes. These families do: autoencoder, vae, with-prior, "
            "gaussian-mixture, gda, ppca, vq-vae, gan, stylegan, flow, diffusion."
        )

    @property
    def white(self) -> bool:
        """Whether codes are draws from N(0, I) that all lie near the sphere |z| = sqrt(d), not means inside of it."""
        return self.way != "encoder"

    def conditions(self, c: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
        """Conditions of `count` items that mix: labels, int `(B,)`, absent or ready, as weights `(B, K + 1)`; texts,
        absent, ready or as tokens `(B, L)`, as vectors."""
        mixed = {key: value.to(self.device) for key, value in c.items() if key in self.spec.c}
        if self.spec.label is not None:
            label = mixed.get("label")
            if label is None:
                label = torch.full((count,), self.spec.label.count, device=self.device)
            mixed["label"] = label if label.is_floating_point() else self.spec.label.soft(label)
        if self.spec.text is None:
            return mixed
        mixed.setdefault("text", torch.zeros(count, self.spec.text.length, dtype=torch.int64, device=self.device))
        return self._model.prepared(mixed)

    def encode(self, x: Tensor, c: Mapping[str, Tensor]) -> Code:
        """The codes of x `(B, ...)` in model range. `search` also finds the labels that are not given."""
        given = Code(x.to(self.device), self.conditions(c, len(x)))
        if self.way == "search":
            found = invert(
                self.coder, self.spec, given.z, given.c, seed=self.seed, inverse=self._inverse, watch=self.watch
            )
            return Code(*found)
        return Code(self._in_parts("encoding", self.coder.encode, given), given.c)

    def decode(self, code: Code) -> Tensor:
        """x `(B, ...)` of codes, in model range."""
        return self._in_parts("decoding", self.coder.decode, code).float()

    @torch.no_grad()
    def prior(self, rows: Sequence[int], given: Mapping[str, Tensor] | None = None) -> Code:
        """The codes of samples `rows` of this seed: what `figment sample` decodes, as of the conditions given. Raises
        UsageError."""
        if not isinstance(self.coder, HasPrior):
            raise UsageError("this model draws no samples: give pictures, or held:0, train:0.")
        noise = Noise(self.seed, rows, device=self.device)
        c = {key: value.to(self.device) for key, value in self.spec.conditions(noise.to("cpu"), given).items()}
        return Code(self.coder.prior(c, noise), self.conditions(c, len(rows)))

    def affordable(self, most: int, fewest: int = 20) -> int:
        """How many items to encode where nobody says: `most`, but of slow codes only as many as 1e13 operations allow,
        though at least `fewest`."""
        return most if self.way == "encoder" else int(min(most, max(fewest, OPERATIONS / self._operations)))

    @cached_property
    def _inverse(self) -> Inverse | None:
        """The encoder that a search begins with."""
        return inverse_of(self.coder, self.spec, self.device, self.watch)

    @cached_property
    def _operations(self) -> float:
        """What encoding an item takes, by an equation or by search."""
        coder: Any = self.coder
        c = self.conditions({}, 1)
        if self.way == "search" or not isinstance(self._model, CanDenoise):
            times = EVALUATIONS if self.way == "search" else 1
            return times * max(1, operations(lambda: coder.decode(self.prior([0]).z, c)))
        x, t = torch.zeros(1, *self.spec.x.shape, device=self.device), torch.full((1,), 0.5, device=self.device)
        return coder.evaluations * max(1, operations(lambda: self._model.denoise(x, t, c)))

    def mean(self, codes: Code) -> Code:
        """One code in the middle of several; where codes lie near a sphere, as far from its centre as they do."""
        middle = codes.z.mean(0, keepdim=True)
        if self.white:
            middle = middle * (codes.z.flatten(1).norm(dim=1).mean() / middle.norm().clamp_min(1e-12))
        return Code(middle, {key: value.mean(0, keepdim=True) for key, value in codes.c.items()})

    @torch.no_grad()
    def _in_parts(self, label: str, step: Callable[[Tensor, Mapping[str, Tensor]], Tensor], given: Code) -> Tensor:
        parts, size = [], self.batch
        if self.way == "equation":
            size = int(min(size, max(1, A_WHILE / self._operations)))
        with self.watch(label, len(given)) as advance:
            for start in range(0, len(given), size):
                part = given[start : start + size]
                parts.append(step(part.z, part.c))
                advance(len(part))
        return torch.cat(parts)


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """10 log10(4 / mean squared error) of pictures in [-1, 1], dB: `(B, ...)` twice -> `(B,)`; at most 120."""
    error = (x.clamp(-1, 1) - y.clamp(-1, 1)).square().flatten(1).mean(1)
    return 10 * (math.log10(4) - error.clamp_min(4e-12).log10())
