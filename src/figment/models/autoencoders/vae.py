"""The variational autoencoder, with the variance of its decoder learned rather than hidden in a weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import pydantic
import torch
from torch import Tensor
from torch.distributions import Normal

from figment.core.data import Batch, Image, Noise, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import HasBound, HasPosterior, HasPrior, Learns, Loss, Model, ModelConfig, Player, Turn
from figment.models.autoencoders.autoencoder import default_latent
from figment.models.autoencoders.likelihoods import (
    active_units,
    bernoulli_log_mass,
    gaussian_log_density,
    kl_to_standard_normal,
    reparametrise,
    squared_error,
)
from figment.nn.backbone import decoder_for, encoder_for, width_and_blocks
from figment.nn.embeddings import LabelEmbedding

LABEL_WIDTH = 64  # dimensions of a label's embedding
SMALLEST_VARIANCE = 1e-6  # of the decoder, in model range: an eighth of a grey level


class VAEConfig(ModelConfig):
    """p(x | z) p(z) with an inference network q(z | x), conditional on labels where the data has them."""

    accepts = (Image, Vector)
    conditions = ("label",)
    kind: Literal["vae"] = "vae"
    latent: int | None = pydantic.Field(None, ge=1, le=4096, description="dimensions of the code (None: 2 sqrt(D))")
    width: int | None = pydantic.Field(None, ge=4, le=4096, description="channels at full size (None: by size)")
    blocks: int | None = pydantic.Field(None, ge=1, le=64, description="residual blocks a level (None: by size)")
    decoder: Literal["auto", "gaussian", "bernoulli"] = pydantic.Field(
        "auto", description="p(x | z); auto: bernoulli for black and white pictures, else gaussian"
    )
    beta: float = pydantic.Field(1.0, ge=0, le=1000, description="weight of the KL term; 1 is the bound itself")
    anneal: float = pydantic.Field(
        0.1, ge=0, le=1, description="share of the run over which the KL weight rises from 0 to beta: against collapse"
    )
    drop_label: float = pydantic.Field(0.1, ge=0, lt=1, description="how often a label is left out in training")

    def build(self, spec: Spec) -> VAE:
        spec = self.adapt(spec)
        binary = isinstance(spec.x, Image) and spec.x.binary
        decoder = self.decoder if self.decoder != "auto" else ("bernoulli" if binary else "gaussian")
        if decoder == "bernoulli" and not binary:
            raise UsageError(
                f"decoder=bernoulli models black and white pictures, and {spec.name} has other values: its figures "
                "would be no likelihood. Use decoder=gaussian."
            )
        width, blocks = width_and_blocks(spec.x.shape, self.size)
        resolved = {
            "decoder": decoder,
            "latent": self.latent or default_latent(spec.x.dimensions),
            "width": self.width or width,
            "blocks": self.blocks or blocks,
        }
        return VAE(self.model_copy(update=resolved), spec)


class VAE(Model, Learns, HasPosterior, HasPrior, HasBound):
    """Maximises E_q log p(x | z) - beta KL(q(z | x) || N(0, I)).

    The Gaussian decoder N(f(z), v I) has one variance v: the running mean of the squared error a dimension, which
    maximises the bound over v. Kingma & Welling, "Auto-encoding variational Bayes" (2014); Rezende et al.,
    "Stochastic backpropagation and approximate inference" (2014); Rybkin et al., "Simple and effective VAE training
    with calibrated decoders" (2021); Higgins et al., "beta-VAE" (2017).
    """

    config: VAEConfig
    variance: Tensor

    def __init__(self, config: VAEConfig, spec: Spec):
        super().__init__(config, spec)
        assert config.latent and config.width and config.blocks
        self.measure = "mass" if config.decoder == "bernoulli" else "density"
        label = LABEL_WIDTH if spec.label else 0
        self.embedding = LabelEmbedding(spec.label.count + 1, label) if spec.label else None
        self.encoder = encoder_for(spec.x.shape, 2 * config.latent, config.width, config.blocks, label)
        self.decoder = decoder_for(config.latent, spec.x.shape, config.width, config.blocks, label)
        self.register_buffer("variance", torch.ones(()))

    def players(self) -> Sequence[Player]:
        modules = [self.encoder, self.decoder] + ([self.embedding] if self.embedding is not None else [])
        return [Player("vae", modules, self.loss)]

    def loss(self, batch: Batch, turn: Turn) -> Loss:
        x = batch.x
        c = self.spec.nulled(batch.c, torch.rand(len(x), device=x.device) < self.config.drop_label)
        mean, log_variance = self._posterior(x, c)
        decoded = self._decode(reparametrise(mean, log_variance), c)
        if self.config.decoder == "gaussian":
            self._track(squared_error(x, decoded.detach()).mean() / self.spec.x.dimensions, turn)
        nll, kl = -self._log_likelihood(x, decoded).mean(), kl_to_standard_normal(mean, log_variance).mean()
        parts = {"nll": nll, "kl": kl, "bound": -nll - kl, "active": active_units(mean)}
        if self.config.decoder == "gaussian":
            parts["sigma"] = self.variance.sqrt()
        weight = self.config.beta * min(1.0, turn.progress / self.config.anneal if self.config.anneal else 1.0)
        value = (nll + weight * kl) / self.spec.x.dimensions
        return Loss(value, {name: part.detach() for name, part in parts.items()})

    @torch.no_grad()
    def _track(self, error: Tensor, turn: Turn) -> None:
        rate = max(0.1, 1 / (turn.count + 1))
        self.variance.lerp_(turn.mean(error), rate).clamp_(min=SMALLEST_VARIANCE)

    def _embed(self, c: Mapping[str, Tensor], like: Tensor) -> Tensor | None:
        """The embedded label `(B, E)` of each of `like` `(B, ...)`; the null label where none is given."""
        if self.embedding is None:
            return None
        null = torch.full((len(like),), self.embedding.num_embeddings - 1, device=like.device)
        return self.embedding(c.get("label", null))

    def _posterior(self, x: Tensor, c: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.encoder(x, self._embed(c, x)).chunk(2, dim=1)
        return mean, log_variance.clamp(-20, 20)

    def _decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        """f(z): the mean of the Gaussian, the logits of the Bernoulli."""
        return self.decoder(z, self._embed(c, z))

    def _log_likelihood(self, x: Tensor, decoded: Tensor) -> Tensor:
        """log p(x | z) `(B,)` nats."""
        if self.config.decoder == "bernoulli":
            return bernoulli_log_mass(x, decoded)
        return gaussian_log_density(squared_error(x, decoded), self.variance, self.spec.x.dimensions)

    def posterior(self, x: Tensor, c: Mapping[str, Tensor]) -> Normal:
        mean, log_variance = self._posterior(x, c)
        return Normal(mean, (0.5 * log_variance).exp())

    def prior(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        assert self.config.latent is not None
        return noise.normal((self.config.latent,))

    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        decoded = self._decode(z, c)
        return decoded if self.config.decoder == "gaussian" else (decoded / 2).tanh()

    def sample(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        """Pictures are the decoder's mean at z ~ N(0, I); rows are drawn with the decoder's noise, part of the data."""
        x = self.decode(self.prior(c, noise), c)
        if isinstance(self.spec.x, Vector):
            x = x + self.variance.sqrt() * noise.stream("decoder").normal(self.spec.x.shape)
        return x

    def bound(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        """log p(x | z) - KL(q(z | x) || p(z)) at one z ~ q: the evidence lower bound in expectation, `(B,)` nats."""
        mean, log_variance = self._posterior(x, c)
        decoded = self._decode(reparametrise(mean, log_variance), c)
        return self._log_likelihood(x, decoded) - kl_to_standard_normal(mean, log_variance)
