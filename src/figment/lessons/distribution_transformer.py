"""A map from the normal distribution to the data: by quantiles on a line, by a flow on the plane, as a film."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from scipy.stats import ks_2samp, norm
from torch import Tensor

from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import Panel, curves, plate
from figment.models.flows.flow import Flow
from figment.models.flows.transform import Chain
from figment.pictures import COLOURS, drawing, panel, rendered

STEPS, BATCH = 800, 256
POINTS, FILMED, TESTED = 1500, 700, 2000  # points of pictures, of the film, and of the tests
BETWEEN = 8  # frames from one layer to the next
REACH = 3.4  # of pictures, in deviations


def layers(model: Flow, z: Tensor) -> Tensor:
    """Points z `(N, 2)` and where they are after each layer of the inverse flow, the last first: `(L + 1, N, 2)`."""
    chain, path = model.transform, [z]
    assert isinstance(chain, Chain)
    for part in reversed(list(chain.parts)):
        path.append(part.inverse(path[-1], None))  # type: ignore[operator]
    return torch.stack(path)


def pushed(line: np.ndarray, z: np.ndarray) -> np.ndarray:
    """G(z) = the quantile of `line` at Phi(z): takes N(0, 1) to the distribution of `line`."""
    return np.quantile(line, norm.cdf(z))


def make(stage: Stage) -> Told:
    scene = stage.scene("flow", "flow", STEPS, training__batch=BATCH)
    with torch.no_grad():
        return told(stage, scene.model)


def told(stage: Stage, model: Flow) -> Told:
    train, held = stage.training.x.numpy(), stage.held_out.x.numpy()
    noise = stage.noise(TESTED)
    z = noise.normal((2,))
    drawn = model.decode(z, {})
    line = pushed(train[:, 0], z[:, 0].numpy())
    tests = {
        "line": float(ks_2samp(line, held[:, 0]).pvalue),
        **{f"plane, {axis}": float(ks_2samp(drawn[:, d], held[:, d]).pvalue) for d, axis in enumerate("xy")},
        "untransformed": float(ks_2samp(z[:, 0], held[:, 0]).pvalue),
    }
    back = float((model.encode(drawn, {}) - z).abs().max())
    path = layers(model, z[:POINTS])
    claims = [
        Claim("On the line, normal draws pushed through G pass for data", f"Kolmogorov-Smirnov p = {tests['line']:.2f} "
              f"(without G: {tests['untransformed']:.1g})", tests["line"] > 0.01 > tests["untransformed"]),
        Claim("On the plane, draws pushed through the flow pass for data", f"p = {tests['plane, x']:.2f} and "
              f"{tests['plane, y']:.2f}", min(tests["plane, x"], tests["plane, y"]) > 0.01),
        Claim("The way back leads to where each point came from", f"off by {back:.1e} at most", back < 1e-2),
    ]  # fmt: skip
    shown = np.linspace(0, len(path) - 1, 5).round().astype(int)
    rows = [
        [_cloud(path[i], path[0], "Noise" if i == 0 else f"After {i} of {len(path) - 1} layers") for i in shown],
        [_map(train[:, 0]), _line(line, held[:, 0], tests["line"]), _density(stage, model, tests)],
    ]
    text = TEXT.format(layers=len(path) - 1, line=tests["line"], x=tests["plane, x"], y=tests["plane, y"])
    figures = {"kolmogorov_smirnov_p": tests, "back": back}
    return Told(
        plate(LESSON.title, LESSON.teaches, rows), text, figures, claims, _film(path[:, :FILMED], z[:, 0].numpy(), line)
    )


def _scatter(axes: Any, x: Tensor, start: Tensor) -> None:
    """Points in the colour of the direction they started in."""
    angle = torch.atan2(start[:, 1], start[:, 0]) / (2 * np.pi) + 0.5
    axes.scatter(*x.T.numpy(), s=7, c=0.85 * colormaps["hsv"](angle.numpy())[:, :3], linewidths=0)
    axes.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), xticks=[], yticks=[])


def _cloud(x: Tensor, start: Tensor, heading: str) -> Panel:
    return Panel(heading, lambda axes: _scatter(axes, x, start), "", -1.0)


def _film(path: Tensor, z: np.ndarray, line: np.ndarray) -> list[Any]:
    """Both maps at work: points of the plane on their way, layer by layer, and below them z on its way to the line's
    G(z); with a rest at either end."""
    frames, end = [], len(path) - 1
    for time in [0.0] * BETWEEN + np.linspace(0, end, BETWEEN * end + 1).tolist() + [float(end)] * BETWEEN:
        i = min(int(time), end - 1)
        figure, axes = drawing(3.0, 3.9)
        axes.remove()
        plane, below = (panel(figure, place) for place in figure.add_gridspec(2, 1, height_ratios=(10, 3)))
        plane.grid(visible=False)
        _scatter(plane, path[i].lerp(path[i + 1], _eased(time - i)), path[0])
        below.hist(z + _eased(time / end) * (line - z), np.linspace(-REACH, REACH, 70), color=COLOURS[2])
        below.set(xlim=(-REACH, REACH), ylim=(0, 0.09 * len(z)), yticks=[], xticks=[])
        frames.append(rendered(figure))
    return frames


def _eased(time: float) -> float:
    """From 0 to 1 with a soft start and end."""
    return (1 - math.cos(math.pi * time)) / 2


def _map(line: np.ndarray) -> Panel:
    z = np.linspace(-3, 3, 400)

    def draw(axes: Any) -> None:
        axes.plot(z, pushed(line, z), color=COLOURS[2], linewidth=2.6)
        for at in np.linspace(-2, 2, 9):
            axes.plot([at, at, -3], [-REACH, pushed(line, at), pushed(line, at)], color="#b9b2a4", linewidth=0.9)
        axes.set(xlim=(-3, 3), ylim=(-2.2, 2.2))

    return curves("On the line: G", draw, "G(z) is the quantile of the data at Φ(z). Flat where data is dense, steep "
                  "where there is none.", ("z", "x"), 2.6)  # fmt: skip


def _line(line: np.ndarray, held: np.ndarray, p: float) -> Panel:
    def draw(axes: Any) -> None:
        edges = np.linspace(-2.4, 2.4, 49)
        axes.hist(held, edges, density=True, color="#c9c3b6")
        axes.hist(line, edges, density=True, histtype="step", color=COLOURS[2], linewidth=2)
        axes.plot(edges, norm.pdf(edges), color=COLOURS[1], linewidth=2, linestyle=(0, (5, 3)))
        axes.set(yticks=[], xlim=(-2.4, 2.4))

    return curves("Noise, pushed", draw, "Dashed: N(0, 1). Green: its draws after G. Grey: held-out data. "
                  f"Kolmogorov-Smirnov test of the two: p = {p:.2f}.", ("x", ""), 2.6)  # fmt: skip


def _density(stage: Stage, model: Flow, tests: Mapping[str, float]) -> Panel:
    axis = torch.linspace(-REACH, REACH, 160)
    points = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).view(-1, 2)
    height = model.log_prob(points, {}).exp().view(160, 160).numpy()

    def draw(axes: Any) -> None:
        axes.imshow(height**0.5, cmap="Greens", extent=(-REACH, REACH, -REACH, REACH), origin="lower", aspect="auto")
        axes.scatter(*stage.held_out.x[:300].T.numpy(), s=2, color="black", alpha=0.4, linewidths=0)
        axes.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), xticks=[], yticks=[])

    return curves("On the plane: its density", draw, "The flow can be undone, so the density of what it makes is known "
                  f"(green); dots: data. Its draws: p = {tests['plane, x']:.2f} across, {tests['plane, y']:.2f} up.",
                  ("", ""), 2.6)  # fmt: skip


TEXT = """
Sample from something simple, and learn a map to the data: whatever draws pictures from noise is a distribution
transformer. On the line the map is known: send z to the quantile that the data has where the normal distribution has z.
Draws pushed through it cannot be told from data (p = {line:.2f}).

On the plane a flow has learned one, in {layers} layers. Each moves one coordinate by an amount that depends on the
other, so that each can be undone. The upper row and the film show the same points on their way, in the colour of the
direction they began in (in the film, the map of the line is at work below them): the cloud is stretched, bent, and
pulled apart, and neighbours stay neighbours. The result passes for data in both coordinates (p = {x:.2f} and {y:.2f}).

A thread is left between parts of the data: a map that can be undone cannot tear the plane. The generator of an
adversarial network does the same without a way back, and so without a density.
"""

LESSON = Lesson(
    name="distribution-transformer",
    title="From noise to data",
    source="Decks 000 and 004, 'GANs are distribution transformers'. D. Rezende and S. Mohamed, 'Variational inference "
    "with normalizing flows' (2015)",
    teaches="A generative model is a map that bends a normal distribution into the data.",
    make=make,
    data="toy:moons",
    needs=("points",),
)
