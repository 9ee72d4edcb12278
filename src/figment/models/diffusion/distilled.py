"""Distillation: a student that starts as a copy of a denoiser and learns to draw in one to four evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import ClassVar, Literal, final

import pydantic
import torch
from torch import Tensor

from figment.core.config import Config
from figment.core.data import Batch, Image, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import CanDenoise, CanJump, HasPrior, HasSampling, Loss, Model, Player, Turn
from figment.core.noise import Noise
from figment.core.stages import First, TwoStageConfig
from figment.models.adversarial.game import Game, GameConfig
from figment.models.diffusion.diffusion import Diffusion
from figment.models.diffusion.guidance import Guided
from figment.models.diffusion.latent import LatentDiffusion
from figment.models.diffusion.samplers import Denoise, Level, ancestral, dpm, integrate, level, levels
from figment.nn.critic import MapCritic
from figment.nn.unet import UNet

MOST = 16  # evaluations
NOISE = (0.0, 0.3)  # times at which the teacher looks at what its maps are to judge
SOLVED = 3  # steps of the teacher that a jump stands for
SHIFT = 2.0  # of the grid of pictures


class Jumps(Config):
    """How samples are drawn from a student."""

    steps: int | None = pydantic.Field(
        None, ge=1, le=MOST, description="network evaluations (None: as many as it was distilled for)"
    )


class DistilledConfig(GameConfig, TwoStageConfig):
    """A student of a diffusion model. The settings of the game count where `adversarial` is above 0."""

    kind: Literal["distilled"] = "distilled"
    accepts: ClassVar[tuple[type[Config], ...]] = (Image, Vector)
    conditions = ("label", "text")
    first_share: ClassVar[float] = 2 / 3

    first: First = pydantic.Field("diffusion", description="the teacher: a finished run, or a kind to train")
    evaluations: int = pydantic.Field(4, ge=1, le=MOST, description="network evaluations that it learns to draw in")
    trajectory: float = pydantic.Field(
        1.0, ge=0, description="weight of the squared error to where the teacher's equation leads from level to level"
    )
    adversarial: float = pydantic.Field(
        0.0, ge=0, description="weight of the game of the last jump against a discriminator (0: no such game)"
    )
    guidance: float = pydantic.Field(1.0, ge=0, le=20, description="the teacher's, which the student draws without")

    def check_first(self, first: Model) -> None:
        if not isinstance(first, Diffusion | LatentDiffusion):
            raise UsageError(f"'{first.config.kind}' has no denoiser to distil: take diffusion, or latent-diffusion.")

    def build(self, spec: Spec) -> Distilled:
        spec = self.adapt(spec)
        config, first = self.staged(spec)
        spec = spec.model_copy(update={"c": {key: part for key, part in spec.c.items() if key in first.spec.c}})
        if self.guidance != 1 and not spec.c:
            raise UsageError(f"model.guidance={self.guidance:g}: the teacher is told nothing of x. Leave it at 1.")
        return Distilled(config.fitted(spec), spec, first)

    def with_first(self, first: Model, spec: Spec) -> Model:
        """The student, its weights those of its teacher."""
        model = super().with_first(first, spec)
        model.get_submodule("generator").load_state_dict(first.state_dict())
        return model


@final
class Distilled(Game, CanJump, HasSampling):
    """x_t = (sigma_t / sigma_s) x_s + (alpha_t - alpha_s sigma_t / sigma_s) f(x_s, s, c) from level to level.

    f starts as the teacher's denoiser, E[x | x_s], and learns where a few steps of the teacher lead from each level to
    the next (Salimans & Ho, "Progressive distillation for fast sampling of diffusion models", 2022). With
    `adversarial` what its last jump makes also plays against a discriminator of pictures and of what the teacher makes
    of them at little noise (Sauer et al., "Fast high-resolution image synthesis with latent adversarial diffusion
    distillation", 2024). Of a latent diffusion, x is its codes, and samples are decoded.
    """

    training_only = (*Game.training_only, "first")
    Sampling: ClassVar[type[Jumps]] = Jumps
    config: DistilledConfig
    generator: Diffusion | LatentDiffusion

    def __init__(self, config: DistilledConfig, spec: Spec, first: Model):
        assert isinstance(first, Diffusion | LatentDiffusion)
        super().__init__(config, spec, deepcopy(first))
        self.denoiser.requires_grad_(True)
        self.first, self.schedule = first, denoiser_of(first).schedule
        self.mapped = isinstance(denoiser_of(first).network, UNet)
        if self.mapped:
            with torch.no_grad():
                maps = self._maps(torch.zeros(1, *self.denoiser.spec.x.shape))
            assert config.width is not None
            self.discriminator = MapCritic(maps.shape[1:], 2 * config.width, spec.label.count if spec.label else 0)
        self.levels = self.path(config.evaluations)

    def path(self, count: int) -> list[Level]:
        """The levels from noise to data of so many evaluations."""
        return levels(self.schedule, count, "shifted" if isinstance(self.spec.x, Image) else "uniform", SHIFT)

    @property
    def denoiser(self) -> Diffusion:
        """What learns."""
        return denoiser_of(self.generator)

    @property
    def teacher(self) -> CanDenoise:
        """As it draws: with its guidance."""
        guidance, denoiser = self.config.guidance, denoiser_of(self.first)
        return denoiser if guidance == 1 else Guided(denoiser, guidance, self.spec)

    def pictures(self, x: Tensor) -> Tensor:
        """What is drawn, decoded where it is codes."""
        return self.generator.from_codes(x) if isinstance(self.generator, LatentDiffusion) else x

    # -- drawing --------------------------------------------------------------------------------------------------

    def jump(self, x_s: Tensor, s: Tensor, t: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        shape = (-1, *[1] * (x_s.ndim - 1))
        alpha, sigma = self.schedule.alpha, self.schedule.sigma
        ratio = (sigma(t) / sigma(s)).view(shape)
        return ratio * x_s + (alpha(t).view(shape) - ratio * alpha(s).view(shape)) * self._clean(x_s, s, c)

    def _clean(self, x_s: Tensor, s: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return self.denoiser.denoise(x_s, s, c).mean

    def prior(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        """Noise of the shape of x: that which the teacher's samples of this seed start from."""
        return noise.stream("prior").normal(self.denoiser.spec.x.shape)

    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return self.with_sampling(Jumps()).decode(z, c)

    def with_sampling(self, sampling: Jumps) -> Jumped:
        return Jumped(self, sampling.steps or self.config.evaluations)

    @property
    def evaluations(self) -> int:
        return self.config.evaluations

    # -- learning -------------------------------------------------------------------------------------------------

    def players(self) -> Sequence[Player]:
        discriminator, generator = super().players()
        return (discriminator, generator) if self.config.adversarial else (generator,)

    def played(self, batch: Batch, turn: Turn) -> Batch:
        """The batch, its codes for x where these are what is drawn."""
        if not isinstance(self.generator, LatentDiffusion):
            return batch
        with torch.no_grad():
            return replace(batch, x=self.generator.to_codes(batch.x))

    def drawn(self, batch: Batch) -> Tensor:
        return self._clean(*noised(batch.x, self.levels[-2]), batch.c)

    def shown(self, x: Tensor, turn: Turn) -> Tensor:
        """The teacher's maps of pictures; rows as they are."""
        x = super().shown(x, turn)
        return self._maps(x) if self.mapped else x

    def _maps(self, x: Tensor) -> Tensor:
        low, high = NOISE
        t = low + (high - low) * torch.rand(len(x), device=x.device)
        shape = (-1, *[1] * (x.ndim - 1))
        noisy = self.schedule.alpha(t).view(shape) * x + self.schedule.sigma(t).view(shape) * torch.randn_like(x)
        return denoiser_of(self.first).maps(noisy, t, {}).float()

    def generator_loss(self, batch: Batch, turn: Turn) -> Loss:
        """`trajectory` times the error of a jump, and `adversarial` times the loss of the game."""
        error = self.jump_error(self.played(batch, turn))
        value, parts = self.config.trajectory * error, {"trajectory": error.detach()}
        if self.config.adversarial:
            game = super().generator_loss(batch, turn).value
            value, parts = value + self.config.adversarial * game, {**parts, "game": game.detach()}
        return Loss(value, parts)

    def jump_error(self, batch: Batch) -> Tensor:
        """E |f - f*|^2 at a level drawn evenly, f* what leads from x_s to where the teacher does in `SOLVED` steps."""
        place = int(torch.randint(len(self.levels) - 1, ()))
        here, there = self.levels[place : place + 2]
        x_s, s = noised(batch.x, here)
        with torch.no_grad():
            between = [level(self.schedule, here.t + (there.t - here.t) * i / SOLVED) for i in range(1, SOLVED)]
            x_t = integrate(dpm(), mean_of(self.teacher, batch.c), x_s, [here, *between, there])
        ratio = there.sigma / here.sigma
        target = (x_t - ratio * x_s) / (there.alpha - ratio * here.alpha)
        return (self._clean(x_s, s, batch.c) - target).square().mean()


def denoiser_of(model: Diffusion | LatentDiffusion) -> Diffusion:
    """What draws x, or the codes of it."""
    return model.denoiser if isinstance(model, LatentDiffusion) else model


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
        """x from its noise z, `(B, ...)` of the shape of x, or of its codes."""
        denoiser = self.student.denoiser
        return self.student.pictures(integrate(ancestral(), mean_of(denoiser, denoiser.prepared(c)), z, self.path))
