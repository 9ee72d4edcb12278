"""The code that a generator turns into a given picture, by search: for families that decode but do not encode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from figment.core.data import Image, Spec
from figment.core.model import HasPrior
from figment.core.noise import Noise
from figment.core.progress import Advance, Watch, unwatched
from figment.nn.features import Features, perceptual_distance, shipped
from figment.pixels.inverse import Inverse, distance

POOL = 96  # random codes looked at for each item
STARTS = 2  # places searched from: an encoder's guess, where there is one, and the nearest of these
SCOUTING, STEPS = 60, 200  # steps from every start, then from the best
RATE = 0.05
NORM_WEIGHT, LOOKS_WEIGHT = 0.1, 0.3
EVALUATIONS = POOL + 3 * (STARTS * SCOUTING + STEPS)  # of the generator, for an item: backward costs twice forward


def off_sphere(z: Tensor) -> Tensor:
    """(|z|^2 / d - 1)^2: how far codes are from where N(0, I) has its mass, `(B, ...)` -> `(B,)`."""
    return (z.flatten(1).square().mean(1) - 1).square()


def invert(
    model: HasPrior,
    spec: Spec,
    x: Tensor,
    c: Mapping[str, Tensor],
    *,
    seed: int = 0,
    inverse: Inverse | None = None,
    watch: Watch = unwatched,
) -> tuple[Tensor, dict[str, Tensor]]:
    """argmin over z of distance(x, decode(z, c)) + w (|z|^2 / d - 1)^2, and the conditions: labels `(B, K + 1)` that
    are null are sought along with z, as a softmax over the classes.

    From what `inverse` guesses and the nearest of many random codes by Adam, all items at once; after some steps only
    the best start goes on, and of pictures the distance of features counts as well. Zhu et al., "Generative visual
    manipulation on the natural image manifold" (2016); Creswell & Bharath, "Inverting the generator of a generative
    adversarial network" (2018).
    """
    with watch("inverting", len(x) * (POOL + STARTS * SCOUTING + STEPS)) as advance:
        starts = [_start(model, spec, x[i : i + 1], _row(c, i), seed, inverse, advance) for i in range(len(x))]
        z = torch.cat([start for start, _ in starts])
        label = torch.cat([label for _, label in starts if label is not None]) if spec.label else None
        repeated = {key: value.repeat_interleave(STARTS, 0) for key, value in c.items()}
        z, label, left = _descend(model, x.repeat_interleave(STARTS, 0), repeated, z, label, SCOUTING, advance)
        best = left.view(-1, STARTS).argmin(1) + torch.arange(len(x), device=x.device) * STARTS
        label = None if label is None else label[best]
        looks = shipped().to(x.device) if isinstance(spec.x, Image) else None
        z, label, _ = _descend(model, x, c, z[best], label, STEPS, advance, looks)
    return z, _conditions(c, label)


def _row(c: Mapping[str, Tensor], i: int) -> dict[str, Tensor]:
    return {key: value[i : i + 1] for key, value in c.items()}


def _conditions(c: Mapping[str, Tensor], logits: Tensor | None) -> dict[str, Tensor]:
    """The conditions with each null label replaced by the classes' softmax `(B, K)`."""
    if logits is None:
        return dict(c)
    sought = F.pad(logits.softmax(1), (0, 1))
    return {**c, "label": torch.where(c["label"][:, -1:] > 0.5, sought, c["label"])}


@torch.no_grad()
def _start(
    model: HasPrior,
    spec: Spec,
    x: Tensor,
    c: Mapping[str, Tensor],
    seed: int,
    inverse: Inverse | None,
    advance: Advance,
) -> tuple[Tensor, Tensor | None]:
    """The codes and label logits of `STARTS` places: the guess, if any, and the random draws nearest to one item."""
    noise = Noise(seed, range(POOL), "inversion", x.device)
    drawn = {key: value.to(x.device) for key, value in spec.conditions(noise.stream("labels").to("cpu")).items()}
    z = model.prior(drawn, noise)
    logits = None
    if spec.label is not None:
        logits = 4 * spec.label.soft(drawn["label"])[:, :-1]
    many = {key: value.expand(POOL, *value.shape[1:]) for key, value in c.items()}
    near = distance(model.decode(z, _conditions(many, logits)), x.expand(POOL, *x.shape[1:])).argsort()
    near = near[: STARTS - (inverse is not None)]
    advance(POOL)
    z, logits = z[near], None if logits is None else logits[near]
    if inverse is None:
        return z, logits
    guess, said = inverse(x)
    return torch.cat([guess, z]), None if logits is None or said is None else torch.cat([said, logits])


def _descend(
    model: HasPrior,
    x: Tensor,
    c: Mapping[str, Tensor],
    z: Tensor,
    logits: Tensor | None,
    steps: int,
    advance: Advance,
    looks: Features | None = None,
) -> tuple[Any, Any, Tensor]:
    """Codes and label logits after `steps` of Adam, and what is left of the distance `(B,)`."""
    free = [part.detach().clone().requires_grad_() for part in (z, logits) if part is not None]
    optimiser = torch.optim.Adam(free, lr=RATE, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    left = x.new_zeros(len(x))
    for _ in range(steps):
        with torch.enable_grad():
            y = model.decode(free[0], _conditions(c, free[1] if len(free) > 1 else None))
            left = distance(y, x)
            if looks is not None:
                left = left + LOOKS_WEIGHT * perceptual_distance(looks, y, x)
            gradients = torch.autograd.grad((left + NORM_WEIGHT * off_sphere(free[0])).sum(), free)
        for part, gradient in zip(free, gradients):
            part.grad = gradient
        optimiser.step()
        schedule.step()
        advance(len(x))
    return free[0].detach(), free[1].detach() if len(free) > 1 else None, left.detach()
