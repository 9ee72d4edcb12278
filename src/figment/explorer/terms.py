"""What the bound of a denoiser is made of: a term for every step of the chain from data to noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
import pydantic
import torch

from figment.core.config import Config
from figment.core.data import Image
from figment.core.errors import UsageError
from figment.core.model import CanDenoise
from figment.explorer.scene import Found, Scene
from figment.models.diffusion.chain import chain_terms
from figment.models.diffusion.transition import Spread
from figment.pictures import COLOURS, INK, drawing, rendered

BARS = 50
SPREADS: dict[Spread, str] = {
    "beta-tilde": "variance beta-tilde",
    "beta": "variance beta",
    "learned": "variance learned",
}


class Options(Config):
    """How long the chain is, and how much is measured."""

    steps: int = pydantic.Field(200, ge=2, le=4000, description="steps T of the chain, an evaluation each")
    count: int = pydantic.Field(100, ge=1, le=10_000, description="held-out items, with fresh noise each")


@torch.no_grad()
def explore(scene: Scene, words: Sequence[str], options: Options) -> Found:
    """L_0, ..., L_T of held-out items in bits a dimension (rows: nats), for both fixed variances of the reverse
    steps, and for the learned one where there is one.

    Raises UsageError for a model that does not denoise.
    """
    model = scene.model
    if not isinstance(model, CanDenoise):
        raise UsageError(f"`terms` are those of a denoiser, and '{scene.model.config.kind}' is none: take diffusion.")
    value, batch = scene.model.spec.x, scene.held_out(options.count)
    picture = isinstance(value, Image)
    unit = value.dimensions * math.log(2) if picture else 1.0
    torch.manual_seed(scene.seed)
    found: dict[Spread, np.ndarray] = {}
    one = model.denoise(batch.x[:1], batch.x.new_ones(1), {key: value[:1] for key, value in batch.c.items()})
    spreads = [spread for spread in SPREADS if spread != "learned" or one.variance is not None]
    with scene.watch("terms of the bound", len(spreads) * (options.steps + 1)) as advance:
        for spread in spreads:
            means = []
            for term in chain_terms(model, value, batch.x, batch.c, options.steps, spread):
                means.append(float(term.mean()) / unit)
                advance(1)
            found[spread] = np.array(means)
    totals = {spread: float(terms.sum()) for spread, terms in found.items()}
    name = "bits_per_dim" if picture else "nats"
    figures: dict[str, Any] = {"items": len(batch), "steps": options.steps, "unit": name, "total": totals}
    first = found["beta-tilde"]
    figures |= {"L_0": float(first[0]), "L_T": float(first[-1]), "least": float(min(map(np.min, found.values())))}
    figures["terms"] = {spread: terms.tolist() for spread, terms in found.items()}
    return Found(figures, _picture(scene, found, "bits a dimension" if picture else "nats"))


def _picture(scene: Scene, found: dict[Spread, np.ndarray], unit: str) -> PIL.Image.Image:
    """Terms by time, neighbours summed to one bar; L_0 and L_T apart."""
    figure, axes = drawing(9, 4.2)
    for k, (spread, terms) in enumerate(found.items()):
        groups = np.array_split(terms[1:-1], min(BARS, max(1, len(terms) - 2)))
        heights = [float(terms[0]), *(float(group.sum()) for group in groups), float(terms[-1])]
        width = 0.84 / len(found)
        label = f"{SPREADS[spread]}: {terms.sum():.3g} {unit} in all, L_0 {terms[0]:.2g}, L_T {terms[-1]:.1g}"
        axes.bar(
            np.arange(len(heights)) + (k + 0.5 - len(found) / 2) * width, heights, width, color=COLOURS[k], label=label
        )
    last = len(heights) - 1
    axes.set_xticks([0, last / 4, last / 2, 3 * last / 4, last], ["L_0", "t = 1/4", "1/2", "3/4", "L_T"])
    steps, bars = len(terms) - 2, len(heights) - 2
    axes.set_ylabel(f"{unit}, of {steps} steps" + (f" summed to {bars} bars" if bars < steps else ""))
    axes.legend(frameon=False, fontsize=9)
    axes.set_title(f"{scene.title}: the terms of its bound", loc="left", color=INK)
    return rendered(figure)
