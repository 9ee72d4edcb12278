"""log p(x) by the probability flow: the ordinary differential equation that carries data to noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from figment.core.data import Image, Vector
from figment.core.model import CanDenoise
from figment.models.diffusion.bound import LOUD, QUIET
from figment.models.diffusion.decoder import decoded
from figment.nn.divergence import divergence, signs_for
from figment.nn.runge_kutta import runge_kutta

QUIETEST = 13.0  # the log-SNR at which rows start: noise of 0.15 % of their spread


def flow_log_likelihood(
    denoiser: CanDenoise,
    value: Image | Vector,
    x: Tensor,
    c: Mapping[str, Tensor],
    steps: int,
    quiet: float | None = None,
) -> Tensor:
    """An estimate of log p(x | c) `(B,)` nats, float64 on the CPU: a density of rows, a mass of 8-bit pictures.

    Pictures start at the noise that their bound ends with, E log p(y) + log P(x | y) - log q(y | x), y ~ q around x:
    at less, trained networks know pictures worse than they know the noise.
    """
    if isinstance(value, Vector):
        return flow_log_prob(denoiser, x, c, steps, QUIETEST)
    quiet, path = QUIET[value.kind] if quiet is None else quiet, denoiser.schedule
    t = path.time(torch.tensor(quiet, dtype=torch.float64))
    s = float(path.sigma(t) / path.alpha(t))
    noise = torch.randn_like(x)
    y = x + s * noise
    with torch.no_grad():
        found = denoiser.denoise(float(path.alpha(t)) * y, x.new_full((len(x),), float(t)), c)
    given = decoded(value, x, replace(found, mean=found.mean.clamp(-1, 1)), torch.tensor(s)).cpu().double()
    blur = -(noise.cpu().double() ** 2 / 2 + math.log(2 * math.pi) / 2 + math.log(s)).flatten(1).sum(1)
    return flow_log_prob(denoiser, y, c, steps, quiet) + given - blur


def flow_log_prob(denoiser: CanDenoise, x: Tensor, c: Mapping[str, Tensor], steps: int, quiet: float) -> Tensor:
    """The density log p `(B,)` nats of x, in model range, at the noise of log-SNR `quiet`.

    With y = x_t / alpha, s = sigma / alpha and m = E[x | x_t]: dy/ds = (y - m) / s, and along that path
    log p(x) = log N(y; 0, s^2) at the noisy end + int (D - tr dm/dy) dlog s. Classical Runge-Kutta steps, even in
    log s, of four evaluations and a trace each; the trace is exact in up to 8 dimensions, else Hutchinson's estimate at
    one draw of signs for each path. Song et al., "Score-based generative modeling through stochastic differential
    equations" (2021), appendix D.2.
    """
    path = denoiser.schedule
    ends = path.log_snr(path.time(torch.tensor([quiet, LOUD], dtype=torch.float64)))
    log_s = torch.linspace(float(-ends[0] / 2), float(-ends[1] / 2), steps + 1, dtype=torch.float64).tolist()
    signs = signs_for(x)

    def mean(y: Tensor, at: float) -> Tensor:
        t = path.time(torch.tensor(-2 * at, dtype=torch.float64))
        return denoiser.denoise(float(path.alpha(t)) * y, y.new_full((len(y),), float(t)), c).mean

    def trace(y: Tensor, at: float) -> Tensor:
        with torch.enable_grad():
            y = y.detach().requires_grad_()
            return divergence(mean(y, at), y, signs).detach().cpu().double()

    y, here, integral = x, trace(x, log_s[0]), torch.zeros(len(x), dtype=torch.float64)
    for start, stop in pairwise(log_s):
        (y,) = runge_kutta(lambda at, state: (state[0] - mean(state[0], at),), (y,), start, stop, 1)
        there = trace(y, stop)
        integral, here = integral + (here + there) / 2 * (stop - start), there
    far = y.cpu().double().flatten(1) / math.exp(log_s[-1])
    constant = x[0].numel() * (math.log(2 * math.pi) / 2 + log_s[0])
    return -far.square().sum(1) / 2 - constant - integral
