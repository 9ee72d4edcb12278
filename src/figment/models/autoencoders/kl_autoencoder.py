"""An autoencoder whose codes keep their places: the first stage of latent diffusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import pydantic
import torch
from torch import Tensor

from figment.core.config import Config
from figment.core.data import Batch, Image, Spec
from figment.core.model import CanDecode, CanEncode, Learns, Loss, Model, ModelConfig, Player, Turn
from figment.models.adversarial.objectives import OBJECTIVES
from figment.models.adversarial.patches import judged, opinion
from figment.models.autoencoders.likelihoods import kl_by_dimension, reparametrise
from figment.nn.backbone import CONVOLUTION
from figment.nn.convolution import Decoder, Encoder
from figment.nn.features import perceptual_distance, shipped
from figment.nn.patch import PatchDiscriminator

GAME = OBJECTIVES["relativistic"]
GAMMA, LAZY = 20.0, 8  # strength of the penalty on the slope of the mean over patches, updates between two of them
RATE = 0.2  # of the discriminator's learning, relative to the autoencoder's
BEGINS = 0.7  # share of the run after which the discriminator plays: before, blur says more than texture


class KLAutoencoderConfig(ModelConfig):
    """Codes `(B, c, h, w)` held near N(0, I), and pictures judged by pixels, by features and by a discriminator."""

    accepts: ClassVar[tuple[type[Config], ...]] = (Image,)
    kind: Literal["kl-autoencoder"] = "kl-autoencoder"
    latent: int = pydantic.Field(4, ge=1, le=64, description="numbers of a code at each place")
    halvings: int = pydantic.Field(2, ge=0, le=5, description="how often the sides are halved: 2 is a fourth of them")
    width: int | None = pydantic.Field(None, ge=4, le=1024, description="channels at full size (None: by size)")
    blocks: int | None = pydantic.Field(None, ge=1, le=16, description="residual blocks a level (None: by size)")
    kl: float = pydantic.Field(1e-4, ge=0, le=10, description="weight of the KL term, a number of the code")
    noise: float = pydantic.Field(
        0.0,
        ge=0,
        le=5,
        description="half of the codes have noise of up to so many times their spread, for the decoder alone",
    )
    perceptual: float = pydantic.Field(
        0.1, ge=0, le=100, description="weight of the distance in the shipped features (0: none)"
    )
    adversarial: float = pydantic.Field(
        0.01, ge=0, le=100, description="weight of the discriminator of patches (0: there is none)"
    )

    def build(self, spec: Spec) -> KLAutoencoder:
        spec = self.adapt(spec)
        width, blocks = CONVOLUTION[self.size]
        return KLAutoencoder(
            self.model_copy(update={"width": self.width or width, "blocks": self.blocks or blocks}), spec
        )


class KLAutoencoder(Model, Learns, CanEncode, CanDecode):
    """Minimises |x - f(z)| + lambda_p d(x, f(z)) + lambda_k KL(q(z | x) || N(0, I)) + lambda_a L_G, z ~ q.

    L_G is the opinion of a discriminator of patches. With `noise`, half of the z carry some, and only f learns from
    those: codes that a denoiser draws are off, and are to be read all the same. Rombach et al., "High-resolution image
    synthesis with latent diffusion models" (2022), section 3.1; Esser, Rombach & Ommer, "Taming transformers" (2021);
    noise: Zheng et al., "Diffusion transformers with representation autoencoders" (2025).
    """

    training_only = ("discriminator", "seen")
    config: KLAutoencoderConfig

    def __init__(self, config: KLAutoencoderConfig, spec: Spec):
        super().__init__(config, spec)
        assert isinstance(spec.x, Image)
        assert config.width
        assert config.blocks
        build = (config.width, config.blocks)
        self.encoder = Encoder(spec.x.shape, 2 * config.latent, *build, flat=False, halved=config.halvings)
        self.decoder = Decoder(config.latent, spec.x.shape, *build, flat=False, halved=config.halvings)
        self.seen = shipped() if config.perceptual else None
        self.discriminator = PatchDiscriminator(spec.x.channels, config.width, 1) if config.adversarial else None

    def players(self) -> Sequence[Player]:
        own = Player("autoencoder", [self.encoder, self.decoder], self.loss)
        if self.discriminator is None:
            return [own]
        judge = Player("discriminator", [self.discriminator], self.judged, rate=RATE, ema=False, span=(BEGINS, 1.0))
        return [own, judge]

    def loss(self, batch: Batch, turn: Turn) -> Loss:
        mean, log_variance = self._posterior(batch.x)
        y = self.decode(self._noised(reparametrise(mean, log_variance)), {})
        parts = {"error": (batch.x - y).abs().mean(), "kl": kl_by_dimension(mean, log_variance).mean()}
        value = parts["error"] + self.config.kl * parts["kl"]
        if self.seen is not None:
            parts["perceptual"] = perceptual_distance(self.seen, y, batch.x).mean()
            value = value + self.config.perceptual * parts["perceptual"]
        if self.discriminator is not None and turn.progress >= BEGINS:
            parts["opinion"] = opinion(GAME, self.discriminator, batch.x, y)
            value = value + self.config.adversarial * parts["opinion"]
        return Loss(value, {name: part.detach() for name, part in parts.items()})

    def _noised(self, z: Tensor) -> Tensor:
        """Codes; half of them, by chance, with noise of an evenly drawn size.

        No gradient goes through those: an encoder that withstands noise makes codes of neighbouring places less alike.
        """
        if not self.config.noise:
            return z
        size = self.config.noise * (2 * torch.rand(len(z), 1, 1, 1, device=z.device) - 1).clamp(min=0)
        spread = z.detach().std((0, 2, 3), correction=0, keepdim=True)
        return torch.where(size > 0, z.detach(), z) + size * spread * torch.randn_like(z)

    def judged(self, batch: Batch, turn: Turn) -> Loss:
        assert self.discriminator is not None
        with torch.no_grad():
            y = self.decode(self.encode(batch.x, {}), {})
        return judged(GAME, self.discriminator, batch.x, y, turn, gamma=GAMMA, lazy=LAZY, whole=True)

    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z | x), each `(B, c, h, w)`."""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        return mean, log_variance.clamp(-20, 20)

    def encode(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        """The mean of q(z | x): `(B, c, h, w)`."""
        return self._posterior(x)[0]

    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return self.decoder(z)
