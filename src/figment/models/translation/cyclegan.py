"""Pictures of one kind turned into another and back, learned from both without pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, final

import pydantic
import torch
from torch import Tensor, nn

from figment.core.data import Batch, Image, Spec
from figment.core.errors import UsageError
from figment.core.model import CanTranslate, HasDirections, Learns, Loss, Model, Player, Turn
from figment.models.adversarial.patches import PatchesConfig
from figment.models.translation.network import Change, unet_for
from figment.models.translation.pool import Pool
from figment.nn.patch import PatchDiscriminator

FOLDED = 32  # pixels a side from which changes are learned of 2x2 pixels at a time


class CycleGANConfig(PatchesConfig):
    """Two generators, each against a discriminator of patches, held together by the way back."""

    kind: Literal["cyclegan"] = "cyclegan"
    requires = ("other",)
    fields: ClassVar = (17, 35)  # what a picture is of must be seen whole: there is no truth that says the rest
    whole: ClassVar = True
    gamma: float = pydantic.Field(2.0, ge=0, description="strength of the penalty on the discriminators' slopes")
    cycle: float = pydantic.Field(3.0, ge=0, le=1000, description="weight of |way there and back - x| (0: none)")
    identity: float = pydantic.Field(
        0.5, ge=0, le=100, description="weight, relative to cycle, of what changes of pictures that are of the kind "
        "already; of A and B with as many channels"
    )  # fmt: skip
    change: bool = pydantic.Field(
        True, description="where A and B have as many channels, learn what changes of a picture; else all of it"
    )
    pool: int = pydantic.Field(
        50,
        ge=0,
        le=100_000,
        description="pictures made before, half of what the discriminators see (0: none)",
    )

    def build(self, spec: Spec) -> CycleGAN:
        spec = self.adapt(spec)
        return CycleGAN(self.model_copy(update=self.resolved(spec)), spec)


@final
class CycleGAN(Model, Learns, HasDirections):
    """b = G(a), a = F(b): minimises L_G(G) + L_G(F) + cycle (E |F(G(a)) - a| + E |G(F(b)) - b|)
    + cycle identity (E |G(b) - b| + E |F(a) - a|), with L_G the opinions of discriminators of the two kinds.

    The discriminators judge, half and half, new pictures and some of the last ones. Zhu, Park, Isola & Efros, "Unpaired
    image-to-image translation using cycle-consistent adversarial networks" (2017); of the pool, Shrivastava et al.,
    "Learning from simulated and unsupervised images through adversarial training" (2017).
    """

    directions = ("A-to-B", "B-to-A")
    training_only = ("discriminator", "pool")
    config: CycleGANConfig

    def __init__(self, config: CycleGANConfig, spec: Spec):
        super().__init__(config, spec)
        a, b = spec.c["other"], spec.x
        assert isinstance(a, Image) and isinstance(b, Image)
        assert config.width and config.field
        added = config.change and a.channels == b.channels
        there, back = (
            unet_for(b, *ends, config.width, folded=added and min(b.height, b.width) >= FOLDED)
            for ends in ((a.channels, b.channels), (b.channels, a.channels))
        )
        self.generator_ab: nn.Module = Change(there) if added else there
        self.generator_ba: nn.Module = Change(back) if added else back
        self.discriminator_a, self.discriminator_b = (
            PatchDiscriminator(form.channels, 2 * config.width, config.field) for form in (a, b)
        )
        self.pool_a, self.pool_b = Pool(config.pool, a.shape), Pool(config.pool, b.shape)

    def players(self) -> Sequence[Player]:
        judges = [self.discriminator_a, self.discriminator_b]
        makers = [self.generator_ab, self.generator_ba]
        return (
            Player("discriminator", judges, self.discriminator_loss, ema=False),
            Player("generator", makers, self.generator_loss),
        )

    def discriminator_loss(self, batch: Batch, turn: Turn) -> Loss:
        a, b = self.ends(batch)
        with torch.no_grad():
            made_a, made_b = self.generator_ba(b), self.generator_ab(a)
        of_a = self.config.judged(self.discriminator_a, a, self.pool_a.mixed(made_a), turn)
        of_b = self.config.judged(self.discriminator_b, b, self.pool_b.mixed(made_b), turn)
        if torch.is_grad_enabled():
            self.pool_a.add(turn.gather(made_a))
            self.pool_b.add(turn.gather(made_b))
        return Loss(of_a.value + of_b.value, {key: (of_a.parts[key] + of_b.parts[key]) / 2 for key in of_a.parts})

    def generator_loss(self, batch: Batch, turn: Turn) -> Loss:
        (a, b), config = self.ends(batch), self.config
        alike = config.cycle * config.identity > 0 and a.shape[1] == b.shape[1]
        made_b, *same_b = self.generator_ab(torch.cat([a, b] if alike else [a])).split(len(a))
        made_a, back_a, *same_a = self.generator_ba(torch.cat([b, made_b, a] if alike else [b, made_b])).split(len(a))
        back_b = self.generator_ab(made_a)
        opinion = config.opinion(self.discriminator_a, a, made_a) + config.opinion(self.discriminator_b, b, made_b)
        parts = {"opinion": opinion, "cycle": (back_a - a).abs().mean() + (back_b - b).abs().mean()}
        value = opinion + config.cycle * parts["cycle"]
        if alike:
            parts["identity"] = (same_a[0] - a).abs().mean() + (same_b[0] - b).abs().mean()
            value = value + config.cycle * config.identity * parts["identity"]
        return Loss(value, {name: part.detach() for name, part in parts.items()})

    def ends(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return batch.c["other"], batch.x

    def towards(self, direction: str) -> Way:
        if direction not in self.directions:
            raise UsageError(f"--direction {direction}: {' or '.join(self.directions)} is wanted.")
        return Way(self, direction)


@final
class Way(CanTranslate):
    """A cyclegan in one of its directions."""

    def __init__(self, model: CycleGAN, direction: str):
        forth = direction == model.directions[0]
        self.model = model
        self.form: Image = model.spec.c["other"] if forth else model.spec.x  # type: ignore[assignment]
        self.generator = model.generator_ab if forth else model.generator_ba

    @property
    def source(self) -> Image:
        return self.form

    @property
    def device(self) -> torch.device:
        return self.model.device

    def translate(self, source: Tensor) -> Tensor:
        return self.generator(source)
