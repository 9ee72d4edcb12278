"""An energy learned on the plane, and walkers that find the valleys, as a film."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.core.noise import Noise
from figment.evaluate.points import energy_distance
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import Panel, curves, plate
from figment.models.energy.ebm import EBM, Choices
from figment.pictures import COLOURS, INK, drawing, rendered

STEPS, BATCH = 1500, 256
WALK, LENGTH = 600, 0.1  # Langevin steps, and the deviation of one
WALKERS, FRAMES = 400, 40  # walkers shown, and pictures of the film
TESTED = 1000
CELLS, REACH = 140, 3.6  # of maps: points a side, and how far they go
WALKER = COLOURS[1]


def walk(model: EBM, noise: Noise, downhill: bool = False) -> Tensor:
    """Where walkers are after each step x <- x - e^2/2 dE/dx + e N(0, I), or without the noise: `(WALK + 1, N, 2)`."""
    fresh = noise.stream("steps")
    path = [model.config.reach * noise.stream("prior").normal((2,))]
    for _ in range(WALK):
        x = path[-1] - LENGTH**2 / 2 * model.slope(path[-1], None, 1.0)
        path.append(x if downhill else x + LENGTH * fresh.normal((2,)))
    return torch.stack(path)


def make(stage: Stage) -> Told:
    scene = stage.scene("energy", "ebm", STEPS, training__batch=BATCH, training__previews=0)
    model: EBM = scene.model
    axis = torch.linspace(-REACH, REACH, CELLS)
    points = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).view(-1, 2)
    with torch.no_grad():
        energy = model.energy(points, {}).view(CELLS, CELLS).numpy()
        data = stage.held_out.x[:TESTED]
        noise = stage.noise(TESTED)
        path = walk(model, noise)
        still = walk(model, noise[:WALKERS], downhill=True)
        sampled = model.with_sampling(Choices(steps=WALK, step=LENGTH)).sample({}, noise)
        levels = {"data": float(model.energy(data, {}).mean()), "start": float(model.energy(path[0], {}).mean()),
                  "end": float(model.energy(path[-1], {}).mean())}  # fmt: skip
    distance = [energy_distance(x, data) for x in path[:: WALK // 20]]
    floor = energy_distance(stage.training.x[:TESTED], data)
    annealed = energy_distance(sampled, data)
    spread = float((still[-1][:, None] - still[-1]).norm(dim=-1).fill_diagonal_(9).amin(1).median())
    spread_data = float((data[:WALKERS, None] - data[:WALKERS]).norm(dim=-1).fill_diagonal_(9).amin(1).median())
    claims = [
        Claim("Data lies in the valleys, noise on the slopes", f"mean energy {levels['data']:.2f} against "
              f"{levels['start']:.2f}", levels["data"] < levels["start"]),
        Claim("Walkers come down", f"from {levels['start']:.2f} to {levels['end']:.2f}",
              levels["end"] < levels["start"]),
        Claim("and spread as the data does: less than a tenth of the distance is left",
              f"energy distance {distance[0]:.4f} at first, {distance[-1]:.4f} after {WALK} steps (two draws of the "
              f"data: {floor:.4f})", distance[-1] - floor < 0.1 * distance[0]),
        Claim("Without noise they crowd at the bottom", f"median distance to the nearest other {spread:.3f} against "
              f"{spread_data:.3f} of data", spread < 0.5 * spread_data),
    ]  # fmt: skip
    figures = {"energy": levels, "energy_distance": distance, "floor": floor, "annealed": annealed,
               "nearest": {"downhill": spread, "data": spread_data}}  # fmt: skip
    shown = path[:, :WALKERS]
    rows = [
        [Panel(f"After {step} steps" if step else "Walkers start", _painter(energy, shown[step]), "", -1.0)
         for step in (0, WALK // 20, WALK)],
        [Panel("The landscape and the data", _painter(energy, data[:WALKERS], INK),
               "Contours: energy, pale where low. Dots: held-out data.", -1.0),
         Panel("Downhill only", _painter(energy, still[-1]), "The same walkers without noise: no sample of the "
               "density, only its tops.", -1.0),
         _fall(np.arange(0, WALK + 1, WALK // 20), distance, floor)],
    ]  # fmt: skip
    text = TEXT.format(**levels, walk=WALK, first=distance[0], last=distance[-1], floor=floor, annealed=annealed)
    return Told(plate(LESSON.title, LESSON.teaches, rows), text, figures, claims, _film(energy, shown))


def _painter(energy: np.ndarray, x: Tensor, colour: str = WALKER) -> Any:
    """Draws points on the contours of the energy."""
    low = energy.min()

    def draw(axes: Any) -> None:
        axis = np.linspace(-REACH, REACH, CELLS)
        levels = low + np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12])
        axes.contourf(axis, axis, energy, levels, cmap="Blues", extend="max", alpha=0.85)
        axes.scatter(*x.T.numpy(), s=7, color=colour, linewidths=0)
        axes.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), xticks=[], yticks=[])
        axes.grid(visible=False)

    return draw


def _film(energy: np.ndarray, path: Tensor) -> list[Any]:
    """The walkers on their way, slowly at first."""
    frames = []
    for x in path[(WALK * np.linspace(0, 1, FRAMES) ** 2).astype(int)]:
        figure, axes = drawing(3.0, 3.0)
        _painter(energy, x)(axes)
        frames.append(rendered(figure))
    return frames


def _fall(steps: np.ndarray, distance: list[float], floor: float) -> Panel:
    def draw(axes: Any) -> None:
        axes.plot(steps, distance, "-o", color=WALKER, markersize=4, linewidth=2)
        axes.axhline(floor, color=INK, linewidth=1.2, linestyle=(0, (5, 3)))
        axes.set(xlim=(0, WALK))

    return curves("From noise to data", draw, "Energy distance of walkers from held-out data; dashed: that of as many "
                  "training points.", ("steps", "distance"), 2.9)  # fmt: skip


TEXT = """
An energy model gives every point a height, E(x), and takes p(x) to be exp(-E(x)) but for a factor: low where data is,
high where it is not. Held-out data lies at {data:.2f} on average, the noise that walkers start from at {start:.2f}.

To draw from it one walks: a small step downhill and a small step at random, over and over (Langevin). After {walk}
steps the walkers are at {end:.2f}, and their distance from the data has gone from {first:.4f} to {last:.4f}; two draws
of the data differ by {floor:.4f}. The noise belongs to it: without, all walkers roll to the bottom of the valleys and
lie there in a heap. The film shows the walk, slowly at first.

`figment sample` lets the energy come in little by little, which takes walkers further: {annealed:.4f} after as many
steps. On the plane they get nearly everywhere; in pictures valleys are far apart, and walking is slow.
"""

LESSON = Lesson(
    name="energy-landscape",
    title="Walkers in an energy landscape",
    source="Deck 004, 'Taxonomy of generative models'. Y. Du and I. Mordatch, 'Implicit generation and modeling with "
    "energy based models' (2019); M. Welling and Y. W. Teh, 'Bayesian learning via stochastic gradient Langevin "
    "dynamics' (2011)",
    teaches="A density known but for a factor is a landscape: data lies in its valleys, and walkers with a little "
    "noise draw from it.",
    make=make,
    data="toy:moons",
    needs=("points",),
)
