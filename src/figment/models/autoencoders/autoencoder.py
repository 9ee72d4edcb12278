"""The plain autoencoder: a code and back. It has no density and cannot draw samples; `with-prior` gives it one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import pydantic
from torch import Tensor

from figment.core.data import Batch, Image, Spec, Vector
from figment.core.model import CanDecode, CanEncode, Learns, Loss, Model, ModelConfig, Player, Turn
from figment.models.autoencoders.likelihoods import squared_error
from figment.nn.backbone import decoder_for, encoder_for, width_and_blocks


def default_latent(dimensions: int) -> int:
    """Latent dimensions for data of D: min(D, 2 sqrt(D)), which is 2 of 2, 16 of 8x8, 56 of 28x28, 111 of 32x32x3."""
    return min(dimensions, math.ceil(2 * math.sqrt(dimensions)))


class AutoencoderConfig(ModelConfig):
    """x -> z -> x, trained on squared error alone."""

    accepts = (Image, Vector)
    kind: Literal["autoencoder"] = "autoencoder"
    latent: int | None = pydantic.Field(None, ge=1, le=4096, description="dimensions of the code (None: 2 sqrt(D))")
    width: int | None = pydantic.Field(None, ge=4, le=4096, description="channels at full size (None: by size)")
    blocks: int | None = pydantic.Field(None, ge=1, le=64, description="residual blocks a level (None: by size)")

    def build(self, spec: Spec) -> Autoencoder:
        spec = self.adapt(spec)
        width, blocks = width_and_blocks(spec.x.shape, self.size)
        numbers = {
            "latent": self.latent or default_latent(spec.x.dimensions),
            "width": self.width or width,
            "blocks": self.blocks or blocks,
        }
        return Autoencoder(self.model_copy(update=numbers), spec)


class Autoencoder(Model, Learns, CanEncode, CanDecode):
    """Minimises ||x - decode(encode(x))||^2 / D.

    Hinton & Salakhutdinov, "Reducing the dimensionality of data with neural networks" (2006).
    """

    config: AutoencoderConfig

    def __init__(self, config: AutoencoderConfig, spec: Spec):
        super().__init__(config, spec)
        assert config.latent and config.width and config.blocks
        self.encoder = encoder_for(spec.x.shape, config.latent, config.width, config.blocks)
        self.decoder = decoder_for(config.latent, spec.x.shape, config.width, config.blocks)

    def players(self) -> Sequence[Player]:
        return [Player("autoencoder", [self.encoder, self.decoder], self.loss)]

    def loss(self, batch: Batch, turn: Turn) -> Loss:
        error = squared_error(batch.x, self.decode(self.encode(batch.x, batch.c), batch.c)).mean()
        error = error / self.spec.x.dimensions
        return Loss(error, {"error": error.detach()})

    def encode(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return self.encoder(x)

    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return self.decoder(z)
