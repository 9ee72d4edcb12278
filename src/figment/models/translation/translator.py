"""What all translations of pictures share: a generator held to the truth, and a discriminator of patches beside it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from figment.core.config import Config
from figment.core.data import Batch, Image, Spec
from figment.core.model import CanTranslate, Learns, Loss, Model, ModelConfig, Player, Turn
from figment.models.adversarial.objectives import OBJECTIVES, Name, accuracy
from figment.models.adversarial.regularisers import squared_slope
from figment.nn.patch import PatchDiscriminator

WIDTHS = {"tiny": 16, "small": 32, "base": 64, "large": 96}


class TranslatorConfig(ModelConfig):
    """A generator and, where `adversarial` > 0, a discriminator that judges patches."""

    accepts: ClassVar[tuple[type[Config], ...]] = (Image,)
    width: int | None = pydantic.Field(None, ge=4, le=1024, description="channels at full size (None: by size)")
    error: Literal["l1", "l2"] = pydantic.Field("l1", description="distance from the truth: l1 blurs less than l2")
    adversarial: float = pydantic.Field(0.0, ge=0, le=100, description="weight of the discriminator (0: there is none)")
    objective: Name = pydantic.Field("relativistic", description="what the two players optimise")
    gamma: float = pydantic.Field(0.1, ge=0, description="strength of the penalty on the discriminator's slope")
    lazy: int = pydantic.Field(4, ge=1, description="updates of the discriminator between two such penalties")
    field: int | None = pydantic.Field(
        None, ge=1, le=5, description="halvings before a patch is judged: 1 sees 16 pixels, 2 34, 3 70 (None: by size)"
    )

    def resolved(self, spec: Spec) -> dict[str, int]:
        """What is left to the data and to `size`, as numbers."""
        assert isinstance(spec.x, Image)
        shorter = min(spec.x.height, spec.x.width)
        halvings = 1 if shorter < 64 else 2 if shorter < 128 else 3
        return {"width": self.width or WIDTHS[self.size], "field": self.field or halvings}


class Translator(Model, Learns, CanTranslate):
    """Minimises E |goal(x) - G(s)|^p + lambda L_G, p = 1 or 2, with L_G the opinion of a discriminator D(s, goal) of
    patches, and goal(x) what is learned of x: x itself, or its colours.

    Isola, Zhu, Zhou & Efros, "Image-to-image translation with conditional adversarial networks" (2017).
    """

    training_only = ("discriminator",)
    config: TranslatorConfig

    def __init__(self, config: TranslatorConfig, spec: Spec, generator: nn.Module, channels: int):
        super().__init__(config, spec)
        assert config.width
        assert config.field
        self.generator = generator
        judged = self.source.channels + channels
        self.discriminator = PatchDiscriminator(judged, config.width, config.field) if config.adversarial else None

    def players(self) -> Sequence[Player]:
        generator = Player("generator", [self.generator], self.generator_loss)
        if self.discriminator is None:
            return [generator]
        return [Player("discriminator", [self.discriminator], self.discriminator_loss, ema=False), generator]

    @abstractmethod
    def goal(self, x: Tensor) -> Tensor:
        """What the generator should make of the source of x."""

    def judge(self, source: Tensor, goal: Tensor) -> Tensor:
        """Logits `(B, h, w)` of patches of a goal beside its source, enlarged to the same size where it is smaller."""
        assert self.discriminator is not None
        if source.shape[2:] != goal.shape[2:]:
            source = F.interpolate(source, goal.shape[2:], mode="bilinear")
        return self.discriminator(torch.cat([source, goal], 1))

    def discriminator_loss(self, batch: Batch, turn: Turn) -> Loss:
        """L_D, plus on every `lazy`-th turn, with weight `lazy`, (gamma / 2) |d sum D / dx|^2 a patch."""
        source, x = self.pair(batch)
        penalised = self.config.gamma > 0 and turn.count % self.config.lazy == 0 and torch.is_grad_enabled()
        with torch.no_grad():
            fake = self.generator(source)
        goal = torch.cat([self.goal(x), fake]).requires_grad_(penalised)
        logits = self.judge(torch.cat([source, source]), goal)
        real, generated = logits.chunk(2)
        loss = OBJECTIVES[self.config.objective].discriminator_loss(real, generated)
        parts = {"accuracy": accuracy(real, generated)}
        if penalised:
            parts["slope"] = squared_slope(logits.flatten(1).sum(1), goal).mean() / logits[0].numel()
            loss = loss + self.config.lazy * self.config.gamma / 2 * parts["slope"]
        return Loss(loss, {name: part.detach() for name, part in parts.items()})

    def generator_loss(self, batch: Batch, turn: Turn) -> Loss:
        source, x = self.pair(batch)
        goal, made = self.goal(x), self.generator(source)
        distance = (made - goal).abs() if self.config.error == "l1" else (made - goal).square()
        parts = {"error": distance.mean()}
        value = parts["error"]
        if self.discriminator is not None:
            with torch.no_grad():
                real = self.judge(source, goal)
            parts["opinion"] = OBJECTIVES[self.config.objective].generator_loss(real, self.judge(source, made))
            value = value + self.config.adversarial * parts["opinion"]
        return Loss(value, {name: part.detach() for name, part in parts.items()})

    def translate(self, source: Tensor) -> Tensor:
        return self.generator(source)
