"""The restricted Boltzmann machine: visible units and hidden ones, each kind independent given the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, Literal, Protocol, final

import pydantic
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from figment.core.config import Config
from figment.core.data import Batch, Image, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import (
    CanSample,
    EstimatesLogProb,
    HasSampling,
    Learns,
    Loss,
    Model,
    ModelConfig,
    Player,
    Turn,
)
from figment.core.noise import Noise

HIDDEN = {"tiny": 64, "small": 256, "base": 512, "large": 1024}
COUNTED = 50  # updates whose batches set the centre
LEAST_VARIANCE = 1e-4


class RBMConfig(ModelConfig):
    """p(x | y) = sum_h exp(-E(x, h | y)) / Z(y)."""

    accepts = (Image, Vector)
    conditions = ("label",)
    kind: Literal["rbm"] = "rbm"
    hidden: int | None = pydantic.Field(None, ge=1, le=100_000, description="hidden units (None: by size)")
    visible: Literal["auto", "bernoulli", "gaussian"] = pydantic.Field(
        "auto", description="p(x | h); auto: bernoulli for black and white pictures, gaussian for others and for rows"
    )
    variance: Literal["learned", "one"] = pydantic.Field(
        "learned", description="gaussian: of x_d given h, in model range (rows are standardised)"
    )
    learning: Literal["persistent", "contrastive"] = pydantic.Field(
        "persistent", description="where the chains of the model start: where they ended, or at the data"
    )
    sweeps: int = pydantic.Field(1, ge=1, le=1000, description="Gibbs sweeps of a chain for each update")
    chains: int = pydantic.Field(256, ge=1, le=100_000, description="persistent: how many")
    drop_label: float = pydantic.Field(0.1, ge=0, lt=1, description="how often a label is left out in training")

    def build(self, spec: Spec) -> RBM:
        spec = self.adapt(spec)
        binary = isinstance(spec.x, Image) and spec.x.binary
        visible = ("bernoulli" if binary else "gaussian") if self.visible == "auto" else self.visible
        if visible == "bernoulli" and not binary:
            raise UsageError(
                f"visible=bernoulli models black and white pictures, and {spec.name} has other values: take gaussian, "
                "or make the pictures black and white: data.binarise=dynamic."
            )
        return RBM(self.model_copy(update={"visible": visible, "hidden": self.hidden or HIDDEN[self.size]}), spec)


class Choices(Config):
    """How samples are drawn: by Gibbs sweeps from independent units to the model."""

    steps: int = pydantic.Field(200, ge=1, le=100_000, description="Gibbs sweeps")
    annealed: float = pydantic.Field(
        0.5, ge=0, le=1, description="share of the sweeps over which what was learned comes in"
    )
    show: Literal["auto", "mean", "draw"] = pydantic.Field(
        "auto", description="x given the last hidden units: its mean, or a draw; auto: the mean of pictures"
    )


class Chance(Protocol):
    """Where random numbers `(B, *shape)` come from: `Noise`, or `Fresh` ones."""

    def uniform(self, shape: Sequence[int]) -> Tensor: ...

    def normal(self, shape: Sequence[int]) -> Tensor: ...


class Fresh:
    """Random numbers for `count` chains, from torch's generator or one of its own."""

    def __init__(self, count: int, device: torch.device, seed: int | None = None):
        self.count, self.device = count, device
        self.generator = None if seed is None else torch.Generator(device).manual_seed(seed)

    def uniform(self, shape: Sequence[int]) -> Tensor:
        return torch.rand(self.count, *shape, device=self.device, generator=self.generator)

    def normal(self, shape: Sequence[int]) -> Tensor:
        return torch.randn(self.count, *shape, device=self.device, generator=self.generator)


class RBM(Model, Learns, EstimatesLogProb, HasSampling):
    """E(v, h) = A(v) - (v - m).(a + W h) / s^2 - b.h, with v = x and A(v) = ||v - m||^2 / 2 s^2; or, of black and white
    pictures, v = (x + 1) / 2 in {0, 1}, A(v) = -(v - m).logit(m) and s = 1. m is the data's mean; each label has
    biases a and b of its own, and so has none.

    Free energy: F(v) = A(v) - (v - m).a / s^2 - sum_j log(1 + exp(b_j + W_j.(v - m) / s^2)). The gradient of -log p is
    E_data[dF] - E_model[dF], the latter from Gibbs chains. `beta` in [0, 1] multiplies a, b and W: from independent
    units to the model. Smolensky, "Information processing in dynamical systems" (1986); Hinton, "Training products of
    experts by minimizing contrastive divergence" (2002); Tieleman, "Training restricted Boltzmann machines using
    approximations to the likelihood gradient" (2008); centred: Montavon & Mueller, "Deep Boltzmann machines and the
    centering trick" (2012).
    """

    Sampling: ClassVar[type[Choices]] = Choices
    training_only = ("chain",)
    config: RBMConfig
    mean: Tensor
    chain: Tensor

    def __init__(self, config: RBMConfig, spec: Spec):
        super().__init__(config, spec)
        assert config.hidden
        dimensions, self.groups = spec.x.dimensions, spec.label.count + 1 if spec.label else 1
        self.binary = config.visible == "bernoulli"
        self.measure = "mass" if self.binary else "density"
        self.weight = nn.Parameter(0.01 * torch.randn(config.hidden, dimensions))
        self.visible_bias = nn.Parameter(torch.zeros(self.groups, dimensions))
        self.hidden_bias = nn.Parameter(torch.zeros(self.groups, config.hidden))
        learned = not self.binary and config.variance == "learned"
        self.log_variance = nn.Parameter(torch.zeros(dimensions)) if learned else None
        self.register_buffer("mean", torch.full((dimensions,), 0.5 if self.binary else 0.0))
        if config.learning == "persistent":
            self.register_buffer("chain", torch.zeros(config.chains, dimensions))

    # -- energy ---------------------------------------------------------------------------------------------------

    def visible(self, x: Tensor) -> Tensor:
        """v `(B, D)` of x in model range."""
        v = x.flatten(1).float()
        return (v + 1) / 2 if self.binary else v

    @property
    def variance(self) -> Tensor:
        if self.log_variance is None:
            return torch.ones_like(self.mean)
        return self.log_variance.exp() + LEAST_VARIANCE

    def heard(self, v: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """(v - m).a / s^2 `(B,)`, and what the hidden units hear, b + W (v - m) / s^2 `(B, H)`."""
        scaled = (v - self.mean) / self.variance
        with torch.autocast(v.device.type, enabled=False):
            return (scaled * self.visible_bias[y]).sum(1), self.hidden_bias[y] + F.linear(scaled, self.weight)

    def free_energy(self, v: Tensor, y: Tensor) -> Tensor:
        """F(v) `(B,)` in group y."""
        offset, (bias, field) = v - self.mean, self.heard(v, y)
        own = -(offset * self.mean.logit()) if self.binary else 0.5 * offset.square() / self.variance
        return own.sum(1) - bias - F.softplus(field).sum(1)

    def energy(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return self.free_energy(self.visible(x), self.spec.labels(c, len(x), x.device))

    # -- chains ---------------------------------------------------------------------------------------------------

    def given_hidden(self, h: Tensor, y: Tensor, beta: float, chance: Chance) -> tuple[Tensor, Tensor]:
        """v ~ p(v | h) and E[v | h], `(B, D)`."""
        with torch.autocast(h.device.type, enabled=False):
            shift = beta * (self.visible_bias[y] + h @ self.weight)
        if self.binary:
            mean = (self.mean.logit() + shift).sigmoid()
            return (chance.uniform(mean.shape[1:]) < mean).float(), mean
        mean = self.mean + shift
        return mean + self.variance.sqrt() * chance.normal(mean.shape[1:]), mean

    def sweep(self, v: Tensor, y: Tensor, beta: float, chance: Chance) -> tuple[Tensor, Tensor]:
        """h ~ p(h | v), then v ~ p(v | h); and E[v | h]."""
        chances = (beta * self.heard(v, y)[1]).sigmoid()
        return self.given_hidden((chance.uniform(chances.shape[1:]) < chances).float(), y, beta, chance)

    def start(self, y: Tensor, chance: Chance) -> Tensor:
        """v of independent units: beta = 0."""
        return self.given_hidden(self.hidden_bias[y], y, 0.0, chance)[0]

    # -- learning -------------------------------------------------------------------------------------------------

    def players(self) -> Sequence[Player]:
        return [Player("rbm", [self], self.loss)]

    def loss(self, batch: Batch, turn: Turn) -> Loss:
        v = self.visible(batch.x)
        if turn.count < COUNTED:
            self._centre(turn.mean(v.mean(0)), turn.seen)
        c = self.spec.nulled(batch.c, torch.rand(len(v), device=v.device) < self.config.drop_label)
        y = self.spec.labels(c, len(v), v.device)
        data, model = self.free_energy(v, y).mean(), self.free_energy(*self._fantasies(v, y, turn.seen)).mean()
        parts = {"energy": data.detach(), "gap": (data - model).detach()}
        if self.log_variance is not None:
            parts["sigma"] = self.variance.detach().mean().sqrt()
        return Loss((data - model) / self.spec.x.dimensions, parts)

    @torch.no_grad()
    def _centre(self, mean: Tensor, count: int) -> None:
        """The running mean of the first batches; of black and white pixels, kept from 0 and 1."""
        self.mean.lerp_(mean, 1 / (count + 1))
        if self.binary:
            self.mean.clamp_(0.01, 0.99)

    @torch.no_grad()
    def _fantasies(self, v: Tensor, y: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Where the chains are after some sweeps, and their groups. All processes move persistent ones alike."""
        if self.config.learning == "contrastive":
            return self._moved(v, y, Fresh(len(v), v.device)), y
        y, chance = self.chain_group(), Fresh(len(self.chain), v.device, seed=count)
        self.chain.copy_(self._moved(self.chain if count else self.start(y, chance), y, chance))
        return self.chain.clone(), y

    def chain_group(self) -> Tensor:
        """The groups of the persistent chains, in the data's proportions."""
        frequencies = self.spec.label.frequencies if self.spec.label else ()
        share = torch.tensor([*((1 - self.config.drop_label) * f / sum(frequencies) for f in frequencies)])
        place = (torch.arange(len(self.chain)) + 0.5) / len(self.chain)
        return torch.bucketize(place, share.cumsum(0)).to(self.chain.device)

    def _moved(self, v: Tensor, y: Tensor, chance: Chance) -> Tensor:
        for _ in range(self.config.sweeps):
            v, _ = self.sweep(v, y, 1.0, chance)
        return v

    # -- what it is for -------------------------------------------------------------------------------------------

    def with_sampling(self, sampling: Choices) -> Gibbs:
        return Gibbs(self, sampling)

    def sample(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return self.with_sampling(Choices()).sample(c, noise)

    def log_prob_estimator(self) -> Callable[[Tensor, Mapping[str, Tensor]], Tensor]:
        log_z = self.log_partition()
        return lambda x, c: -self.energy(x, c) - log_z[self.spec.labels(c, len(x), x.device)]

    @torch.no_grad()
    def log_partition(self, draws: int = 50, steps: int = 1000) -> Tensor:
        """log Z of every group `(G,)` nats, by annealed importance sampling with `draws` chains and `steps` betas.

        Z = Z_0 E prod_k exp(F_{k-1}(v_{k-1}) - F_k(v_{k-1})), F_k at beta_k and v_k a sweep at beta_k after v_{k-1}.
        Neal, "Annealed importance sampling" (2001); Salakhutdinov & Murray, "On the quantitative analysis of deep
        belief networks" (2008).
        """
        y = torch.arange(self.groups, device=self.mean.device).repeat_interleave(draws)
        chance = Fresh(len(y), y.device)
        v, log_weight = self.start(y, chance), torch.zeros(len(y), dtype=torch.float64)
        for before, beta in pairwise(torch.linspace(0, 1, steps + 1).tolist()):
            bias, field = self.heard(v, y)
            hidden = (F.softplus(beta * field) - F.softplus(before * field)).sum(1)
            log_weight += ((beta - before) * bias + hidden).double().cpu()
            v, _ = self.sweep(v, y, beta, chance)
        return self._log_independent() + log_weight.view(-1, draws).logsumexp(1).to(v) - math.log(draws)

    def _log_independent(self) -> Tensor:
        """log Z where beta = 0."""
        if self.binary:
            visible = F.softplus(self.mean.logit()) - self.mean * self.mean.logit()
        else:
            visible = 0.5 * (2 * math.pi * self.variance).log()
        return visible.sum() + self.hidden_bias.shape[1] * math.log(2)


@final
class Gibbs(CanSample):
    """Samples by Gibbs sweeps, given their labels."""

    def __init__(self, model: RBM, sampling: Choices):
        self.model, self.sampling = model, sampling

    @property
    def evaluations(self) -> int:
        return self.sampling.steps

    @torch.no_grad()
    def sample(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        model, sampling, x = self.model, self.sampling, self.model.spec.x
        y, noise = model.spec.labels(c, len(noise), noise.device), noise.stream("steps")
        v = mean = model.start(y, noise)
        for step in range(1, sampling.steps + 1):
            beta = min(1.0, step / max(1.0, sampling.annealed * sampling.steps))
            v, mean = model.sweep(v, y, beta, noise)
        show = ("mean" if isinstance(x, Image) else "draw") if sampling.show == "auto" else sampling.show
        v = mean if show == "mean" else v
        return (2 * v - 1 if model.binary else v).view(-1, *x.shape)
