"""Morphs: what lies between two items."""

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
from figment.explorer.inputs import Chosen, choose, varied
from figment.explorer.points import plane
from figment.explorer.scene import Found, Scene
from figment.latent.codes import Code, psnr
from figment.latent.interpolate import path, step_sizes
from figment.pictures import grid, sheet

ROWS = 3  # morphs, where no items are named
SIDE = 256  # pixels of a film's frame


class Options(Config):
    """How finely, and along which line."""

    steps: int = pydantic.Field(12, ge=3, le=400, description="items from one end to the other")
    spherical: bool | None = pydantic.Field(
        None, description="along the sphere (White 2016); unset: where codes lie near one, in gan and diffusion"
    )


def explore(scene: Scene, words: Sequence[str], options: Options) -> Found:
    """decode of codes between A and B, for every two items named: a row a pair, and a film of them.

    The figures hold, for each pair, how well its ends are met (dB), and the largest change from one item to the next,
    relative to the mean change.
    """
    words = list(words) or varied(scene, 2 * ROWS)
    if len(words) % 2:
        raise UsageError(f"{len(words)} items: give two for a morph, or four for two of them, ...")
    ends = choose(scene, words)
    on_sphere = scene.codec.white if options.spherical is None else options.spherical
    codes = ends.code.split()
    paths = [path(a, b, options.steps, on_sphere) for a, b in zip(codes[::2], codes[1::2])]
    x = scene.codec.decode(Code.joined(paths)).unflatten(0, (len(paths), options.steps))
    figures = {"encoded_by": scene.codec.way, "spherical": on_sphere, "steps": options.steps, **_figures(x, ends)}
    if not isinstance(scene.model.spec.x, Image):
        return Found(figures, plane(scene, [row.cpu() for row in x], ends.x))
    title = f"{scene.title}: morphs along {'the sphere' if on_sphere else 'straight lines'} of codes"
    return Found(figures, *_morphs(scene.model.spec.x, x, ends, title))


def _figures(x: Tensor, ends: Chosen) -> dict[str, Any]:
    pictures = x.ndim == 5
    pairs: dict[str, dict[str, Any]] = {}
    for k, row in enumerate(x):
        sizes = step_sizes(row)
        pairs[f"{ends.names[2 * k]} > {ends.names[2 * k + 1]}"] = {
            **({"end_psnr": psnr(row[[0, -1]], ends.x[2 * k : 2 * k + 2]).tolist()} if pictures else {}),
            "largest_over_mean": float(sizes.max() / sizes.mean().clamp_min(1e-12)),
            "step_sizes": sizes.tolist(),
        }
    whole: dict[str, Any] = {"largest_over_mean": max(pair["largest_over_mean"] for pair in pairs.values())}
    if pictures:
        whole["end_psnr"] = min(value for pair in pairs.values() for value in pair["end_psnr"])
    return {**whole, "pairs": pairs}


def _morphs(form: Image, x: Tensor, ends: Chosen, title: str) -> tuple[PIL.Image.Image, list[PIL.Image.Image]]:
    """Strips with what was given at either end, and a film of all morphs side by side."""
    shown = np.unique(np.linspace(0, x.shape[1] - 1, min(x.shape[1], 12)).round().astype(int))
    given = list(form.to_user(ends.x))
    rows = [[given[2 * k], *form.to_user(row[shown]), given[2 * k + 1]] for k, row in enumerate(x)]
    columns = ["given", *(f"{t:.2f}" for t in shown / (x.shape[1] - 1)), "given"]
    scale = max(1, SIDE // form.height)
    frames = [grid(form.to_user(moment), columns=len(x), scale=scale) for moment in x.transpose(0, 1)]
    return sheet(rows, columns=columns, title=title), frames
