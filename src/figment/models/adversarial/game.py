"""The game that generators of every kind learn by: a discriminator tells what they draw from the data."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, Self

import numpy as np
import pydantic
import torch
from torch import Tensor, nn

from figment.core.data import Batch, Image, Latent, Spec
from figment.core.errors import UsageError
from figment.core.model import HasPrior, Learns, Loss, Model, ModelConfig, Player, Turn
from figment.models.adversarial import objectives, regularisers
from figment.models.adversarial.augmentation import adapted, augment
from figment.models.adversarial.objectives import OBJECTIVES
from figment.nn.discriminator import Discriminator, Judge, VectorDiscriminator

WIDTHS = {"tiny": 16, "small": 32, "base": 64, "large": 128}
GROUP = 4  # examples whose deviation a discriminator may see
STEEP = 10.0  # weight of (|slope| - 1)^2 where gamma is 1


class GameConfig(ModelConfig):
    """What the two players optimise, and what keeps the discriminator from winning."""

    conditions: ClassVar[tuple[str, ...]] = ("label",)
    spreads: ClassVar[bool] = False  # whether the default game on pictures holds the spread of what is drawn

    objective: objectives.Name = pydantic.Field("relativistic", description="what the two players optimise")
    regulariser: regularisers.Name = pydantic.Field(
        "r1+r2", description="what bounds the discriminator's slope: penalties of it on real (r1), drawn (r2) or "
        "mixed examples (gradient-penalty), weights clipped, or normalised by their spectrum"
    )  # fmt: skip
    gamma: float | None = pydantic.Field(
        None, ge=0, description="strength of a penalty (None: 1, with spread 0.3; of r1 and r2 on rows, whose modes "
        "are narrow, 0.1)"
    )  # fmt: skip
    spread: float | None = pydantic.Field(
        None, ge=0, description="weight of the energy score of drawn examples, two for each real one, in what the "
        "discriminator sees: they vary as the data does (None: 2 for a gan of pictures in the default game, else 0)"
    )  # fmt: skip
    lazy: int = pydantic.Field(8, ge=1, description="updates of the discriminator between two penalties r1, r2")
    limit: float = pydantic.Field(0.01, gt=0, description="clipping: the largest weight of the discriminator")
    critics: int = pydantic.Field(1, ge=1, le=100, description="updates of the discriminator to one of the generator")
    rate: float = pydantic.Field(1.0, gt=0, description="the discriminator's learning rate, relative to training.lr")
    filters: float = pydantic.Field(1.0, gt=0, le=8, description="the discriminator's width, relative to model.width")
    smoothing: float = pydantic.Field(0.0, ge=0, lt=0.5, description="real examples count as 1 - smoothing")
    flipped: float = pydantic.Field(0.0, ge=0, lt=0.5, description="share of pairs whose labels are exchanged")
    dropout: float = pydantic.Field(0.0, ge=0, lt=1, description="share of the discriminator's features left out")
    noise: float = pydantic.Field(0.0, ge=0, description="deviation of noise on all the discriminator sees, at first; "
                                  "it falls to 0 over the run")  # fmt: skip
    deviation: bool = pydantic.Field(False, description="the discriminator sees how much the examples of a batch vary")
    augment: Literal["none", "diffaugment", "adaptive"] = pydantic.Field(
        "none", description="random changes of all pictures the discriminator sees, for small data; adaptive: as many "
        "as it takes"
    )  # fmt: skip
    target: float = pydantic.Field(
        0.6, gt=0, lt=1, description="adaptive: 2 a - 1, where a is the discriminator's accuracy on pairs"
    )

    width: int | None = pydantic.Field(None, ge=4, le=1024, description="channels at full size (None: by size)")

    def fitted(self, spec: Spec) -> Self:
        """With sizes and strengths in numbers. Raises UsageError where the data has no pictures to augment."""
        if self.augment != "none" and not isinstance(spec.x, Image):
            raise UsageError(f"model.augment={self.augment} changes pictures, and {spec.name} has none: leave it out.")
        default = self.spreads and isinstance(spec.x, Image)
        default = default and (self.objective, self.regulariser) == ("relativistic", "r1+r2")
        spread = 2.0 * default if self.spread is None else self.spread
        usual = 0.1 if not isinstance(spec.x, Image) else 0.3 if spread else 1.0
        usual = 1.0 if self.regulariser == "gradient-penalty" else usual
        gamma = usual if self.gamma is None else self.gamma
        return self.model_copy(update={"width": self.width or WIDTHS[self.size], "gamma": gamma, "spread": spread})


class Game(Model, Learns, HasPrior):
    """A generator against a discriminator; implicit: it has samples and no density."""

    training_only: ClassVar[tuple[str, ...]] = ("discriminator", "share")
    config: GameConfig
    share: Tensor

    def __init__(
        self,
        config: GameConfig,
        spec: Spec,
        generator: nn.Module,
        judge: Callable[..., Judge] = Discriminator,
        drawn: Latent | None = None,
    ):
        """`drawn`: what the generator draws and the discriminator sees, where that is codes of the data."""
        super().__init__(config, spec)
        assert config.width is not None
        assert config.gamma is not None
        assert config.spread is not None
        self.generator, self.objective = generator, OBJECTIVES[config.objective]
        self.gamma, self.spread = config.gamma, config.spread
        classes, width = spec.label.count if spec.label else 0, max(4, round(config.width * config.filters))
        group = GROUP * config.deviation
        self.discriminator: Judge
        x = drawn or spec.x
        if isinstance(x, Image | Latent):
            self.discriminator = judge(x.shape, width, classes, config.dropout, group)
        else:
            self.discriminator = VectorDiscriminator(x.dimensions, 4 * width, classes, config.dropout, group)
        if config.regulariser == "spectral-norm":
            regularisers.normalise_spectrum(self.discriminator)
        self.register_buffer("share", torch.tensor(float(config.augment == "diffaugment")))  # of pictures changed

    @abstractmethod
    def drawn(self, batch: Batch) -> Tensor:
        """As many examples as a batch has, of its labels, drawn with torch's own generator `(B, ...)`."""

    def played(self, batch: Batch, turn: Turn) -> Batch:
        """What of a batch the game is about at this time."""
        return batch

    def players(self) -> Sequence[Player]:
        return (
            Player("discriminator", [self.discriminator], self.discriminator_loss, rate=self.config.rate, ema=False),
            Player("generator", [self.generator], self.generator_loss, every=self.config.critics),
        )

    def discriminator_loss(self, batch: Batch, turn: Turn) -> Loss:
        """L_D, plus (gamma / 2) (R1 + R2) on every `lazy`-th turn with weight `lazy`, or, on every turn, 10 gamma
        E (|slope| - 1)^2 on mixtures.

        Lazy penalties: Karras et al., "Analyzing and improving the image quality of StyleGAN" (2020). In bf16
        they are within 1 % of fp32, and their gradients within 3 %.
        """
        batch, config = self.played(batch, turn), self.config
        label = batch.c.get("label")
        self.clip_weights()
        with torch.no_grad():
            drawn = self.drawn(batch)
            x = self.discriminator.sense(self.shown(torch.cat([batch.x, drawn]), turn))
        lazily = turn.count % config.lazy == 0
        due = lazily or config.regulariser == "gradient-penalty"
        penalty = config.regulariser if due and self.gamma > 0 and torch.is_grad_enabled() else "none"
        x.requires_grad_(penalty in ("r1+r2", "r1", "r2"))
        logits = self.judged(x, label)
        real, fake = logits.chunk(2)
        parts = {"accuracy": objectives.accuracy(real, fake), "real": real.mean(), "fake": fake.mean()}
        if lazily:
            parts["coverage"] = objectives.coverage(batch.x, drawn)
        loss = self.objective.discriminator_loss(*regularisers.flipped(real, fake, config.flipped), config.smoothing)
        if x.requires_grad:
            r1, r2 = (squares.mean() for squares in regularisers.squared_slope(logits, x).chunk(2))
            parts["slope"] = {"r1+r2": r1 + r2, "r1": r1, "r2": r2}[penalty]
            loss = loss + config.lazy * self.gamma / 2 * parts["slope"]
        elif penalty == "gradient-penalty":
            mixed = regularisers.between(*x.chunk(2)).requires_grad_()
            squares = regularisers.squared_slope(self.discriminator(mixed, label), mixed)
            parts["slope"] = squares.sqrt().mean()
            loss = loss + STEEP * self.gamma * regularisers.unit_slope(squares).mean()
        if config.augment == "adaptive" and torch.is_grad_enabled():
            accuracy, passed = turn.mean(parts["accuracy"]), turn.progress / max(turn.count, 1)
            parts["share"] = self.share.copy_(adapted(self.share, accuracy, config.target, passed))
        return Loss(loss, {name: part.detach() for name, part in parts.items()})

    def generator_loss(self, batch: Batch, turn: Turn) -> Loss:
        """`game` of what is drawn for a batch, or for half of it twice."""
        real, asked = self.paired(self.played(batch, turn))
        return self.game(real, asked, self.described(self.drawn(asked), turn), turn)

    def paired(self, batch: Batch) -> tuple[Batch, Batch]:
        """Real examples, and those for whose conditions the generator is to draw: the same, or with `spread` half of
        the batch, and that twice."""
        return (half := batch[: (len(batch) + 1) // 2], twice(half)) if self.spread else (batch, batch)

    def described(self, x: Tensor, turn: Turn) -> Tensor:
        """Examples `(B, ...)` as the discriminator describes them `(B, F)`."""
        self.clip_weights()
        return self.discriminator.describe(self.discriminator.sense(self.shown(x, turn)))

    def game(self, real: Batch, asked: Batch, seen: Tensor, turn: Turn) -> Loss:
        """L_G of what is drawn, as `described`, plus `spread` times the energy score of two for each real one, over the
        size of both: where a discriminator sees little of what is real, what is drawn is not thrown about."""
        fake = self.discriminator.judge(seen, asked.c.get("label"))
        if not self.objective.paired and not self.spread:
            return Loss(self.objective.generator_loss(fake, fake))
        with torch.no_grad():
            truth = self.described(real.x, turn)
            logits = self.discriminator.judge(truth, real.c.get("label"))
        if not self.spread:
            return Loss(self.objective.generator_loss(logits, fake))
        truth, seen = truth.float(), seen.float()
        score = objectives.energy_score(truth, *seen.chunk(2)) / objectives.size(truth, seen)
        loss = self.objective.generator_loss(torch.cat([logits, logits]), fake)
        return Loss(loss + self.spread * score, {"energy": score.detach()})

    def judged(self, x: Tensor, label: Tensor | None) -> Tensor:
        """Logits `(2 B,)` of real examples and, after them, drawn ones, as sensed `(2 B, ...)`, each kind with the same
        labels."""
        if self.config.deviation:  # which is that of one kind
            return torch.cat([self.discriminator(part, label) for part in x.chunk(2)])
        return self.discriminator(x, None if label is None else torch.cat([label, label]))

    def shown(self, x: Tensor, turn: Turn) -> Tensor:
        """What the discriminator sees of examples `(B, ...)`: some changed, and noise on all, where that is asked for.

        Noise: Sønderby et al., "Amortised MAP inference for image super-resolution" (2017).
        """
        if self.config.augment != "none":
            x = augment(x, self.share)
        if self.config.noise:
            x = x + self.config.noise * (1 - turn.progress) * torch.randn_like(x)
        return x

    def clip_weights(self) -> None:
        if self.config.regulariser == "clipping" and torch.is_grad_enabled():
            regularisers.clip_weights(self.discriminator, self.config.limit)


def twice(batch: Batch) -> Batch:
    """Every example of a batch, and then every one again."""
    return Batch(
        torch.cat([batch.x, batch.x]),
        {key: torch.cat([value, value]) for key, value in batch.c.items()},
        np.concatenate([batch.rows, batch.rows]),
    )
