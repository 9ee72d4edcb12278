"""Colours for grey pictures, learned from pictures in colour."""

from __future__ import annotations

from typing import Literal

import pydantic
from torch import Tensor

from figment.core.data import Batch, Image, Spec
from figment.models.translation.network import unet_for
from figment.models.translation.translator import Translator, TranslatorConfig
from figment.pixels.colour import from_lab, grey_of, lab

CHROMA = 110.0  # the largest a* and b* of a screen's colours, about


class ColouriseConfig(TranslatorConfig):
    """A U-Net that adds a* and b* to L*."""

    kind: Literal["colourise"] = "colourise"
    adversarial: float = pydantic.Field(
        0.02, ge=0, le=100, description="weight of the discriminator: the more, the more colour where none is implied"
    )

    def build(self, spec: Spec) -> Colourise:
        spec = self.adapt(spec)
        return Colourise(self.model_copy(update=self.resolved(spec)), spec)

    @classmethod
    def lack(cls, spec: Spec) -> str | None:
        grey = isinstance(spec.x, Image) and spec.x.channels != 3
        return "pictures that have no colours" if grey else super().lack(spec)


class Colourise(Translator):
    """(a*, b*) = G(L*), in CIE L*a*b*, where lightness is known and colour is not: by the error alone, colours that are
    not implied come out grey; the discriminator asks for some colour.

    Nazeri, Ng & Ebrahimi, "Image colorization using generative adversarial networks" (2018); Zhang, Isola & Efros,
    "Colorful image colorization" (2016).
    """

    config: ColouriseConfig

    def __init__(self, config: ColouriseConfig, spec: Spec):
        assert isinstance(spec.x, Image)
        assert config.width
        super().__init__(config, spec, unet_for(spec.x, 1, 2, config.width), 2)

    @property
    def source(self) -> Image:
        assert isinstance(self.spec.x, Image)
        return Image(channels=1, height=self.spec.x.height, width=self.spec.x.width)

    def pair(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return grey_of(batch.x), batch.x

    def goal(self, x: Tensor) -> Tensor:
        return lab(x)[:, 1:] / CHROMA

    def translate(self, source: Tensor) -> Tensor:
        lightness = lab(source.expand(-1, 3, -1, -1))[:, :1]
        return from_lab(lightness, CHROMA * self.generator(source))
