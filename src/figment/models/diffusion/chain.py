"""The chain of T steps, and the terms that its bound is made of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise

from torch import Tensor

from figment.core.data import Image, Vector
from figment.core.model import CanDenoise, Denoised
from figment.models.diffusion.bound import denoised
from figment.models.diffusion.decoder import decoded
from figment.models.diffusion.samplers import level
from figment.models.diffusion.transition import Spread, Transition


def chain_terms(
    denoiser: CanDenoise,
    value: Image | Vector,
    x: Tensor,
    c: Mapping[str, Tensor],
    steps: int,
    spread: Spread = "beta-tilde",
) -> Iterator[Tensor]:
    """L_0, L_1, ..., L_T, each `(B,)` nats, at fresh noise: -log p(x | c) <= their sum, in expectation.

    L_0 = -log p(x | x_1), the mass of 8-bit pictures and a density of rows, of the variance of x_1's noise unless that
    is learned; L_{i-1} = KL(q(x_{i-1} | x_i, x) || p(x_{i-1} | x_i)), p with E[x | x_i] for x and a variance by
    `spread`; L_T = KL(q(x_T | x) || N(0, I)), where nothing is learned. Ho et al., "Denoising diffusion probabilistic
    models" (2020), eq. 5.
    """
    levels = [level(denoiser.schedule, i / steps) for i in range(steps + 1)]
    for there, here in pairwise(levels):
        found, alpha, sigma = denoised(denoiser, value, x, x.new_full((len(x),), here.t), c)
        if there.t:
            step = Transition.between(here, there)
            yield step.divergence(x, found.mean, step.variance(spread, found.variance))
        else:
            known = found if spread == "learned" else Denoised(found.mean)
            yield -decoded(value, x, known, sigma / alpha)
    last = levels[-1]
    squares = last.alpha**2 * x.flatten(1).square().sum(1)
    yield (squares + x[0].numel() * (last.sigma**2 - 1 - 2 * math.log(last.sigma))) / 2
