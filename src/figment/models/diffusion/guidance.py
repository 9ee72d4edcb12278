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

    `negative` conditions take the place of the empty ones. Ho & Salimans, "Classifier-free diffusion guidance" (2021).
    """

    def __init__(self, denoiser: CanDenoise, weight: float, spec: Spec, negative: Mapping[str, Tensor] | None = None):
        self.denoiser, self.weight, self.spec, self.negative = denoiser, weight, spec, negative or {}
        self.schedule = denoiser.schedule

    def denoise(self, x_t: Tensor, t: Tensor, c: Mapping[str, Tensor]) -> Denoised:
        empty = self.spec.nulled(c, torch.ones(len(x_t), dtype=torch.bool, device=x_t.device))
        other = empty | {key: self._instead(key, c[key]) for key in self.negative}
        both = {k: torch.cat([v, other[k]]) for k, v in c.items()}
        given, without = self.denoiser.denoise(torch.cat([x_t, x_t]), torch.cat([t, t]), both).mean.chunk(2)
        return Denoised(torch.lerp(without, given, self.weight))

    def _instead(self, key: str, like: Tensor) -> Tensor:
        """A negative condition for each item, in the form of those given: labels, or weights of labels."""
        value, part = self.negative[key].to(like.device).expand(len(like)), self.spec.c[key]
        return part.soft(value) if isinstance(part, Classes) and like.is_floating_point() else value
