"""Pictures beside what the model makes of their codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pydantic
import torch

from figment.core.config import Config
from figment.core.data import Image
from figment.explorer.inputs import choose, varied
from figment.explorer.points import plane
from figment.explorer.scene import Found, Scene
from figment.latent.codes import psnr
from figment.pictures import sheet


class Options(Config):
    """How many pictures, where none are named."""

    count: int = pydantic.Field(10, ge=1, le=1000, description="held-out pictures, where none are named")


def explore(scene: Scene, words: Sequence[str], options: Options) -> Found:
    """x and decode(encode(x)), with 10 log10(4 / mean squared error) dB of each."""
    chosen = choose(scene, list(words) or varied(scene, options.count))
    y = scene.codec.decode(chosen.code)
    form = scene.model.spec.x
    figures: dict[str, Any] = {"encoded_by": scene.codec.way, "mse": float(torch.mean((chosen.x - y) ** 2))}
    if not isinstance(form, Image):
        return Found(figures, plane(scene, list(torch.stack([chosen.x, y], 1)), chosen.x))
    ratio = psnr(chosen.x, y)
    figures |= {"psnr": float(ratio.mean()), "each": dict(zip(chosen.names, ratio.tolist()))}
    rows = [list(form.to_user(part)) for part in (chosen.x, y)]
    captions = [list(chosen.names), [f"{value:.1f} dB" for value in ratio.tolist()]]
    return Found(figures, sheet(rows, ("given", "from its code"), captions=captions))
