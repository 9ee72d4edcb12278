"""The class of every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor

from figment.core.config import Config
from figment.core.data import Batch, Image, Masks, Spec
from figment.core.model import CanSegment, Learns, Loss, Model, ModelConfig, Player, Turn
from figment.models.translation.network import unet_for
from figment.pictures import shades

WIDTHS = {"tiny": 8, "small": 16, "base": 32, "large": 64}


class SegmenterConfig(ModelConfig):
    """A U-Net that reads the class of each pixel, learned from pictures with masks."""

    kind: Literal["segmenter"] = "segmenter"
    accepts: ClassVar[tuple[type[Config], ...]] = (Image,)
    requires = ("mask",)
    width: int | None = pydantic.Field(None, ge=4, le=1024, description="channels at full size (None: by size)")
    skips: bool = pydantic.Field(True, description="hand detail from the way down to the way up")

    def build(self, spec: Spec) -> Segmenter:
        spec = self.adapt(spec)
        return Segmenter(self.model_copy(update={"width": self.width or WIDTHS[self.size]}), spec)


class Segmenter(Model, Learns, CanSegment):
    """Maximises E log p(class of pixel i, j | x), independent given the picture.

    Ronneberger, Fischer & Brox, "U-Net: Convolutional networks for biomedical image segmentation" (2015).
    """

    config: SegmenterConfig

    def __init__(self, config: SegmenterConfig, spec: Spec):
        super().__init__(config, spec)
        x, mask = spec.x, spec.c["mask"]
        assert isinstance(x, Image)
        assert isinstance(mask, Masks)
        assert config.width
        self.network = unet_for(x, x.channels, mask.count, config.width, config.skips)
        self.shades = shades(mask.count)

    def players(self) -> Sequence[Player]:
        return [Player("segmenter", [self.network], self.loss)]

    def loss(self, batch: Batch, turn: Turn) -> Loss:
        logits, mask = self.network(batch.x), batch.c["mask"]
        value = F.cross_entropy(logits, mask)
        return Loss(value, {"accuracy": (logits.detach().argmax(1) == mask).float().mean()})

    def segment(self, x: Tensor) -> Tensor:
        return self.network(x).log_softmax(1)

    @property
    def source(self) -> Image:
        assert isinstance(self.spec.x, Image)
        return self.spec.x

    def pair(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return batch.x, self.painted(batch.c["mask"])

    def translate(self, source: Tensor) -> Tensor:
        return self.painted(self.segment(source).argmax(1))

    def painted(self, mask: Tensor) -> Tensor:
        """Classes `(B, H, W)` in their shades: `(B, 3, H, W)` in [-1, 1]."""
        table = torch.tensor(self.shades, device=mask.device) / 127.5 - 1
        return table[mask].permute(0, 3, 1, 2)
