"""Small changes of a picture that change what a classifier says of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pydantic
import torch
from torch import Tensor

from figment.core.config import Config
from figment.core.noise import Noise

Classify = Callable[[Tensor], Tensor]  # x (B, ...) in model range -> log p(y | x) (B, K)


class Attack(Config):
    """How far a picture may be changed, and how the change is sought.

    fgsm: one step along the sign of the gradient (Goodfellow, Shlens & Szegedy, "Explaining and harnessing adversarial
    examples", 2015). iterative: small steps (Kurakin, Goodfellow & Bengio, "Adversarial examples in the physical
    world", 2017). pgd: small steps from a random place (Madry et al., "Towards deep learning models resistant to
    adversarial attacks", 2018).
    """

    method: Literal["fgsm", "iterative", "pgd"] = pydantic.Field("pgd", description="one step, or many")
    norm: Literal["linf", "l2"] = pydantic.Field(
        "linf", description="what is bounded: each pixel, or the length of all"
    )
    eps: float = pydantic.Field(0.1, ge=0, le=100, description="the bound; black to white is 1")
    steps: int = pydantic.Field(20, ge=1, le=10_000, description="of iterative and pgd")
    restarts: int = pydantic.Field(1, ge=1, le=100, description="random places that pgd starts from")

    @property
    def rate(self) -> float:
        """The size of a step: all of eps at once, or such that many lead anywhere within the bound; one from a random
        place is 1.25 eps (Wong, Rice & Kolter, "Fast is better than free", 2020)."""
        return self.eps if self.method == "fgsm" else 2.5 / (self.steps + 1) * self.eps


def attacked(
    classify: Classify, x: Tensor, y: Tensor, attack: Attack, *, targeted: bool = False, noise: Noise | None = None
) -> Tensor:
    """x' = argmax over |x' - x| <= eps of -log p(y | x') or, `targeted`, of log p(y | x'): `(B, ...)` in [-1, 1].

    From several starts the best of each item is kept. `noise` has a stream for each item (None: drawn plainly).
    """
    sign = 1.0 if targeted else -1.0
    best, most = x, torch.full((len(x),), -torch.inf, device=x.device)
    turns = attack.restarts if attack.method == "pgd" else 1
    for turn in range(turns):
        delta = _start(x, attack, noise.stream(f"attack-{turn}") if noise else None)
        for _ in range(1 if attack.method == "fgsm" else attack.steps):
            gradient = sign * _slope(classify, x + delta, y)
            delta = projected(x, delta + 2 * attack.rate * direction(gradient, attack.norm), attack)
        if turns == 1:
            return (x + delta).detach()
        with torch.no_grad():
            gain = sign * _said(classify, x + delta, y)
        best = torch.where(_wide(gain > most, x), x + delta, best)
        most = torch.maximum(gain, most)
    return best.detach()


def direction(gradient: Tensor, norm: str) -> Tensor:
    """The step that a linear function gains most by among those of norm 1: sign(g), or g / |g|."""
    return gradient.sign() if norm == "linf" else gradient / _wide(length(gradient).clamp(min=1e-12), gradient)


def projected(x: Tensor, delta: Tensor, attack: Attack) -> Tensor:
    """The nearest change within eps that keeps pictures between black and white."""
    eps = 2 * attack.eps  # from black to white, model range is 2
    if attack.norm == "linf":
        delta = delta.clamp(-eps, eps)
    else:
        delta = delta * _wide((eps / length(delta).clamp(min=1e-12)).clamp(max=1), delta)
    return (x + delta).clamp(-1, 1) - x if x.ndim == 4 else delta


def length(x: Tensor) -> Tensor:
    """The Euclidean norm of each item `(B, ...)`: `(B,)`."""
    return x.flatten(1).norm(dim=1)


def _start(x: Tensor, attack: Attack, noise: Noise | None) -> Tensor:
    """No change; for pgd, a random one: uniform in the box, or of a random direction and a length uniform up to eps."""
    if attack.method != "pgd":
        return torch.zeros_like(x)
    if attack.norm == "linf":
        u = noise.uniform(x.shape[1:]).to(x) if noise else torch.rand_like(x)
        return projected(x, 2 * attack.eps * (2 * u - 1), attack)
    z = noise.normal(x.shape[1:]).to(x) if noise else torch.randn_like(x)
    share = noise.uniform(()).to(x) if noise else torch.rand(len(x), device=x.device)
    return projected(x, 2 * attack.eps * _wide(share, x) * direction(z, "l2"), attack)


def _slope(classify: Classify, x: Tensor, y: Tensor) -> Tensor:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(_said(classify, x, y).sum(), x)
    return slope


def _said(classify: Classify, x: Tensor, y: Tensor) -> Tensor:
    """log p(y | x) `(B,)`."""
    return classify(x).float().gather(1, y[:, None]).squeeze(1)


def _wide(values: Tensor, like: Tensor) -> Tensor:
    """`(B,)` -> `(B, 1, ...)`, to multiply `(B, ...)` with."""
    return values.view(-1, *[1] * (like.ndim - 1))
