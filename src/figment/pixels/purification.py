"""Pictures brought back to where a generative model knows pictures to lie, before a classifier sees them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pydantic
import torch
from torch import Tensor

from figment.core.config import Config
from figment.core.errors import UsageError
from figment.core.model import CanDecode, CanDenoise, CanEncode
from figment.core.noise import Noise

Purify = Callable[[Tensor], Tensor]  # x (B, ...) in model range -> x, differentiable where the model is


class Purification(Config):
    """How far a model that denoises goes: noise up to a time, and steps of its equation back to data."""

    level: float = pydantic.Field(0.5, gt=0, lt=1, description="the time up to which noise is added; 1 leaves nothing")
    steps: int = pydantic.Field(4, ge=1, le=100, description="from there back to data")


def purifier(model: Any, way: Purification, noise: Noise | None = None) -> Purify:
    """x -> x without what the model does not know: decode(encode(x)), or noised and denoised where it denoises.

    Meng & Chen, "MagNet: a two-pronged defense against adversarial examples" (2017); Nie et al., "Diffusion models for
    adversarial purification" (2022). `noise` has a stream for each item (None: drawn plainly). It knows no labels.
    Raises UsageError for a model that does neither.
    """
    if isinstance(model, CanDenoise):
        return lambda x: _denoised(model, x, way, noise)
    if isinstance(model, CanEncode) and isinstance(model, CanDecode):
        return lambda x: model.decode(model.encode(x, _unknown(model, x)), _unknown(model, x))
    kind = model.config.kind
    raise UsageError(f"'{kind}' does not purify: it neither encodes nor denoises. Take autoencoder, vae or diffusion.")


def past(purify: Purify) -> Purify:
    """The same pictures, with the slope of doing nothing: for attacks where `purify` hides its own.

    Athalye, Carlini & Wagner, "Obfuscated gradients give a false sense of security" (2018), backward pass
    differentiable approximation.
    """

    def purified(x: Tensor) -> Tensor:
        with torch.no_grad():
            y = purify(x)
        return x + (y - x).detach()

    return purified


def _denoised(model: CanDenoise, x: Tensor, way: Purification, noise: Noise | None) -> Tensor:
    """x_t = alpha_t x + sigma_t noise at t = level; then, m = E[x | x_t], x_s = alpha_s m + sigma_s (x_t - alpha_t m) /
    sigma_t, down to s = 0 (Song et al., "Denoising diffusion implicit models", 2021)."""
    times = torch.linspace(way.level, 0, way.steps + 1)
    rates = [(float(model.schedule.alpha(t)), float(model.schedule.sigma(t))) for t in times]
    drawn = noise.normal(x.shape[1:]).to(x) if noise else torch.randn_like(x)
    y = rates[0][0] * x + rates[0][1] * drawn
    for t, ((alpha, sigma), (nearer, less)) in zip(times.tolist(), pairwise(rates)):
        mean = model.denoise(y, x.new_full((len(x),), t), _unknown(model, x)).mean
        y = nearer * mean + less * (y - alpha * mean) / sigma
    return y.clamp(-1, 1)


def _unknown(model: Any, x: Tensor) -> dict[str, Tensor]:
    """The conditions of items of which nothing is known."""
    return {"label": model.spec.labels({}, len(x), x.device)} if model.spec.label else {}
