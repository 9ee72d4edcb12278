"""The plain autoencoder: a code and back. It has no density and cannot draw samples; `with-prior` gives it one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, Self

import pydantic
import torch
from torch import Tensor

from figment.core.data import Batch, Image, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import CanDecode, CanEncode, Learns, Loss, Model, ModelConfig, Player, Turn
from figment.models.autoencoders.contraction import TiedLayer, jacobian_norm_estimate
from figment.models.autoencoders.corruption import Corruption, corrupted
from figment.models.autoencoders.likelihoods import squared_error
from figment.nn.backbone import decoder_for, encoder_for, width_and_blocks


def default_latent(dimensions: int) -> int:
    """Latent dimensions for data of D: min(D, 2 sqrt(D)), which is 2 of 2, 16 of 8x8, 56 of 28x28, 111 of 32x32x3."""
    return min(dimensions, math.ceil(2 * math.sqrt(dimensions)))


class AutoencoderConfig(ModelConfig):
    """x -> z -> x, trained on squared error, alone or with one regulariser."""

    accepts = (Image, Vector)
    kind: Literal["autoencoder"] = "autoencoder"
    latent: int | None = pydantic.Field(None, ge=1, le=4096, description="dimensions of the code (None: 2 sqrt(D))")
    width: int | None = pydantic.Field(None, ge=4, le=4096, description="channels at full size (None: by size)")
    blocks: int | None = pydantic.Field(None, ge=1, le=64, description="residual blocks a level (None: by size)")
    network: Literal["deep", "plain", "shallow", "linear"] = pydantic.Field(
        "deep",
        description="deep: convolutions for pictures; plain: dense layers; shallow: one sigmoid layer, weights tied; "
        "linear: one without, which finds the principal axes",
    )
    regulariser: Literal["none", "denoising", "contractive", "sparse", "ordered"] = pydantic.Field(
        "none",
        description="denoising: rebuilds from a spoilt input; contractive: a code that hardly moves with its input; "
        "sparse: few numbers of a code are not 0; ordered: a code cut short still decodes",
    )
    noise: Corruption = pydantic.Field("gaussian", description="denoising: how the input is spoilt")
    corruption: float = pydantic.Field(
        0.3,
        ge=0,
        le=4,
        description="denoising: standard deviation with black to white being 1 (rows: in their standard deviations), "
        "or the share of pixels that salt-and-pepper and masking replace",
    )
    contraction: float = pydantic.Field(
        0.15, ge=0, le=1000, description="contractive: weight of ||dz/dx||^2 a number of the code"
    )
    active: int | None = pydantic.Field(
        None, ge=1, le=4096, description="sparse: numbers of a code that are not 0 (None: a quarter)"
    )

    @pydantic.model_validator(mode="after")
    def _coherent(self) -> Self:
        of = {"noise": "denoising", "corruption": "denoising", "contraction": "contractive"}
        for name, regulariser in of.items():
            if self.regulariser != regulariser and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is of regulariser={regulariser} (given: {self.regulariser}): leave it out")
        if self.noise != "gaussian" and self.corruption > 1:
            raise ValueError(f"noise={self.noise} replaces a share of the input: take a corruption from 0 to 1")
        return self

    def build(self, spec: Spec) -> Autoencoder:
        spec = self.adapt(spec)
        width, blocks = width_and_blocks(spec.x.shape, self.size, self.network == "plain")
        latent = self.latent or default_latent(spec.x.dimensions)
        if self.active is not None and self.active > latent:
            raise UsageError(f"model.active={self.active} of {latent} numbers cannot be kept: lower it.")
        numbers = {
            "latent": latent,
            "width": self.width or width,
            "blocks": self.blocks or blocks,
            "active": self.active or math.ceil(latent / 4),
        }
        return Autoencoder(self.model_copy(update=numbers), spec)


class Autoencoder(Model, Learns, CanEncode, CanDecode):
    """Minimises E ||x - g(f(x'))||^2 / D + R, with encoder f, decoder g, and by `regulariser`

    - none: x' = x, R = 0. Hinton & Salakhutdinov, "Reducing the dimensionality of data with neural networks" (2006).
    - denoising: x' is x spoilt. Vincent et al., "Stacked denoising autoencoders" (2010).
    - contractive: R = weight E ||df/dx||_F^2 / d for d numbers. Since g could undo a smaller f, one layer has tied
      weights, and the codes of a deep network are scaled to tr Cov f(x) = d. Rifai et al., "Contractive auto-encoders:
      explicit invariance during feature extraction" (2011).
    - sparse: f keeps its k largest numbers, k falling from all to `active` over the first half of the run. Makhzani &
      Frey, "k-sparse autoencoders" (2014).
    - ordered: g sees the first k numbers of the code, P(k) ~ 1/k. Rippel, Gelbart & Adams, "Learning ordered
      representations with nested dropout" (2014).
    """

    config: AutoencoderConfig
    scale: Tensor

    def __init__(self, config: AutoencoderConfig, spec: Spec):
        super().__init__(config, spec)
        assert config.latent and config.width and config.blocks
        if config.regulariser == "contractive":
            self.register_buffer("scale", torch.ones(()))
        shape, d = spec.x.shape, config.latent
        tied = config.network in ("shallow", "linear")
        self.layer = TiedLayer(shape, d, sigmoid=config.network == "shallow") if tied else None
        if self.layer is None:
            plain = config.network == "plain"
            self.encoder = encoder_for(shape, d, config.width, config.blocks, plain=plain)
            self.decoder = decoder_for(d, shape, config.width, config.blocks, plain=plain)

    def players(self) -> Sequence[Player]:
        return [Player("autoencoder", list(self.children()), self.loss)]

    def loss(self, batch: Batch, turn: Turn) -> Loss:
        config, x = self.config, batch.x
        parts: dict[str, Tensor] = {}
        if config.regulariser == "contractive":
            z, parts["jacobian"] = self._contracted(x, turn)
        elif config.regulariser == "denoising":
            z = self._code(corrupted(x, config.noise, config.corruption))
        else:
            z = self._code(x)
        if config.regulariser == "sparse":
            z = largest(z, self._active(turn.progress))
        if config.regulariser == "ordered":
            z = z * prefixes(z)
        parts["error"] = squared_error(x, self.decode(z, batch.c)).mean() / self.spec.x.dimensions
        value = parts["error"] + config.contraction * parts.get("jacobian", 0.0) / z.shape[1]
        return Loss(value, {name: part.detach() for name, part in parts.items()})

    def _code(self, x: Tensor) -> Tensor:
        z = self.encoder(x) if self.layer is None else self.layer.encode(x)
        return z / self.scale if self.config.regulariser == "contractive" else z

    def _active(self, progress: float) -> int:
        d, k = self.config.latent, self.config.active
        assert d and k
        return round(d + (k - d) * min(1.0, 2 * progress))

    def _contracted(self, x: Tensor, turn: Turn) -> tuple[Tensor, Tensor]:
        """Codes `(B, d)` and E ||df/dx||_F^2: exact of one layer, estimated of a deep network and its batch's scale."""
        if self.layer is not None:
            z = self._code(x)
            return z, self.layer.jacobian_norm(z).mean()
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            z = self.encoder(x)
            variance = (z - z.mean(0)).square().mean() + 1e-12
            norm = jacobian_norm_estimate(z, x).mean() / variance
        with torch.no_grad():
            rate = max(0.05, 1 / (turn.seen + 1))
            self.scale.lerp_(turn.mean(variance.detach()).sqrt(), rate)
        return z / self.scale, norm

    def encode(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        z = self._code(x)
        return largest(z, self.config.active) if self.config.regulariser == "sparse" else z

    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return self.decoder(z) if self.layer is None else self.layer.decode(z)


def largest(z: Tensor, k: int | None) -> Tensor:
    """z with all but the k largest numbers of each code `(B, d)` set to 0."""
    assert k is not None
    values, places = z.topk(k, dim=1)
    return torch.zeros_like(z).scatter(1, places, values)


def prefixes(z: Tensor) -> Tensor:
    """1 for the first k numbers of each code `(B, d)`, 0 for the rest, with P(k) ~ 1/k on 1 ... d."""
    d = z.shape[1]
    k = torch.exp(torch.rand(len(z), 1, device=z.device) * math.log(d + 1)).floor()
    return (torch.arange(d, device=z.device) < k).to(z)
