"""A cascade: small pictures are drawn first, then each is drawn again at twice its size, as often as it takes."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, final

import pydantic
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from figment.core.config import Config
from figment.core.data import Batch, Image, Spec
from figment.core.errors import UsageError
from figment.core.model import (
    CanEncode,
    CanSample,
    CanVary,
    HasPrior,
    HasSampling,
    Learns,
    Loss,
    Model,
    ModelConfig,
    Player,
    Turn,
)
from figment.core.noise import Noise
from figment.models.diffusion.diffusion import Diffusion, DiffusionConfig
from figment.models.diffusion.sampling import Sampling as Choices

SMALL = 16  # pixels a side up to which none are folded
LEAST = 4  # pixels a side of the first stage


class CascadeConfig(ModelConfig):
    """Diffusion at several sizes, each but the first told a picture of half the size."""

    accepts: ClassVar[tuple[type[Config], ...]] = (Image,)
    conditions = ("label", "text")
    kind: Literal["cascade"] = "cascade"
    stages: int = pydantic.Field(2, ge=2, le=5, description="sizes: each has half the pixels a side of the next")
    noise: float = pydantic.Field(
        0.2,
        ge=0,
        le=2,
        description="most noise on the smaller picture in training: drawn ones err, data does not",
    )
    denoiser: DiffusionConfig = pydantic.Field(DiffusionConfig(), description="the diffusion at each size")

    def adapt(self, spec: Spec) -> Spec:
        spec = super().adapt(spec)
        return self.denoiser.adapt(spec) if self.conditional else spec

    def build(self, spec: Spec) -> Cascade:
        spec = self.adapt(spec)
        assert isinstance(spec.x, Image)
        least = halved(spec.x, self.stages - 1)
        if min(least.height, least.width) < LEAST:
            raise UsageError(
                f"pictures of {spec.x.height}x{spec.x.width} pixels, halved {self.stages - 1} times, are smaller than "
                f"{LEAST} pixels: take fewer model.stages, or diffusion."
            )
        return Cascade(self, spec)


def halved(x: Image, times: int) -> Image:
    """The form of pictures with half as many pixels a side, so many times, rounded up."""
    return x.model_copy(update={"height": -(-x.height >> times), "width": -(-x.width >> times)})


@final
class Cascade(Model, Learns, HasSampling):
    """p(x) = p(x_1) p(x_2 | x_1) ... p(x | x_{n-1}), x_k the picture at its size by means over squares of pixels.

    Stage k learns p(x_k | x_{k-1} + s noise), s uniform up to `noise`, and is fed what stage k - 1 draws. Ho et al.,
    "Cascaded diffusion models for high fidelity image generation" (2022); Saharia et al., "Photorealistic text-to-image
    diffusion models with deep language understanding" (2022).
    """

    Sampling: ClassVar[type[Choices]] = Choices
    invertible = {"sampler": "heun", "steps": 50}
    training_only = tuple(f"stages.{k}.proposal" for k in range(5))
    config: CascadeConfig

    def __init__(self, config: CascadeConfig, spec: Spec):
        super().__init__(config, spec)
        x = spec.x
        assert isinstance(x, Image)
        self.forms = [halved(x, k) for k in range(config.stages - 1, -1, -1)]
        self.stages = nn.ModuleList(self._stage(k, form) for k, form in enumerate(self.forms))

    def _stage(self, k: int, form: Image) -> Diffusion:
        c = {**self.spec.c, "image": form} if k else self.spec.c
        chosen: dict[str, Any] = {"size": self.config.size, "conditional": self.config.conditional}
        if min(form.height, form.width) <= SMALL and self.config.denoiser.network == "unet":
            chosen["patch"] = self.config.denoiser.patch or 1
        return self.config.denoiser.model_copy(update=chosen).built(Spec(name=self.spec.name, x=form, c=c))

    def players(self) -> Sequence[Player]:
        return [Player("denoisers", [self], self.loss)]

    def loss(self, batch: Batch, turn: Turn) -> Loss:
        x, total, parts = self.smaller(batch.x), batch.x.new_zeros(()), {}
        for k, stage in enumerate(self.stages):
            seen = None
            if k:
                strength = self.config.noise * torch.rand(len(batch), 1, 1, 1, device=batch.x.device)
                seen = x[k - 1] + strength * torch.randn_like(x[k - 1])
            found = stage.loss(replace(batch, x=x[k], c=self.told(k, batch.c, seen)), turn)  # type: ignore[operator]
            total = total + found.value
            parts[f"loss.{self.forms[k].height}"] = found.value.detach()
        return Loss(total, parts)

    def smaller(self, x: Tensor) -> list[Tensor]:
        """A picture at the size of each stage, the smallest first; the last is itself."""
        return [*(F.adaptive_avg_pool2d(x, form.shape[1:]) for form in self.forms[:-1]), x]

    def told(self, k: int, c: Mapping[str, Tensor], smaller: Tensor | None) -> dict[str, Tensor]:
        """What stage k is told: its part of texts that were read, and the picture that it makes larger."""
        told = dict(c)
        if "text" in told and told["text"].is_floating_point():
            told["text"] = told["text"].chunk(len(self.stages), -1)[k]
        if smaller is not None:
            told["image"] = F.interpolate(smaller, self.forms[k].shape[1:], mode="bilinear")
        return told

    def prepared(self, c: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Texts as vectors, those of all stages side by side."""
        if self.spec.text is None or "text" not in c or c["text"].is_floating_point():
            return dict(c)
        read = [stage.prepared(c)["text"] for stage in self.stages]  # type: ignore[operator]
        return {**c, "text": torch.cat(read, dim=-1)}

    def grown(self, draw: Callable[[int, dict[str, Tensor]], Tensor], c: Mapping[str, Tensor]) -> Tensor:
        """The last of the pictures that `draw(k, conditions)` makes, stage after stage."""
        x = draw(0, self.told(0, c, None))
        for k in range(1, len(self.stages)):
            x = draw(k, self.told(k, c, x))
        return x

    def with_sampling(self, sampling: Choices) -> DrawnCascade | SolvedCascade:
        ways = [stage.with_sampling(sampling) for stage in self.stages]  # type: ignore[operator]
        return (SolvedCascade if sampling.deterministic else DrawnCascade)(self, ways)

    def sample(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return self.with_sampling(Choices()).sample(c, noise)

    @property
    def evaluations(self) -> int:
        return self.with_sampling(Choices()).evaluations


def _own(noise: Noise, k: int) -> Noise:
    """The noise of stage k."""
    return noise.apart(f"stage {k} ") if k else noise


class Staged(CanVary, ABC):
    """Every stage with the same choices."""

    def __init__(self, model: Cascade, ways: Sequence[Any]):
        self.model, self.ways = model, ways

    @property
    def evaluations(self) -> int:
        return sum(way.evaluations for way in self.ways)

    @torch.no_grad()
    def vary(self, x: Tensor, strength: float, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        given = self.model.smaller(x)
        return self.model.grown(lambda k, told: self.ways[k].vary(given[k], strength, told, _own(noise, k)), c)


@final
class DrawnCascade(Staged, CanSample):
    """By steps that add fresh noise."""

    @torch.no_grad()
    def sample(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return self.model.grown(lambda k, told: self.ways[k].sample(told, _own(noise, k)), c)


@final
class SolvedCascade(Staged, HasPrior, CanEncode):
    """By a differential equation: x is a function of the noise of all stages `(B, d)`, side by side."""

    def prior(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return torch.cat([way.prior(c, _own(noise, k)).flatten(1) for k, way in enumerate(self.ways)], dim=1)

    @torch.no_grad()
    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        forms = self.model.forms
        parts = z.split([form.dimensions for form in forms], dim=1)
        return self.model.grown(lambda k, told: self.ways[k].decode(parts[k].unflatten(1, forms[k].shape), told), c)

    @torch.no_grad()
    def encode(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        given = self.model.smaller(x)
        told = [self.model.told(k, c, given[k - 1] if k else None) for k in range(len(given))]
        return torch.cat([way.encode(given[k], told[k]).flatten(1) for k, way in enumerate(self.ways)], dim=1)
