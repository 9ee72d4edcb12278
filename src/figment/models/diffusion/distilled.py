"""Distillation: a student that starts as a copy of a denoiser and learns to draw in one to four evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from itertools import pairwise
from typing import ClassVar, Literal, final

import pydantic
import torch
from torch import Tensor

from figment.core.config import Config
from figment.core.data import Batch, Image, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import CanJump, HasPrior, HasSampling, Loss, Model, Turn
from figment.core.noise import Noise
from figment.core.stages import First, TwoStageConfig
from figment.models.adversarial.game import Game, GameConfig
from figment.models.diffusion.diffusion import Diffusion
from figment.models.diffusion.guidance import Guided
from figment.models.diffusion.samplers import Level, heun, integrate, level, levels
from figment.nn.critic import MapCritic
from figment.nn.unet import UNet

MOST = 16  # evaluations
NOISE = (0.02, 0.52)  # times at which the teacher looks at what its maps are to judge
SOLVED = 4  # steps of the teacher that a jump stands for
SHIFT = 2.0  # of the grid of pictures


class Jumps(Config):
    """How samples are drawn from a student."""

    steps: int | None = pydantic.Field(
        None, ge=1, le=MOST, description="network evaluations (None: as many as it was distilled for)"
    )


class DistilledConfig(GameConfig, TwoStageConfig):
    """A student of a diffusion model. What its discriminator sees of pictures are the teacher's own maps."""

    kind: Literal["distilled"] = "distilled"
    accepts: ClassVar[tuple[type[Config], ...]] = (Image, Vector)
    first_share: ClassVar[float] = 2 / 3

    first: First = pydantic.Field("diffusion", description="the teacher: a finished run, or a kind to train")
    evaluations: int = pydantic.Field(4, ge=1, le=MOST, description="network evaluations that it learns to draw in")
    single: float = pydantic.Field(0.5, ge=0, le=1, description="share of examples that are drawn from pure noise")
    trajectory: float = pydantic.Field(
        0.0, ge=0, description="weight of the squared error to where the teacher's equation leads"
    )
    guidance: float = pydantic.Field(1.0, ge=0, le=20, description="with trajectory, the teacher's guidance")

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
    """x = f(x_s, s, c) drawn, not E[x | x_s]: x_t = (sigma_t / sigma_s) x_s + (alpha_t - alpha_s sigma_t / sigma_s) f.

    f starts as the teacher's denoiser and plays against a discriminator of what the teacher makes of pictures at
    little noise; half of its examples start from noise alone, the others on the way. If (f, x_s) are distributed as
    (x, x_s), so are x_t and the true ones, whatever t: any number of evaluations does. Sauer et al., "Fast
    high-resolution image synthesis with latent adversarial diffusion distillation" (2024); Zheng & Yang, "Revisiting
    diffusion models: from generative pre-training to one-step generation" (2025).
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
        paths = [self.path(count) for count in range(1, config.evaluations + 1)]
        self.starts = [at.t for path in paths for at in path[1:-1]]

    def path(self, count: int) -> list[Level]:
        """The levels from noise to data of so many evaluations."""
        return levels(self.schedule, count, "shifted" if isinstance(self.spec.x, Image) else "uniform", SHIFT)

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
        return self._clean(*self._started(batch), batch.c)

    def _started(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Noisy examples x_s and their times s: a share `single` of pure noise, the others on the way of some path."""
        count, x = len(batch), batch.x
        s = torch.ones(count, device=x.device)
        if self.starts:
            others = torch.tensor(self.starts, device=x.device)[torch.randint(len(self.starts), (count,))]
            s = torch.where(torch.rand(count, device=x.device) < self.config.single, s, others)
        shape = (-1, *[1] * (x.ndim - 1))
        return self.schedule.alpha(s).view(shape) * x + self.schedule.sigma(s).view(shape) * torch.randn_like(x), s

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
        """That of the game, and `trajectory` times the squared error to where the teacher's equation leads."""
        loss = super().generator_loss(batch, turn)
        if not self.config.trajectory:
            return loss
        error = self.trajectory_error(batch)
        return Loss(loss.value + self.config.trajectory * error, {**loss.parts, "trajectory": error.detach()})

    def trajectory_error(self, batch: Batch) -> Tensor:
        """E |f(x_s, s) - x|^2, x where a few steps of the teacher's probability flow lead from x_s."""
        start = ([1.0, *self.starts])[int(torch.randint(1 + len(self.starts), ()))]
        s = batch.x.new_full((len(batch),), start)
        here = level(self.schedule, start)
        x_s = here.alpha * batch.x + here.sigma * torch.randn_like(batch.x)
        guided = self.config.guidance != 1
        teacher = Guided(self.first, self.config.guidance, self.spec) if guided else self.first
        with torch.no_grad():
            path = [level(self.schedule, start * (1 - i / SOLVED)) for i in range(SOLVED + 1)]
            mean = lambda y, at: teacher.denoise(y, y.new_full((len(y),), at.t), batch.c).mean  # noqa: E731
            target = integrate(heun, mean, x_s, path)
        return (self._clean(x_s, s, batch.c) - target).square().mean()


@final
class Jumped(HasPrior):
    """A student that draws in so many jumps: x is a function of its noise."""

    def __init__(self, student: Distilled, count: int):
        self.student, self.count, self.path = student, count, student.path(count)

    @property
    def evaluations(self) -> int:
        return self.count

    def prior(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return self.student.prior(c, noise)

    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        """x from its noise z, both `(B, ...)` of the shape of x."""
        for here, there in pairwise(self.path):
            z = self.student.jump(z, z.new_full((len(z),), here.t), z.new_full((len(z),), there.t), c)
        return z
