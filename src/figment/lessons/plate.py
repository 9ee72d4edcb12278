"""Plates: pictures such as a textbook has, a title above panels with headings and captions, in the house style."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image

from figment.explorer.map_picture import palette
from figment.pictures import COLOURS, INK, PAPER, RULE, grid, rendered

WIDTH, EDGE, GAP = 12.0, 0.45, 0.45  # inches: of the sheet, of its margin, between panels
FAINT = "#6b665c"
TITLE, HEADING, TEXT = 21.0, 12.5, 10.5  # points
LINE = 1.45 * TEXT / 72  # inches from line to line of a caption


@dataclass(frozen=True)
class Panel:
    """A part of a plate. `draw(axes)` fills it; `width` is relative to its neighbours, `height` of its axes in inches
    (negative: times their width); `margins` are inches left and below the axes for what is written there."""

    heading: str
    draw: Callable[[Any], None]
    caption: str = ""
    height: float = 3.0
    width: float = 1.0
    margins: tuple[float, float] = (0.0, 0.0)

    def size(self, wide: float) -> tuple[float, float]:
        """Width and height of the axes in inches, in a panel so many inches wide."""
        across = wide - self.margins[0]
        return across, self.height if self.height > 0 else -self.height * across


def plate(title: str, subtitle: str, rows: Sequence[Sequence[Panel]]) -> PIL.Image.Image:
    """Panels in rows below a title, 1800 pixels wide and as high as they need."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    laid = [_widths(row) for row in rows]
    lead = _wrapped(subtitle, WIDTH - 2 * EDGE, TEXT + 1)
    top = EDGE + 0.42 + LINE * 1.1 * len(lead) + 0.2
    height = top + sum(_height(row, wide) for row, wide in zip(rows, laid)) + EDGE / 2
    figure = Figure((WIDTH, height), dpi=150, facecolor=PAPER)
    FigureCanvasAgg(figure)

    def write(x: float, y: float, text: str, size: float, **style: Any) -> None:
        figure.text(x / WIDTH, 1 - y / height, text, fontsize=size, va="top", **{"color": INK, **style})

    write(EDGE, EDGE * 0.8, title, TITLE, family="serif")
    for i, line in enumerate(lead):
        write(EDGE, EDGE + 0.42 + 1.1 * LINE * i, line, TEXT + 1, color=FAINT)
    for row, widths in zip(rows, laid):
        left = EDGE
        for panel, wide in zip(row, widths):
            beside, below = panel.margins
            across, high = panel.size(wide)
            write(left, top, panel.heading, HEADING, weight="bold")
            box = (left + beside) / WIDTH, 1 - (top + 0.33 + high) / height, across / WIDTH, high / height
            axes = figure.add_axes(box, facecolor=PAPER)
            _style(axes)
            panel.draw(axes)
            for i, line in enumerate(_wrapped(panel.caption, wide, TEXT)):
                write(left, top + 0.33 + high + below + 0.1 + LINE * i, line, TEXT, color=FAINT)
            left += wide + GAP
        top += _height(row, widths)
    return rendered(figure)


def _widths(row: Sequence[Panel]) -> list[float]:
    free = WIDTH - 2 * EDGE - GAP * (len(row) - 1)
    return [free * panel.width / sum(p.width for p in row) for panel in row]


def _height(row: Sequence[Panel], widths: Sequence[float]) -> float:
    """Inches a row takes: heading, axes, what is below them, caption, and the space to the next row."""
    return max(
        0.33 + p.size(wide)[1] + p.margins[1] + 0.1 + LINE * len(_wrapped(p.caption, wide, TEXT)) + 0.3
        for p, wide in zip(row, widths)
    )


def _wrapped(text: str, width: float, size: float) -> list[str]:
    letters = int(width * 72 / (0.53 * size))
    return [line for part in text.split("\n") for line in textwrap.wrap(part, letters)]


def _style(axes: Any) -> None:
    axes.tick_params(colors=INK, length=0, labelsize=9)
    axes.grid(color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)


def pictures(
    heading: str,
    pixels: np.ndarray,
    columns: int,
    caption: str = "",
    width: float = 1.0,
    names: Sequence[str] = (),
    margin: float = 1.3,
) -> Panel:
    """A panel of pictures uint8 `(N, H, W, C)`; `names` are written beside its rows, in a margin of so many inches."""
    scale = max(1, 1600 // (columns * pixels.shape[2]))
    sheet = np.asarray(grid(pixels, columns, scale).convert("RGB"))
    rows = -(-len(pixels) // columns)

    def draw(axes: Any) -> None:
        axes.imshow(sheet, interpolation="antialiased", aspect="auto")
        axes.axis("off")
        for i, name in enumerate(names):
            at = (i + 0.5) / rows
            axes.text(-0.02, 1 - at, name, transform=axes.transAxes, ha="right", va="center", fontsize=TEXT, color=INK)

    return Panel(heading, draw, caption, -sheet.shape[0] / sheet.shape[1], width, (margin if names else 0.0, 0.0))


def points(
    heading: str,
    rows: np.ndarray,
    labels: np.ndarray | None = None,
    names: Sequence[str] = (),
    caption: str = "",
    axes_names: tuple[str, str] = ("", ""),
    width: float = 1.0,
    limits: tuple[float, float] | None = None,
    decorate: Callable[[Any], None] | None = None,
) -> Panel:
    """A panel of points `(N, 2)`, a colour a label, each label's name at the median of its points."""

    def draw(axes: Any) -> None:
        from matplotlib.patheffects import withStroke

        shown = labels if labels is not None else np.zeros(len(rows), int)
        tints = palette(int(shown.max()) + 1)
        axes.scatter(rows[:, 0], rows[:, 1], s=10, c=[tints[int(y)] for y in shown], alpha=0.6, linewidths=0)
        for y, name in enumerate(names):
            if (shown == y).any():
                middle = np.median(rows[shown == y], 0)
                axes.text(
                    *middle, name, color=tints[y], fontsize=15, weight="bold", ha="center", va="center"
                ).set_path_effects([withStroke(linewidth=3.5, foreground=PAPER)])
        if limits is not None:
            axes.set(xlim=limits, ylim=limits)
        axes.set_xlabel(axes_names[0], fontsize=TEXT, color=INK)
        axes.set_ylabel(axes_names[1], fontsize=TEXT, color=INK)
        if decorate is not None:
            decorate(axes)

    return Panel(heading, draw, caption, -1.0, width, (0.5, 0.45))


def rings(axes: Any) -> None:
    """Where a standard normal prior lies: circles at one and at two deviations."""
    from matplotlib.patches import Circle

    for radius in (1, 2):
        axes.add_patch(Circle((0, 0), radius, fill=False, edgecolor=INK, linewidth=1.4, linestyle=(0, (5, 3))))


def bars(
    heading: str,
    values: Mapping[str, float],
    caption: str = "",
    unit: str = "",
    width: float = 1.0,
    colours: Sequence[str] | None = None,
    form: str = "{:.3g}",
    named: bool = True,
) -> Panel:
    """A panel of horizontal bars, each with its number and, unless a neighbour has them, its name."""

    def draw(axes: Any) -> None:
        names, heights = list(values), np.array(list(values.values()), float)
        axes.barh(range(len(names)), heights, color=colours or COLOURS[0], height=0.62, alpha=0.9)
        for i, value in enumerate(heights):
            axes.text(value, i, "  " + form.format(value), va="center", fontsize=TEXT, color=INK)
        axes.set_yticks(range(len(names)), names if named else [""] * len(names), fontsize=TEXT)
        axes.set(ylim=(len(names) - 0.5, -0.5), xlim=(0, 1.18 * max(heights.max(), 1e-12)))
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(unit, fontsize=TEXT, color=INK)

    longest = max(len(name) for name in values) if named else 0
    margins = (0.25 + 0.085 * longest, 0.45 if unit else 0.27)
    return Panel(heading, draw, caption, 0.1 + 0.42 * len(values), width, margins)


def curves(
    heading: str,
    draw: Callable[[Any], None],
    caption: str = "",
    axes_names: tuple[str, str] = ("", ""),
    height: float = 3.0,
) -> Panel:
    """A panel with axes that `draw` fills with curves."""

    def named(axes: Any) -> None:
        draw(axes)
        axes.set_xlabel(axes_names[0], fontsize=TEXT, color=INK)
        axes.set_ylabel(axes_names[1], fontsize=TEXT, color=INK)

    return Panel(heading, named, caption, height, margins=(0.65, 0.45))
