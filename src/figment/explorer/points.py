"""Rows of numbers, drawn among the data they belong to."""

from __future__ import annotations

from collections.abc import Sequence

import PIL.Image
import torch
from torch import Tensor

from figment.explorer.scene import Scene
from figment.pictures import COLOURS, INK, drawing, picture, rendered


def plane(scene: Scene, paths: Sequence[Tensor], given: Tensor) -> PIL.Image.Image:
    """Paths `(N, D)` and points `(M, D)` that were given, both in model range, over the training data in grey; rows of
    more than two numbers as lines over their columns, a colour a path."""
    form = scene.model.spec.x
    if form.dimensions != 2:
        colour = torch.repeat_interleave(torch.arange(len(paths)), torch.tensor([len(path) for path in paths]))
        return picture(scene.model.spec, torch.cat(list(paths)), {"label": colour})
    train = scene.gather("train", range(min(4000, len(scene.dataset.train)))).x
    figure, axes = drawing(4.8, 4.8)
    axes.scatter(*form.to_user(train).T, s=2, color="#b8b2a6", alpha=0.5, linewidths=0)
    for k, row in enumerate(paths):
        axes.plot(*form.to_user(row).T, color=COLOURS[k % len(COLOURS)], marker="o", markersize=3, linewidth=1.2)
    axes.scatter(*form.to_user(given).T, s=28, facecolors="none", edgecolors=INK, linewidths=1.0, zorder=3)
    axes.set(**dict(zip(("xlabel", "ylabel"), form.columns)), aspect="equal")
    return rendered(figure)
