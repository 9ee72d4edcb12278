"""Pictures beside what the model makes of their codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pydantic
import torch

from figment.core.config import Config
from figment.core.data import Image
from figment.core.noise import Noise
from figment.explorer.inputs import choose, varied
from figment.explorer.points import plane
from figment.explorer.scene import Found, Scene
from figment.latent.codes import psnr
from figment.models.autoencoders.corruption import Corruption, corrupted
from figment.pictures import sheet


class Options(Config):
    """How many pictures, where none are named; and how they are spoilt before the model sees them."""

    count: int = pydantic.Field(10, ge=1, le=1000, description="held-out pictures, where none are named")
    corrupt: Corruption | None = pydantic.Field(None, description="spoil the pictures first")
    amount: float = pydantic.Field(0.3, gt=0, le=1, description="how much: sigma, or the share of pixels")


def explore(scene: Scene, words: Sequence[str], options: Options) -> Found:
    """x and decode(encode(x)), with 10 log10(4 / mean squared error) dB of each; or, with `corrupt`, decode(encode(s))
    of the spoilt picture s, still measured against x."""
    chosen = choose(scene, list(words) or varied(scene, options.count))
    x, code = chosen.x, chosen.code
    shown = {"given": x}
    if options.corrupt:
        noise = Noise(scene.seed, range(len(x)), "corruption")
        shown["spoilt"] = corrupted(x, options.corrupt, options.amount, noise)
        code = scene.codec.encode(shown["spoilt"], code.c)
    shown["from its code"] = scene.codec.decode(code)
    form = scene.model.spec.x
    figures: dict[str, Any] = {"encoded_by": scene.codec.way}
    figures |= {_key("mse", name): float(torch.mean((x - y) ** 2)) for name, y in shown.items() if name != "given"}
    if not isinstance(form, Image):
        return Found(figures, plane(scene, list(torch.stack([*shown.values()][-2:], 1)), x))
    ratios = {name: psnr(x, y) for name, y in shown.items() if name != "given"}
    figures |= {_key("psnr", name): float(ratio.mean()) for name, ratio in ratios.items()}
    figures["each"] = dict(zip(chosen.names, ratios["from its code"].tolist()))
    captions = [list(chosen.names), *([f"{value:.1f} dB" for value in ratio.tolist()] for ratio in ratios.values())]
    title = f"{scene.title}: reconstructions, {figures['psnr']:.1f} dB on average"
    cells = [list(form.to_user(part)) for part in shown.values()]
    return Found(figures, sheet(cells, list(shown), captions=captions, title=title))


def _key(name: str, shown: str) -> str:
    return f"{name}_spoilt" if shown == "spoilt" else name
