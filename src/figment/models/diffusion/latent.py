"""Latent diffusion: a denoiser of the codes of an autoencoder, which are many times smaller than pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, final

import pydantic
import torch
from torch import Tensor

from figment.core.config import Config
from figment.core.data import Batch, Image, Latent, Spec
from figment.core.errors import UsageError
from figment.core.model import (
    CanDecode,
    CanEncode,
    CanSample,
    CanVary,
    HasPrior,
    HasSampling,
    Learns,
    Loss,
    Model,
    Player,
    Turn,
)
from figment.core.noise import Noise
from figment.core.stages import First, TwoStageConfig
from figment.models.diffusion.diffusion import DiffusionConfig
from figment.models.diffusion.sampling import Drawn, Solved
from figment.models.diffusion.sampling import Sampling as Choices

CODES: dict[str, dict[str, dict[str, Any]]] = {  # what a size stands for, of codes some 8 places a side
    "unet": {
        "tiny": {"width": 32, "multipliers": (1, 2), "blocks": 1, "patch": 1},
        "small": {"width": 64, "multipliers": (1, 2), "blocks": 1, "patch": 1},
        "base": {"width": 128, "multipliers": (1, 2), "blocks": 2, "patch": 1},
        "large": {"width": 192, "multipliers": (1, 2, 3), "blocks": 2, "patch": 1},
    },
    "dit": {
        "tiny": {"width": 64, "blocks": 2, "patch": 2},
        "small": {"width": 128, "blocks": 6, "patch": 2},
        "base": {"width": 256, "blocks": 8, "patch": 1},
        "large": {"width": 512, "blocks": 12, "patch": 1},
    },
}


class LatentDiffusionConfig(TwoStageConfig):
    """Diffusion in the codes of a first stage, told labels or captions."""

    accepts: ClassVar[tuple[type[Config], ...]] = (Image,)
    conditions = ("label", "text")
    first_share = 0.3
    kind: Literal["latent-diffusion"] = "latent-diffusion"
    first: First = pydantic.Field(
        "kl-autoencoder", description="the autoencoder to stand on: a finished run, or a kind to train"
    )
    denoiser: DiffusionConfig = pydantic.Field(
        DiffusionConfig(),
        description="the diffusion of codes; it is told captions where the data has some, else labels",
    )

    @pydantic.model_validator(mode="after")
    def _size_denoiser(self) -> LatentDiffusionConfig:
        object.__setattr__(self, "denoiser", self.denoiser.model_copy(update={"size": self.size}))
        return self

    def check_first(self, first: Model) -> None:
        if not isinstance(first, CanEncode) or not isinstance(first, CanDecode):
            raise UsageError(f"'{first.config.kind}' has no codes to diffuse: take kl-autoencoder, or vq-vae.")

    def build(self, spec: Spec) -> LatentDiffusion:
        spec = self.adapt(spec)
        config, first = self.staged(spec)
        with torch.no_grad():
            shape = first.encode(torch.zeros(1, *spec.x.shape), {}).shape[1:]  # type: ignore[operator]
        if len(shape) != 3:
            raise UsageError(f"the codes of '{first.config.kind}' have no places: take kl-autoencoder.")
        channels, height, width = shape
        sizes = CODES[self.denoiser.network][self.size]
        denoiser = self.denoiser.model_copy(
            update={
                **{key: getattr(self.denoiser, key) or value for key, value in sizes.items()},
                "condition": "text" if self.denoiser.condition == "auto" and spec.text else self.denoiser.condition,
            }
        )
        codes = spec.model_copy(update={"x": Latent(channels=channels, height=height, width=width)})
        built = denoiser.build(codes)
        spec = spec.told_only(built.spec.c)
        return LatentDiffusion(config.model_copy(update={"denoiser": built.config}), spec, first, built)


class Coded(ABC):
    """Pictures as standardised codes, and back: both in model range, `(B, C, H, W)` and `(B, c, h, w)`."""

    @abstractmethod
    def to_codes(self, x: Tensor) -> Tensor:
        """Codes of pictures."""

    @abstractmethod
    def from_codes(self, z: Tensor) -> Tensor:
        """Pictures of codes."""


class LatentDiffusion(Model, Learns, HasSampling, Coded):
    """x = decode(mean + spread z), z drawn by a denoiser of standardised codes.

    Mean and spread, a number a channel, are those of the codes of the first batch. Rombach et al., "High-resolution
    image synthesis with latent diffusion models" (2022).
    """

    Sampling: ClassVar[type[Choices]] = Choices
    invertible = {"sampler": "heun", "steps": 50}
    training_only = ("denoiser.proposal",)
    config: LatentDiffusionConfig
    mean: Tensor
    spread: Tensor

    def __init__(self, config: LatentDiffusionConfig, spec: Spec, first: Model, denoiser: Any):
        super().__init__(config, spec)
        self.first, self.denoiser = first, denoiser
        channels = denoiser.spec.x.channels
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("spread", torch.ones(channels, 1, 1))

    def players(self) -> Sequence[Player]:
        return [Player("denoiser", [self.denoiser], self.loss)]

    def loss(self, batch: Batch, turn: Turn) -> Loss:
        with torch.no_grad():
            z = self.first.encode(batch.x, {})  # type: ignore[operator]
            if turn.count == 0:
                self._standardise(z, turn)
        return self.denoiser.loss(replace(batch, x=(z - self.mean) / self.spread), turn)

    def _standardise(self, z: Tensor, turn: Turn) -> None:
        """Mean and spread of codes `(B, c, h, w)` and of those that this turn has seen before them: by and by, of all
        the codes of the batch."""
        share = 1 / (turn.part + 1)
        mean = turn.mean(z.mean((0, 2, 3), keepdim=True)[0])
        variance = turn.mean((z - mean).square().mean((0, 2, 3), keepdim=True)[0])
        variance = self.spread.square().lerp(variance, share) + share * (1 - share) * (mean - self.mean).square()
        self.mean.lerp_(mean, share)
        self.spread.copy_(torch.where(variance > 0, variance, 1.0).sqrt())  # of one number there is none

    def to_codes(self, x: Tensor) -> Tensor:
        return (self.first.encode(x, {}) - self.mean) / self.spread  # type: ignore[operator]

    def from_codes(self, z: Tensor) -> Tensor:
        return self.first.decode(self.mean + self.spread * z, {})  # type: ignore[operator]

    def prepared(self, c: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The conditions as the denoiser takes them with the least work: texts as vectors, which also mix."""
        return self.denoiser.prepared(c)

    def with_sampling(self, sampling: Choices) -> DrawnDecoded | SolvedDecoded:
        sampler = self.denoiser.with_sampling(sampling)
        return SolvedDecoded(self, sampler) if isinstance(sampler, Solved) else DrawnDecoded(self, sampler)

    def sample(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return self.with_sampling(Choices()).sample(c, noise)

    @property
    def evaluations(self) -> int:
        return self.with_sampling(Choices()).evaluations


@final
class DrawnDecoded(CanSample, CanVary):
    """Codes drawn by steps that add fresh noise, decoded."""

    def __init__(self, model: Coded, sampler: Drawn):
        self.model, self.sampler = model, sampler

    @property
    def evaluations(self) -> int:
        return self.sampler.evaluations

    @torch.no_grad()
    def sample(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return self.model.from_codes(self.sampler.sample(c, noise))

    @torch.no_grad()
    def vary(self, x: Tensor, strength: float, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return self.model.from_codes(self.sampler.vary(self.model.to_codes(x), strength, c, noise))


@final
class SolvedDecoded(HasPrior, CanEncode, CanVary):
    """Samples by a differential equation of codes: x is a function of their noise, and, but for what the autoencoder
    loses, the noise of x."""

    def __init__(self, model: Coded, sampler: Solved):
        self.model, self.sampler = model, sampler

    @property
    def evaluations(self) -> int:
        return self.sampler.evaluations

    def prior(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        """Noise of the shape of codes."""
        return self.sampler.prior(c, noise)

    @torch.no_grad()
    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return self.model.from_codes(self.sampler.decode(z, c))

    @torch.no_grad()
    def encode(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return self.sampler.encode(self.model.to_codes(x), c)

    @torch.no_grad()
    def vary(self, x: Tensor, strength: float, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return self.model.from_codes(self.sampler.vary(self.model.to_codes(x), strength, c, noise))
