"""A density is no probability: it has units, may exceed 1, and compares only where the same is asked of all models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import Panel, curves, plate
from figment.pictures import COLOURS, INK

WIDTHS = np.geomspace(1e-3, 12, 31)  # deviations of a spike, in grey levels
PIXELS = 20_000  # asked about
RANGES = {"[0, 1]": 255.0, "[-1, 1]": 255 / 2, "[0, 255]": 1.0}  # grey levels to a unit of each
RIGHT, WRONG = COLOURS[2], COLOURS[1]


def spikes(log_mass: Tensor, y: Tensor, width: float) -> Tensor:
    """log sum_k P(k) N(y; k, width^2) of numbers y `(B, D)` in grey levels, P `(B, D, 256)`: a mass made a density."""
    off = (y[..., None] - torch.arange(log_mass.shape[-1])) / width
    height = -0.5 * off.square() - math.log(width * math.sqrt(2 * math.pi))
    return (log_mass + height).logsumexp(-1)


def make(stage: Stage) -> Told:
    scene = stage.scene("histograms", "naive-bayes", 1)
    dimensions = scene.model.spec.x.dimensions
    batch = stage.held_out.suited(scene.model.spec)[: max(8, PIXELS // dimensions)]
    level = (batch.x.flatten(1) + 1).mul(127.5).round()
    with torch.no_grad():
        log_mass = scene.model.log_masses(None, batch.c, len(level)).double()
        exact = -float(scene.model.log_prob(batch.x, batch.c).double().mean()) / (dimensions * math.log(2))
    within = level + torch.rand(level.shape, generator=torch.Generator().manual_seed(stage.seed)) - 0.5
    raw, protocol = (
        np.array([-float(spikes(log_mass, y, width).mean()) / math.log(2) for width in WIDTHS]) for y in (level, within)
    )
    best = int(protocol.argmin())
    lengths = {name: dimensions * (math.log(unit) - math.log(2) * raw[best]) for name, unit in RANGES.items()}
    figures = {"log_density": lengths, "bits_per_dim": {"mass": exact, "best": protocol[best], "sharpest": raw[0]},
               "widths": WIDTHS.tolist(), "raw": raw.tolist(), "protocol": protocol.tolist()}  # fmt: skip
    said = ", ".join(f"{value:.0f} nats in {name}" for name, value in lengths.items())
    claims = [
        Claim("In other units the same model has another density", said,
              max(lengths.values()) - min(lengths.values()) > dimensions),
        Claim("Sharper and sharper, the raw density of unseen pictures rises without end, past what is possible",
              f"{raw[0]:.2f} bits/dim at spikes of {WIDTHS[0]:.0e} grey levels, and no picture has less than 0",
              raw[0] < 0 and bool((np.diff(raw[:best]) > 0).all())),
        Claim("Averaged over the width of a grey level it does not: too sharp a model is punished",
              f"{protocol[0]:.3g} bits/dim there", protocol[0] > protocol[best] + 1),
        Claim("and never is it below what the model truly needs, whatever its sharpness",
              f"{protocol[best]:.2f} bits/dim at best, {exact:.2f} in truth", protocol[best] > exact - 0.01),
    ]  # fmt: skip
    rows = [[_units(lengths), _narrow()], [_sharpness(raw, protocol, exact)]]
    text = TEXT.format(
        lengths=said, raw=raw[0], width=WIDTHS[0], protocol=protocol[best], best=WIDTHS[best], exact=exact
    )
    return Told(plate(LESSON.title, LESSON.teaches, rows), text, figures, claims)


def _units(lengths: Mapping[str, float]) -> Panel:
    def draw(axes: Any) -> None:
        names, values = list(lengths), list(lengths.values())
        axes.barh(range(len(names)), values, color=WRONG, height=0.6, alpha=0.9)
        axes.axvline(0, color=INK, linewidth=0.8)
        room = 0.3 * max(abs(value) for value in values)
        for i, value in enumerate(values):
            axes.text(value, i, f"  {value:.0f}  ", va="center", ha="left" if value >= 0 else "right", fontsize=11)
        axes.set(ylim=(len(names) - 0.5, -0.5), xlim=(min(0, *values) - room, max(0, *values) + room))
        axes.set_yticks(range(len(names)), names, fontsize=10.5)
        axes.grid(axis="y", visible=False)

    caption = "Mean log p(x) of the same pictures by the same model, with pixels written in three ranges."
    return Panel("One model, three densities", draw, caption, 2.2, 1.0, (0.75, 0.3))


def _narrow() -> Panel:
    z = np.linspace(-0.5, 1.5, 4001)

    def draw(axes: Any) -> None:
        for width, alpha in ((0.3, 0.25), (0.1, 0.4), (0.03, 0.6)):
            height = np.exp(-0.5 * (z / width) ** 2) / (width * math.sqrt(2 * math.pi))
            axes.fill_between(
                z, height, color=WRONG, alpha=alpha, linewidth=0, label=f"σ = {width}: top {height.max():.1f}"
            )
        axes.axhline(1, color=INK, linewidth=1.2, linestyle=(0, (5, 3)))
        axes.set(xlim=(-0.5, 1.5), ylim=(0, 14))
        axes.legend(frameon=False, fontsize=10.5)

    return curves("It may exceed 1", draw, "Three Gaussians, each of area 1. No probability is above the dashed "
                  "line.", ("x", "density"), 2.2)  # fmt: skip


def _sharpness(raw: np.ndarray, protocol: np.ndarray, exact: float) -> Panel:
    low, high, best = raw.min() - 0.5, max(9.0, exact + 4), int(protocol.argmin())

    def draw(axes: Any) -> None:
        axes.axhspan(low, 0, color="#e9e4d8", linewidth=0)
        axes.text(WIDTHS[-1], low + 0.4, "no 8-bit picture has less than 0  ", ha="right", fontsize=10.5, color=INK)
        axes.axhline(exact, color=INK, linewidth=1.2, linestyle=(0, (5, 3)))
        axes.plot(WIDTHS, raw, color=WRONG, linewidth=2.6)
        axes.plot(WIDTHS, protocol, color=RIGHT, linewidth=2.6)
        axes.plot(WIDTHS[best], protocol[best], "o", color=RIGHT, markersize=9)
        style = {"fontsize": 11, "weight": "bold"}
        axes.text(WIDTHS[5], raw[5] - 1.2, "taken for a probability", color=WRONG, **style)
        axes.text(1.3 * WIDTHS[best], protocol[best] + 2.5, "averaged over a grey level", color=RIGHT, **style)
        axes.text(WIDTHS[0], exact + 0.25, f"  the model's own masses: {exact:.2f}", color=INK, fontsize=10.5)
        axes.set(xscale="log", xlim=(WIDTHS[0], WIDTHS[-1]), ylim=(low, high))
        axes.minorticks_off()

    caption = (
        "Histograms of each pixel, every grey level a Gaussian spike, from sharp (left) to blunt (right), on held-out "
        "pictures. Orange: log p at the levels themselves. Green: averaged over the width of a level."
    )
    return curves("Sharper is not better", draw, caption, ("deviation of a spike, in grey levels", "bits/dim"), 3.4)


TEXT = """
A slide says that a density assigns a positive number to each item, as a measure of how probable it is. It is not
negative, but it may exceed 1, and it has a unit, one over that of x to the power of how many numbers x has. So one
model has of the very same pictures
{lengths}:
which range pixels are written in is all that differs.

Worse, pixels are whole numbers and a density knows nothing of that. Take the histogram of each pixel, a true
probability that needs {exact:.2f} bits a pixel, and make every level a Gaussian spike. The sharper the spikes (lower
picture, from right to left), the higher the density of pictures never seen, without end: at {width:.0e} grey levels it
claims {raw:.2f} bits a pixel, and none takes less than 0. Nothing was learned by that.

The probability of the 8-bit picture is the density summed over the cell that is rounded to it. Averaged over uniform
noise of the width of a level, log p bounds it, for any model, in any unit: never below the truth, too sharp as bad as
too blunt, and {protocol:.2f} bits/dim at best, at {best:.2g} grey levels. `figment likelihood` measures every family
so.
"""

LESSON = Lesson(
    name="units-of-density",
    title="A density is no probability",
    source="Deck 004, 'Density function'. L. Theis, A. van den Oord and M. Bethge, 'A note on the evaluation of "
    "generative models' (2016)",
    teaches="It may exceed 1, it has units, and on 8-bit pictures it can be raised without end; averaged over a grey "
    "level it compares.",
    make=make,
)
