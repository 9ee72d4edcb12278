"""What a map of codes looks like."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import PIL.ImageColor
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from figment.core.data import Image, Spec
from figment.latent import map as space
from figment.pictures import COLOURS, INK, PAPER, RULE, drawing, grid, panel, rendered

if TYPE_CHECKING:
    from figment.explorer.map import Colouring, Survey

MORE = ("#882255", "#332288", "#999933", "#44aa99")  # after COLOURS: P. Tol, "Colour schemes" (2021)
FINE = 150  # cells a side of the coloured plane
FADED = 0.75  # how far pictures in gaps fade into the paper
GAP = 2  # pixels of paper around a decoded picture of 56
SHEET, THUMB = 1300, 56  # pixels: the longer side of the sheet of thumbnails, and about that of a thumbnail
LEGEND = 24  # levels that a legend can name


def palette(count: int) -> list[str]:
    """So many colours: those told apart by everyone first, evenly turning hues where there are more."""
    ready = (*COLOURS, *MORE)
    if count <= len(ready):
        return list(ready[:count])
    hues = (colorsys.hls_to_rgb(i * 0.618 % 1, 0.35 + 0.2 * (i % 2), 0.65) for i in range(count))
    return ["#" + "".join(f"{round(255 * part):02x}" for part in hue) for hue in hues]


def of_plane(
    heading: str,
    spec: Spec,
    survey: Survey,
    colouring: Colouring | None,
    figures: dict[str, Any],
    plane: space.Plane,
    decoded: Tensor,
) -> PIL.Image.Image:
    """Codes over the areas of their levels; what the plane decodes to, faded where no data is near; areas as bars."""
    bars = bool(colouring and colouring.levels)
    figure, places = _figure(heading, 15.6 if bars else 12.8, 6.6, 1, [1, 1, 0.32][: 2 + bars])
    codes = panel(figure, places[0, 0])
    _areas(codes, survey, colouring)
    _points(codes, survey.shown.codes, colouring, size=9)
    if survey.region == "prior":
        turn = np.linspace(0, 2 * np.pi, 200)
        for radius in (1, 2):
            codes.plot(radius * np.cos(turn), radius * np.sin(turn), color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    _title(codes, "codes of held-out data", f"white: no code is near ({figures['gaps']:.0%} of the {survey.region})")
    _decoded(panel(figure, places[0, 1]), spec, plane, decoded, survey.missing(plane.points))
    if colouring and bars:
        _bars(panel(figure, places[0, 2]), colouring, figures, survey.region)
    elif colouring:
        _key(figure, codes, colouring)
    return rendered(figure)


def of_projections(
    heading: str, spec: Spec, survey: Survey, colouring: Colouring | None, flat: np.ndarray, laid: np.ndarray
) -> PIL.Image.Image:
    """Codes on two principal components and laid out by t-SNE; there also as pictures, framed in their colour."""
    pictures = isinstance(spec.x, Image)
    if pictures:
        figure, places = _figure(heading, 14.6, 8.8, 2, [0.42, 1])
        cells = [places[0, 0], places[1, 0]]
    else:
        figure, places = _figure(heading, 10.4, 5.6, 1, [1, 1])
        cells = [places[0, 0], places[0, 1]]
    for cell, points, title in zip(cells, (flat, laid), ("two principal components", "t-SNE")):
        axes = panel(figure, cell)
        _title(axes, title)
        axes.set(xticks=[], yticks=[])
        axes.set_aspect("equal", adjustable="datalim")
        _points(axes, points, colouring, size=6)
    if colouring:
        _key(figure, axes, colouring)
    if pictures:
        large = panel(figure, places[:, 1])
        large.imshow(thumbnails(spec, survey.shown.batch.x, laid, colouring))
        _title(large, "the same t-SNE, as pictures")
        large.set(xticks=[], yticks=[])
        large.grid(visible=False)
    return rendered(figure)


def thumbnails(spec: Spec, x: Tensor, points: np.ndarray, colouring: Colouring | None) -> PIL.Image.Image:
    """As many pictures as have room, each at its point `(N, 2)`, in a frame of its colour."""
    shown = spec.x.to_user(x)
    scale = max(1, round(THUMB / max(shown.shape[1:3])))
    frame = 3 if colouring else 1
    high, wide = (side * scale + 2 * frame for side in shown.shape[1:3])
    span = np.ptp(points, axis=0)
    corner = np.array([points[:, 0].min(), points[:, 1].max()])
    places = (points - corner) * (1, -1) * SHEET / span.max()  # of the upper left corners
    size = tuple(np.ceil(span * SHEET / span.max() + (wide, high)).astype(int).tolist())
    tints = _tints(colouring, len(points))
    sheet = PIL.Image.new("RGB", size, PAPER)
    for i in space.apart(places, wide + 3, high + 3):
        block = PIL.Image.new("RGB", (wide, high), tuple(int(255 * part) for part in tints[i]))
        block.paste(grid(shown[i : i + 1], scale=scale).convert("RGB"), (frame, frame))
        sheet.paste(block, (int(places[i][0]), int(places[i][1])))
    return sheet


def _figure(heading: str, width: float, height: float, rows: int, widths: list[float]) -> tuple[Any, Any]:
    figure, axes = drawing(width, height)
    axes.remove()
    figure.suptitle(heading, color=INK, fontsize=13)
    return figure, figure.add_gridspec(rows, len(widths), width_ratios=widths)


def _title(axes: Any, title: str, under: str = "") -> None:
    axes.set_title(title, loc="left", fontsize=12, color=INK, pad=22 if under else 8)
    axes.text(0, 1.015, under, transform=axes.transAxes, fontsize=8.5, color=INK, alpha=0.75)


def _tints(colouring: Colouring | None, count: int) -> np.ndarray:
    """A colour of each shown item, red, green, blue in [0, 1] `(N, 3)`; grey where it is unknown."""
    if colouring is None:
        return np.tile(to_rgb(COLOURS[0]), (count, 1))
    known = np.isfinite(colouring.shown)
    tints = np.tile(to_rgb(RULE), (count, 1))
    if colouring.levels:
        table = np.array([to_rgb(colour) for colour in palette(len(colouring.levels))])
        tints[known] = table[colouring.shown[known].astype(int)]
    else:
        low, high = np.nanmin(colouring.shown), np.nanmax(colouring.shown)
        tints[known] = colormaps["viridis"]((colouring.shown[known] - low) / max(high - low, 1e-12))[:, :3]
    return tints


def _points(axes: Any, points: np.ndarray, colouring: Colouring | None, size: float) -> None:
    area = size * min(6.0, max(1.0, 1000 / len(points)))  # few points are drawn larger
    axes.scatter(*points.T, s=area, c=_tints(colouring, len(points)), alpha=0.8, linewidths=0)


def _areas(axes: Any, survey: Survey, colouring: Colouring | None) -> None:
    """The plane in the light colour of the level that is nearest; white in gaps."""
    both = np.concatenate([survey.shown.codes, survey.draws])
    low, high = np.quantile(both, (0.002, 0.998), axis=0)
    margin = 0.05 * (high - low)
    low, high = low - margin, high + margin
    steps = (np.arange(FINE) + 0.5)[:, None] / FINE
    fine = space.Plane(*(low + (high - low) * steps).T)
    tint = np.tile(to_rgb("#e9e5da"), (FINE * FINE, 1))
    if colouring and colouring.levels:
        known = np.isfinite(colouring.training)
        found = space.votes(survey.training.codes[known], colouring.training[known].astype(int), fine.points)
        table = np.array([to_rgb(colour) for colour in palette(len(colouring.levels))])
        tint = 0.24 * table[found] + 0.76
    tint[survey.missing(fine.points)] = 1
    extent = (low[0], high[0], low[1], high[1])
    axes.imshow(tint.reshape(FINE, FINE, 3), origin="lower", extent=extent, aspect="auto", interpolation="nearest")
    axes.set(xlim=extent[:2], ylim=extent[2:])
    axes.set_autoscale_on(False)
    axes.grid(visible=False)


def _decoded(axes: Any, spec: Spec, plane: space.Plane, decoded: Tensor, missing: np.ndarray) -> None:
    """The plane as the pictures it decodes to, highest row on top; rows of numbers as a deformed net."""
    _title(axes, "what the plane decodes to", "faded: no code is near")
    n = len(plane.across)
    shown = spec.x.to_user(decoded)
    if not isinstance(spec.x, Image):
        net = shown[:, :2].reshape(n, n, -1)
        for lines in (net, net.transpose(1, 0, 2)):
            for line in lines:
                axes.plot(line[:, 0], line[:, 1], color=COLOURS[0], linewidth=0.7, alpha=0.8)
        return
    paper = np.array(PIL.ImageColor.getrgb(PAPER))
    tiles = np.stack([np.asarray(grid(tile[None], scale=1).convert("RGB")) for tile in shown]).astype(float)
    tiles[missing] += FADED * (paper - tiles[missing])
    scale = max(1, 56 // max(tiles.shape[1:3]))
    high, wide = (side * scale + 2 * GAP for side in tiles.shape[1:3])
    sheet = np.tile(paper.astype(float), (n, n, high, wide, 1))
    sheet[:, :, GAP:-GAP, GAP:-GAP] = (
        tiles.repeat(scale, 1).repeat(scale, 2).reshape(n, n, *sheet[0, 0, GAP:-GAP, GAP:-GAP].shape)
    )
    sheet = sheet[::-1].transpose(0, 2, 1, 3, 4).reshape(n * high, n * wide, 3)
    axes.imshow(sheet.astype(np.uint8), extent=(0, n, 0, n), aspect=high / wide, interpolation="nearest")
    axes.grid(visible=False)
    for axis, values in ((axes.xaxis, plane.across), (axes.yaxis, plane.upwards)):
        marks = [mark for mark in MaxNLocator(5).tick_values(*values[[0, -1]]) if values[0] <= mark <= values[-1]]
        axis.set_ticks(np.interp(marks, values, np.arange(n) + 0.5), [f"{mark:g}" for mark in marks])


def _bars(axes: Any, colouring: Colouring, figures: dict[str, Any], region: str) -> None:
    """The share of the region that each level has, and a mark at its share of the data."""
    names, tints = colouring.levels[:LEGEND], palette(len(colouring.levels))
    rows = np.arange(len(names))
    areas, shares = ([figures[key][name] for name in names] for key in ("areas", "shares"))
    axes.barh(rows, areas, color=tints, height=0.72)
    axes.plot(shares, rows, "|", color=INK, markersize=13, markeredgewidth=1.6)
    for row, area in zip(rows, areas):
        axes.text(max(areas[row], shares[row]) + 0.006, row, f"{area:.0%}", va="center", fontsize=8.5, color=INK)
    axes.set_yticks(rows, [name[:18] for name in names], fontsize=9)
    axes.set(xlim=(0, 1.18 * max(*areas, *shares)), xticks=[], ylim=(len(names) - 0.4, -0.6))
    axes.grid(visible=False)
    _title(axes, f"{colouring.name}: area", f"share of the {region}; | of the data")


def _key(figure: Any, axes: Any, colouring: Colouring) -> None:
    """What the colours mean: names in a row below, or a scale of numbers."""
    if not colouring.levels:
        scale = Normalize(np.nanmin(colouring.shown), np.nanmax(colouring.shown))
        bar = figure.colorbar(
            ScalarMappable(scale, "viridis"), ax=axes, orientation="horizontal", fraction=0.04, pad=0.03
        )
        bar.set_label(colouring.name, fontsize=9, color=INK)
        bar.ax.tick_params(colors=INK, length=0, labelsize=8)
        bar.outline.set_visible(False)
        return
    tints = palette(len(colouring.levels))
    marks = [Line2D([], [], color=tint, marker="o", linestyle="") for tint in tints[:LEGEND]]
    names = [name[:18] for name in colouring.levels[:LEGEND]]
    figure.legend(
        marks, names, loc="outside lower left", ncols=min(len(names), 8), frameon=False, fontsize=9, labelcolor=INK
    )
