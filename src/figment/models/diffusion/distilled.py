"""Distillation: a student that starts as a copy of a denoiser and learns to draw in one to four evaluations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self, final

import pydantic
import torch
from torch import Tensor

from figment.core.config import Config
from figment.core.data import Batch, Image, Latent, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import CanDenoise, CanJump, HasPrior, HasSampling, Loss, Model, Player, Turn
from figment.core.noise import Noise
from figment.core.stages import First, TwoStageConfig
from figment.models.adversarial.game import Game, GameConfig
from figment.models.adversarial.objectives import apart, size
from figment.models.diffusion.diffusion import Diffusion
from figment.models.diffusion.grain import contrast, grain, softly_clipped
from figment.models.diffusion.guidance import Guided
from figment.models.diffusion.judge import DenoiserJudge
from figment.models.diffusion.latent import LatentDiffusion
from figment.models.diffusion.samplers import Denoise, Estimate, Level, Past, ancestral, integrate, levels, unipc
from figment.models.diffusion.walks import Walks
from figment.nn.discriminator import Discriminator

MOST = 16  # evaluations
WALK = 8  # steps of the teacher from noise to data, at least
GAMMA = {"data": 0.3, "teacher": 1.0}  # of the game of pictures, whose drawings the teacher holds near the data
SHIFT = 1.5  # of the grid of pictures
SHARPER = 0.15  # of pictures in one evaluation
AT_ONCE = 6.0  # learning rate of a student of one evaluation, which has far to go, relative to that of others


class Jumps(Config):
    """How samples are drawn from a student."""

    steps: int | None = pydantic.Field(
        None, ge=1, le=MOST, description="network evaluations (None: as many as it was distilled for)"
    )
    sharpen: float | None = pydantic.Field(
        None, ge=0, le=1, description="of pictures, how much of what sets a pixel apart from those around it is added "
        "(None: 0.15 where all was learned in one evaluation, which leaves them soft, else 0)"
    )  # fmt: skip

    @pydantic.model_validator(mode="before")
    @classmethod
    def _as_taught(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and (given := value.keys() & {"guidance", "negative"}):
            raise ValueError(
                f"{' and '.join(sorted(given))}: a student draws as it was taught to. Teach it with guidance (`figment "
                "distill RUN model.guidance=W`), or sample its teacher."
            )
        return value


class DistilledConfig(GameConfig, TwoStageConfig):
    """A student of a diffusion model. The settings of the game count where `adversarial` is above 0."""

    kind: Literal["distilled"] = "distilled"
    accepts: ClassVar[tuple[type[Config], ...]] = (Image, Vector)
    conditions = ("label", "text")
    first_share: ClassVar[float] = 2 / 3

    first: First = pydantic.Field("diffusion", description="the teacher: a finished run, or a kind to train")
    evaluations: int = pydantic.Field(4, ge=1, le=MOST, description="network evaluations that it learns to draw in")
    trajectory: float = pydantic.Field(
        15.0, ge=0, description="weight of the squared error to where the teacher's equation leads from level to level"
    )
    grain: float = pydantic.Field(
        8.0, ge=0, description="of pictures, weight of that part of the error which differs from pixel to pixel, "
        "relative to the whole"
    )  # fmt: skip
    adversarial: float | None = pydantic.Field(
        None, ge=0, description="weight of the game of what all jumps draw against a discriminator (None: 1 for "
        "pictures, but 0, no such game, where several evaluations learn a guided teacher's, and for rows)"
    )  # fmt: skip
    sight: Literal["data", "teacher"] | None = pydantic.Field(
        None, description="what the discriminator sees: examples as they are, or what the teacher's layers make of "
        "pictures (None: the latter for pictures in one evaluation; model.gamma is then 1 unless told, else 0.3)"
    )  # fmt: skip
    repeat: float = pydantic.Field(
        1.5, ge=0, description="with a game, weight of how far from the teacher's drawing of the same noise it is, as "
        "the discriminator sees it"
    )  # fmt: skip
    again: int = pydantic.Field(
        4, ge=1, le=100, description="turns between two of the teacher's walks, which are remembered and learned from"
    )
    guidance: float = pydantic.Field(1.0, ge=0, le=20, description="the teacher's, which the student draws without")

    @pydantic.model_validator(mode="after")
    def _draws_once(self) -> Self:
        if self.spread:
            raise ValueError("model.spread: a student draws what its teacher does, once each. Leave it out.")
        return self

    def check(self, spec: Spec) -> None:
        super().check(spec)
        if self.sight == "teacher" and not isinstance(spec.x, Image):
            raise UsageError(f"model.sight=teacher is for pictures, and {spec.name} has none. Leave it out.")

    def fitted(self, spec: Spec) -> Self:
        fitted, pictures = super().fitted(spec), isinstance(spec.x, Image)
        if self.adversarial is None:
            playing = pictures and (self.evaluations == 1 or self.guidance == 1)
            fitted = fitted.model_copy(update={"adversarial": float(playing)})
        sight = self.sight or ("teacher" if pictures and self.evaluations == 1 else "data")
        if self.gamma is None and pictures and self.regulariser == "r1+r2":
            fitted = fitted.model_copy(update={"gamma": GAMMA[sight]})
        return fitted.model_copy(update={"sight": sight})

    def check_first(self, first: Model) -> None:
        if not isinstance(first, Diffusion | LatentDiffusion):
            raise UsageError(f"'{first.config.kind}' has no denoiser to distil: take diffusion, or latent-diffusion.")

    def build(self, spec: Spec) -> Distilled:
        spec = self.adapt(spec)
        config, first = self.staged(spec)
        spec = spec.told_only(first.spec.c)
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

    f starts as the teacher's denoiser, E[x | x_s], and learns to lead from level to level as the teacher's equation
    does, along walks from noise to drawings of several steps a jump (Salimans & Ho, "Progressive distillation for fast
    sampling of diffusion models", 2022). With `adversarial` what it draws by itself also plays against a discriminator
    (Sauer et al., "Adversarial diffusion distillation", 2024): small errors of the jumps add up on the way, and only
    what comes of them is as the data is. Pictures are clipped to black and white, in training softly, and errors from
    pixel to pixel count more: few evaluations leave grain. Of a latent diffusion, x is its codes, and samples are
    decoded.
    """

    training_only = (*Game.training_only, "first", "walks")
    Sampling: ClassVar[type[Jumps]] = Jumps
    config: DistilledConfig
    generator: Diffusion | LatentDiffusion

    def __init__(self, config: DistilledConfig, spec: Spec, first: Model):
        assert isinstance(first, Diffusion | LatentDiffusion)
        teacher = denoiser_of(first)
        judge = partial(DenoiserJudge, teacher) if config.sight == "teacher" else Discriminator
        codes = teacher.spec.x if isinstance(teacher.spec.x, Latent) else None
        super().__init__(config, spec, deepcopy(first), judge, codes)
        self.denoiser.requires_grad_(True)
        self.first, self.schedule = first, teacher.schedule
        self.levels = self.path(config.evaluations)
        self.walks = Walks((len(self.levels), *self.denoiser.spec.x.shape), spec)

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
        """What is drawn: codes decoded, pictures within black and white."""
        if isinstance(self.generator, LatentDiffusion):
            return self.generator.from_codes(x)
        return x.clamp(-1, 1) if isinstance(self.spec.x, Image) else x

    # -- drawing --------------------------------------------------------------------------------------------------

    def jump(self, x_s: Tensor, s: Tensor, t: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        shape = (-1, *[1] * (x_s.ndim - 1))
        alpha, sigma = self.schedule.alpha, self.schedule.sigma
        ratio = (sigma(t) / sigma(s)).view(shape)
        return ratio * x_s + (alpha(t).view(shape) - ratio * alpha(s).view(shape)) * self._clean(x_s, s, c)

    def _clean(self, x_s: Tensor, s: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return self.denoiser.denoise(x_s, s, c).mean

    def prepared(self, c: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The conditions as the denoiser takes them with the least work: texts as vectors, which also mix."""
        return self.denoiser.prepared(c)

    def prior(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        """Noise of the shape of x: that which the teacher's samples of this seed start from."""
        return noise.stream("prior").normal(self.denoiser.spec.x.shape)

    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return self.with_sampling(Jumps()).decode(z, c)

    def with_sampling(self, sampling: Jumps) -> Jumped:
        """Raises UsageError for what sharpens pictures where there are none."""
        if sampling.sharpen and not isinstance(self.spec.x, Image):
            raise UsageError(f"sharpen: it changes pictures, and {self.spec.name} has none. Leave it out.")
        soft = self.config.evaluations == 1 and isinstance(self.denoiser.spec.x, Image)
        sharpen = SHARPER * soft if sampling.sharpen is None else sampling.sharpen
        return Jumped(self, sampling.steps or self.config.evaluations, sharpen)

    @property
    def evaluations(self) -> int:
        return self.config.evaluations

    # -- learning -------------------------------------------------------------------------------------------------

    def players(self) -> Sequence[Player]:
        discriminator, generator = super().players()
        generator = replace(generator, rate=AT_ONCE if self.config.evaluations == 1 else 1.0)
        return (discriminator, generator) if self.config.adversarial else (generator,)

    def played(self, batch: Batch, turn: Turn) -> Batch:
        """As many of a batch as there are walks, with codes for x where these are what is drawn."""
        batch = batch[: self.walking(batch)]
        if not isinstance(self.generator, LatentDiffusion):
            return batch
        with torch.no_grad():
            return replace(batch, x=self.generator.to_codes(batch.x))

    def walking(self, batch: Batch) -> int:
        """How many walks have about as many jumps as a batch has examples."""
        return math.ceil(len(batch) / self.config.evaluations)

    def drawn(self, batch: Batch) -> Tensor:
        return self._drawn_from(torch.randn_like(batch.x), batch.c)

    def _drawn_from(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        """What all jumps make of noise, the last with a gradient."""
        times = [x.new_full((len(x),), level.t) for level in self.levels[:-1]]
        with torch.no_grad():
            for s, t in pairwise(times):
                x = self.jump(x, s, t, c)
        return self.seen(self._clean(x, times[-1], c))

    def seen(self, x: Tensor) -> Tensor:
        """What is drawn as both players see it, of pictures softly within black and white: beyond, no grain shows."""
        return softly_clipped(x) if isinstance(self.denoiser.spec.x, Image) else x

    def generator_loss(self, batch: Batch, turn: Turn) -> Loss:
        """`trajectory` times the error of all jumps, in which grain counts more, and `adversarial` times the loss of
        the game of what they draw, to which belongs how far that is from what the teacher draws of the same noise, as
        the discriminator sees it."""
        playing = self.config.adversarial or 0.0
        states, c = self.walked(batch[: self.walking(batch)], turn)
        guess, target = self.jumps(states, c)
        error = (guess - target).square().mean()
        if isinstance(self.denoiser.spec.x, Image):
            error = error + self.config.grain * grain(guess - target).square().mean()
        value, parts = self.config.trajectory * error, {"trajectory": error.detach()}
        if playing:
            drawn = guess if len(states) == 2 else self._drawn_from(states[0], c)
            real, seen = self.played(batch, turn), self.described(drawn, turn)
            game = self.game(real, replace(real, c=c), seen, turn)
            with torch.no_grad():
                truth = self.described(states[-1], turn).float()
            missed = apart(truth, seen.float()) / size(truth, seen.float())
            value = value + playing * (game.value + self.config.repeat * missed)
            parts |= {**game.parts, "game": game.value.detach(), "missed": missed.detach()}
        return Loss(value, parts)

    def jumps(self, states: Sequence[Tensor], c: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """f from each level of walks in turn, the last as it is seen, and what f leads from there to where the teacher
        goes: `(B jumps, ...)` both."""
        targets = []
        for (here, there), (x_s, x_t) in zip(pairwise(self.levels), pairwise(states)):
            ratio = there.sigma / here.sigma
            targets.append((x_t - ratio * x_s) / (there.alpha - ratio * here.alpha))
        times = torch.tensor([here.t for here in self.levels[:-1]], device=states[0].device)
        s = times.repeat_interleave(len(states[0]))
        c = {key: torch.cat([value] * len(targets)) for key, value in c.items()}
        *before, last = self._clean(torch.cat(list(states[:-1])), s, c).chunk(len(targets))
        return torch.cat([*before, self.seen(last)]), torch.cat(targets)

    def walked(self, batch: Batch, turn: Turn) -> tuple[Sequence[Tensor], Mapping[str, Tensor]]:
        """As many walks as a batch has examples, of those remembered, and their conditions; every `again`-th turn new
        ones, under the conditions of the batch, are gone and remembered first, those of all processes by each."""
        if not torch.is_grad_enabled():
            return self.walk(batch), batch.c
        if turn.count % self.config.again == 0:
            states = turn.gather(torch.stack(self.walk(batch), 1))
            self.walks.keep(states, {key: turn.gather(value) for key, value in batch.c.items()})
        some, c = self.walks.some(len(batch))
        return some.unbind(1), c

    @torch.no_grad()
    def walk(self, batch: Batch) -> list[Tensor]:
        """x at each of the levels where the teacher's equation leads, from noise, under the conditions of a batch."""
        seen: list[Tensor] = []

        def step(denoise: Denoise, x: Tensor, here: Level, there: Level, past: Past) -> tuple[Tensor, Estimate]:
            x, now = unipc(denoise, x, here, there, past)
            seen.append(now.x)
            return x, now

        each = math.ceil(WALK / self.config.evaluations)
        path = self.path(each * self.config.evaluations)
        noise = torch.randn(len(batch), *self.denoiser.spec.x.shape, device=batch.x.device)
        x = integrate(step, mean_of(self.teacher, batch.c), noise, path)
        return [*seen[::each], x]


def denoiser_of(model: Diffusion | LatentDiffusion) -> Diffusion:
    """What draws x, or the codes of it."""
    return model.denoiser if isinstance(model, LatentDiffusion) else model


def mean_of(denoiser: CanDenoise, c: Mapping[str, Tensor]) -> Denoise:
    """What a denoiser makes of x at a level."""
    return lambda x, at: denoiser.denoise(x, x.new_full(x.shape[:1], at.t), c)


@final
class Jumped(HasPrior):
    """A student that draws in so many evaluations: x is a function of its noise, and sharpened."""

    def __init__(self, student: Distilled, count: int, sharpen: float):
        self.student, self.count, self.path = student, count, student.path(count)
        self.sharpen = sharpen

    @property
    def evaluations(self) -> int:
        return self.count

    def prior(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return self.student.prior(c, noise)

    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        """x from its noise z, `(B, ...)` of the shape of x, or of its codes."""
        denoiser, c = self.student.denoiser, self.student.prepared(c)
        x = self.student.pictures(integrate(ancestral(), mean_of(denoiser, c), z, self.path))
        return (x + self.sharpen * contrast(x)).clamp(-1, 1) if self.sharpen else x
