"""Morphs: what lies between two items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
import pydantic
import torch
from torch import Tensor

from figment.core.config import Config
from figment.core.data import Image
from figment.core.errors import UsageError
from figment.explorer.inputs import Chosen, choose, varied
from figment.explorer.points import plane
from figment.explorer.scene import Found, Scene
from figment.latent.codes import Code, psnr
from figment.latent.interpolate import even_times, jump, path, step_sizes
from figment.pictures import grid, sheet

ROWS = 3  # morphs, where no items are named
SIDE = 256  # pixels of a film's frame
EVEN, ROUNDS = 1.5, 3  # the largest change over the mean one that is even enough; how often times are moved for it


class Options(Config):
    """How finely, and along which line."""

    steps: int = pydantic.Field(12, ge=3, le=400, description="items from one end to the other")
    spherical: bool | None = pydantic.Field(
        None, description="along the sphere (White 2016); unset: where codes lie near one, in gan and diffusion"
    )
    even: bool = pydantic.Field(True, description="steps where items change alike; false: equal steps of code")


@dataclass(frozen=True)
class Morph:
    """The items x `(N, ...)` at times t `(N,)` on the way; `jump` is the largest change over the mean one had the times
    been even."""

    x: Tensor
    t: Tensor
    jump: float


def explore(scene: Scene, words: Sequence[str], options: Options) -> Found:
    """decode of codes between A and B, for every two items named: a row a pair, and a film of them.

    The figures hold, for each pair, how well its ends are met (dB), and the largest change from one item to the next,
    relative to the mean change: as shown, and for equal steps of the code.
    """
    words = list(words) or varied(scene, 2 * ROWS)
    if len(words) % 2:
        raise UsageError(f"interpolate: a morph takes two items, two of them four, ...; given: {len(words)}.")
    ends = choose(scene, words)
    on_sphere = scene.codec.white if options.spherical is None else options.spherical
    codes = ends.code.split()
    pairs = list(zip(codes[::2], codes[1::2]))
    morphs = _even(scene, pairs, on_sphere, options)
    figures = {"encoded_by": scene.codec.way, "spherical": on_sphere, "steps": options.steps, **_figures(morphs, ends)}
    form = scene.model.spec.x
    if not isinstance(form, Image):
        return Found(figures, plane(scene, [morph.x.cpu() for morph in morphs], ends.x))
    title = f"{scene.title}: morphs along {'the sphere' if on_sphere else 'straight lines'} of codes"
    frames = [
        grid(form.to_user(torch.stack(moment)), columns=len(morphs), scale=max(1, SIDE // form.height))
        for moment in zip(*(morph.x for morph in morphs))
    ]
    return Found(figures, _strips(form, morphs, ends, title), frames)


def _even(scene: Scene, pairs: Sequence[tuple[Code, Code]], on_sphere: bool, options: Options) -> list[Morph]:
    """Morphs at even times; then, those that do not change evenly, at times chosen from all that has been seen."""
    times = [torch.linspace(0, 1, options.steps, device=scene.model.device)] * len(pairs)

    def decoded(which: Sequence[int]) -> list[Tensor]:
        codes = [path(*pairs[k], times[k], on_sphere) for k in which]
        return list(scene.codec.decode(Code.joined(codes)).split(options.steps))

    items = decoded(range(len(pairs)))
    seen, jumps = list(zip(times, items)), [jump(x) for x in items]
    for _ in range(ROUNDS if options.even else 0):
        uneven = [k for k, x in enumerate(items) if jump(x) > EVEN]
        if not uneven:
            break
        for k in uneven:
            times[k] = even_times(*seen[k], options.steps)
        for k, x in zip(uneven, decoded(uneven)):
            items[k], seen[k] = x, _merged(*seen[k], times[k], x)
    return [Morph(x, t, first) for x, t, first in zip(items, times, jumps)]


def _merged(t: Tensor, x: Tensor, more_t: Tensor, more_x: Tensor) -> tuple[Tensor, Tensor]:
    t, x = torch.cat([t, more_t]), torch.cat([x, more_x])
    order = t.argsort()
    return t[order], x[order]


def _figures(morphs: Sequence[Morph], ends: Chosen) -> dict[str, Any]:
    pictures = ends.x.ndim == 4
    pairs: dict[str, dict[str, Any]] = {}
    for k, morph in enumerate(morphs):
        pairs[f"{ends.names[2 * k]} > {ends.names[2 * k + 1]}"] = {
            **({"end_psnr": psnr(morph.x[[0, -1]], ends.x[2 * k : 2 * k + 2]).tolist()} if pictures else {}),
            "largest_over_mean": jump(morph.x),
            "largest_over_mean_of_equal_steps": morph.jump,
            "times": morph.t.tolist(),
            "step_sizes": step_sizes(morph.x).tolist(),
        }
    whole: dict[str, Any] = {"largest_over_mean": max(pair["largest_over_mean"] for pair in pairs.values())}
    if pictures:
        whole["end_psnr"] = min(value for pair in pairs.values() for value in pair["end_psnr"])
    return {**whole, "pairs": pairs}


def _strips(form: Image, morphs: Sequence[Morph], ends: Chosen, title: str) -> PIL.Image.Image:
    """A dozen items of each morph, the times under them, between what was given."""
    count = len(morphs[0].t)
    shown = np.unique(np.linspace(0, count - 1, min(count, 12)).round().astype(int)).tolist()
    given = list(form.to_user(ends.x))
    rows = [[given[2 * k], *form.to_user(morph.x[shown]), given[2 * k + 1]] for k, morph in enumerate(morphs)]
    captions = [
        [ends.names[2 * k], *(f"{t:.2f}" for t in morph.t[shown].tolist()), ends.names[2 * k + 1]]
        for k, morph in enumerate(morphs)
    ]
    return sheet(rows, captions=captions, title=title)
