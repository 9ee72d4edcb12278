"""Paths from one code to another, and how evenly what is decoded changes along them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from figment.latent.codes import Code


def linear(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """(1 - t) a + t b: codes `(...)` and times `(N,)` in [0, 1] -> `(N, ...)`; exact at both ends."""
    t = t.view(-1, *[1] * a.ndim)
    return (1 - t) * a + t * b


def spherical(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """(sin((1 - t) w) a + sin(t w) b) / sin w, w the angle between a and b: `(N, ...)`, exact at both ends.

    Codes of equal length stay at that length. Where a and b point the same way or are opposed: the straight line.
    Shoemake, "Animating rotation with quaternion curves" (1985); White, "Sampling generative networks" (2016).
    """
    cosine = torch.nn.functional.cosine_similarity(a.flatten().double(), b.flatten().double(), dim=0)
    angle = cosine.clamp(-1, 1).arccos()
    if angle.sin() < 1e-6:
        return linear(a, b, t)
    t = t.double().view(-1, *[1] * a.ndim)
    return (((1 - t) * angle).sin() / angle.sin() * a + (t * angle).sin() / angle.sin() * b).to(a.dtype)


def path(a: Code, b: Code, times: Tensor | int, on_sphere: bool) -> Code:
    """The codes at times `(N,)` in [0, 1], or at so many even ones, on the way from one item to another; labels change
    evenly, as mixtures of the two."""
    t = torch.linspace(0, 1, times, device=a.z.device) if isinstance(times, int) else times
    between = spherical if on_sphere else linear
    return Code(between(a.z[0], b.z[0], t), {key: linear(a.c[key][0], b.c[key][0], t) for key in a.c})


def step_sizes(x: Tensor) -> Tensor:
    """The root mean square change from each item to the next, in model range: `(N, ...)` -> `(N - 1,)`."""
    return (x[1:] - x[:-1]).flatten(1).square().mean(1).sqrt()


def jump(x: Tensor) -> float:
    """The largest change from one item to the next over the mean one: 1 where all are alike."""
    sizes = step_sizes(x)
    return float(sizes.max() / sizes.mean().clamp_min(1e-12))


def even_times(t: Tensor, x: Tensor, count: int) -> Tensor:
    """`count` times between which items change alike, from items x `(M, ...)` seen at times `(M,)`, both ends kept."""
    length = torch.cat([t.new_zeros(1), step_sizes(x).to(t).cumsum(0)])
    even = np.interp(np.linspace(0, float(length[-1]), count), length.cpu().numpy(), t.cpu().numpy())
    even[0], even[-1] = float(t[0]), float(t[-1])
    return torch.from_numpy(even).to(t)
