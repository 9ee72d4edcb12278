"""Small pictures enlarged: learned from any pictures, which are shrunk to have something to start from."""

from __future__ import annotations

from typing import ClassVar, Literal

import pydantic
import torch.nn.functional as F
from torch import Tensor

from figment.core.data import Batch, Image, Spec
from figment.core.errors import UsageError
from figment.models.translation.translator import Translator, TranslatorConfig
from figment.nn.super_resolution import SRResNet

BLOCKS = {"tiny": 2, "small": 4, "base": 8, "large": 16}


class SuperResolutionConfig(TranslatorConfig):
    """SRResNet; with `adversarial` > 0, SRGAN."""

    kind: Literal["super-resolution"] = "super-resolution"
    widths: ClassVar = {"tiny": 16, "small": 32, "base": 64, "large": 96}
    scale: int = pydantic.Field(4, ge=2, le=8, description="how many times as wide and high")
    blocks: int | None = pydantic.Field(None, ge=1, le=64, description="residual blocks (None: by size)")

    def build(self, spec: Spec) -> SuperResolution:
        spec = self.adapt(spec)
        assert isinstance(spec.x, Image)
        if min(spec.x.height, spec.x.width) < self.scale:
            raise UsageError(f"pictures of {spec.x.width}x{spec.x.height} are too small to learn x{self.scale} from.")
        numbers = {**self.resolved(spec), "blocks": self.blocks or BLOCKS[self.size]}
        return SuperResolution(self.model_copy(update=numbers), spec)


class SuperResolution(Translator):
    """x = G(shrunk x): the mean of what the small picture may have been (`error=l2`), its median (`l1`), or a sharp one
    of them (`adversarial` > 0).

    Ledig et al., "Photo-realistic single image super-resolution using a generative adversarial network" (2017).
    """

    config: SuperResolutionConfig

    def __init__(self, config: SuperResolutionConfig, spec: Spec):
        x = spec.x
        assert isinstance(x, Image)
        assert config.width
        assert config.blocks
        super().__init__(config, spec, SRResNet(x.channels, config.width, config.blocks, config.scale), x.channels)

    @property
    def source(self) -> Image:
        x, scale = self.spec.x, self.config.scale
        assert isinstance(x, Image)
        return Image(channels=x.channels, height=x.height // scale, width=x.width // scale)

    def pair(self, batch: Batch) -> tuple[Tensor, Tensor]:
        scale = self.config.scale
        height, width = (side // scale * scale for side in batch.x.shape[2:])
        x = batch.x[:, :, :height, :width]
        return shrunk(x, scale), x

    def goal(self, x: Tensor) -> Tensor:
        return x


def shrunk(x: Tensor, scale: int) -> Tensor:
    """Pictures at 1 / `scale` of their size, which must be a multiple of it: bicubic, antialiased, in 8 bits."""
    size = [side // scale for side in x.shape[2:]]
    small = F.interpolate(x, size, mode="bicubic", antialias=True, align_corners=False)
    return small.add(1).mul(127.5).round().clamp(0, 255).div(127.5).sub(1)
