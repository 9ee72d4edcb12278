"""Two networks in a game: a generator draws, a discriminator tells its drawings from the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, final

import pydantic
import torch
from torch import Tensor, nn

from figment.core.config import Config
from figment.core.data import Batch, Image, Spec, Vector
from figment.core.noise import Noise
from figment.models.adversarial.game import Game, GameConfig
from figment.nn.generator import Generator, VectorGenerator


class GANConfig(GameConfig):
    """A generative adversarial network (Goodfellow et al., "Generative adversarial nets", 2014)."""

    kind: Literal["gan"] = "gan"
    accepts: ClassVar[tuple[type[Config], ...]] = (Image, Vector)

    latent: int = pydantic.Field(64, ge=1, le=1024, description="numbers in a code")

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
            generator = Generator(spec.x.shape, config.latent, config.width, classes)
        else:
            generator = VectorGenerator(spec.x.dimensions, config.latent, 4 * config.width, classes)
        super().__init__(config, spec, generator)

    def drawn(self, batch: Batch) -> Tensor:
        z = torch.randn(len(batch), self.config.latent, device=batch.x.device)
        return self.generator(z, batch.c.get("label"))

    def prior(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return noise.normal((self.config.latent,))

    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return self.generator(z, c.get("label"))
