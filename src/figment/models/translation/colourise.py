"""Colours for grey pictures, learned from pictures in colour."""

from __future__ import annotations

from typing import Literal

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from figment.core.data import Batch, Image, Spec
from figment.core.model import Loss, Turn
from figment.models.translation.network import unet_for
from figment.models.translation.palette import Palette
from figment.models.translation.translator import Translator, TranslatorConfig
from figment.pixels.colour import from_lab, grey_of, lab

CHROMA = 110.0  # the largest a* and b* of a screen's colours, about
COARSE = 32  # pixels a side from which 2x2 pixels have one colour, as in JPEG: eyes see lightness finer


class ColouriseConfig(TranslatorConfig):
    """A U-Net that adds a* and b* to L*."""

    kind: Literal["colourise"] = "colourise"
    error: Literal["classes", "l1", "l2"] = pydantic.Field(  # type: ignore[assignment]
        "classes", description="what is learned: how likely each of 305 colours is, or one colour, by its distance "
        "from the truth (l1, l2), which is pale where several may be"
    )  # fmt: skip
    temperature: float = pydantic.Field(
        0.25,
        gt=0,
        le=1,
        description="classes: 1 gives the mean of the colours that may be, towards 0 the likeliest one",
    )
    rarity: float = pydantic.Field(
        0.7, ge=0, le=1, description="classes: how far rare colours, which are vivid, gain on usual ones: 0 not at all"
    )

    def build(self, spec: Spec) -> Colourise:
        spec = self.adapt(spec)
        return Colourise(self.model_copy(update=self.resolved(spec)), spec)

    @classmethod
    def lack(cls, spec: Spec) -> str | None:
        grey = isinstance(spec.x, Image) and spec.x.channels != 3
        return "pictures that have no colours" if grey else super().lack(spec)


class Colourise(Translator):
    """(a*, b*) from L*, in CIE L*a*b*, where lightness is known and colour is not.

    By `classes` a network says p(q | L*) of every place, q one of K colours, and the place is given the mean of q under
    (p(q | L*) / p(q)^rarity)^(1 / temperature). What is nearest on average (l1, l2) is grey where colours are not
    implied; so is the mean of q where no colour is likelier than its opposite, and a discriminator asks for one.

    Zhang, Isola & Efros, "Colorful image colorization" (2016); with a discriminator, Nazeri, Ng & Ebrahimi, "Image
    colorization using generative adversarial networks" (2018).
    """

    config: ColouriseConfig

    def __init__(self, config: ColouriseConfig, spec: Spec):
        assert isinstance(spec.x, Image)
        assert config.width
        palette = Palette() if config.error == "classes" else None
        self.coarse = min(spec.x.height, spec.x.width) >= COARSE
        super().__init__(config, spec, Painter(spec.x, len(palette) if palette else 2, config.width, self.coarse), 2)
        self.palette = palette

    @property
    def source(self) -> Image:
        assert isinstance(self.spec.x, Image)
        return Image(channels=1, height=self.spec.x.height, width=self.spec.x.width)

    def pair(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return grey_of(batch.x), batch.x

    def goal(self, x: Tensor) -> Tensor:
        colours = lab(x)[:, 1:] / CHROMA
        return F.avg_pool2d(colours, 2, ceil_mode=True) if self.coarse else colours

    def generator_loss(self, batch: Batch, turn: Turn) -> Loss:
        if self.palette is not None and torch.is_grad_enabled():
            self.palette.count(self.goal(batch.x), turn)
        return super().generator_loss(batch, turn)

    def error(self, output: Tensor, goal: Tensor) -> Tensor:
        return super().error(output, goal) if self.palette is None else self.palette.surprise(output, goal)

    def made(self, output: Tensor) -> Tensor:
        if self.palette is None:
            return output
        return self.palette.mean(output, self.config.temperature, self.config.rarity)

    def translate(self, source: Tensor) -> Tensor:
        height, width = source.shape[2:]
        colours = self.made(self.generator(source))
        if self.coarse:
            colours = F.interpolate(colours, scale_factor=2, mode="bilinear")[:, :, :height, :width]
        return from_lab(lab(source.expand(-1, 3, -1, -1))[:, :1], CHROMA * colours)


class Painter(nn.Module):
    """Grey pictures `(B, 1, H, W)` -> `(B, outputs, H, W)`, or, `coarse`, `(B, outputs, H/2, W/2)`, float32: a U-Net,
    and a matrix of what it has found at each place."""

    def __init__(self, form: Image, outputs: int, width: int, coarse: bool):
        super().__init__()
        self.side = 2 if coarse else 1
        places = Image(channels=1, height=form.height // self.side, width=form.width // self.side)
        self.network = unet_for(places, self.side**2, width, width)
        self.colour_out = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, -x.shape[3] % self.side, 0, -x.shape[2] % self.side), mode="replicate")
        return self.colour_out(F.silu(self.network(F.pixel_unshuffle(x, self.side)))).float()
