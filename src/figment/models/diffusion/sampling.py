"""The choices made when sampling, and the denoiser as a sampler (and codec) once they are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, final

import pydantic
import torch
from torch import Tensor

from figment.core.config import Config
from figment.core.data import Image, Spec
from figment.core.errors import UsageError
from figment.core.model import CanDenoise, CanEncode, CanSample, HasPrior
from figment.core.noise import Noise
from figment.models.diffusion.guidance import Guided
from figment.models.diffusion.samplers import (
    Denoise,
    GridName,
    Level,
    Step,
    ancestral,
    dpm,
    heun,
    integrate,
    level,
    levels,
)

FIRST = 1e-3  # where inversion starts: data with next to no noise


class Sampling(Config):
    """How samples are drawn from a denoiser."""

    sampler: Literal["dpm-solver++", "heun", "ddim", "ddpm"] = pydantic.Field(
        "dpm-solver++", description="the step from one noise level to the next; heun evaluates the network twice a step"
    )
    steps: int = pydantic.Field(16, ge=1, le=1000, description="steps from noise to data")
    guidance: float = pydantic.Field(1.0, ge=0, le=20, description="how far to push towards the condition; 1 is none")
    negative: int | None = pydantic.Field(None, ge=0, description="with guidance, the label to push away from")
    eta: float = pydantic.Field(0.0, ge=0, le=1, description="share of fresh noise in ddim's steps (ddpm: always 1)")
    grid: GridName | None = pydantic.Field(
        None, description="where the steps lie between t = 1 and t = 0 (None: shifted for pictures, uniform for rows)"
    )
    shift: float = pydantic.Field(2.0, gt=0, le=10, description="grid=shifted: above 1 spends more steps on noise")
    clip: bool = pydantic.Field(False, description="keep what pictures head for within black and white at every step")

    @property
    def deterministic(self) -> bool:
        return self.sampler in ("dpm-solver++", "heun") or (self.sampler == "ddim" and self.eta == 0)

    @property
    def evaluations(self) -> int:
        """Network evaluations a sample: guidance evaluates each point with and without the condition."""
        points = 2 * self.steps - 1 if self.sampler == "heun" else self.steps
        return points * (1 if self.guidance == 1 else 2)


def sampler(denoiser: CanDenoise, spec: Spec, sampling: Sampling) -> Drawn | Solved:
    """The denoiser as a sampler; also a codec where the steps add no noise. Raises UsageError for guidance without
    labels, or an unknown negative label."""
    if sampling.guidance != 1:
        if not spec.c:
            raise UsageError(f"guidance={sampling.guidance} needs labels, and {spec.name} has none. Leave it at 1.")
        denoiser = Guided(denoiser, sampling.guidance, spec, _negative(spec, sampling.negative))
    return (Solved if sampling.deterministic else Drawn)(denoiser, spec, sampling)


def _negative(spec: Spec, label: int | None) -> dict[str, Tensor]:
    if label is None:
        return {}
    if spec.label is None or label >= spec.label.count:
        raise UsageError(f"negative={label}: {spec.name} has no such label.")
    return {"label": torch.tensor(label)}


def _levels(denoiser: CanDenoise, spec: Spec, sampling: Sampling) -> list[Level]:
    """Of many pixels much is decided while there is much noise: there pictures get more of the steps."""
    grid = sampling.grid or ("shifted" if isinstance(spec.x, Image) else "uniform")
    return levels(denoiser.schedule, sampling.steps, grid, sampling.shift)


def _mean(denoiser: CanDenoise, spec: Spec, c: Mapping[str, Tensor], clip: bool) -> Denoise:
    """E[x | x_t, c] as a function of x_t and its level."""
    clip = clip and isinstance(spec.x, Image)

    def mean(x: Tensor, at: Level) -> Tensor:
        y = denoiser.denoise(x, x.new_full((len(x),), at.t), c).mean
        return y.clamp(-1, 1) if clip else y

    return mean


@final
class Drawn(CanSample):
    """Samples by steps that add fresh noise."""

    def __init__(self, denoiser: CanDenoise, spec: Spec, sampling: Sampling):
        self.denoiser, self.spec, self.sampling = denoiser, spec, sampling

    @property
    def evaluations(self) -> int:
        return self.sampling.evaluations

    @torch.no_grad()
    def sample(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        shape, fresh = self.spec.x.shape, noise.stream("steps")
        step = ancestral(1.0 if self.sampling.sampler == "ddpm" else self.sampling.eta, lambda: fresh.normal(shape))
        path = _levels(self.denoiser, self.spec, self.sampling)
        mean = _mean(self.denoiser, self.spec, c, self.sampling.clip)
        return integrate(step, mean, noise.stream("prior").normal(shape), path)


@final
class Solved(HasPrior, CanEncode):
    """Samples by a differential equation: x is a function of its noise, and the noise of x."""

    def __init__(self, denoiser: CanDenoise, spec: Spec, sampling: Sampling):
        self.denoiser, self.spec, self.sampling = denoiser, spec, sampling
        self.path = _levels(denoiser, spec, sampling)

    @property
    def evaluations(self) -> int:
        return self.sampling.evaluations

    def prior(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        """Noise of the shape of x."""
        return noise.stream("prior").normal(self.spec.x.shape)

    @torch.no_grad()
    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        """x from its noise z, both `(B, ...)` of the shape of x."""
        step: Step = {"dpm-solver++": dpm, "heun": heun, "ddim": ancestral()}[self.sampling.sampler]
        return integrate(step, _mean(self.denoiser, self.spec, c, self.sampling.clip), z, self.path)

    @torch.no_grad()
    def encode(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        """The noise that `decode` turns into x, but for the error of the steps: the same equation from t = 0 to 1."""
        path = [level(self.denoiser.schedule, FIRST), *(at for at in reversed(self.path) if at.t > FIRST)]
        step = ancestral() if self.sampling.sampler == "ddim" else heun
        return integrate(step, _mean(self.denoiser, self.spec, c, clip=False), x, path)
