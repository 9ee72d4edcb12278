"""Every latent by itself: which are used, and what each one does to a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pydantic

from figment.core.config import Config
from figment.core.data import Image
from figment.core.errors import UsageError
from figment.explorer.inputs import choose, varied
from figment.explorer.scene import Found, Scene
from figment.latent.traverse import ACTIVE, Axes, axes_of, change, walk
from figment.pictures import sheet

DEAD = 1e-3  # mean change of pixels, as a share of their range, below which nothing is seen
ENCODED = {"encoder": 2000, "equation": 32, "search": 1}  # training items that the axes are found from


class Options(Config):
    """Which picture, how far, how many latents."""

    image: str | None = pydantic.Field(None, description="the picture to start from (unset: a held-out one)")
    steps: int = pydantic.Field(9, ge=2, le=101, description="pictures in a row")
    reach: float = pydantic.Field(3.0, gt=0, le=20, description="how far, in spreads of the code, either way")
    latents: int = pydantic.Field(12, ge=1, le=200, description="rows: the most used latents")


def explore(scene: Scene, words: Sequence[str], options: Options) -> Found:
    """decode(z) with one coordinate of z at a time put at values over [-3, 3] spreads, the most used first.

    The figures hold the use of each (mean KL in nats, variance, or effect on pixels), how many are active, and how
    much of the range of pixels each changes from end to end. C7: Higgins et al., "beta-VAE" (2017).
    """
    scene.require_pictures("traverse")
    if words:
        raise UsageError(f"{words[0]}: traverse starts from one picture; name it by --image.")
    base = choose(scene, [options.image] if options.image else varied(scene, 1))
    count = min(ENCODED[scene.codec.way], len(scene.dataset.train))
    axes = axes_of(scene.codec, scene.gather("train", range(count)), base.code)
    form = scene.model.spec.x
    assert isinstance(form, Image)
    values = np.linspace(-options.reach, options.reach, options.steps).tolist()
    first, rest = axes[: options.latents], axes[options.latents :]
    x = scene.codec.decode(walk(base.code, first, values)).unflatten(0, (len(first), options.steps))
    changes = change(x).tolist()
    if len(rest):
        ends = scene.codec.decode(walk(base.code, rest, (values[0], values[-1])))
        changes += change(ends.unflatten(0, (len(rest), 2))).tolist()
    names = _names(axes)
    rows = [f"{name}  {_used(axes, use)}  {c:.1%}" for name, use, c in zip(names, first.use.tolist(), changes)]
    title = f"{scene.title}: one latent at a time from {base.names[0]}, its use, and what it changes of the pixels"
    picture = sheet([list(form.to_user(row)) for row in x], rows, [f"{value:+.1f}" for value in values], title=title)
    figures = {
        "image": base.names[0],
        "encoded_by": scene.codec.way,
        "latents": len(axes),
        **(_activity(axes.use.tolist(), changes) if axes.measure == "kl" else {}),
        "dead": sum(value < DEAD for value in changes),
        "use_is": axes.measure,
        "use": dict(zip(names, axes.use.tolist())),
        "pixel_change": dict(zip(names, changes)),
    }
    return Found(figures, picture)


def _activity(use: Sequence[float], changes: Sequence[float]) -> dict[str, Any]:
    """How many latents are active, and the most that any other changes."""
    idle = [change for nats, change in zip(use, changes) if nats <= ACTIVE]
    return {"active": len(use) - len(idle), "largest_change_of_inactive": max(idle, default=None)}


def _names(axes: Axes) -> list[str]:
    if axes.measure == "share of variance":
        return [f"component {k}" for k in range(len(axes))]
    return [f"z{k}" for k in axes.latents]


def _used(axes: Axes, use: float) -> str:
    """How much an axis is used, in the unit of its measure."""
    shares = {"effect": "effect", "share of variance": "of variance"}
    if axes.measure in shares:
        return f"{use:.1%} {shares[axes.measure]}"
    return f"{use:.2f} {'nats' if axes.measure == 'kl' else 'var'}"
