"""Classifier-free guidance: away from what is likely without the condition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from figment.core.data import Classes, Spec
from figment.core.model import CanDenoise, Denoised


@final
class Guided(CanDenoise):
    """E[x | x_t] + w (E[x | x_t, c] - E[x | x_t]), both from one pass over a doubled batch; w = 1 changes nothing.

    `negative` conditions take the place of the empty ones. Outside of `interval`, times in [0, 1], w is 1 at the cost
    of one pass (Kynkäänniemi et al., "Applying guidance in a limited interval", 2024). A share `rescale` of the result
    is brought to the spread that each example has at w = 1 (Lin et al., "Common diffusion noise schedules and sample
    steps are flawed", 2024, there of the network's output). Ho & Salimans, "Classifier-free diffusion guidance" (2021).
    """

    def __init__(
        self,
        denoiser: CanDenoise,
        weight: float,
        spec: Spec,
        negative: Mapping[str, Tensor] | None = None,
        interval: tuple[float, float] = (0.0, 1.0),
        rescale: float = 0.0,
    ):
        self.denoiser, self.weight, self.spec = denoiser, weight, spec
        with torch.no_grad():
            self.negative = denoiser.prepared({key: value[None] for key, value in (negative or {}).items()})
        self.interval, self.rescale = interval, rescale
        self.schedule = denoiser.schedule

    def prepared(self, c: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self.denoiser.prepared(c)

    def denoise(self, x_t: Tensor, t: Tensor, c: Mapping[str, Tensor]) -> Denoised:
        if not self.interval[0] <= float(t[0]) <= self.interval[1]:
            return self.denoiser.denoise(x_t, t, c)
        c = self.prepared(c)
        empty = self.spec.nulled(c, torch.ones(len(x_t), dtype=torch.bool, device=x_t.device))
        other = empty | {key: self._instead(key, c[key]) for key in self.negative}
        both = {k: torch.cat([v, other[k]]) for k, v in c.items()}
        found = self.denoiser.denoise(torch.cat([x_t, x_t]), torch.cat([t, t]), both)
        given, without = found.mean.chunk(2)
        mean = torch.lerp(without, given, self.weight)
        variance = None if found.variance is None else found.variance.chunk(2)[0]
        return Denoised(_respread(mean, given, self.rescale) if self.rescale else mean, variance)

    def _instead(self, key: str, like: Tensor) -> Tensor:
        """A negative condition for each item, in the form of those given: as they are, or weights of labels."""
        value, part = self.negative[key].to(like.device), self.spec.c[key]
        value = value.expand(len(like), *value.shape[1:])
        return part.soft(value) if isinstance(part, Classes) and like.is_floating_point() else value


def _respread(x: Tensor, like: Tensor, share: float) -> Tensor:
    """x, a share of it scaled so that the spread within each example is that of `like`, both `(B, ...)`."""
    ratio = like.flatten(1).std(1) / x.flatten(1).std(1).clamp(min=1e-6)
    return x * (1 + share * (ratio - 1)).view(-1, *[1] * (x.ndim - 1))
