"""Where attention to a word of a prompt matters, and what changes with the word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

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
from figment.latent.attention import word_changes, word_maps
from figment.pictures import sheet

SHOWN = 12  # words side by side


class Options(Config):
    """What is drawn, and how often."""

    prompt: str | None = pydantic.Field(None, description="what to draw (unset: the first caption that was learned)")
    of: Literal["attention", "change"] = pydantic.Field(
        "attention", description="where attention to a word matters; or what changes without it, from the same noise"
    )
    count: int = pydantic.Field(4, ge=1, le=64, description="pictures, a row each")


def explore(scene: Scene, words: Sequence[str], options: Options) -> Found:
    """A row a picture: as drawn, then dimmed but for where attention to each word matters, or what changes without it.

    The figures hold, for each word, its share of what is moved (or changed), and how much of it lies on the tenth of
    the pixels that have most: .1 where all have the same. Raises UsageError for a model that reads no text.
    """
    model: Any = scene.model
    spec, draws = model.spec, issubclass(type(model), HasSampling)
    if spec.text is None or not isinstance(spec.x, Image) or not draws:
        raise UsageError(f"`attention` is that to words, and '{model.config.kind}' has read no captions here.")
    prompt = options.prompt or next(iter(spec.text.examples), "")
    noise = Noise(scene.seed, range(options.count), device=model.device)
    c = {key: v.to(model.device) for key, v in spec.conditions(noise.to("cpu"), spec.given(prompt=prompt)).items()}
    sampler = with_sampling(model, scene.sampling)
    if scene.sampling.get("apart") and options.of == "attention":
        raise UsageError("with apart=true no word is read beside another: leave it out, or ask for of=change.")
    if options.of == "change":
        x, maps, pieces = word_changes(sampler, spec.text, c, noise)
    else:
        x, maps = word_maps(model, sampler, c, noise)
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
    figures: dict[str, Any] = {"prompt": prompt, "of": options.of, "count": options.count, "words": told}
    told_of = {
        "attention": f"where attention to the words of '{prompt}' matters",
        "change": f"what each word of '{prompt}' changes",
    }
    title = f"{scene.title}: {told_of[options.of]}"
    return Found(figures, _picture(spec.x.to_user(x.cpu()), maps, pieces, title))


def _picture(drawn: np.ndarray, maps: Tensor, pieces: Sequence[str], title: str) -> PIL.Image.Image:
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    light = ((maps - low) / (high - low).clamp(min=1e-12)).numpy()
    rows = []
    for picture, row in zip(drawn, light):
        dimmed = [(picture * (0.15 + 0.85 * shade[..., None])).astype(np.uint8) for shade in row[:SHOWN]]
        rows.append([picture, *dimmed])
    return sheet(rows, columns=["", *pieces[:SHOWN]], title=title)
