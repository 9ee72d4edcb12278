"""Groups without labels: k-means, which is told how many, mean shift, which finds out, and the colours of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from figment.explorer.map_picture import palette
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import Panel, curves, pictures, plate
from figment.models.classical.clusters import (
    Clusters,
    bandwidth_of,
    k_means,
    kernel_density,
    lloyd,
    mean_shift,
    purity,
    shifted,
)
from figment.pictures import COLOURS, INK, PAPER
from figment.pixels.regions import regions

BLOBS = np.array([[0.0, 0.0], [4.0, 0.5], [1.5, 3.5]])
SPREAD, POINTS = 0.6, 450
MANY = 12  # groups on which starts are compared
STARTS = 10
SHOWN, COUNT = 6, 4  # pictures, and colours asked of k-means


def ends(points: np.ndarray, plus: bool) -> np.ndarray:
    """Inertia `(STARTS,)` that single runs of k-means end with: started far apart (`plus`), or at random points."""
    return np.array([k_means(points, MANY, seed, plus, starts=1).inertia for seed in range(STARTS)])


def make(stage: Stage) -> Told:
    generator = np.random.default_rng(stage.seed)
    truth = generator.integers(0, len(BLOBS), POINTS)
    points = BLOBS[truth] + SPREAD * generator.normal(size=(POINTS, 2))
    path = list(lloyd(points, points[truth == 0][: len(BLOBS)]))
    inertia = np.array([found.inertia for found in path])
    told, untold, h = k_means(points, len(BLOBS), stage.seed), mean_shift(points, seed=stage.seed), bandwidth_of(points)
    density = kernel_density(untold.centres, points, h)
    slope = float(np.abs((shifted(untold.centres, points, h) - untold.centres) * density[:, None] / h**2).max())
    scattered = generator.uniform(-20, 20, (MANY, 2))[generator.integers(0, MANY, 900)]
    scattered = scattered + generator.normal(size=(900, 2))
    apart, anywhere = ends(scattered, plus=True), ends(scattered, plus=False)
    rgb = coloured(stage)
    found = {"k-means": [regions(x, COUNT, seed=stage.seed) for x in rgb],
             "mean shift": [regions(x, seed=stage.seed) for x in rgb]}  # fmt: skip
    counts = [len(region.colours) for region in found["mean shift"]]
    figures: dict[str, Any] = {
        "modes": len(untold.centres),
        "slope_at_modes": slope,
        "best_inertia": told.inertia,
        "purity": {"k-means": purity(told.assigned, truth), "mean shift": purity(untold.assigned, truth)},
        "inertia_by_step": inertia.tolist(),
        "inertia": {"k-means++": float(apart.mean()), "random": float(anywhere.mean())},
        "colours_found": counts,
    }
    claims = [
        Claim("The inertia never rises from one step of k-means to the next",
              f"{inertia[0]:.0f} to {inertia[-1]:.0f} in {len(inertia) - 1} steps",
              bool((np.diff(inertia) <= 1e-9 * inertia[0]).all())),
        Claim(f"Mean shift finds {len(BLOBS)} groups without being told",
              f"{len(untold.centres)}, with {figures['purity']['mean shift']:.1%} of points as drawn",
              len(untold.centres) == len(BLOBS)),
        Claim("and stops where the density is level", f"slope {slope:.1e} at most", slope < 1e-3),
        Claim("Starting far apart ends lower than starting anywhere, on average",
              f"inertia {apart.mean():.0f} against {anywhere.mean():.0f} over {STARTS} seeds",
              apart.mean() < anywhere.mean()),
    ]  # fmt: skip
    names = ("picture", f"{COUNT} colours", "untold")
    shown = np.stack([*rgb, *(region.picture for regioned in found.values() for region in regioned)])
    rows = [
        [_path(points, path), _climb(points, untold, h), _compared(apart, anywhere)],
        [pictures("Colours of pictures, grouped", shown, len(rgb), f"Each pixel in the colour of its group: {COUNT} by "
                  f"k-means; by mean shift as many as there are ({min(counts)} to {max(counts)} here).", names=names)],
    ]  # fmt: skip
    text = TEXT.format(first=inertia[0], last=inertia[-1], best=told.inertia,
                       modes=len(untold.centres), width=h, apart=apart.mean(), anywhere=anywhere.mean())  # fmt: skip
    return Told(plate(LESSON.title, LESSON.teaches, rows), text, figures, claims)


def coloured(stage: Stage) -> np.ndarray:
    """Some held-out pictures as RGB, uint8 `(N, H, W, 3)`."""
    pixels = stage.dataset.spec.x.to_user(stage.examples(SHOWN).x)
    return pixels if pixels.shape[-1] == 3 else pixels[..., :1].repeat(3, -1)


def _path(points: np.ndarray, path: Sequence[Clusters]) -> Panel:
    last, ways = path[-1].assigned, np.stack([found.centres for found in path], 1)
    tints = palette(len(BLOBS))

    def draw(axes: Any) -> None:
        axes.scatter(*points.T, s=8, c=[tints[k] for k in last], alpha=0.45, linewidths=0)
        for k, way in enumerate(ways):
            axes.plot(*way.T, "-o", color=INK, linewidth=1.4, markersize=3)
            axes.plot(*way[-1], "o", color=tints[k], markersize=13, markeredgecolor=PAPER, markeredgewidth=2)
        axes.set(xticks=[], yticks=[])
        axes.set_aspect("equal", adjustable="datalim")

    return curves("k-means, told three", draw, "Each centre moves to the mean of the points nearest to it; all three "
                  "started within one group.")  # fmt: skip


def _climb(points: np.ndarray, found: Clusters, h: float) -> Panel:
    """Some points on their way up the kernel density."""
    tints = palette(len(found.centres))
    x = points[:: len(points) // 40]
    way = [x]
    for _ in range(40):
        way.append(shifted(way[-1], points, h))
    nearest = found.nearest(way[-1])
    low, high = points.min(0) - h, points.max(0) + h
    across, up = np.meshgrid(np.linspace(low[0], high[0], 120), np.linspace(low[1], high[1], 120))
    height = kernel_density(np.stack([across.ravel(), up.ravel()], 1), points, h).reshape(across.shape)

    def draw(axes: Any) -> None:
        axes.contourf(across, up, height, 9, cmap="Greys", alpha=0.45)
        for k, path in zip(nearest, np.stack(way, 1)):
            axes.plot(*path.T, "-", color=tints[k], linewidth=1.3)
            axes.plot(*path[0], "o", color=tints[k], markersize=3.5)
        axes.scatter(*found.centres.T, s=170, color=tints, edgecolors=PAPER, linewidths=2, zorder=4)
        axes.set(xticks=[], yticks=[])
        axes.set_aspect("equal", adjustable="datalim")

    return curves("Mean shift, told nothing", draw, f"Points climb the density of all (grey, bandwidth {h:.2f}); where "
                  "they meet is a group.")  # fmt: skip


def _compared(apart: np.ndarray, anywhere: np.ndarray) -> Panel:
    def draw(axes: Any) -> None:
        for i, (values, colour) in enumerate(((apart, COLOURS[0]), (anywhere, COLOURS[1]))):
            axes.plot(np.full(len(values), i) + np.linspace(-0.12, 0.12, len(values)), values, "o", color=colour)
            axes.plot([i - 0.25, i + 0.25], [values.mean()] * 2, color=colour, linewidth=3)
        axes.set_xticks([0, 1], ["far apart", "anywhere"], fontsize=11)
        axes.set(xlim=(-0.5, 1.5), ylim=(0, None))
        axes.grid(axis="x", visible=False)

    return curves("Where to start", draw, f"Inertia that {STARTS} runs end with, on {MANY} groups; lines: means. Far "
                  "apart is k-means++.", ("", "inertia"))  # fmt: skip


TEXT = """
Nobody says which point belongs to which group, or even that there are any. k-means must be told how many: it lets each
point go to the nearest centre and each centre to the mean of its points, and so on. The sum of squared distances, the
inertia, can only fall, here from {first:.0f} to {last:.0f}. But where it ends depends on where it began: these three
began within one group, and the best of four starts far apart (k-means++) reaches {best:.0f}. On twelve groups, single
runs started far apart end at {apart:.0f} on average, started anywhere at {anywhere:.0f}.

Mean shift asks for a width instead ({width:.2f}, taken from the data). It lays a small hill on every point and lets
each climb the sum of all hills, by going to the mean of what is near. It met at {modes} tops; nobody had said three.

Below, pixels are the points, and L*a*b*, where distances are as eyes see them, is the plane. `figment data colours
PICTURE` does this with a picture of your own.
"""

LESSON = Lesson(
    name="clusters",
    title="Groups that nobody named",
    source="Deck 004, 'Clustering' and the exercises on k-means and mean shift. S. Lloyd, 'Least squares quantization "
    "in PCM' (1982); D. Comaniciu and P. Meer, 'Mean shift: a robust approach toward feature space analysis' (2002)",
    teaches="k-means is told how many groups there are; mean shift is told how wide they are, and counts them.",
    make=make,
    data="faces",
)
