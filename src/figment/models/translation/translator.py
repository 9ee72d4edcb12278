"""What translations learned from pairs share: a generator held to the truth, and a discriminator of patches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from figment.core.data import Batch, Spec
from figment.core.model import HasPairs, Learns, Loss, Model, Player, Turn
from figment.models.adversarial.patches import Judge, PatchesConfig
from figment.nn.patch import PatchDiscriminator


class TranslatorConfig(PatchesConfig):
    """A generator and, where `adversarial` > 0, a discriminator that judges patches."""

    error: Literal["l1", "l2"] = pydantic.Field("l1", description="distance from the truth: l1 blurs less than l2")
    adversarial: float = pydantic.Field(0.0, ge=0, le=100, description="weight of the discriminator (0: there is none)")


class Translator(Model, Learns, HasPairs):
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

    def error(self, output: Tensor, goal: Tensor) -> Tensor:
        """How far what the generator says is from the goal, `()`."""
        return F.l1_loss(output, goal) if self.config.error == "l1" else F.mse_loss(output, goal)

    def made(self, output: Tensor) -> Tensor:
        """The goal that the generator's output stands for."""
        return output

    def judge(self, source: Tensor) -> Judge:
        """Logits of patches of goals beside their sources, which are enlarged to the same size where they are
        smaller."""
        discriminator = self.discriminator
        assert discriminator is not None

        def judge(goal: Tensor) -> Tensor:
            same = source.shape[2:] == goal.shape[2:]
            beside = source if same else F.interpolate(source, goal.shape[2:], mode="bilinear")
            return discriminator(torch.cat([beside.repeat(len(goal) // len(beside), 1, 1, 1), goal], 1))

        return judge

    def discriminator_loss(self, batch: Batch, turn: Turn) -> Loss:
        source, x = self.pair(batch)
        with torch.no_grad():
            fake = self.made(self.generator(source))
        return self.config.judged(self.judge(source), self.goal(x), fake, turn)

    def generator_loss(self, batch: Batch, turn: Turn) -> Loss:
        source, x = self.pair(batch)
        goal, output = self.goal(x), self.generator(source)
        parts = {"error": self.error(output, goal)}
        value = parts["error"]
        if self.discriminator is not None:
            parts["opinion"] = self.config.opinion(self.judge(source), goal, self.made(output))
            value = value + self.config.adversarial * parts["opinion"]
        return Loss(value, {name: part.detach() for name, part in parts.items()})

    def translate(self, source: Tensor) -> Tensor:
        return self.generator(source)
