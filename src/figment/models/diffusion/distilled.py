"""Distillation: a student that starts as a copy of a denoiser and learns to draw in one to four evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import ClassVar, Literal, final

import pydantic
import torch
from torch import Tensor

from figment.core.config import Config
from figment.core.data import Batch, Image, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import CanDenoise, CanJump, HasPrior, HasSampling, Loss, Model, Turn
from figment.core.noise import Noise
from figment.core.stages import First, TwoStageConfig
from figment.models.adversarial.game import Game, GameConfig
from figment.models.diffusion.diffusion import Diffusion
from figment.models.diffusion.guidance import Guided
from figment.models.diffusion.samplers import Denoise, Level, dpm, integrate, level, levels
from figment.nn.critic import MapCritic
from figment.nn.unet import UNet

MOST = 16  # evaluations
NOISE = (0.0, 0.3)  # times at which the teacher looks at what its maps are to judge
SOLVED = 3  # steps of the teacher that a jump stands for
SHIFT = 2.0  # of the grid of pictures
PART = 4  # of a batch one in so many is held against the teacher


class Jumps(Config):
    """How samples are drawn from a student."""

    steps: int | None = pydantic.Field(
        None, ge=1, le=MOST, description="network evaluations (None: as many as it was distilled for)"
    )


class DistilledConfig(GameConfig, TwoStageConfig):
    """A student of a diffusion model. What its discriminator sees of pictures are the teacher's own maps."""

    kind: Literal["distilled"] = "distilled"
    accepts: ClassVar[tuple[type[Config], ...]] = (Image, Vector)
    conditions = ("label", "text")
    first_share: ClassVar[float] = 2 / 3

    first: First = pydantic.Field("diffusion", description="the teacher: a finished run, or a kind to train")
    evaluations: int = pydantic.Field(4, ge=1, le=MOST, description="network evaluations that it learns to draw in")
    keep: float = pydantic.Field(
        1.0, ge=0, description="weight of the squared error to the teacher at the levels before the last jump"
    )
    trajectory: float = pydantic.Field(
        0.0, ge=0, description="weight of the squared error to where the teacher's equation leads"
    )
    guidance: float = pydantic.Field(1.0, ge=0, le=20, description="the teacher's, which the student draws without")

    def check_first(self, first: Model) -> None:
        if not isinstance(first, Diffusion):
            raise UsageError(f"'{first.config.kind}' has no denoiser to distil: take diffusion.")

    def build(self, spec: Spec) -> Distilled:
        spec = self.adapt(spec)
        config, first = self.staged(spec)
        spec = spec.model_copy(update={"c": {key: part for key, part in spec.c.items() if key in first.spec.c}})
        return Distilled(config.fitted(spec), spec, first)

    def with_first(self, first: Model, spec: Spec) -> Model:
        """The student, its weights those of its teacher."""
        model = super().with_first(first, spec)
        model.get_submodule("generator").load_state_dict(first.state_dict())
        return model


@final
class Distilled(Game, CanJump, HasSampling):
    """x = f(x_s, s, c), which solves the teacher's equation from noise to the last level s, and there is a drawing, not
    E[x | x_s].

    f starts as the teacher's denoiser. What it makes of x_s = alpha x + sigma noise in its last jump plays against a
    discriminator of what the teacher makes of pictures at little noise (Sauer et al., "Fast high-resolution image
    synthesis with latent adversarial diffusion distillation", 2024); before, it is kept near the teacher. With one
    evaluation the last jump is the only one (Zheng & Yang, "Revisiting diffusion models: from generative pre-training
    to one-step generation", 2025).
    """

    training_only = (*Game.training_only, "first")
    Sampling: ClassVar[type[Jumps]] = Jumps
    config: DistilledConfig
    generator: Diffusion

    def __init__(self, config: DistilledConfig, spec: Spec, first: Model):
        assert isinstance(first, Diffusion)
        super().__init__(config, spec, deepcopy(first).requires_grad_(True))
        self.first, self.schedule = first, first.schedule
        self.mapped = isinstance(first.network, UNet)
        if self.mapped:
            with torch.no_grad():
                maps = self._maps(torch.zeros(1, *spec.x.shape))
            assert config.width is not None
            self.discriminator = MapCritic(maps.shape[1:], 2 * config.width, spec.label.count if spec.label else 0)
        *self.before, self.last = self.path(config.evaluations)[:-1]

    def path(self, count: int) -> list[Level]:
        """The levels from noise to data of so many evaluations."""
        return levels(self.schedule, count, "shifted" if isinstance(self.spec.x, Image) else "uniform", SHIFT)

    @property
    def teacher(self) -> CanDenoise:
        """As it draws: with its guidance."""
        guidance = self.config.guidance
        return self.first if guidance == 1 else Guided(self.first, guidance, self.spec)

    # -- drawing --------------------------------------------------------------------------------------------------

    def jump(self, x_s: Tensor, s: Tensor, t: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        shape = (-1, *[1] * (x_s.ndim - 1))
        alpha, sigma = self.schedule.alpha, self.schedule.sigma
        ratio = (sigma(t) / sigma(s)).view(shape)
        return ratio * x_s + (alpha(t).view(shape) - ratio * alpha(s).view(shape)) * self._clean(x_s, s, c)

    def _clean(self, x_s: Tensor, s: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return self.generator.denoise(x_s, s, c).mean

    def prior(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        """Noise of the shape of x: that which the teacher's samples of this seed start from."""
        return noise.stream("prior").normal(self.spec.x.shape)

    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return self.with_sampling(Jumps()).decode(z, c)

    def with_sampling(self, sampling: Jumps) -> Jumped:
        return Jumped(self, sampling.steps or self.config.evaluations)

    @property
    def evaluations(self) -> int:
        return self.config.evaluations

    # -- learning -------------------------------------------------------------------------------------------------

    def drawn(self, batch: Batch) -> Tensor:
        return self._clean(*noised(batch.x, self.last), batch.c)

    def shown(self, x: Tensor, turn: Turn) -> Tensor:
        """The teacher's maps of pictures; rows as they are."""
        x = super().shown(x, turn)
        return self._maps(x) if self.mapped else x

    def _maps(self, x: Tensor) -> Tensor:
        low, high = NOISE
        t = low + (high - low) * torch.rand(len(x), device=x.device)
        shape = (-1, *[1] * (x.ndim - 1))
        noisy = self.schedule.alpha(t).view(shape) * x + self.schedule.sigma(t).view(shape) * torch.randn_like(x)
        return self.first.maps(noisy, t, {}).float()

    def generator_loss(self, batch: Batch, turn: Turn) -> Loss:
        """That of the game, and what keeps the student near its teacher."""
        loss = super().generator_loss(batch, turn)
        value, parts = loss.value, dict(loss.parts)
        for name, weight, error in (
            ("kept", self.config.keep if self.before else 0.0, self.kept),
            ("trajectory", self.config.trajectory, self.trajectory),
        ):
            if weight:
                parts[name] = error(batch)
                value = value + weight * parts[name]
        return Loss(value, {name: part.detach() for name, part in parts.items()})

    def kept(self, batch: Batch) -> Tensor:
        """E |f - f_teacher|^2 at a level before the last, of a part of the batch."""
        batch = batch[: max(1, len(batch) // PART)]
        x, s = noised(batch.x, self.before[int(torch.randint(len(self.before), ()))])
        with torch.no_grad():
            target = self.teacher.denoise(x, s, batch.c).mean
        return (self._clean(x, s, batch.c) - target).square().mean()

    def trajectory(self, batch: Batch) -> Tensor:
        """E |f(x_s, s) - x|^2 at the last level, x where a few steps of the teacher's equation lead from x_s."""
        x_s, s = noised(batch.x, self.last)
        with torch.no_grad():
            path = [level(self.schedule, self.last.t * (1 - i / SOLVED)) for i in range(SOLVED + 1)]
            target = integrate(dpm(), mean_of(self.teacher, batch.c), x_s, path)
        return (self._clean(x_s, s, batch.c) - target).square().mean()


def noised(x: Tensor, at: Level) -> tuple[Tensor, Tensor]:
    """alpha x + sigma noise, and its time for each example `(B,)`."""
    return at.alpha * x + at.sigma * torch.randn_like(x), x.new_full((len(x),), at.t)


def mean_of(denoiser: CanDenoise, c: Mapping[str, Tensor]) -> Denoise:
    """What a denoiser makes of x at a level."""
    return lambda x, at: denoiser.denoise(x, x.new_full((len(x),), at.t), c)


@final
class Jumped(HasPrior):
    """A student that draws in so many evaluations: x is a function of its noise."""

    def __init__(self, student: Distilled, count: int):
        self.student, self.count, self.path = student, count, student.path(count)

    @property
    def evaluations(self) -> int:
        return self.count

    def prior(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return self.student.prior(c, noise)

    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        """x from its noise z, both `(B, ...)` of the shape of x."""
        return integrate(dpm(), mean_of(self.student.generator, c), z, self.path)
