"""The choices made when sampling, and the denoiser as a sampler (and codec) once they are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal, final

import pydantic
import torch
from torch import Tensor

from figment.core.config import Config
from figment.core.data import Image, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import CanComplete, CanDenoise, CanEncode, CanSample, CanVary, Denoised, HasPrior, Projection
from figment.core.noise import Noise
from figment.models.diffusion.apart import Apart
from figment.models.diffusion.completion import completed
from figment.models.diffusion.guidance import Guided
from figment.models.diffusion.samplers import (
    Denoise,
    GridName,
    Level,
    Normal,
    Step,
    ancestral,
    dpm,
    edm,
    heun,
    integrate,
    level,
    levels,
    unipc,
)
from figment.models.diffusion.schedule import Schedule
from figment.models.diffusion.transition import Spread

SamplerName = Literal[
    "dpm-solver++", "dpm-solver++sde", "unipc", "heun", "edm", "ddim", "ddpm", "euler-ancestral"
]  # in x / alpha, the ancestral step of Euler is that of ddpm
Time = Annotated[float, pydantic.Field(ge=0, le=1)]
FIRST = 1e-3  # where inversion starts: data with next to no noise


class Sampling(Config):
    """How samples are drawn from a denoiser."""

    sampler: SamplerName = pydantic.Field(
        "unipc", description="the step from one noise level to the next; heun and edm evaluate twice a step"
    )
    steps: int = pydantic.Field(16, ge=1, le=1000, description="steps from noise to data")
    guidance: float = pydantic.Field(1.0, ge=0, le=20, description="how far to push towards the condition; 1 is none")
    negative: str | int | None = pydantic.Field(
        None, description="with guidance, the prompt or the label to push away from"
    )
    interval: tuple[Time, Time] = pydantic.Field((0.0, 1.0), description="with guidance, the times it acts at")
    rescale: float = pydantic.Field(
        0.0, ge=0, le=1, description="with guidance, how far the contrast is put back to what it is without"
    )
    apart: bool = pydantic.Field(
        False, description="each word of a prompt counts by itself, an evaluation a word: combines what was never told"
    )
    eta: float = pydantic.Field(0.0, ge=0, le=1, description="share of fresh noise in ddim's steps (ddpm: always 1)")
    variance: Spread | None = pydantic.Field(
        None, description="of fresh noise in ddpm's steps (None: learned where the model has learned it, or beta-tilde)"
    )
    grid: GridName | None = pydantic.Field(
        None, description="where the steps lie between t = 1 and t = 0 (None: shifted for pictures, uniform for rows)"
    )
    shift: float = pydantic.Field(1.5, gt=0, le=10, description="grid=shifted: above 1 spends more steps on noise")
    clip: bool = pydantic.Field(False, description="keep what pictures head for within black and white at every step")
    threshold: float | None = pydantic.Field(
        None, gt=0.5, le=1, description="dynamic thresholding: the share of a picture's values that clip as they are"
    )

    times: int = pydantic.Field(5, ge=1, le=100, description="completing: how often each step is taken")

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> Sampling:
        if self.interval[0] >= self.interval[1]:
            raise ValueError(f"interval={list(self.interval)} is empty: give the earlier time first, data being t = 0.")
        return self

    @property
    def deterministic(self) -> bool:
        return self.sampler in ("dpm-solver++", "unipc", "heun", "edm") or (self.sampler == "ddim" and self.eta == 0)

    def step(self, normal: Normal | None = None) -> Step:
        """From one level to the next; `normal` draws fresh noise of the shape of x."""
        if self.sampler in ("ddim", "ddpm", "euler-ancestral"):
            return ancestral(self.eta if self.sampler == "ddim" else 1.0, normal, self.variance)
        return {"dpm-solver++": dpm(), "dpm-solver++sde": dpm(normal), "unipc": unipc, "heun": heun, "edm": edm}[
            self.sampler
        ]

    def evaluations(self, path: Sequence[Level]) -> int:
        """Network evaluations a sample on this path: where guidance acts, each with and without the condition; words
        of a prompt taken apart are not counted."""
        spent = 0

        def counted(x: Tensor, at: Level) -> Denoised:
            nonlocal spent
            spent += 2 if self.guidance != 1 and self.interval[0] <= at.t <= self.interval[1] else 1
            return Denoised(x)

        integrate(self.step(), counted, torch.zeros(1), path)
        return spent


def sampler(denoiser: CanDenoise, spec: Spec, sampling: Sampling) -> Drawn | Solved:
    """The denoiser as a sampler; also a codec where the steps add no noise. Raises UsageError for guidance without
    conditions, a negative one that is unknown or does nothing, or taking apart what is not told in words."""
    if sampling.apart:
        if spec.text is None:
            raise UsageError(f"apart=true takes prompts apart, and {spec.name} has no captions. Leave it out.")
        denoiser = Apart(denoiser, spec, spec.text)
    if sampling.guidance != 1:
        if not spec.c:
            raise UsageError(
                f"guidance={sampling.guidance} needs labels or captions, and {spec.name} has none. Leave it at 1."
            )
        negative = _negative(spec, sampling.negative)
        denoiser = Guided(denoiser, sampling.guidance, spec, negative, sampling.interval, sampling.rescale)
    elif sampling.negative is not None:
        raise UsageError(f"negative={sampling.negative} does nothing without guidance: add --guidance 4.")
    return (Solved if sampling.deterministic else Drawn)(denoiser, spec, sampling)


def _negative(spec: Spec, said: str | int | None) -> dict[str, Tensor]:
    """The condition that is pushed away from: a text where the model reads text, else a label. Raises UsageError."""
    if said is None:
        return {}
    return spec.given(None, str(said)) if spec.text else spec.given(str(said))


def _levels(denoiser: CanDenoise, spec: Spec, sampling: Sampling) -> list[Level]:
    """Of many pixels much is decided while there is much noise: there pictures get more of the steps."""
    grid = sampling.grid or ("uniform" if isinstance(spec.x, Vector) else "shifted")
    return levels(denoiser.schedule, sampling.steps, grid, sampling.shift)


def denoising(denoiser: CanDenoise, spec: Spec, c: Mapping[str, Tensor], sampling: Sampling) -> Denoise:
    """What is known of x given x_t and c, as a function of x_t and its level."""
    clip, c = sampling.clip and isinstance(spec.x, Image), denoiser.prepared(c)

    def found(x: Tensor, at: Level) -> Denoised:
        known = denoiser.denoise(x, x.new_full((len(x),), at.t), c)
        y = known.mean
        if sampling.threshold and isinstance(spec.x, Image):
            y = thresholded(y, sampling.threshold)
        return replace(known, mean=y.clamp(-1, 1) if clip else y)

    return found


def thresholded(x: Tensor, share: float) -> Tensor:
    """clip(x, -s, s) / s, s the quantile `share` of |x| in each picture, or 1 where that is more: x `(B, C, H, W)`.

    Saharia et al., "Photorealistic text-to-image diffusion models with deep language understanding" (2022).
    """
    s = x.flatten(1).float().abs().quantile(share, dim=1).clamp(min=1).view(-1, *[1] * (x.ndim - 1)).to(x)
    return x.clamp(-s, s) / s


def _hidden(
    x: Tensor, strength: float, path: Sequence[Level], schedule: Schedule, new: Tensor
) -> tuple[Tensor, list[Level]]:
    """x with the noise `new` at time `strength`, and as many levels from there to data as a path has.

    Meng et al., "SDEdit: guided image synthesis and editing with stochastic differential equations" (2022).
    """
    rest = [level(schedule, strength * at.t) for at in path]
    return rest[0].alpha * x + rest[0].sigma * new.to(x), rest


@final
class Drawn(CanSample, CanComplete, CanVary):
    """Samples, and completes, by steps that add fresh noise."""

    def __init__(self, denoiser: CanDenoise, spec: Spec, sampling: Sampling):
        self.denoiser, self.spec, self.sampling = denoiser, spec, sampling
        self.path = _levels(denoiser, spec, sampling)

    @property
    def evaluations(self) -> int:
        return self.sampling.evaluations(self.path)

    @torch.no_grad()
    def sample(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        shape, fresh = self.spec.x.shape, noise.stream("steps")
        step = self.sampling.step(lambda: fresh.normal(shape))
        found = denoising(self.denoiser, self.spec, c, self.sampling)
        return integrate(step, found, noise.stream("prior").normal(shape), self.path)

    @torch.no_grad()
    def complete(self, x: Tensor, known: Projection, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        shape, fresh = self.spec.x.shape, noise.stream("steps")
        new = lambda: fresh.normal(shape).to(x)  # noqa: E731
        found, start = denoising(self.denoiser, self.spec, c, self.sampling), noise.stream("prior").normal(shape).to(x)
        return completed(self.sampling.step(new), found, x, known, start, self.path, self.sampling.times, new)

    @torch.no_grad()
    def vary(self, x: Tensor, strength: float, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        shape, fresh = self.spec.x.shape, noise.stream("steps")
        start, rest = _hidden(x, strength, self.path, self.denoiser.schedule, noise.stream("prior").normal(shape))
        step = self.sampling.step(lambda: fresh.normal(shape).to(x))
        return integrate(step, denoising(self.denoiser, self.spec, c, self.sampling), start, rest)


@final
class Solved(HasPrior, CanEncode, CanVary):
    """Samples by a differential equation: x is a function of its noise, and the noise of x."""

    def __init__(self, denoiser: CanDenoise, spec: Spec, sampling: Sampling):
        self.denoiser, self.spec, self.sampling = denoiser, spec, sampling
        self.path = _levels(denoiser, spec, sampling)

    @property
    def evaluations(self) -> int:
        return self.sampling.evaluations(self.path)

    def prior(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        """Noise of the shape of x."""
        return noise.stream("prior").normal(self.spec.x.shape)

    @torch.no_grad()
    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        """x from its noise z, both `(B, ...)` of the shape of x."""
        return integrate(self.sampling.step(), denoising(self.denoiser, self.spec, c, self.sampling), z, self.path)

    @torch.no_grad()
    def vary(self, x: Tensor, strength: float, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        start, rest = _hidden(x, strength, self.path, self.denoiser.schedule, self.prior(c, noise))
        return integrate(self.sampling.step(), denoising(self.denoiser, self.spec, c, self.sampling), start, rest)

    @torch.no_grad()
    def encode(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        """The noise that `decode` turns into x, but for the error of the steps: the same equation from t = 0 to 1."""
        path = [level(self.denoiser.schedule, FIRST), *(at for at in reversed(self.path) if at.t > FIRST)]
        step = ancestral() if self.sampling.sampler == "ddim" else heun
        unbounded = self.sampling.model_copy(update={"clip": False, "threshold": None})
        return integrate(step, denoising(self.denoiser, self.spec, c, unbounded), x, path)
