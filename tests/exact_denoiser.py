"""Denoisers that are exact, of mixtures of normals, and the data and schedules they are held against."""

from __future__ import annotations

import torch
from torch import Tensor

from figment.core.data import Classes, Image, Spec, Vector
from figment.core.model import CanDenoise, Denoised
from figment.models.diffusion.transition import Transition

ONE = torch.ones((), dtype=torch.float64)
SCHEDULES = ["straight", "linear", "quadratic", "cosine", "offset-cosine"]
PREDICTIONS = ["eps", "x0", "v", "flow", "mu"]


def rows(dimensions: int, classes: int = 0) -> Spec:
    label = Classes(names=tuple(map(str, range(classes))), frequencies=(1.0,) * classes)
    value = Vector(mean=(0.0,) * dimensions, scale=(1.0,) * dimensions)
    return Spec(name="rows", x=value, c={"label": label} if classes else {})


def pictures(channels: int, height: int, width: int, classes: int = 0) -> Spec:
    label = Classes(names=tuple(map(str, range(classes))), frequencies=(1.0,) * classes)
    value = Image(channels=channels, height=height, width=width)
    return Spec(name="pictures", x=value, c={"label": label} if classes else {})


class Mixture(CanDenoise):
    """The exact denoiser of a mixture of isotropic normals; with a label, of that component alone."""

    def __init__(self, centres: Tensor, spread: float, schedule):
        self.centres, self.spread, self.schedule = centres.double(), spread, schedule

    def denoise(self, x_t, t, c):
        x = x_t.double()
        alpha, sigma = self.schedule.alpha(t.double())[:, None], self.schedule.sigma(t.double())[:, None]
        total = alpha**2 * self.spread**2 + sigma**2
        weight = -((x[:, None] - alpha[..., None] * self.centres) ** 2).sum(2) / (2 * total)
        if "label" in c:
            known = c["label"] < len(self.centres)
            mine = torch.nn.functional.one_hot(c["label"], len(self.centres) + 1)[:, :-1].bool()
            weight = torch.where(mine | ~known[:, None], weight, -torch.inf)
        responsibility = weight.softmax(1)[..., None]
        gain = (alpha * self.spread**2 / total)[..., None]
        means = self.centres + gain * (x[:, None] - alpha[..., None] * self.centres)
        return Denoised((responsibility * means).sum(1).to(x_t.dtype))


def transition(schedule, t: Tensor, steps: int = 1000) -> Transition:
    before = (t - 1 / steps).clamp(min=0)
    return Transition(schedule.alpha(t), schedule.sigma(t), schedule.alpha(before), schedule.sigma(before))
