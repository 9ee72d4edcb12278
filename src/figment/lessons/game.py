"""A generator and a discriminator at play, as a film: on a line and in the plane, from afar to the data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.core.data import Batch, Spec, Vector
from figment.core.model import Turn
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import Panel, curves, plate
from figment.models.adversarial.gan import GAN, GANConfig
from figment.pictures import COLOURS, INK, drawing, panel, rendered

STEPS, BATCH, LR = 500, 128, 3e-3
GAMMA = 0.3  # less, and the players circle each other on the line
AFAR = 3.0  # deviations from the data's mean, where the generator begins
TESTED, SHOWN = 800, 400  # points of which distances are measured, and which are drawn
FRAMES, SNAPSHOTS = 48, (0, 8, 18, 30, 47)
REACH = 4.2  # of pictures, in deviations
CELLS = 60  # a side, of the field of what the discriminator says
REAL, DRAWN = COLOURS[0], COLOURS[1]


@dataclass(frozen=True)
class Frame:
    """The game after so many steps: drawn points `(N, D)`, what the discriminator says on a grid, and the distance."""

    step: int
    drawn: Tensor
    judged: Tensor
    distance: float


def wasserstein(a: Tensor, b: Tensor) -> float:
    """W1 of as many rows `(N, D)` of each: the mean distance of the best pairing; on a line, of sorted rows."""
    if a.shape[1] == 1:
        return float((a.sort(0).values - b.sort(0).values).abs().mean())
    from scipy.optimize import linear_sum_assignment

    cost = torch.cdist(a, b).numpy()
    return float(cost[linear_sum_assignment(cost)].mean())


def grid_of(dimensions: int) -> Tensor:
    """Points `(CELLS^D, D)` of the pictures."""
    axis = torch.linspace(-REACH, REACH, CELLS)
    return torch.cartesian_prod(*[axis] * dimensions).view(-1, dimensions)


def game(x: Tensor, held: Tensor, steps: int) -> list[Frame]:
    """A game on rows `(N, D)`, filmed at times that get further apart; distances are to as many held-out rows."""
    dimensions = x.shape[1]
    spec = Spec(name="points", x=Vector(mean=(0.0,) * dimensions, scale=(1.0,) * dimensions), c={})
    model = GANConfig(latent=2 * dimensions, size="tiny", gamma=GAMMA, spread=1.0).build(spec)
    away = AFAR / math.sqrt(dimensions)  # a generator begins at 0: the data is moved there and back
    players = model.players()
    optimisers = [torch.optim.Adam(player.parameters(), lr=LR, betas=(0.0, 0.99)) for player in players]
    codes, grid, frames = torch.randn(len(held), model.config.latent), grid_of(dimensions), []
    times = {round(steps * (i / (FRAMES - 1)) ** 2): i for i in range(FRAMES)}
    for step in range(steps + 1):
        if step in times:
            frames.append(_frame(model, step, codes, grid, held, away))
        rows = torch.randint(len(x), (BATCH,))
        batch = Batch(x[rows] - away, {}, rows.numpy())
        for player, optimiser in zip(players, optimisers):
            optimiser.param_groups[0]["lr"] = LR * (1 - step / (steps + 1))
            optimiser.zero_grad()
            player.loss(batch, Turn(step, step / (steps + 1))).value.backward()
            optimiser.step()
    return frames


@torch.no_grad()
def _frame(model: GAN, step: int, codes: Tensor, grid: Tensor, held: Tensor, away: float) -> Frame:
    drawn = model.decode(codes, {}) + away
    logits = model.discriminator(torch.cat([grid, drawn, held]) - away)
    judged = torch.sigmoid(logits[: len(grid)] - logits[len(grid) :].median())
    return Frame(step, drawn, judged, wasserstein(drawn, held))


def make(stage: Stage) -> Told:
    steps = max(FRAMES, round(STEPS * stage.effort))
    x, held = stage.training.x, stage.held_out.x[:TESTED]
    fresh = stage.training.x[: len(held)]
    with torch.random.fork_rng([]):
        torch.manual_seed(stage.seed)
        line = game(x[:, :1], held[:, :1], steps)
        plane = game(x, held, steps)
    floors = {"line": wasserstein(fresh[:, :1], held[:, :1]), "plane": wasserstein(fresh, held)}
    fell = {name: 1 - film[-1].distance / film[0].distance for name, film in (("line", line), ("plane", plane))}
    claims = [
        Claim(f"On the {name}, the distance to the data falls by nine tenths", f"from {film[0].distance:.2f} to "
              f"{film[-1].distance:.3f} deviations, by {fell[name]:.1%}; of other data it is {floors[name]:.3f}",
              fell[name] >= 0.9)
        for name, film in (("line", line), ("plane", plane))
    ]  # fmt: skip
    figures = {
        name: {"steps": [f.step for f in film], "wasserstein": [f.distance for f in film], "fell": fell[name],
               "of_other_data": floors[name]}
        for name, film in (("line", line), ("plane", plane))
    }  # fmt: skip
    shown = sorted({min(i, len(line) - 1) for i in SNAPSHOTS})
    rows = [
        [Panel(f"After {plane[i].step} steps", _plane(plane[i], held), "", -1.0) for i in shown],
        [Panel("" if k else "The same on a line", _line(line[i], held[:, :1]), "", 1.5) for k, i in enumerate(shown)],
        [_distances(line, plane)],
    ]
    text = TEXT.format(line=fell["line"], plane=fell["plane"], afar=AFAR)
    film = [_film(flat, wide, held) for flat, wide in zip(line, plane)]
    return Told(plate(LESSON.title, LESSON.teaches, rows), text, figures, claims, film)


def _plane(frame: Frame, held: Tensor) -> Any:
    """Data, drawings, and in the background what the discriminator calls real (blue) and drawn (orange)."""

    def draw(axes: Any) -> None:
        from matplotlib.colors import LinearSegmentedColormap

        field = LinearSegmentedColormap.from_list("judged", ["#f3cfae", "#faf6ee", "#b9cfe4"])
        extent = (-REACH, REACH, -REACH, REACH)
        axes.imshow(frame.judged.view(CELLS, CELLS).T, cmap=field, vmin=0, vmax=1, extent=extent, origin="lower",
                    interpolation="bilinear", aspect="auto")  # fmt: skip
        for rows, colour in ((held, REAL), (frame.drawn, DRAWN)):
            axes.scatter(*rows[:SHOWN].T.numpy(), s=4, color=colour, linewidths=0)
        axes.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), xticks=[], yticks=[])

    return draw


def _line(frame: Frame, held: Tensor) -> Any:
    """Histograms of data and drawings, and the discriminator's curve."""

    def draw(axes: Any) -> None:
        edges = np.linspace(-REACH, REACH, 64)
        for rows, colour in ((held, REAL), (frame.drawn, DRAWN)):
            heights, _ = np.histogram(rows[:, 0].numpy(), edges)
            axes.stairs((heights / heights.max()), edges, color=colour, fill=True, alpha=0.6)
        axes.plot(grid_of(1)[:, 0], frame.judged, color=INK, linewidth=1.8)
        axes.set(xlim=(-REACH, REACH), ylim=(0, 1.08), xticks=[], yticks=[])

    return draw


def _film(line: Frame, plane: Frame, held: Tensor) -> Any:
    figure, axes = drawing(3.0, 3.9)
    axes.remove()
    above, below = (panel(figure, place) for place in figure.add_gridspec(2, 1, height_ratios=(10, 3)))
    above.grid(visible=False)
    below.grid(visible=False)
    _plane(plane, held)(above)
    _line(line, held[:, :1])(below)
    return rendered(figure)


def _distances(line: list[Frame], plane: list[Frame]) -> Panel:
    def draw(axes: Any) -> None:
        for film, colour, name in ((plane, COLOURS[2], "in the plane"), (line, COLOURS[0], "on the line")):
            axes.plot([f.step for f in film], [f.distance for f in film], color=colour, linewidth=2.2, label=name)
        axes.set(ylim=(0, None))
        axes.legend(frameon=False, fontsize=10)

    return curves("How far drawings are from the data", draw, "The mean way of the best pairing of drawings with "
                  "held-out data (the Wasserstein distance W1), in deviations.", ("steps", "W1"), 2.2)  # fmt: skip


TEXT = """
Blue is data, orange what the generator draws. It begins as a small heap {afar:g} deviations away. The discriminator
(background; the dark curve on the line) learns to call real, where it is blue or high, what lies where data lies; the
generator moves its points uphill. Where they arrive, the discriminator is at a loss, half and half, and the two agree.

The distance to the data fell by {line:.1%} on the line and by {plane:.1%} in the plane; what is left is little more
than that of other data of the same size. Nobody told the generator where the data is: all it ever hears of it comes
through the discriminator (`model.spread=1`: also how far apart drawings should lie in its eyes).

`figment lesson distribution-transformer` shows the same with a map that can be undone.
"""

LESSON = Lesson(
    name="game",
    title="Two players, as a film",
    source="Decks 000 and 004, 'Intuition behind GANs'. I. Goodfellow et al., 'Generative adversarial nets' (2014)",
    teaches="A generator follows the slope of a discriminator from afar to the data.",
    make=make,
    data="toy:moons",
    needs=("points",),
)
