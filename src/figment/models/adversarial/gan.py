"""Two networks in a game: a generator draws, a discriminator tells its drawings from the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import pydantic
import torch
from torch import Tensor, nn

from figment.core.config import Config
from figment.core.data import Batch, Image, Spec, Vector
from figment.core.model import HasPrior, Learns, Loss, Model, ModelConfig, Player, Turn
from figment.core.noise import Noise
from figment.models.adversarial.objectives import OBJECTIVES, Name, accuracy, gradient_penalty
from figment.nn.discriminator import Discriminator, VectorDiscriminator
from figment.nn.generator import Generator, VectorGenerator

WIDTHS = {"tiny": 16, "small": 32, "base": 64, "large": 128}


class GANConfig(ModelConfig):
    """A generative adversarial network (Goodfellow et al., "Generative adversarial nets", 2014)."""

    kind: Literal["gan"] = "gan"
    accepts: ClassVar[tuple[type[Config], ...]] = (Image, Vector)
    conditions = ("label",)

    latent: int = pydantic.Field(64, ge=1, le=1024, description="numbers in a code")
    objective: Name = pydantic.Field("relativistic", description="what the two players optimise")
    gamma: float = pydantic.Field(
        1.0, ge=0, description="strength of the gradient penalties on real and drawn examples"
    )
    lazy: int = pydantic.Field(8, ge=1, description="updates of the discriminator between two gradient penalties")

    width: int | None = pydantic.Field(None, ge=4, le=1024, description="channels at full size (None: by size)")

    def build(self, spec: Spec) -> GAN:
        spec = self.adapt(spec)
        return GAN(self.model_copy(update={"width": self.width or WIDTHS[self.size]}), spec)


class GAN(Model, Learns, HasPrior):
    """x = G(z, y), z ~ N(0, I); implicit: it has samples and no density."""

    training_only = ("discriminator",)
    config: GANConfig

    def __init__(self, config: GANConfig, spec: Spec):
        super().__init__(config, spec)
        assert config.width
        classes, width = spec.label.count if spec.label else 0, config.width
        self.generator: nn.Module
        self.discriminator: nn.Module
        if isinstance(spec.x, Image):
            self.generator = Generator(spec.x.shape, config.latent, width, classes)
            self.discriminator = Discriminator(spec.x.shape, width, classes)
        else:
            self.generator = VectorGenerator(spec.x.dimensions, config.latent, 4 * width, classes)
            self.discriminator = VectorDiscriminator(spec.x.dimensions, 4 * width, classes)

    def players(self) -> Sequence[Player]:
        return (
            Player("discriminator", [self.discriminator], self.discriminator_loss, ema=False),
            Player("generator", [self.generator], self.generator_loss),
        )

    def discriminator_loss(self, batch: Batch, turn: Turn) -> Loss:
        """L_D, plus (gamma / 2) (R1 + R2) on every `lazy`-th turn with weight `lazy`.

        Lazy penalties: Karras et al., "Analyzing and improving the image quality of StyleGAN" (2020). In bf16
        they are within 1 % of fp32, and their gradients within 3 %.
        """
        label = batch.c.get("label")
        penalised = self.config.gamma > 0 and turn.count % self.config.lazy == 0 and torch.is_grad_enabled()
        with torch.no_grad():
            fake = self.generator(self.code(batch), label)
        x = torch.cat([batch.x, fake]).requires_grad_(penalised)
        logits = self.discriminator(x, None if label is None else torch.cat([label, label]))
        real, generated = logits.chunk(2)
        loss = OBJECTIVES[self.config.objective].discriminator(real, generated)
        parts = {"accuracy": accuracy(real, generated), "real": real.mean(), "fake": generated.mean()}
        if penalised:
            parts["slope"] = 2 * gradient_penalty(logits, x).mean()  # R1 + R2, each a mean over half of x
            loss = loss + self.config.lazy * self.config.gamma / 2 * parts["slope"]
        return Loss(loss, {name: part.detach() for name, part in parts.items()})

    def generator_loss(self, batch: Batch, turn: Turn) -> Loss:
        label = batch.c.get("label")
        fake = self.discriminator(self.generator(self.code(batch), label), label)
        with torch.no_grad():
            real = self.discriminator(batch.x, label)
        return Loss(OBJECTIVES[self.config.objective].generator(real, fake))

    def code(self, batch: Batch) -> Tensor:
        return torch.randn(len(batch), self.config.latent, device=batch.x.device)

    def prior(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return noise.normal((self.config.latent,))

    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return self.generator(z, c.get("label"))
