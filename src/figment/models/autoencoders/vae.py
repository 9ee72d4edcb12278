"""The variational autoencoder, with the variance of its decoder learned rather than hidden in a weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import pydantic
import torch
from torch import Tensor
from torch.distributions import Normal

from figment.core.data import Batch, Image, Latent, Spec, Vector
from figment.core.model import (
    HasImportance,
    HasMasses,
    HasPosterior,
    HasPrior,
    Learns,
    Loss,
    Model,
    ModelConfig,
    Player,
    Turn,
)
from figment.core.noise import Noise
from figment.models.autoencoders.autoencoder import default_latent
from figment.models.autoencoders.likelihoods import (
    active_units,
    diagonal_gaussian_log_density,
    kl_by_dimension,
    reparametrise,
    squared_error,
)
from figment.models.autoencoders.objectives import Objective, at_least, log_mean, multiplied, total_correlation
from figment.models.autoencoders.observations import Form, Sigma, observation
from figment.nn.backbone import decoder_for, encoder_for, width_and_blocks
from figment.nn.embeddings import LabelEmbedding

LABEL_WIDTH = 64  # dimensions of a label's embedding
SMALL = 1024  # pixels up to which dense layers learn black and white pictures faster than convolutions
DRAWS = 5  # of objective=iwae, where none are given


class VAEConfig(ModelConfig):
    """p(x | z) p(z) with an inference network q(z | x), conditional on labels where the data has them."""

    accepts = (Image, Vector)
    conditions = ("label",)
    kind: Literal["vae"] = "vae"
    latent: int | None = pydantic.Field(None, ge=1, le=4096, description="dimensions of the code (None: 2 sqrt(D))")
    width: int | None = pydantic.Field(None, ge=4, le=4096, description="channels at full size (None: by size)")
    blocks: int | None = pydantic.Field(None, ge=1, le=64, description="residual blocks a level (None: by size)")
    network: Literal["auto", "residual", "plain"] = pydantic.Field(
        "auto", description="plain: dense layers; residual: convolutions for pictures; auto: by what learns faster"
    )
    decoder: Literal["auto"] | Form = pydantic.Field(
        "auto", description="p(x | z); auto: bernoulli for black and white pictures, else gaussian"
    )
    sigma: Sigma = pydantic.Field(
        "global",
        description="deviation of x given z: one, learned; one a pixel, from z; or a number (range is -1 to 1)",
    )
    objective: Objective = pydantic.Field(
        "elbo", description="the bound; tc: with beta on total correlation; geco: error at most kappa; iwae: of draws"
    )
    beta: float = pydantic.Field(1.0, ge=0, le=1000, description="elbo: weight of the KL term; tc: of its TC part")
    free_bits: float = pydantic.Field(
        0.0, ge=0, le=100, description="elbo: nats of KL a latent dimension that cost nothing: against collapse"
    )
    kappa: float | None = pydantic.Field(
        None, gt=0, le=2, description="geco: root mean squared error of reconstructions to reach (range is -1 to 1)"
    )
    draws: int | None = pydantic.Field(None, ge=2, le=1000, description="iwae: codes drawn for an example (None: 5)")
    anneal: float = pydantic.Field(
        0.1,
        ge=0,
        le=1,
        description="elbo, tc: share of the run over which the KL weight rises from 0: against collapse",
    )
    drop_label: float = pydantic.Field(0.1, ge=0, lt=1, description="how often a label is left out in training")

    @pydantic.model_validator(mode="after")
    def _coherent(self) -> Self:
        used = {"elbo": {"beta", "free_bits"}, "tc": {"beta"}, "geco": {"kappa"}, "iwae": {"draws"}}[self.objective]
        idle = {"beta": 1.0, "free_bits": 0.0, "kappa": None, "draws": None}
        stray = [name for name, value in idle.items() if name not in used and getattr(self, name) != value]
        if stray:
            raise ValueError(f"objective={self.objective} has no {stray[0]}: leave it out, or take another objective")
        if self.objective == "geco" and self.kappa is None:
            raise ValueError("objective=geco needs the error to reach, such as kappa=0.1")
        if self.objective == "geco" and (self.decoder not in ("auto", "gaussian") or self.sigma != "global"):
            raise ValueError("objective=geco bounds a squared error: take decoder=gaussian sigma=global")
        if self.decoder == "bernoulli" and self.sigma != "global":
            raise ValueError("decoder=bernoulli has no sigma: leave it out")
        return self

    def build(self, spec: Spec) -> VAE:
        spec = self.adapt(spec)
        binary = isinstance(spec.x, Image) and spec.x.binary
        small = binary and spec.x.dimensions <= SMALL
        network = self.network if self.network != "auto" else ("plain" if small else "residual")
        width, blocks = width_and_blocks(spec.x.shape, self.size, network == "plain")
        auto = "bernoulli" if binary and self.objective != "geco" and self.sigma == "global" else "gaussian"
        resolved = {
            "network": network,
            "decoder": auto if self.decoder == "auto" else self.decoder,
            "latent": self.latent or default_latent(spec.x.dimensions),
            "width": self.width or width,
            "blocks": self.blocks or blocks,
            "draws": self.draws or (DRAWS if self.objective == "iwae" else None),
        }
        return VAE(self.model_copy(update=resolved), spec)


class VAE(Model, Learns, HasPosterior, HasPrior, HasImportance, HasMasses):
    """Maximises E_q log p(x | z) - beta KL(q(z | x) || N(0, I)), or what `objective` says instead.

    elbo: with at least `free_bits` of KL in each dimension.
    tc: KL + (beta - 1) TC(z) in place of beta KL (Chen et al., "Isolating sources of disentanglement", 2018).
    geco: KL + lambda D/2 (||x - f(z)||^2 / (D kappa^2) - 1), lambda such that the bracket vanishes (Rezende & Viola,
    "Taming VAEs", 2018).
    iwae: log 1/k sum_i p(x, z_i) / q(z_i | x) (Burda et al., "Importance weighted autoencoders", 2016).
    Kingma & Welling, "Auto-encoding variational Bayes" (2014); Rezende et al., "Stochastic backpropagation and
    approximate inference" (2014); Higgins et al., "beta-VAE" (2017).
    """

    training_only = ("multiplier",)
    config: VAEConfig
    multiplier: Tensor

    def __init__(self, config: VAEConfig, spec: Spec):
        super().__init__(config, spec)
        assert config.latent and config.width and config.blocks and config.decoder != "auto"
        label = LABEL_WIDTH if spec.label else 0
        self.embedding = LabelEmbedding(spec.label.count + 1, label) if spec.label else None
        assert not isinstance(spec.x, Latent)
        self.observation = observation(config.decoder, config.sigma, spec.x, spec.name)
        self.measure = self.observation.measure
        channels, *size = spec.x.shape
        outputs = (channels * self.observation.outputs, *size)
        build = (config.width, config.blocks, label, config.network == "plain")
        self.encoder = encoder_for(spec.x.shape, 2 * config.latent, *build)
        self.decoder = decoder_for(config.latent, outputs, *build)
        self.register_buffer("multiplier", torch.ones(()))

    def players(self) -> Sequence[Player]:
        modules = [self.encoder, self.decoder, self.observation]
        return [Player("vae", modules + ([self.embedding] if self.embedding is not None else []), self.loss)]

    def loss(self, batch: Batch, turn: Turn) -> Loss:
        dropped = torch.rand(len(batch.x), device=batch.x.device) < self.config.drop_label
        drawn = self._draw(batch.x, self.spec.nulled(batch.c, dropped), self.config.draws or 1)
        kl = kl_by_dimension(drawn.mean, drawn.log_variance)
        parts = {"nll": -drawn.likelihood.mean(), "kl": kl.sum(1).mean(), "active": active_units(drawn.mean)}
        parts["bound"] = -parts["nll"] - parts["kl"]
        weights: Tensor | float = 1.0
        if self.config.objective == "iwae":
            log_weights = drawn.log_weights
            parts["bound"] = log_mean(log_weights).mean()
            value, weights = -parts["bound"], len(log_weights) * log_weights.detach().softmax(0).flatten()
        else:
            value = self._weigh(drawn, kl, parts, turn)
        self.observation.fit(drawn.x, drawn.y.detach(), turn, weights)
        if self.observation.sigma is not None:
            parts["sigma"] = self.observation.sigma
        return Loss(value / self.spec.x.dimensions, {name: part.detach() for name, part in parts.items()})

    def _weigh(self, drawn: Drawn, kl: Tensor, parts: dict[str, Tensor], turn: Turn) -> Tensor:
        """Error and divergence as one number to minimise, in nats."""
        config = self.config
        ramp = min(1.0, turn.progress / config.anneal) if config.anneal else 1.0
        if config.objective == "elbo":
            return parts["nll"] + ramp * config.beta * at_least(kl, config.free_bits)
        if config.objective == "tc":
            parts["tc"] = total_correlation(drawn.z, drawn.mean, drawn.log_variance, turn.rows)
            return parts["nll"] + ramp * (parts["kl"] + (config.beta - 1) * parts["tc"])
        assert config.kappa
        dimensions = self.spec.x.dimensions
        error = squared_error(drawn.x, drawn.y).mean() / dimensions
        excess = error / config.kappa**2 - 1
        value = parts["kl"] + self.multiplier.clone() * dimensions / 2 * excess
        self.multiplier.copy_(multiplied(self.multiplier, turn.mean(excess.detach())))
        parts |= {"error": error.sqrt(), "multiplier": self.multiplier}
        return value

    def _draw(self, x: Tensor, c: Mapping[str, Tensor], draws: int) -> Drawn:
        """`draws` codes of each example, decoded: all of the first ones, then all of the second ones, ..."""
        mean, log_variance = (part.repeat(draws, 1) for part in self._posterior(x, c))
        z = reparametrise(mean, log_variance)
        y = self._decode(z, {key: torch.cat([value] * draws) for key, value in c.items()})
        x = torch.cat([x] * draws)
        return Drawn(x, mean, log_variance, z, y, self.observation.log_likelihood(x, y), draws)

    def _embed(self, c: Mapping[str, Tensor], like: Tensor) -> Tensor | None:
        """The embedded label `(B, E)` of each of `like` `(B, ...)`; the null label where none is given."""
        return None if self.embedding is None else self.embedding(self.spec.labels(c, like.shape[0], like.device))

    def _posterior(self, x: Tensor, c: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.encoder(x, self._embed(c, x)).chunk(2, dim=1)
        return mean, log_variance.clamp(-20, 20)

    def _decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        """The parameters of p(x | z)."""
        return self.decoder(z, self._embed(c, z))

    def posterior(self, x: Tensor, c: Mapping[str, Tensor]) -> Normal:
        mean, log_variance = self._posterior(x, c)
        return Normal(mean, (0.5 * log_variance).exp())

    def prior(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        assert self.config.latent is not None
        return noise.normal((self.config.latent,))

    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return self.observation.mean(self._decode(z, c))

    def sample(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        """Pictures are the decoder's mean at z ~ N(0, I); rows are drawn with the decoder's noise, part of the data."""
        return self.observation.draw(self._decode(self.prior(c, noise), c), noise.stream("decoder"))

    def bound(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        """log p(x | z) - KL(q(z | x) || p(z)) at one z ~ q: the evidence lower bound in expectation, `(B,)` nats."""
        drawn = self._draw(x, c, 1)
        return drawn.likelihood - kl_by_dimension(drawn.mean, drawn.log_variance).sum(1)

    def log_masses(self, z: Tensor | None, c: Mapping[str, Tensor], count: int) -> Tensor:
        assert z is not None
        return self.observation.log_masses(self._decode(z, c))

    def log_weights(self, x: Tensor, c: Mapping[str, Tensor], draws: int) -> Tensor:
        return self._draw(x, c, draws).log_weights


@dataclass(frozen=True)
class Drawn:
    """Codes z ~ q(z | x) `(k B, d)`, k of each example, and what they are decoded to: y, and log p(x | z) `(k B,)`."""

    x: Tensor
    mean: Tensor
    log_variance: Tensor
    z: Tensor
    y: Tensor
    likelihood: Tensor
    draws: int

    @property
    def log_weights(self) -> Tensor:
        """log p(x | z) + log p(z) - log q(z | x): `(k, B)`."""
        zero = torch.zeros_like(self.z)
        prior = diagonal_gaussian_log_density(self.z, zero, zero)
        posterior = diagonal_gaussian_log_density(self.z, self.mean, self.log_variance)
        return (self.likelihood + prior - posterior).view(self.draws, -1)
