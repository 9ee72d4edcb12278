"""The variational bound of a denoiser, in continuous time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from figment.core.data import Image, Vector
from figment.core.model import CanDenoise, Denoised
from figment.models.diffusion.decoder import decoded
from figment.models.diffusion.schedule import Schedule

# Log-SNR at the ends: any give a bound, and these a tight one. At 7 the noise is 4 grey levels of 8 bits wide: beyond,
# the noisy pixels say more of a picture than a network trained for minutes does.
QUIET, LOUD = {"image": 7.0, "vector": 9.2, "latent": 9.2}, -12.0


def variational_bound(
    denoiser: CanDenoise,
    value: Image | Vector,
    x: Tensor,
    c: Mapping[str, Tensor],
    terms: int,
    quiet: float | None = None,
) -> Tensor:
    """A lower bound of log p(x | c) `(B,)` nats, right in expectation over the noise it draws:

    E log p(x | x_0) - 1/2 int E |noise - noise_hat|^2 dlambda - KL(q(x_1 | x) || N(0, I)),

    the integral over `terms` stratified log-SNRs. p(x | x_0) is a normal around E[x | x_0] of spread sigma / alpha,
    and for pictures its mass on the bin of each 8-bit value. Kingma et al., "Variational diffusion models" (2021).
    """
    path = denoiser.schedule
    first, last = ends(path, QUIET[value.kind] if quiet is None else quiet)
    draws = (torch.rand(terms, len(x), dtype=torch.float64) + torch.arange(terms)[:, None]) / terms
    integral = torch.zeros(len(x), device=x.device)
    for draw in draws:
        t = path.time(last + (first - last) * draw).to(x)
        found, alpha, sigma = denoised(denoiser, value, x, t, c)
        integral += 0.5 * ((alpha / sigma) ** 2 * (x - found.mean) ** 2).flatten(1).sum(1)
    t = path.time(torch.tensor([first], dtype=torch.float64)).to(x).expand(len(x))
    found, alpha, sigma = denoised(denoiser, value, x, t, c)
    reconstruction = decoded(value, x, found, sigma / alpha)
    alpha, sigma = (
        rate(path.time(torch.tensor([last], dtype=torch.float64))).to(x) for rate in (path.alpha, path.sigma)
    )
    gap = 0.5 * ((alpha * x.flatten(1)) ** 2 + sigma**2 - 1 - 2 * sigma.log()).sum(1)
    return reconstruction - integral * (first - last) / terms - gap


def ends(path: Schedule, quiet: float) -> tuple[float, float]:
    """The log-SNRs `quiet` and LOUD, or where a schedule itself ends earlier, its own end."""
    first, last = path.log_snr(path.time(torch.tensor([quiet, LOUD], dtype=torch.float64))).tolist()
    return first, last


def denoised(
    denoiser: CanDenoise, value: Image | Vector, x: Tensor, t: Tensor, c: Mapping[str, Tensor]
) -> tuple[Denoised, Tensor, Tensor]:
    """(what is found of x, alpha, sigma) at fresh noise; a picture's mean lies in [-1, 1] whatever the network says."""
    alpha, sigma = (
        rate(t).view(-1, *[1] * (x.ndim - 1)) for rate in (denoiser.schedule.alpha, denoiser.schedule.sigma)
    )
    found = denoiser.denoise(alpha * x + sigma * torch.randn_like(x), t, c)
    if isinstance(value, Image):
        found = replace(found, mean=found.mean.clamp(-1, 1))
    return found, alpha, sigma
