"""An energy that is a network: its density is known up to a constant, and Langevin walkers draw from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, Literal, final

import pydantic
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from figment.core.config import Config
from figment.core.data import Batch, Image, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import CanSample, HasEnergy, HasSampling, Learns, Loss, Model, ModelConfig, Player, Turn
from figment.core.noise import Noise
from figment.models.energy.denoising import NoisyEnergy
from figment.nn.backbone import width_and_blocks
from figment.nn.discriminator import VectorDiscriminator
from figment.nn.energy import Agreement

WIDTHS = {"tiny": 64, "small": 128, "base": 256, "large": 512}
PICTURE_STEPS, ROW_STEPS = 100, 500  # Langevin steps of a sample
LEAP = 4.0  # steps of walkers that start anew are longer by this at first, so that they arrive


class EBMConfig(ModelConfig):
    """p(x | y) = exp(-E(x, y)) / Z(y): of rows, N(x; 0, reach^2 I) exp(f(x, y) / T) / Z(y)."""

    accepts = (Image, Vector)
    conditions = ("label",)
    kind: Literal["ebm"] = "ebm"
    learning: Literal["auto", "denoising", "noise", "walkers"] = pydantic.Field(
        "auto",
        description="pictures: denoising. Rows: contrast with noise (auto), which knows the constant too, or walkers",
    )
    width: int | None = pydantic.Field(None, ge=4, le=4096, description="features of the network (None: by size)")
    blocks: int | None = pydantic.Field(None, ge=1, le=64, description="pictures: blocks a level (None: by size)")
    least: float = pydantic.Field(0.05, gt=0, le=1, description="denoising: smallest deviation of the noise")
    most: float = pydantic.Field(5.0, gt=1, le=1000, description="denoising: largest deviation of the noise")
    temperature: float = pydantic.Field(1.0, gt=0, le=100, description="T: how large a difference of f is of note")
    reach: float = pydantic.Field(
        2.0, gt=0, le=100, description="deviation of the normal distribution walkers start in"
    )
    step: float = pydantic.Field(0.1, gt=0, le=10, description="deviation of one Langevin step")
    steps: int = pydantic.Field(10, ge=1, le=10_000, description="Langevin steps of walkers for each update")
    walkers: int = pydantic.Field(
        4096, ge=1, le=1_000_000, description="walkers kept, a batch of which moves at a time"
    )
    restart: float = pydantic.Field(0.02, ge=0, le=1, description="share of moving walkers that start anew")
    regularise: float = pydantic.Field(
        1.0, ge=0, le=100, description="walkers: weight of E f^2, against energies that drift"
    )
    smooth: float = pydantic.Field(0.0, ge=0, le=1, description="deviation of noise added to the data")
    drop_label: float = pydantic.Field(0.1, ge=0, lt=1, description="how often a label is left out in training")

    def build(self, spec: Spec) -> EBM:
        spec = self.adapt(spec)
        pictures = isinstance(spec.x, Image)
        learning = ("denoising" if pictures else "noise") if self.learning == "auto" else self.learning
        if pictures != (learning == "denoising"):
            raise UsageError(
                f"model.learning={learning} does not learn {spec.x.kind} data ({spec.name}): leave it out; pictures "
                "are learned by denoising, rows by contrast with noise."
            )
        width, blocks = width_and_blocks(spec.x.shape, self.size) if pictures else (WIDTHS[self.size], None)
        update = {"learning": learning, "width": self.width or width, "blocks": self.blocks or blocks}
        return EBM(self.model_copy(update=update), spec)


class Choices(Config):
    """How walkers move: Langevin steps from a normal distribution to the model."""

    steps: int | None = pydantic.Field(
        None, ge=1, le=100_000, description="Langevin steps (None: 100 of pictures, 500 of rows)"
    )
    step: float | None = pydantic.Field(
        None,
        gt=0,
        le=10,
        description="deviation of a step where the energy is whole (None: as in training); pictures: relative to noise",
    )
    annealed: float = pydantic.Field(
        0.9, ge=0, le=1, description="share of the steps over which the energy comes in, or noise falls to its least"
    )
    noise: float = pydantic.Field(1.0, ge=0, le=10, description="of a step, relative to Langevin's; 0 goes downhill")


class EBM(Model, Learns, HasEnergy, HasSampling):
    """E(x), and x <- x - e^2/2 dE/dx + e N(0, I): Langevin's steps. Of rows, E(x) = ||x||^2 / 2 r^2 - f(x) / T.

    learning=denoising: see `NoisyEnergy`; E is that of pictures with the least noise, and walkers come down to it.
    learning=noise: the logistic loss of telling data from N(0, r^2 I) by f / T, least where p is the data's density
    and Z = 1. Gutmann & Hyvarinen, "Noise-contrastive estimation" (2010).
    learning=walkers: E_data[-f] + E_walkers[f] + weight E[f^2], the gradient of -T log p where walkers have reached p;
    they go on where they ended, but for a few that start anew. Du & Mordatch, "Implicit generation and modeling with
    energy based models" (2019); the normal factor: Xie et al., "A theory of generative ConvNet" (2016); Welling & Teh,
    "Bayesian learning via stochastic gradient Langevin dynamics" (2011).
    """

    Sampling: ClassVar[type[Choices]] = Choices
    training_only = ("walker",)
    config: EBMConfig
    walker: Tensor

    def __init__(self, config: EBMConfig, spec: Spec):
        super().__init__(config, spec)
        assert config.width
        groups = spec.label.count + 1 if spec.label else 0
        if isinstance(spec.x, Image):
            assert config.blocks
            inner = Agreement(spec.x.shape, config.width, config.blocks, groups)
            self.network: nn.Module = NoisyEnergy(inner, config.least, config.most)
        else:
            self.network = VectorDiscriminator(spec.x.dimensions, config.width, groups)
            self.register_buffer("walker", config.reach * torch.randn(config.walkers, *spec.x.shape))

    def energy(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        label = self.spec.labels(c, len(x), x.device)
        if isinstance(self.network, NoisyEnergy):
            return self.network.energy(x, torch.zeros(len(x), device=x.device), label)
        base = x.float().square().sum(1) / (2 * self.config.reach**2)
        return base - self.network(x, label) / self.config.temperature

    def slope(self, x: Tensor, label: Tensor | None, beta: float) -> Tensor:
        """The gradient of ||x||^2 / 2 r^2 - beta f / T."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.network(x, label).sum(), x)
        return x.detach() / self.config.reach**2 - beta / self.config.temperature * slope.float()

    # -- learning -------------------------------------------------------------------------------------------------

    def players(self) -> Sequence[Player]:
        return [Player("ebm", [self.network], self.loss, rate=2.0 if isinstance(self.network, NoisyEnergy) else 1.0)]

    def loss(self, batch: Batch, turn: Turn) -> Loss:
        c = self.spec.nulled(batch.c, torch.rand(len(batch), device=batch.x.device) < self.config.drop_label)
        label = self.spec.labels(c, len(batch), batch.x.device)
        if isinstance(self.network, NoisyEnergy):
            return Loss(self.network.loss(batch.x, label))
        x = batch.x + self.config.smooth * torch.randn_like(batch.x)
        real = self.network(x, label)
        if self.config.learning == "noise":
            noise = self.network(self.config.reach * torch.randn_like(x), label)
            wrong = F.softplus(-real / self.config.temperature) + F.softplus(noise / self.config.temperature)
            return Loss(wrong.mean(), {"told": (real > 0).float().mean()})
        walked = self.network(*self._walk(len(batch), turn.seen))
        size = (real.square().mean() + walked.square().mean()) / 2
        gap = walked.mean() - real.mean()
        return Loss(gap + self.config.regularise * size, {"gap": gap.detach(), "size": size.detach().sqrt()})

    @torch.no_grad()
    def _walk(self, count: int, turn: int) -> tuple[Tensor, Tensor | None]:
        """Some walkers after some steps, and their labels; all processes move the same ones alike."""
        config, device = self.config, self.walker.device
        generator = torch.Generator(device).manual_seed(turn)
        chosen = torch.randint(len(self.walker), (count,), device=device, generator=generator)
        x, label = self.walker[chosen], self._walker_labels(chosen)
        anew = torch.rand(count, device=device, generator=generator) < config.restart
        start = config.reach * torch.randn(x.shape, device=device, generator=generator)
        far = anew.float()[:, None]
        x = x + far * (start - x)
        for left in range(config.steps, 0, -1):
            size = config.step * (1 + LEAP * far * left / config.steps)
            noise = torch.randn(x.shape, device=device, generator=generator)
            x = x - size**2 / 2 * self.slope(x, label, 1.0) + size * noise
        self.walker[chosen] = x
        return x, label

    def _walker_labels(self, chosen: Tensor) -> Tensor | None:
        """Walkers have labels in the data's proportions, and some have none."""
        if self.spec.label is None:
            return None
        share = torch.tensor(self.spec.label.frequencies, device=chosen.device).cumsum(0)
        place = (chosen + 0.5) / len(self.walker)
        return torch.bucketize(place, (1 - self.config.drop_label) * share / share[-1])

    # -- sampling -------------------------------------------------------------------------------------------------

    def with_sampling(self, sampling: Choices) -> CanSample:
        return Annealed(self, sampling) if isinstance(self.network, NoisyEnergy) else Langevin(self, sampling)

    def sample(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return self.with_sampling(Choices()).sample(c, noise)


@final
class Langevin(CanSample):
    """Samples by Langevin steps, long ones while the energy comes in, as its square root allows."""

    def __init__(self, model: EBM, sampling: Choices):
        self.model, self.sampling = model, sampling

    @property
    def evaluations(self) -> int:
        return self.sampling.steps or ROW_STEPS

    @torch.no_grad()
    def sample(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        model, sampling, shape = self.model, self.sampling, self.model.spec.x.shape
        label, fresh = model.spec.labels(c, len(noise), noise.device), noise.stream("steps")
        x, whole = model.config.reach * noise.stream("prior").normal(shape), sampling.step or model.config.step
        for step in range(1, self.evaluations + 1):
            beta = min(1.0, step / max(1.0, sampling.annealed * self.evaluations))
            size = whole * beta**-0.5
            x = x - size**2 / 2 * model.slope(x, label, beta) + sampling.noise * size * fresh.normal(shape)
        return x


@final
class Annealed(CanSample):
    """Samples of pictures by Langevin steps x <- x - (e s)^2 / 2 dE_s/dx + e s N(0, I), whose noise is less by what s
    falls to the next s': its variance is e^2 s^2 - s^2 + s'^2. At the end E[data | x].

    Song & Ermon, "Generative modeling by estimating gradients of the data distribution" (2019).
    """

    def __init__(self, model: EBM, sampling: Choices):
        self.model, self.sampling = model, sampling

    @property
    def evaluations(self) -> int:
        return (self.sampling.steps or PICTURE_STEPS) + 1

    @torch.no_grad()
    def sample(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        network, sampling, shape = self.model.network, self.sampling, self.model.spec.x.shape
        assert isinstance(network, NoisyEnergy)
        label, fresh = self.model.spec.labels(c, len(noise), noise.device), noise.stream("steps")
        steps, step = self.evaluations - 1, sampling.step or 1.0
        levels = [max(0.0, 1 - k / max(1.0, sampling.annealed * steps)) for k in range(steps + 1)]
        x = network.most * noise.stream("prior").normal(shape)
        for now, then in pairwise(levels):
            here, there = network.level(now) ** 2, network.level(then) ** 2
            x = x + step**2 / 2 * (network.cleaned(x, x.new_full((len(x),), now), label) - x)
            fresh_variance = (step**2 * here - here + there).clamp(min=0)
            x = x + sampling.noise * float(fresh_variance.sqrt()) * fresh.normal(shape)
        return network.cleaned(x, x.new_full((len(x),), levels[-1]), label)
