"""Two networks in a game: a generator draws, a discriminator tells its drawings from the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal, Self, final

import pydantic
import torch
from torch import Tensor, nn

from figment.core.config import Config
from figment.core.data import Batch, Image, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import Turn
from figment.core.noise import Noise
from figment.models.adversarial.game import Game, GameConfig
from figment.nn.discriminator import Discriminator
from figment.nn.generator import Generator, VectorGenerator
from figment.nn.plain_generator import PlainGenerator, ResidualGenerator
from figment.nn.progressive import ProgressiveDiscriminator, ProgressiveGenerator, growth

GENERATORS = {
    "modulated": Generator,
    "dcgan": PlainGenerator,
    "residual": ResidualGenerator,
    "progressive": ProgressiveGenerator,
}


class GANConfig(GameConfig):
    """A generative adversarial network (Goodfellow et al., "Generative adversarial nets", 2014)."""

    kind: Literal["gan"] = "gan"
    accepts: ClassVar[tuple[type[Config], ...]] = (Image, Vector)
    spreads: ClassVar[bool] = True

    latent: int = pydantic.Field(64, ge=1, le=1024, description="numbers in a code")
    generator: Literal["modulated", "dcgan", "residual", "progressive"] = pydantic.Field(
        "modulated", description="how pictures are drawn: features scaled by the code, a plain chain of convolutions, "
        "residual blocks, or both networks grown from 4 pixels a side"
    )  # fmt: skip
    grown: float = pydantic.Field(
        0.5, gt=0, le=1, description="progressive: the share of the run after which pictures have their full size"
    )

    def fitted(self, spec: Spec) -> Self:
        """As of every game. Raises UsageError for a generator of pictures where the data has none."""
        if self.generator != "modulated" and not isinstance(spec.x, Image):
            raise UsageError(
                f"model.generator={self.generator} draws pictures, and {spec.name} has none: leave it out."
            )
        return super().fitted(spec)

    def build(self, spec: Spec) -> GAN:
        spec = self.adapt(spec)
        return GAN(self.fitted(spec), spec)


@final
class GAN(Game):
    """x = G(z, y), z ~ N(0, I)."""

    config: GANConfig

    def __init__(self, config: GANConfig, spec: Spec):
        assert config.width is not None
        classes = spec.label.count if spec.label else 0
        generator: nn.Module
        if isinstance(spec.x, Image):
            generator = GENERATORS[config.generator](spec.x.shape, config.latent, config.width, classes)
        else:
            generator = VectorGenerator(spec.x.dimensions, config.latent, 4 * config.width, classes)
        judge = ProgressiveDiscriminator if config.generator == "progressive" else Discriminator
        super().__init__(config, spec, generator, judge)

    def played(self, batch: Batch, turn: Turn) -> Batch:
        """A batch as detailed as networks that grow are by now: they are brought to that size."""
        if not isinstance(self.generator, ProgressiveGenerator):
            return batch
        assert isinstance(self.discriminator, ProgressiveDiscriminator)
        grown = growth(turn.progress, self.generator.levels, self.config.grown)
        self.generator.growth.fill_(grown)
        self.discriminator.growth.fill_(grown)
        return replace(batch, x=self.generator.at_stage(batch.x))

    def drawn(self, batch: Batch) -> Tensor:
        z = torch.randn(len(batch), self.config.latent, device=batch.x.device)
        return self.generator(z, batch.c.get("label"))

    def prior(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return noise.normal((self.config.latent,))

    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return self.generator(z, c.get("label"))
