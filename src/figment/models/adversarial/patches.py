"""The game against a discriminator of patches, and what networks that turn pictures into others by it share."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pydantic
import torch
from torch import Tensor

from figment.core.config import Config
from figment.core.data import Image, Spec
from figment.core.model import Loss, ModelConfig, Turn
from figment.models.adversarial.objectives import OBJECTIVES, Name, Objective, accuracy
from figment.models.adversarial.regularisers import squared_slope

Judge = Callable[[Tensor], Tensor]  # pictures (B, C, H, W) -> logits (B, h, w) of their patches


def judged(
    game: Objective,
    judge: Judge,
    real: Tensor,
    fake: Tensor,
    turn: Turn,
    *,
    gamma: float,
    lazy: int,
    whole: bool = False,
) -> Loss:
    """The discriminator's loss L_D of pictures `(B, C, H, W)`, plus on every `lazy`-th turn, with weight `lazy`,
    (gamma / 2) E |d D_i / dx|^2 over patches i, of both kinds; or (gamma / 2) |d mean D / dx|^2 of the `whole` picture.

    The mean over patches is that of |d sum +-D_i / dx|^2 a patch, signs drawn at random. Without signs what overlapping
    patches agree on, colour before all, is bounded as many times more closely as they overlap.
    """
    penalised = gamma > 0 and turn.count % lazy == 0 and torch.is_grad_enabled()
    x = torch.cat([real, fake]).requires_grad_(penalised)
    logits = judge(x)
    of_real, of_fake = logits.chunk(2)
    value, parts = game.discriminator_loss(of_real, of_fake), {"accuracy": accuracy(of_real, of_fake)}
    if penalised:
        signs = torch.ones_like(logits) if whole else torch.randn_like(logits).sign()
        total = (signs * logits).flatten(1).sum(1)
        places = logits[0].numel()
        parts["slope"] = squared_slope(total, x).mean() / (places**2 if whole else places)
        value = value + lazy * gamma / 2 * parts["slope"]
    return Loss(value, {name: part.detach() for name, part in parts.items()})


def opinion(game: Objective, judge: Judge, real: Tensor, fake: Tensor) -> Tensor:
    """The generator's loss L_G of what it made `(B, C, H, W)`, beside real pictures."""
    with torch.no_grad():
        beside = judge(real)
    return game.generator_loss(beside, judge(fake))


class PatchesConfig(ModelConfig):
    """The sizes of generators and discriminators of patches, and what they optimise; abstract."""

    accepts: ClassVar[tuple[type[Config], ...]] = (Image,)
    widths: ClassVar[dict[str, int]] = {"tiny": 8, "small": 16, "base": 32, "large": 64}
    fields: ClassVar[tuple[int, ...]] = (64, 128)  # pixels a side from which patches have a halving more
    whole: ClassVar[bool] = False
    width: int | None = pydantic.Field(None, ge=4, le=1024, description="channels at full size (None: by size)")
    objective: Name = pydantic.Field("relativistic", description="what the two players optimise")
    gamma: float = pydantic.Field(0.4, ge=0, description="strength of the penalty on the discriminator's slope")
    lazy: int = pydantic.Field(4, ge=1, description="updates of the discriminator between two such penalties")
    field: int | None = pydantic.Field(
        None, ge=1, le=5, description="halvings before a patch is judged: 1 sees 16 pixels, 2 34, 3 70 (None: by size)"
    )

    def resolved(self, spec: Spec) -> dict[str, int]:
        """What is left to the data and to `size`, as numbers."""
        assert isinstance(spec.x, Image)
        shorter = min(spec.x.height, spec.x.width)
        halvings = 1 + sum(shorter >= side for side in self.fields)
        return {"width": self.width or self.widths[self.size], "field": self.field or halvings}

    @property
    def game(self) -> Objective:
        return OBJECTIVES[self.objective]

    def judged(self, judge: Judge, real: Tensor, fake: Tensor, turn: Turn) -> Loss:
        """L_D by these settings."""
        return judged(self.game, judge, real, fake, turn, gamma=self.gamma, lazy=self.lazy, whole=self.whole)

    def opinion(self, judge: Judge, real: Tensor, fake: Tensor) -> Tensor:
        """L_G by these settings."""
        return opinion(self.game, judge, real, fake)
