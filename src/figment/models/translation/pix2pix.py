"""A picture from another, learned from pairs."""

from __future__ import annotations

from typing import Literal

import pydantic
from torch import Tensor

from figment.core.data import Batch, Image, Spec
from figment.models.translation.network import unet_for
from figment.models.translation.translator import Translator, TranslatorConfig


class Pix2PixConfig(TranslatorConfig):
    """Learns p(x | image) of pairs by a U-Net; it is a function of the given picture, without noise."""

    kind: Literal["pix2pix"] = "pix2pix"
    requires = ("image",)
    adversarial: float = pydantic.Field(0.05, ge=0, le=100, description="weight of the discriminator (0: L1 alone)")

    def build(self, spec: Spec) -> Pix2Pix:
        spec = self.adapt(spec)
        return Pix2Pix(self.model_copy(update=self.resolved(spec)), spec)


class Pix2Pix(Translator):
    """x = G(image). Isola et al., "Image-to-image translation with conditional adversarial networks" (2017)."""

    config: Pix2PixConfig

    def __init__(self, config: Pix2PixConfig, spec: Spec):
        image, x = spec.c["image"], spec.x
        assert isinstance(image, Image) and isinstance(x, Image) and config.width
        super().__init__(config, spec, unet_for(x, image.channels, x.channels, config.width), x.channels)

    @property
    def source(self) -> Image:
        return self.spec.c["image"]  # type: ignore[return-value]

    def pair(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return batch.c["image"], batch.x

    def goal(self, x: Tensor) -> Tensor:
        return x
