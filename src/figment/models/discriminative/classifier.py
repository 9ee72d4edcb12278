"""What is in a picture: the discriminative model that attacks aim at, and that can be trained against them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import pydantic
import torch.nn.functional as F
from torch import Tensor, nn

from figment.core.config import Config
from figment.core.data import Batch, Image, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import CanClassify, Learns, Loss, Model, ModelConfig, Player, Turn
from figment.nn.backbone import encoder_for, width_and_blocks
from figment.nn.convolution import Rectified
from figment.pixels.attacks import Attack, attacked

RAMP = 0.3  # of the run, over which the attack trained against grows to its full size


class ClassifierConfig(ModelConfig):
    """p(label | x), by cross-entropy on items as they are or (`defence` > 0) on attacked ones."""

    kind: Literal["classifier"] = "classifier"
    accepts: ClassVar[tuple[type[Config], ...]] = (Image, Vector)
    requires = ("label",)
    network: Literal["deep", "rectified", "plain"] | None = pydantic.Field(
        None,
        description="deep: residual, with convolutions for pictures; rectified: few convolutions with rectifiers, "
        "which withstands attacks best; plain: dense layers only (None: deep, for pictures with a defence rectified)",
    )
    width: int | None = pydantic.Field(None, ge=4, le=4096, description="channels, or units (None: by size)")
    blocks: int | None = pydantic.Field(None, ge=1, le=64, description="blocks a level, or layers (None: by size)")
    defence: float = pydantic.Field(
        0.0, ge=0, le=100, description="train on items attacked by this much; black to white is 1 (0: as they are)"
    )
    norm: Literal["linf", "l2"] = pydantic.Field("linf", description="what the attack trained against bounds")
    attack_steps: int = pydantic.Field(
        2, ge=1, le=100, description="steps of that attack; a single one is learned by heart"
    )

    def build(self, spec: Spec) -> Classifier:
        spec, pictures = self.adapt(spec), isinstance(spec.x, Image)
        if self.network == "rectified" and not pictures:
            raise UsageError(
                f"model.network=rectified is made of convolutions, and {spec.name} has rows: leave it out."
            )
        network = self.network or ("rectified" if pictures and self.defence > 0 else "deep")
        width, blocks = width_and_blocks(spec.x.shape, self.size, plain=network == "plain")
        chosen = {"network": network, "width": self.width or width, "blocks": self.blocks or blocks}
        return Classifier(self.model_copy(update=chosen), spec)


class Classifier(Model, Learns, CanClassify):
    """Minimises E -log p(y | x) or, with a defence, E max over |x' - x| <= eps of -log p(y | x').

    Madry et al., "Towards deep learning models resistant to adversarial attacks" (2018).
    """

    config: ClassifierConfig

    def __init__(self, config: ClassifierConfig, spec: Spec):
        super().__init__(config, spec)
        assert spec.label is not None
        assert config.width
        assert config.blocks
        shape, labels, plain = spec.x.shape, spec.label.count, config.network == "plain"
        self.network: nn.Module
        if config.network == "rectified" and len(shape) == 3:
            self.network = Rectified(shape, labels, config.width)
        else:
            self.network = encoder_for(shape, labels, config.width, config.blocks, plain=plain)

    def players(self) -> Sequence[Player]:
        return [Player("classifier", [self.network], self.loss)]

    def loss(self, batch: Batch, turn: Turn) -> Loss:
        x, y = batch.x, batch.c["label"]
        if self.config.defence > 0:
            eps = self.config.defence * min(1.0, (turn.progress + 0.01) / RAMP)
            attack = Attack(norm=self.config.norm, eps=eps, steps=self.config.attack_steps)
            x = attacked(self.class_log_prob, x, y, attack)
        logits = self.logits(x)
        accuracy = (logits.detach().argmax(1) == y).float().mean()
        return Loss(F.cross_entropy(logits, y), {"accuracy": accuracy})

    def logits(self, x: Tensor) -> Tensor:
        """`(B, K)`, of pictures with black at 0 and white at 1: what is usually black then teaches weights nothing,
        and a change of it finds them as they were drawn."""
        return self.network((x + 1) / 2 if x.ndim == 4 else x, None).float()

    def class_log_prob(self, x: Tensor) -> Tensor:
        return self.logits(x).log_softmax(1)
