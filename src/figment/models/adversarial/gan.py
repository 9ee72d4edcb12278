"""Two networks in a game: a generator draws, a discriminator tells its drawings from the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self, final

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from figment.core.config import Config
from figment.core.data import Batch, Image, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import HasPrior, HasSampling, Loss, Player, Turn
from figment.core.noise import Noise
from figment.models.adversarial.game import Game, GameConfig
from figment.models.adversarial.objectives import apart, size
from figment.models.autoencoders.likelihoods import kl_to_standard_normal, reparametrise
from figment.nn.backbone import encoder_for, width_and_blocks
from figment.nn.discriminator import Discriminator
from figment.nn.embeddings import LabelEmbedding
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

    repeat: float | None = pydantic.Field(
        None, ge=0, description="weight of how far real examples are from what is drawn from their codes, which an "
        "encoder learns beside: none is left out (None: 3 where spread is not 0 and pictures do not grow, else 0)"
    )  # fmt: skip
    kl: float = pydantic.Field(
        3e-4, ge=0, description="repeat: strength of the pull of the codes of real examples towards N(0, I), a nat"
    )

    def fitted(self, spec: Spec) -> Self:
        """As of every game. Raises UsageError for a generator of pictures where the data has none, and for one that
        grows where real examples are to be drawn again."""
        if self.generator != "modulated" and not isinstance(spec.x, Image):
            raise UsageError(
                f"model.generator={self.generator} draws pictures, and {spec.name} has none: leave it out."
            )
        grows, fitted = self.generator == "progressive", super().fitted(spec)
        if grows and self.repeat:
            raise UsageError("model.repeat draws real pictures again, at full size, which grow here: leave it out.")
        usual = 3.0 if fitted.spread and not grows else 0.0
        return fitted.model_copy(update={"repeat": usual if self.repeat is None else self.repeat})

    def build(self, spec: Spec) -> GAN:
        spec = self.adapt(spec)
        return GAN(self.fitted(spec), spec)


class GANSampling(Config):
    truncation: float = pydantic.Field(
        1.0, ge=0, le=2, description="how widely codes are drawn, N(0, I) being 1: below it fewer kinds of better "
        "pictures, a little above it more kinds"
    )  # fmt: skip


@final
class GAN(Game, HasSampling):
    """x = G(z, y), z ~ N(0, I)."""

    Sampling = GANSampling
    training_only = (*Game.training_only, "encoder")
    config: GANConfig

    def __init__(self, config: GANConfig, spec: Spec):
        assert config.width is not None
        assert config.repeat is not None
        classes = spec.label.count if spec.label else 0
        generator: nn.Module
        if isinstance(spec.x, Image):
            generator = GENERATORS[config.generator](spec.x.shape, config.latent, config.width, classes)
        else:
            generator = VectorGenerator(spec.x.dimensions, config.latent, 4 * config.width, classes)
        judge = ProgressiveDiscriminator if config.generator == "progressive" else Discriminator
        super().__init__(config, spec, generator, judge)
        self.repeat, self.encoder = config.repeat, Codes(config, spec) if config.repeat else None

    def players(self) -> Sequence[Player]:
        judge, own = super().players()
        return (judge, own if self.encoder is None else replace(own, modules=[self.generator, self.encoder]))

    def played(self, batch: Batch, turn: Turn) -> Batch:
        """A batch as detailed as networks that grow are by now: they are brought to that size."""
        if not isinstance(self.generator, ProgressiveGenerator):
            return batch
        assert isinstance(self.discriminator, ProgressiveDiscriminator)
        grown = growth(turn.progress, self.generator.levels, self.config.grown)
        self.generator.growth.fill_(grown)
        self.discriminator.growth.fill_(grown)
        return replace(batch, x=self.generator.at_stage(batch.x))

    def generator_loss(self, batch: Batch, turn: Turn) -> Loss:
        """As of every game, plus `repeat` E |x - G(z, y)|, z ~ q(z | x, y), of half the batch, as they are and as the
        discriminator sees them, over the size of x, plus `kl` KL(q || N(0, I)).

        Larsen et al., "Autoencoding beyond pixels using a learned similarity metric" (2016).
        """
        loss = super().generator_loss(batch, turn)
        if self.encoder is None:
            return loss
        half = batch[: (len(batch) + 1) // 2]
        label = half.c.get("label")
        mean, log_variance = self.encoder(half.x, label)
        again = self.generator(reparametrise(mean, log_variance), label)
        with torch.no_grad():
            truth = self.discriminator.describe(half.x).float()
        seen, x = self.discriminator.describe(again).float(), half.x.flatten(1)
        missed = (apart(x, again.flatten(1)) / size(x) + apart(truth, seen) / size(truth, seen)) / 2
        kl = kl_to_standard_normal(mean, log_variance).mean()
        parts = {**loss.parts, "missed": missed.detach(), "kl": kl.detach()}
        return Loss(loss.value + self.repeat * missed + self.config.kl * kl, parts)

    def drawn(self, batch: Batch) -> Tensor:
        z = torch.randn(len(batch), self.config.latent, device=batch.x.device)
        return self.generator(z, batch.c.get("label"))

    def prior(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return noise.normal((self.config.latent,))

    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return self.generator(z, c.get("label"))

    def with_sampling(self, sampling: Any) -> Drawing:
        return Drawing(self, sampling)


@final
class Drawing(HasPrior):
    """Samples of codes z ~ N(0, psi^2 I)."""

    def __init__(self, model: GAN, sampling: GANSampling):
        self.model, self.sampling = model, sampling

    def prior(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return self.sampling.truncation * self.model.prior(c, noise)

    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return self.model.decode(z, c)


class Codes(nn.Module):
    """q(z | x, y): examples `(B, ...)` and labels `(B,)` -> the means and log-variances of their codes `(B, latent)`.

    Means lie within the sphere where N(0, I) has its mass, and deviations below 1: the KL term cannot run away.
    """

    def __init__(self, config: GANConfig, spec: Spec):
        super().__init__()
        assert config.width is not None
        _, blocks = width_and_blocks(spec.x.shape, config.size)
        width = config.width if isinstance(spec.x, Image) else 4 * config.width
        self.embed = LabelEmbedding(spec.label.count, 64) if spec.label else None
        self.encoder = encoder_for(spec.x.shape, 2 * config.latent, width, blocks, 64 if spec.label else 0)

    def forward(self, x: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        embedding = None if self.embed is None else self.embed(label)
        mean, certain = self.encoder(x, embedding).chunk(2, dim=1)
        return mean * (1 + mean.square().mean(1, keepdim=True)).rsqrt(), F.logsigmoid(certain)
