"""Diffusion and flow matching: one network that guesses what a noisy example was."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, final

import pydantic
import torch
from torch import Tensor, nn

from figment.core.config import Config
from figment.core.data import Batch, Image, Latent, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import (
    MISSING,
    CanComplete,
    CanDenoise,
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
from figment.models.diffusion.bound import variational_bound
from figment.models.diffusion.network import RowDenoiser
from figment.models.diffusion.ode import flow_log_likelihood
from figment.models.diffusion.prediction import Prediction, PredictionName
from figment.models.diffusion.sampling import Drawn, Solved, sampler
from figment.models.diffusion.sampling import Sampling as Choices
from figment.models.diffusion.schedule import ScheduleName, path, warning
from figment.models.diffusion.text import reader
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
    encoder: str | None = pydantic.Field(
        None, description="captions are read by this folder's Hugging Face encoder (None: one trained along)"
    )
    schedule: ScheduleName = pydantic.Field("straight", description="how signal gives way to noise")
    steps: int = pydantic.Field(1000, ge=2, le=100_000, description="noising steps of the schedule; straight has none")
    rescale: bool = pydantic.Field(True, description="betas times 1000 / steps: without it few steps leave signal over")
    prediction: PredictionName = pydantic.Field("flow", description="what the network predicts")
    weighting: Literal["plain", "min-snr", "snr"] = pydantic.Field(
        "plain", description="weight of squared errors: 1 on the prediction, min(SNR, 5) on x, or SNR on x (1 on noise)"
    )
    times: Literal["logit-normal", "uniform"] = pydantic.Field(
        "logit-normal", description="which noise levels are trained: the middle more often, or all alike"
    )
    centre: float = pydantic.Field(0.0, ge=-5, le=5, description="times=logit-normal: above 0 prefers noise")
    spread: float = pydantic.Field(1.0, gt=0, le=5, description="times=logit-normal: how wide around the centre")
    dropout: float = pydantic.Field(0.1, ge=0, lt=1, description="share of conditions hidden in training, for guidance")
    width: int | None = pydantic.Field(None, ge=8, le=1024, description="channels (None: by size)")
    multipliers: tuple[Multiplier, ...] | None = pydantic.Field(
        None, min_length=1, max_length=6, description="width of each level of a picture, relative (None: by size)"
    )
    blocks: int | None = pydantic.Field(None, ge=1, le=16, description="blocks a level (None: by size)")
    patch: int | None = pydantic.Field(None, ge=1, le=16, description="pixels folded into channels (None: by size)")

    def adapt(self, spec: Spec) -> Spec:
        spec = super().adapt(spec)
        rows, c = isinstance(spec.x, Vector), dict(spec.c)
        if self.condition == "text" and self.conditional and (rows or spec.text is None):
            raise UsageError(f"model.condition=text: {spec.name} has no {MISSING['text']}.")
        unheard = "label" if self.condition == "text" or (self.condition == "auto" and not spec.label) else "text"
        for key in (unheard, "text") if rows else (unheard,):
            c.pop(key, None)
        return spec.model_copy(update={"c": c})

    def build(self, spec: Spec) -> Diffusion:
        spec = self.adapt(spec)
        by_size = ROWS if isinstance(spec.x, Vector) else PICTURES if self.network == "unet" else PATCHES
        sizes = by_size[self.size]
        model = Diffusion(self.model_copy(update={k: getattr(self, k) or v for k, v in sizes.items()}), spec)
        if remark := warning(model.schedule):
            warnings.warn(remark, stacklevel=2)
        return model


@final
class Diffusion(Model, Learns, CanDenoise, CanComplete, HasBound, HasFlowLikelihood, HasSampling):
    """min E w(t) |target(x, noise) - network(alpha x + sigma noise, t, c)|^2.

    The bound is on the mass of 8-bit pictures, and on the density of rows. Sohl-Dickstein et al., "Deep unsupervised
    learning using nonequilibrium thermodynamics" (2015); Ho et al. (2020); Lipman et al. (2023).
    """

    Sampling: ClassVar[type[Choices]] = Choices
    completion = {"sampler": "ddpm", "steps": 32}
    invertible = {"sampler": "heun", "steps": 50}
    config: DiffusionConfig

    def __init__(self, config: DiffusionConfig, spec: Spec):
        super().__init__(config, spec)
        self.measure = "mass" if isinstance(spec.x, Image) else "density"
        floor = FLOOR if config.prediction == "eps" else 0.0
        self.schedule = path(config.schedule, config.steps, config.rescale, floor)
        self.prediction = Prediction(config.prediction)
        self.network, embedding = _network(config, spec)
        self.label_embed = LabelEmbedding(spec.label.count + 1, embedding) if spec.label else None
        self.text = reader(spec.text, config.encoder, *TEXTS[config.size]) if spec.text else None

    def players(self) -> Sequence[Player]:
        return [Player("denoiser", [self], self.loss)]

    def loss(self, batch: Batch, turn: Turn) -> Loss:
        x = batch.x
        t = self._times(len(x), x.device)
        alpha, sigma = self._rates(t, x)
        noise = torch.randn_like(x)
        c = self.spec.nulled(batch.c, torch.rand(len(x), device=x.device) < self.config.dropout)
        guess = self._predict(alpha * x + sigma * noise, t, c)
        error = (guess - self.prediction.target(x, noise, alpha, sigma)) ** 2
        value = (self._weight(alpha, sigma) * error).mean()
        parts = {"signal_left": self.schedule.alpha(t.new_ones(())) ** 2} if turn.count == 0 else {}
        return Loss(value, parts)

    def _times(self, count: int, device: torch.device) -> Tensor:
        """One time an example, stratified over the batch."""
        u = (torch.rand(count, device=device) + torch.randperm(count, device=device)) / count
        u = u.clamp(1e-5, 1 - 1e-5)
        if self.config.times == "uniform":
            return u
        return (self.config.centre + self.config.spread * torch.special.ndtri(u)).sigmoid()

    def _weight(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Per example, relative to the error of the prediction.

        min-snr: Hang et al., "Efficient diffusion training via min-SNR weighting strategy" (2023).
        """
        if self.config.weighting == "plain":
            return torch.ones_like(alpha)
        snr = (alpha / sigma) ** 2
        on_x = snr.clamp(max=5) if self.config.weighting == "min-snr" else snr
        return on_x / self.prediction.precision(alpha, sigma)

    def _rates(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """alpha(t) and sigma(t), to multiply x with."""
        shape = (-1, *[1] * (x.ndim - 1))
        return self.schedule.alpha(t).view(shape), self.schedule.sigma(t).view(shape)

    def prepared(self, c: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self.text is None or "text" not in c or c["text"].is_floating_point():
            return dict(c)
        return {**c, "text": self.text(c["text"])}

    def _told(self, c: Mapping[str, Tensor], like: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """What the network hears of the conditions: an embedding `(B, E)`, and the words `(B, L, W)` of texts."""
        if self.label_embed is not None:
            return self.label_embed(self.spec.labels(c, like.shape[0], like.device)), None
        if self.text is None:
            return None, None
        words = self.prepared(c).get("text", like.new_zeros(like.shape[0], 1, self.text.width))
        return summary(words), words

    def _predict(self, x_t: Tensor, t: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return self.network(x_t, t, *self._told(c, x_t))

    def denoise(self, x_t: Tensor, t: Tensor, c: Mapping[str, Tensor]) -> Denoised:
        alpha, sigma = self._rates(t, x_t)
        return Denoised(self.prediction.clean(self._predict(x_t, t, c), x_t, alpha, sigma))

    def bound(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        assert not isinstance(self.spec.x, Latent)
        return variational_bound(self, self.spec.x, x, c, terms=16)

    def flow_log_likelihood(self, x: Tensor, c: Mapping[str, Tensor], steps: int) -> Tensor:
        assert not isinstance(self.spec.x, Latent)
        return flow_log_likelihood(self, self.spec.x, x, c, steps)

    def with_sampling(self, sampling: Choices) -> Drawn | Solved:
        return sampler(self, self.spec, sampling)

    def sample(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return self.with_sampling(Choices()).sample(c, noise)

    def complete(self, x: Tensor, known: Projection, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        ways = self.with_sampling(Choices(**self.completion))
        assert isinstance(ways, Drawn)
        return ways.complete(x, known, c, noise)

    @property
    def evaluations(self) -> int:
        return self.with_sampling(Choices()).evaluations


def _network(config: DiffusionConfig, spec: Spec) -> tuple[nn.Module, int]:
    """The network and the width of a label's embedding."""
    assert config.width and config.blocks
    if isinstance(spec.x, Vector):
        embedding = config.width if spec.label else 0
        return RowDenoiser(spec.x.dimensions, config.width, config.blocks, embedding), config.width
    assert config.patch
    both = (spec.x.channels, spec.x.channels)
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
