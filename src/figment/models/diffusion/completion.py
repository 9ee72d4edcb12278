"""In-painting with a denoiser that was not trained for it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from figment.core.model import Projection
from figment.models.diffusion.samplers import Denoise, Level, Normal, Step


def completed(
    step: Step,
    denoise: Denoise,
    x: Tensor,
    known: Projection,
    start: Tensor,
    path: Sequence[Level],
    times: int,
    new: Normal,
) -> Tensor:
    """y drawn, roughly, from p(y | known(y) = known(x)), beginning with the noise `start`.

    At every level the known part is that of x with fresh noise of that level. Each step is taken `times` times, going
    back by noise in between, so that what is drawn and what is known come to agree; `new()` draws noise of the shape
    of x. Lugmayr et al., "RePaint: inpainting using denoising diffusion probabilistic models" (2022), there for pixels;
    Wang, Yu & Zhang, "Zero-shot image restoration using denoising diffusion null-space model" (2023), for projections.
    """

    def joined(drawn: Tensor, at: Level) -> Tensor:
        seen = at.alpha * x + at.sigma * new() if at.sigma else x
        return drawn + known(seen - drawn)

    y = joined(start, path[0])
    for here, there in pairwise(path):
        for turn in range(times):
            y = joined(step(denoise, y, here, there, ())[0], there)
            if turn < times - 1:
                ratio = here.alpha / there.alpha
                y = ratio * y + max(here.sigma**2 - (ratio * there.sigma) ** 2, 0.0) ** 0.5 * new()
    return y
