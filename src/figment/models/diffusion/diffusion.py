"""Diffusion and flow matching: one network that guesses what a noisy example was."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, final

import pydantic
import torch
from torch import Tensor

from figment.core.config import Config, Place
from figment.core.data import Batch, Image, Latent, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import (
    MISSING,
    CanComplete,
    CanDenoise,
    CanVary,
    Denoised,
    HasBound,
    HasFlowLikelihood,
    HasSampling,
    Learns,
    Loss,
    Model,
    ModelConfig,
    Player,
    Projection,
    Turn,
)
from figment.core.noise import Noise
from figment.core.text import EMPTY
from figment.models.diffusion.bound import QUIET, ends, variational_bound
from figment.models.diffusion.decoder import decoded
from figment.models.diffusion.mixture import CHANNELS, Mixture
from figment.models.diffusion.network import RowDenoiser
from figment.models.diffusion.ode import flow_log_likelihood
from figment.models.diffusion.prediction import Prediction, PredictionName
from figment.models.diffusion.proposal import Proposal
from figment.models.diffusion.sampling import Drawn, Solved, sampler
from figment.models.diffusion.sampling import Sampling as Choices
from figment.models.diffusion.schedule import ScheduleName, path, warning
from figment.models.diffusion.text import reader
from figment.models.diffusion.transition import Transition
from figment.nn.dit import DiT
from figment.nn.embeddings import LabelEmbedding
from figment.nn.text import summary
from figment.nn.unet import UNet

PICTURES: dict[str, dict[str, Any]] = {  # what a size stands for
    "tiny": {"width": 32, "multipliers": (1, 2), "blocks": 1, "patch": 2},
    "small": {"width": 64, "multipliers": (1, 2), "blocks": 1, "patch": 2},
    "base": {"width": 96, "multipliers": (1, 2, 2), "blocks": 2, "patch": 1},
    "large": {"width": 128, "multipliers": (1, 2, 2, 2), "blocks": 3, "patch": 1},
}
ROWS: dict[str, dict[str, Any]] = {
    "tiny": {"width": 64, "blocks": 3},
    "small": {"width": 128, "blocks": 4},
    "base": {"width": 256, "blocks": 4},
    "large": {"width": 512, "blocks": 6},
}
PATCHES: dict[str, dict[str, Any]] = {  # of network=dit
    "tiny": {"width": 64, "blocks": 2, "patch": 2},
    "small": {"width": 192, "blocks": 6, "patch": 2},
    "base": {"width": 384, "blocks": 12, "patch": 2},
    "large": {"width": 768, "blocks": 12, "patch": 2},
}
TEXTS = {"tiny": (64, 1), "small": (128, 2), "base": (256, 4), "large": (512, 6)}  # width and layers of what reads them
FLOOR = 5e-3  # signal left at t = 1 where the noise is what the network predicts
HYBRID = 1e-3  # weight of L_vlb, in nats a dimension, beside L_simple


Multiplier = Annotated[int, pydantic.Field(ge=1, le=16)]


class DiffusionConfig(ModelConfig):
    """A denoiser: path from data to noise, what the network predicts, and how its errors are weighed."""

    kind: Literal["diffusion"] = "diffusion"
    accepts: ClassVar[tuple[type[Config], ...]] = (Image, Vector, Latent)
    conditions = ("label", "text")

    condition: Literal["auto", "label", "text"] = pydantic.Field(
        "auto", description="what it is told of x: labels or captions (auto: labels where the data has some)"
    )
    network: Literal["unet", "dit"] = pydantic.Field("unet", description="of pictures; dit: a transformer of patches")
    encoder: Place | None = pydantic.Field(
        None, description="captions are read by this folder's Hugging Face encoder (None: one trained along)"
    )
    schedule: ScheduleName = pydantic.Field("straight", description="how signal gives way to noise")
    steps: int = pydantic.Field(1000, ge=2, le=100_000, description="noising steps of the schedule; straight has none")
    rescale: bool = pydantic.Field(True, description="betas times 1000 / steps: without it few steps leave signal over")
    shift: float = pydantic.Field(1.0, gt=0, le=20, description="above 1: so many times the noise, for large pictures")
    zero_snr: bool = pydantic.Field(False, description="schedules with steps: stretched until no signal is left")
    prediction: PredictionName | Literal["mixture"] = pydantic.Field(
        "flow", description="what the network predicts; mixture: what each value may be, black, white or grey levels"
    )
    variance: Literal["fixed", "learned"] = pydantic.Field(
        "fixed", description="of reverse steps: learned by L_simple + .001 L_vlb, between beta and beta-tilde"
    )
    weighting: Literal["plain", "min-snr", "snr", "elbo"] = pydantic.Field(
        "plain",
        description="weight of squared errors: 1 on the prediction, min(SNR, 5) on x, SNR on x (1 on noise), or elbo: "
        "the bound itself, in which all log-SNRs count alike",
    )
    times: Literal["logit-normal", "uniform", "steps", "importance"] = pydantic.Field(
        "logit-normal",
        description="which noise levels are trained: the middle more often, all alike, those of the chain's steps, or "
        "those of large losses more often with less weight",
    )
    quiet: float | None = pydantic.Field(
        None, ge=2, le=15, description="log-SNR at which the bound begins (None: 7 of pictures, 9.2 of rows)"
    )
    centre: float = pydantic.Field(0.0, ge=-5, le=5, description="times=logit-normal: above 0 prefers noise")
    spread: float = pydantic.Field(1.0, gt=0, le=5, description="times=logit-normal: how wide around the centre")
    dropout: float = pydantic.Field(0.1, ge=0, lt=1, description="share of conditions hidden in training, for guidance")
    hidden: float = pydantic.Field(
        0.0, ge=0, lt=1, description="share of each caption's words hidden in training: a word comes to mean the "
        "same in any company"
    )  # fmt: skip
    width: int | None = pydantic.Field(None, ge=8, le=1024, description="channels (None: by size)")
    multipliers: tuple[Multiplier, ...] | None = pydantic.Field(
        None, min_length=1, max_length=6, description="width of each level of a picture, relative (None: by size)"
    )
    blocks: int | None = pydantic.Field(None, ge=1, le=16, description="blocks a level (None: by size)")
    patch: int | None = pydantic.Field(None, ge=1, le=16, description="pixels folded into channels (None: by size)")

    @pydantic.model_validator(mode="after")
    def _agree(self) -> DiffusionConfig:
        if self.weighting == "elbo" and self.times not in ("uniform", "importance"):
            raise ValueError(
                f"weighting=elbo counts all noise levels alike: model.times=uniform or importance, not {self.times}."
            )
        if self.prediction == "mixture" and self.variance == "learned":
            raise ValueError("prediction=mixture knows its variance: leave model.variance=fixed.")
        if self.prediction == "mixture" and self.weighting == "plain":
            raise ValueError("prediction=mixture weighs the errors of x: model.weighting=elbo, snr or min-snr.")
        return self

    def adapt(self, spec: Spec) -> Spec:
        spec = super().adapt(spec)
        rows = isinstance(spec.x, Vector)
        if self.condition == "text" and self.conditional and (rows or spec.text is None):
            raise UsageError(f"model.condition=text: {spec.name} has no {MISSING['text']}.")
        unheard = "label" if self.condition == "text" or (self.condition == "auto" and not spec.label) else "text"
        return spec.told_only(spec.c.keys() - ({unheard, "text"} if rows else {unheard}))

    def build(self, spec: Spec) -> Diffusion:
        return self.built(self.adapt(spec))

    def built(self, spec: Spec) -> Diffusion:
        """The model of data whose conditions are all told; a picture among them, as large as x, is seen beside it."""
        if self.prediction == "mixture" and not isinstance(spec.x, Image):
            raise UsageError("model.prediction=mixture is of pictures' grey levels; rows of numbers have none.")
        by_size = ROWS if isinstance(spec.x, Vector) else PICTURES if self.network == "unet" else PATCHES
        sizes = by_size[self.size]
        model = Diffusion(self.model_copy(update={k: getattr(self, k) or v for k, v in sizes.items()}), spec)
        if remark := warning(model.schedule):
            warnings.warn(remark, stacklevel=2)
        return model


@final
class Diffusion(Model, Learns, CanDenoise, CanComplete, CanVary, HasBound, HasFlowLikelihood, HasSampling):
    """min E w(t) |target(x, noise) - network(alpha x + sigma noise, t, c)|^2.

    The bound is on the mass of 8-bit pictures, and on the density of rows. Sohl-Dickstein et al., "Deep unsupervised
    learning using nonequilibrium thermodynamics" (2015); Ho et al. (2020); Lipman et al. (2023).
    """

    Sampling: ClassVar[type[Choices]] = Choices
    completion = {"sampler": "ddpm", "steps": 32}
    invertible = {"sampler": "heun", "steps": 50}
    training_only = ("proposal",)
    config: DiffusionConfig

    def __init__(self, config: DiffusionConfig, spec: Spec):
        super().__init__(config, spec)
        self.measure = "mass" if isinstance(spec.x, Image) else "density"
        floor = FLOOR if config.prediction == "eps" else 0.0
        self.schedule = path(config.schedule, config.steps, config.rescale, floor, config.shift, config.zero_snr)
        self.prediction = Prediction("x0" if config.prediction == "mixture" else config.prediction)
        self.network, embedding = _network(config, spec)
        self.label_embed = LabelEmbedding(spec.label.count + 1, embedding) if spec.label else None
        self.text = reader(spec.text, config.encoder, *TEXTS[config.size]) if spec.text else None
        self.proposal = Proposal() if config.times == "importance" else None

    def players(self) -> Sequence[Player]:
        return [Player("denoiser", [self], self.loss)]

    def loss(self, batch: Batch, turn: Turn) -> Loss:
        x = batch.x
        u, density = self._draws(len(x), x.device)
        t = self._times(u)
        at = self.transition(t, x)
        noise = torch.randn_like(x)
        c = self.spec.nulled(batch.c, torch.rand(len(x), device=x.device) < self.config.dropout)
        if self.config.hidden and "text" in c:
            c["text"] = c["text"].masked_fill(torch.rand(c["text"].shape, device=x.device) < self.config.hidden, EMPTY)
        x_t = at.alpha.to(x) * x + at.sigma.to(x) * noise
        guess, found = self.read(self.predict(x_t, t, c), x_t, t, at)
        error = (guess - self.prediction.target(x, noise, at)) ** 2
        each = (self._weight(at).to(x) * error).flatten(1).mean(1)
        parts = {"signal_left": self.schedule.alpha(t.new_ones(())) ** 2} if turn.count == 0 else {}
        if self.config.variance == "learned":
            terms = self.vlb(x, found, t, at) * self.config.steps
            parts["vlb"] = (terms / density).mean().detach()
            each = each + HYBRID * terms
        if self.proposal is not None:
            self.proposal.learn(u, each.detach(), turn.mean)
        return Loss((each / density).mean(), parts)

    def _draws(self, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """One number in (0, 1) an example, stratified over the batch, and the density it is drawn from."""
        u = (torch.rand(count, device=device) + torch.randperm(count, device=device)) / count
        u = u.clamp(1e-5, 1 - 1e-5)
        return (u, torch.ones_like(u)) if self.proposal is None else self.proposal.draw(u)

    def _times(self, u: Tensor) -> Tensor:
        """The times that evenly drawn numbers stand for."""
        if self.config.weighting == "elbo":
            quiet, loud = self.ends
            return self.schedule.time(quiet + (loud - quiet) * u.cpu().double()).to(u)
        if self.config.times == "steps":
            return (u * self.config.steps).ceil() / self.config.steps
        if self.config.times == "logit-normal":
            return (self.config.centre + self.config.spread * torch.special.ndtri(u)).sigmoid()
        return u

    @property
    def ends(self) -> tuple[float, float]:
        """The log-SNRs that the bound lies between."""
        return ends(self.schedule, self.config.quiet or QUIET[self.spec.x.kind])

    def _weight(self, at: Transition) -> Tensor:
        """Per example, relative to the error of the prediction.

        min-snr: Hang et al., "Efficient diffusion training via min-SNR weighting strategy" (2023). elbo: Kingma et al.,
        "Variational diffusion models" (2021), eq. 17.
        """
        if self.config.weighting == "plain":
            return torch.ones_like(at.alpha)
        on_x = (at.alpha / at.sigma) ** 2
        if self.config.weighting == "min-snr":
            on_x = on_x.clamp(max=5)
        if self.config.weighting == "elbo":
            quiet, loud = self.ends
            on_x = on_x * (quiet - loud) / 2
        return on_x / self.prediction.precision(at)

    def vlb(self, x: Tensor, found: Denoised, t: Tensor, at: Transition) -> Tensor:
        """A step's term of the chain's bound, L_{i-1} or, of the first step, L_0: `(B,)` nats a dimension.

        No gradient goes through the mean: this teaches the variance alone (Nichol & Dhariwal 2021, eq. 16).
        """
        mean = found.mean.detach()
        mean = mean.clamp(-1, 1) if isinstance(self.spec.x, Image) else mean
        assert found.variance is not None
        nats = at.divergence(x, mean, at.variance("learned", found.variance))
        first = t <= 1.5 / self.config.steps
        if first.any():
            known = Denoised(mean[first], found.variance[first])
            spread = (at.sigma / at.alpha).to(x)[first]
            nats = nats.masked_scatter(first, -decoded(self.spec.x, x[first], known, spread).to(nats))
        return nats.to(x) / self.spec.x.dimensions

    def transition(self, t: Tensor, x: Tensor) -> Transition:
        """The rates at t and at the step of the chain before it, to multiply x with."""
        if self.prediction.name == "mu" or self.config.variance == "learned":
            t = t.cpu().double()  # a step's beta is a small difference
        times = (t, (t - 1 / self.config.steps).clamp(min=0))
        rates = (rate(time) for time in times for rate in (self.schedule.alpha, self.schedule.sigma))
        return Transition(*(rate.view(-1, *[1] * (x.ndim - 1)) for rate in rates))

    def prepared(self, c: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self.text is None or "text" not in c or c["text"].is_floating_point():
            return dict(c)
        return {**c, "text": self.text(c["text"].to(self.device))}

    def _told(self, c: Mapping[str, Tensor], like: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """What the network hears of the conditions: an embedding `(B, E)`, and the words `(B, L, W)` of texts."""
        if self.label_embed is not None:
            return self.label_embed(self.spec.labels(c, like.shape[0], like.device)), None
        if self.text is None:
            return None, None
        words = self.prepared(c).get("text", like.new_zeros(like.shape[0], 1, self.text.width))
        return summary(words), words

    def predict(self, x_t: Tensor, t: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        """What the network says of x_t."""
        return self.network(self._seen(x_t, c), t, *self._told(c, x_t))

    def maps(self, x_t: Tensor, t: Tensor) -> list[Tensor]:
        """What the layers of the network see of pictures or codes x_t, told nothing: `(B, width, H', W')` each."""
        assert not isinstance(self.network, RowDenoiser)
        return self.network.maps(x_t, t, *self._told({}, x_t))

    def _seen(self, x_t: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([x_t, c["image"].to(x_t)], dim=1) if "image" in self.spec.c else x_t

    def read(self, raw: Tensor, x_t: Tensor, t: Tensor, at: Transition) -> tuple[Tensor, Denoised]:
        """What the network's output predicts, and what that says of x."""
        if self.config.prediction == "mixture":
            assert isinstance(self.spec.x, Image)
            prior = Mixture.read(raw, self.spec.x.channels)
            posterior = prior.given(x_t, at.alpha.to(x_t), at.sigma.to(x_t))
            return posterior.mean, Denoised(posterior.mean, posterior.variance, posterior)
        if self.config.variance == "fixed":
            return raw, Denoised(self.prediction.clean(raw, x_t, at))
        guess, share = raw.chunk(2, 1)
        earliest = self.transition(t.clamp(min=2 / self.config.steps), x_t)  # beta-tilde of the first step is 0
        variance = at.between_betas((share + 1) / 2, earliest.beta_tilde)
        return guess, Denoised(self.prediction.clean(guess, x_t, at), variance)

    def denoise(self, x_t: Tensor, t: Tensor, c: Mapping[str, Tensor]) -> Denoised:
        found = self.read(self.predict(x_t, t, c), x_t, t, self.transition(t, x_t))[1]
        if self.prediction.name == "mu" and isinstance(self.spec.x, Image):
            # what mu says of x is off by its own error many times over
            return replace(found, mean=found.mean.clamp(-1, 1))
        return found

    def bound(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        assert not isinstance(self.spec.x, Latent)
        return variational_bound(self, self.spec.x, x, c, terms=16, quiet=self.ends[0])

    def flow_log_likelihood(self, x: Tensor, c: Mapping[str, Tensor], steps: int) -> Tensor:
        assert not isinstance(self.spec.x, Latent)
        return flow_log_likelihood(self, self.spec.x, x, c, steps, self.config.quiet)

    def with_sampling(self, sampling: Choices) -> Drawn | Solved:
        return sampler(self, self.spec, sampling)

    def sample(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return self.with_sampling(Choices()).sample(c, noise)

    def complete(self, x: Tensor, known: Projection, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        ways = self.with_sampling(Choices(**self.completion))
        assert isinstance(ways, Drawn)
        return ways.complete(x, known, c, noise)

    def vary(self, x: Tensor, strength: float, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return self.with_sampling(Choices()).vary(x, strength, c, noise)

    @property
    def evaluations(self) -> int:
        return self.with_sampling(Choices()).evaluations


def _network(config: DiffusionConfig, spec: Spec) -> tuple[RowDenoiser | UNet | DiT, int]:
    """The network and the width of a label's embedding."""
    assert config.width and config.blocks
    outputs = CHANNELS if config.prediction == "mixture" else 2 if config.variance == "learned" else 1
    if isinstance(spec.x, Vector):
        d, embedding = spec.x.dimensions, config.width if spec.label else 0
        return RowDenoiser(d, outputs * d, config.width, config.blocks, embedding), config.width
    assert config.patch
    beside = spec.c.get("image")
    both = (spec.x.channels + (beside.channels if isinstance(beside, Image) else 0), outputs * spec.x.channels)
    words = TEXTS[config.size][0] if spec.text else 0
    told: dict[str, Any] = {
        "patch": config.patch,
        "embedding": words or (config.width if spec.label else 0),
        "words": words,
    }
    if config.network == "dit":
        return DiT(*both, config.width, config.blocks, **told), config.width
    assert config.multipliers
    return UNet(*both, config.width, config.multipliers, config.blocks, **told), config.width
