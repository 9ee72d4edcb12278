"""Which pixels listen to which word of a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
import pydantic
from torch import Tensor

from figment.core.config import Config
from figment.core.data import Image
from figment.core.errors import UsageError
from figment.core.model import HasSampling, with_sampling
from figment.core.noise import Noise
from figment.explorer.scene import Found, Scene
from figment.latent.attention import word_maps
from figment.pictures import sheet

SHOWN = 12  # words side by side


class Options(Config):
    """What is drawn, and how often."""

    prompt: str | None = pydantic.Field(None, description="what to draw (unset: the first caption that was learned)")
    count: int = pydantic.Field(4, ge=1, le=64, description="pictures, a row each")


def explore(scene: Scene, words: Sequence[str], options: Options) -> Found:
    """A row a picture: as drawn, then dimmed but for where it listens to each word.

    The figures hold, for each word, its share of the attention, and how much of it lies on the tenth of the pixels that
    listen most: .1 where all listen alike. Raises UsageError for a model that reads no text.
    """
    model: Any = scene.model
    spec, draws = model.spec, issubclass(type(model), HasSampling)
    if spec.text is None or not isinstance(spec.x, Image) or not draws:
        raise UsageError(f"`attention` is that to words, and '{model.config.kind}' has read no captions here.")
    prompt = options.prompt or next(iter(spec.text.examples), "")
    noise = Noise(scene.seed, range(options.count), device=model.device)
    c = {key: v.to(model.device) for key, v in spec.conditions(noise.to("cpu"), spec.given(prompt=prompt)).items()}
    x, maps = word_maps(model, with_sampling(model, scene.sampling), c, noise)
    pieces = spec.text.pieces(c["text"][0])[: maps.shape[1]]
    if not pieces:
        raise UsageError("an empty prompt has no words: give --prompt TEXT.")
    maps = maps[:, : len(pieces)].cpu()
    mass = maps.flatten(2).sum(2).mean(0)
    top = maps.flatten(2).sort(2, descending=True).values
    focus = (top[..., : max(1, top.shape[2] // 10)].sum(2) / top.sum(2).clamp(min=1e-12)).mean(0)
    told = [
        {"word": word, "share": share, "focus": where}
        for word, share, where in zip(pieces, (mass / mass.sum()).tolist(), focus.tolist())
    ]
    figures: dict[str, Any] = {"prompt": prompt, "count": options.count, "words": told}
    return Found(figures, _picture(scene, spec.x.to_user(x.cpu()), maps, pieces, prompt))


def _picture(scene: Scene, drawn: np.ndarray, maps: Tensor, pieces: Sequence[str], prompt: str) -> PIL.Image.Image:
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    light = ((maps - low) / (high - low).clamp(min=1e-12)).numpy()
    rows = []
    for picture, row in zip(drawn, light):
        dimmed = [(picture * (0.15 + 0.85 * shade[..., None])).astype(np.uint8) for shade in row[:SHOWN]]
        rows.append([picture, *dimmed])
    return sheet(rows, columns=["", *pieces[:SHOWN]], title=f"{scene.title}: where '{prompt}' is listened to")
