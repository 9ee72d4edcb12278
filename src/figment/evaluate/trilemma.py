"""Quality, diversity and speed at once: which models no other beats on all three, and a chart that shows it.

Z. Xiao, K. Kreis, A. Vahdat, "Tackling the generative learning trilemma with denoising diffusion GANs" (2022).
The chart is laid out once and drawn twice: as SVG for the page, by matplotlib for `trilemma.png`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import pairwise
from typing import Any

import PIL.Image

from figment import pictures

Row = Mapping[str, Any]
LEFT, RIGHT, TOP, BOTTOM = 58, 108, 18, 46  # margins of the chart, in its own units (about one CSS pixel)
Box = tuple[float, float, float, float]  # x0, y0, x1, y1
LETTER, LINE = 7.8, 17  # width of a letter and height of a line of a model's name


@dataclass(frozen=True)
class Point:
    """A model that can be compared: Fréchet distance (less is better), coverage and samples/s (more is better)."""

    model: str
    place: int
    frechet: float
    coverage: float
    speed: float
    interval: tuple[float, float] | None = None

    def beats(self, other: Point) -> bool:
        """Pareto dominance: nowhere worse, somewhere better."""
        mine, theirs = (-self.frechet, self.coverage, self.speed), (-other.frechet, other.coverage, other.speed)
        return mine != theirs and all(a >= b for a, b in zip(mine, theirs))


def points(rows: Sequence[Row]) -> list[Point]:
    """The rows that have all three figures; `place` is the row's number."""
    found = []
    for place, row in enumerate(rows):
        quality, diversity, speed = (row.get(key) or {} for key in ("quality", "diversity", "speed"))
        given = (quality.get("frechet"), diversity.get("coverage"), speed.get("samples_per_second"))
        frechet, coverage, rate = (math.nan if value is None else float(value) for value in given)
        if math.isfinite(frechet + coverage + rate):
            interval = quality.get("interval")
            found.append(Point(row["model"], place, frechet, coverage, rate, tuple(interval) if interval else None))
    return found


def front(candidates: Sequence[Point]) -> list[Point]:
    """The Pareto front: those that no other beats."""
    return [point for point in candidates if not any(other.beats(point) for other in candidates)]


def yardsticks(rows: Sequence[Row]) -> dict[str, float]:
    """Fréchet distances to read the others against: of fresh real data, and of real data made worse."""
    names = {"floor": "floor", "one_class_missing": "one class missing", "blurred": "a blur of 1 px"}
    quality: Row = next((row["quality"] for row in rows if row.get("quality")), {})
    return {name: quality[key] for key, name in names.items() if quality.get(key) is not None}


@dataclass(frozen=True)
class Disc:
    """A model on the chart: its centre, radius (area ~ coverage), whisker, and where its name begins."""

    point: Point
    x: float
    y: float
    radius: float
    whisker: tuple[float, float] | None
    on_front: bool
    label: tuple[float, float]


@dataclass(frozen=True)
class Chart:
    """Everything drawn, in units of which the chart is `width` x `height`; y runs down."""

    width: float
    height: float
    discs: list[Disc]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    lines: list[tuple[float, float, str]]  # y of the line, y of its text, the text
    steps: list[tuple[float, float]]  # the front of speed against quality

    @property
    def title(self) -> str:
        return "Fréchet distance against samples per second; the area of a disc is its coverage"


def chart(rows: Sequence[Row], width: float = 760, height: float = 460) -> Chart:
    """Lays out speed (right is faster), quality (up is better), both logarithmic, and diversity (area)."""
    found = points(rows)
    sticks = yardsticks(rows)
    heights = [*(p.frechet for p in found), *sticks.values(), *(v for p in found for v in p.interval or ())]
    across = _axis([p.speed for p in found], LEFT, width - RIGHT)
    down = _axis(heights, TOP, height - BOTTOM)
    best = front(found)
    plain = [
        Disc(
            point, across(point.speed), down(point.frechet), 5 + 17 * math.sqrt(max(0.0, min(1.0, point.coverage))),
            (down(point.interval[0]), down(point.interval[1])) if point.interval else None, point in best, (0, 0),
        )
        for point in found
    ]  # fmt: skip
    lines = _spread([(down(value), name) for name, value in sticks.items()])
    ordered = sorted((d for d in plain), key=lambda d: (-d.x, d.y))
    corners = [d for i, d in enumerate(ordered) if all(d.y < other.y for other in ordered[:i])]
    steps = [(c.x, c.y) for c in corners]
    steps = [corner for (x0, y0), (_, y1) in pairwise(steps) for corner in ((x0, y0), (x0, y1))] + steps[-1:]
    drawn = [(min(a, c) - 2, min(b, d) - 2, max(a, c) + 2, max(b, d) + 2) for (a, b), (c, d) in pairwise(steps)]
    drawn += [(LEFT, y - 1, width - RIGHT, y + 1) for y, _, _ in lines]
    drawn += [(width - RIGHT + 4, at - 8, width, at + 8) for _, at, _ in lines]
    named = _labelled(plain, drawn, width, height)
    return Chart(width, height, named, across.ticks(), down.ticks(), lines, steps)


@dataclass(frozen=True)
class _Log:
    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.stop - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Powers of ten, or 1-2-5 steps where the axis spans less than two of them."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        steps = (1, 2, 5) if self.high / self.low < 1000 else (1,)
        values = [step * 10.0**decade for decade in decades for step in steps]
        return [(self(v), figure(v)) for v in values if self.low <= v <= self.high]


def _axis(values: Sequence[float], start: float, stop: float) -> _Log:
    positive = [value for value in values if value > 0] or [1.0]
    return _Log(min(positive) / 1.7, max(positive) * 1.9, start, stop)


def _spread(lines: list[tuple[float, str]]) -> list[tuple[float, float, str]]:
    """Moves the texts of lines that lie close apart, downwards."""
    out: list[tuple[float, float, str]] = []
    for y, name in sorted(lines):
        out.append((y, max(y, out[-1][1] + 14) if out else y, name))
    return out


def _labelled(discs: list[Disc], lines: list[Box], width: float, height: float) -> list[Disc]:
    """Puts each name where it covers least: right, left, above or below its disc, then further out."""
    taken = lines + [(d.x - d.radius, d.y - d.radius, d.x + d.radius, d.y + d.radius) for d in discs]
    out = []
    for disc in discs:
        wide = len(disc.point.model) * LETTER
        costs = {box: _cost(box, taken, width, height) + 2 * i for i, box in enumerate(_places(disc, wide))}
        x0, y0, _, _ = box = min(costs, key=lambda place: costs[place])
        taken.append(box)
        out.append(replace(disc, label=(x0, y0 + LINE * 0.75)))
    return out


def _places(disc: Disc, wide: float) -> list[Box]:
    boxes = []
    for far in (4, 16, 30):
        out = disc.radius + far
        corners = [
            (disc.x + out, disc.y - LINE / 2), (disc.x - out - wide, disc.y - LINE / 2),
            (disc.x - wide / 2, disc.y - out - LINE), (disc.x - wide / 2, disc.y + out),
            (disc.x + 0.7 * out, disc.y - 0.7 * out - LINE), (disc.x + 0.7 * out, disc.y + 0.7 * out),
            (disc.x - 0.7 * out - wide, disc.y - 0.7 * out - LINE), (disc.x - 0.7 * out - wide, disc.y + 0.7 * out),
        ]  # fmt: skip
        boxes += [(x, y, x + wide, y + LINE) for x, y in corners]
    return boxes


def _cost(box: Box, taken: Sequence[Box], width: float, height: float) -> float:
    x0, y0, x1, y1 = box
    covered = sum(max(0.0, min(x1, b1) - max(x0, a0)) * max(0.0, min(y1, d1) - max(y0, c0)) for a0, c0, b1, d1 in taken)
    outside = max(0, LEFT - x0) + max(0, x1 - width + 4) + max(0, TOP - 12 - y0) + max(0, y1 - height + BOTTOM)
    return covered + 40 * outside


def figure(value: float) -> str:
    """A number with three digits that matter: 0.0123, 1.23, 1,230, 1.2 M."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "∞"
    if abs(value) >= 1e6:
        return f"{value / 1e6:.3g} M"
    if abs(value) >= 1000:
        return f"{round(value, 2 - math.floor(math.log10(abs(value)))):,.0f}"
    digits = 2 - math.floor(math.log10(abs(value)))
    text = f"{value:.{max(0, min(digits, 6))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def svg(drawn: Chart, name: str) -> str:
    """The chart as an SVG element without styles of its own: classes `m0`, `m1`, ... colour the models."""
    right, bottom = drawn.width - RIGHT, drawn.height - BOTTOM
    parts = [f'<title id="{name}">{escape(drawn.title)}</title>']
    text: Callable[..., str] = lambda x, y, s, c: f'<text x="{x:.1f}" y="{y:.1f}" class="{c}">{escape(s)}</text>'  # noqa: E731
    for x, label in drawn.x_ticks:
        parts += [f'<path class="rule" d="M{x:.1f} {TOP}V{bottom}"/>', text(x, bottom + 17, label, "tick middle")]
    for y, label in drawn.y_ticks:
        parts += [f'<path class="rule" d="M{LEFT} {y:.1f}H{right}"/>', text(LEFT - 8, y + 4, label, "tick end")]
    for y, at, label in drawn.lines:
        parts += [f'<path class="stick" d="M{LEFT} {y:.1f}H{right}"/>', text(right + 7, at + 4, label, "stick")]
    parts.append(text((LEFT + right) / 2, drawn.height - 8, "samples per second → faster", "axis middle"))
    parts.append(f'<g transform="translate(13 {(TOP + bottom) / 2:.1f}) rotate(-90)">')
    parts.append(text(0, 0, "Fréchet distance → better", "axis middle") + "</g>")
    if len(drawn.steps) > 1:
        parts.append('<path class="front" d="M' + "L".join(f"{x:.1f} {y:.1f}" for x, y in drawn.steps) + '"/>')
    for disc in sorted(drawn.discs, key=lambda d: -d.radius):
        p = disc.point
        told = f"{p.model}: Fréchet {figure(p.frechet)}, coverage {p.coverage:.2f}, {figure(p.speed)} samples/s"
        kind = f"disc m{p.place % len(pictures.COLOURS)}" + ("" if disc.on_front else " beaten")
        parts.append(f'<circle class="{kind}" cx="{disc.x:.1f}" cy="{disc.y:.1f}" r="{disc.radius:.1f}">')
        parts.append(f"<title>{escape(told)}</title></circle>")
        if disc.whisker:
            low, high = disc.whisker
            caps = "".join(f"M{disc.x - 3:.1f} {y:.1f}h6" for y in disc.whisker)
            parts.append(f'<path class="whisker" d="M{disc.x:.1f} {low:.1f}V{high:.1f}{caps}"/>')
    for disc in drawn.discs:
        parts.append(text(*disc.label, disc.point.model, "name" + ("" if disc.on_front else " beaten")))
    size = f'viewBox="0 0 {drawn.width:g} {drawn.height:g}"'
    return f'<svg {size} role="img" aria-labelledby="{name}">{"".join(parts)}</svg>'


def png(drawn: Chart, title: str) -> PIL.Image.Image:
    """The chart by matplotlib, with a line of title above it."""
    from matplotlib.patches import Circle
    from matplotlib.patheffects import withStroke

    figure_, axes = pictures.drawing(drawn.width / 80, (drawn.height + 40) / 80)
    axes.set(xlim=(0, drawn.width), ylim=(drawn.height, -40), aspect="equal")
    axes.axis("off")
    right, bottom, ink, faint = drawn.width - RIGHT, drawn.height - BOTTOM, pictures.INK, "#6b665c"
    size = 72 / 80  # points in one unit
    for x, label in drawn.x_ticks:
        axes.plot([x, x], [TOP, bottom], color=pictures.RULE, linewidth=0.5, zorder=0)
        axes.text(x, bottom + 17, label, ha="center", fontsize=11 * size, color=faint)
    for y, label in drawn.y_ticks:
        axes.plot([LEFT, right], [y, y], color=pictures.RULE, linewidth=0.5, zorder=0)
        axes.text(LEFT - 8, y + 4, label, ha="right", fontsize=11 * size, color=faint)
    for y, at, label in drawn.lines:
        axes.plot([LEFT, right], [y, y], color=faint, linewidth=0.9, linestyle=(0, (2, 3)), zorder=1)
        axes.text(right + 7, at + 4, label, fontsize=10.5 * size, color=faint)
    axes.text((LEFT + right) / 2, drawn.height - 8, "samples per second → faster", ha="center", fontsize=12 * size)
    middle = (TOP + bottom) / 2
    axes.text(13, middle, "Fréchet distance → better", rotation=90, va="center", ha="center", fontsize=12 * size)
    axes.plot([x for x, _ in drawn.steps], [y for _, y in drawn.steps], color=ink, linewidth=1, alpha=0.5, zorder=2)
    for disc in drawn.discs:
        colour = pictures.COLOURS[disc.point.place % len(pictures.COLOURS)]
        fill = colour if disc.on_front else pictures.PAPER
        if disc.whisker:
            axes.plot([disc.x] * 2, disc.whisker, color=ink, linewidth=0.9, zorder=4.5, marker="_", markersize=5)
        style = {"facecolor": fill, "edgecolor": colour, "linewidth": 1.6, "alpha": 0.9, "zorder": 4 - disc.radius / 99}
        axes.add_patch(Circle((disc.x, disc.y), disc.radius, **style))
        weight = "bold" if disc.on_front else "normal"
        axes.text(
            *disc.label, disc.point.model, fontsize=13 * size, color=ink, weight=weight, zorder=5
        ).set_path_effects([withStroke(linewidth=3, foreground=pictures.PAPER)])
    axes.text(LEFT, -22, title, fontsize=16 * size, color=ink, family="serif")
    axes.text(LEFT, -4, "area: coverage · filled: beaten by none on all three", fontsize=10.5 * size, color=faint)
    return pictures.rendered(figure_)
