"""`figment anomaly`: a score and a heat map for each item of some data, calibrated on what a run holds for normal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor
from torch.nn import functional as F

from figment.core.data import Image
from figment.core.errors import DataError, UsageError
from figment.core.run import DataConfig
from figment.data.items import Items, items
from figment.evaluate.memorisation import auroc
from figment.evaluate.outliers import CHUNK, JUDGED, TRAINING, Normal, Observer, Scores, fooled, some_of
from figment.explorer.scene import Found, Scene
from figment.pictures import COLOURS, INK, drawing, rendered, sheet

NORMAL = 2000  # held-out items that scores are set by, at most
ACROSS, BANDS = 12, 2  # pictures shown
THRESHOLD = 95.0  # percentile of normal items above which an item is called anomalous


@dataclass(frozen=True)
class Judge:
    """Gives items their scores, set by held-out items of the run's own data. See `evaluate.outliers`.

    An & Cho, "Variational autoencoder based anomaly detection using reconstruction probability" (2015).
    """

    scene: Scene
    observer: Observer
    normal: Normal
    warmth: float  # of the hottest hundredth of normal pixels; 0 where nothing is rebuilt

    @classmethod
    def of(cls, scene: Scene) -> Judge:
        """From training and held-out items of the run's own data. Raises UsageError where a model gives no measure."""
        dataset = scene.dataset
        alone = dataset.held_out is dataset.train  # too little to hold any out: one half is judged by the other
        taken = min(TRAINING + NORMAL, len(dataset.train)) // 2 if alone else TRAINING
        observer = Observer.of(scene.model, some_of(dataset.train, taken))
        parts = list(some_of(dataset.held_out, taken + NORMAL if alone else NORMAL))
        seen = [(x, observer.see(x)) for x in (torch.cat(parts)[taken:].split(CHUNK) if alone else parts)]
        measures = {name: torch.cat([item.measures[name] for _, item in seen]) for name in seen[0][1].measures}
        maps = [heat(x, item.rebuilt.cpu()).flatten() for x, item in seen if item.rebuilt is not None]
        warmth = float(np.quantile(torch.cat(maps).numpy(), 0.99)) if maps else 0.0
        return cls(scene, observer, Normal.of(measures), warmth)

    @property
    def threshold(self) -> float:
        """The strangeness above which an item is called anomalous: one normal item in twenty is, too."""
        return self.normal.limit(1 - THRESHOLD / 100)

    def scores(self, x: Tensor) -> tuple[Scores, Tensor, Tensor]:
        """All scores `(B,)`, what items are rebuilt as `(B, ...)` (themselves, where they are not), and where the two
        differ: `(B, H, W)`, of rows `(B, D)`."""
        seen = self.observer.see(x)
        rebuilt = x if seen.rebuilt is None else seen.rebuilt.to(x)
        return self.normal.score(seen.measures), rebuilt, heat(x, rebuilt)


def heat(x: Tensor, y: Tensor) -> Tensor:
    """(x - y)^2; of pictures its mean over channels, blurred by a Gaussian a 28th of the picture wide: `(B, C, H, W)`
    twice -> `(B, H, W)`."""
    if x.ndim != 4:
        return (x - y).square()
    error = (x - y).float().square().mean(1, keepdim=True)
    sigma = max(error.shape[-2:]) / 28
    reach = min(round(3 * sigma), min(error.shape[-2:]) - 1)
    place = torch.arange(-reach, reach + 1, device=x.device)
    weights = (-0.5 * (place / sigma) ** 2).exp()
    weights = weights / weights.sum()
    for kernel, pad in (
        (weights.view(1, 1, 1, -1), (reach, reach, 0, 0)),
        (weights.view(1, 1, -1, 1), (0, 0, reach, reach)),
    ):
        error = F.conv2d(F.pad(error, pad, mode="replicate"), kernel)
    return error[:, 0]


@dataclass
class Worst:
    """The items of the highest scores so far, with their pictures."""

    most: int
    scores: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.float64))
    shown: list[tuple[Tensor, Tensor, Tensor, str]] = field(default_factory=list)

    def add(self, scores: Tensor, x: Tensor, y: Tensor, maps: Tensor, names: Sequence[str]) -> None:
        both = torch.cat([self.scores, scores])
        order = both.argsort(descending=True, stable=True)[: self.most]
        shown = [*self.shown, *zip(x, y, maps, names)]
        self.scores, self.shown = both[order], [shown[k] for k in order.tolist()]


def anomaly(scene: Scene, config: DataConfig, *, normal: Sequence[str] = (), split: str | None = None) -> Found:
    """Scores of all items of some data, each as percentile among held-out items of the run's own data; above the 95th
    an item is called anomalous. The picture shows the worst: the item, what it is rebuilt as, where they differ.

    `normal` are the labels that are no anomalies (none: those that the run's data has); where the data has others too,
    `auroc` says how well the score separates them, and `by_score` how well the others do. Raises UsageError, DataError.
    """
    total, labels, found = items(scene.alike(config), scene.model.spec, split)
    if unknown := set(normal) - labels:
        there = ", ".join(sorted(labels)) or "none"
        raise UsageError(f"--normal {', '.join(sorted(unknown))}: the data has no such label. There are: {there}.")
    judge = Judge.of(scene)
    rows, skipped, worst = list[dict[str, Any]](), dict[str, str](), Worst(ACROSS * BANDS)
    with scene.watch("judging", total) as advance:
        for part in found:
            skipped |= part.faults
            if part.names:
                scores, rebuilt, maps = judge.scores(part.x.to(scene.model.device))
                rows += _judged(judge, part, scores)
                worst.add(scores[JUDGED], part.x, rebuilt.cpu(), maps.cpu(), _captions(part, scores[JUDGED]))
                advance(len(part.names) + len(part.faults))
    if not rows:
        raise DataError(f"nothing can be judged: {_faults(skipped)}.")
    rows.sort(key=lambda row: -row["score"])
    figures = {
        "items": len(rows),
        "anomalous": sum(row["anomalous"] for row in rows),
        "threshold": judge.threshold,
        "normal_items": len(judge.normal.scores[JUDGED]),
        **_separation(judge, rows, normal),
        "skipped": skipped,
        "scores": rows,
    }
    pictures = isinstance(scene.model.spec.x, Image)
    return Found(figures, _sheet(judge, worst) if pictures else _histogram(judge, rows))


def _faults(skipped: Mapping[str, str]) -> str:
    """The first few files that were skipped, and why."""
    told = [f"{name} is {fault}" if fault == "empty" else f"{name}: {fault}" for name, fault in skipped.items()]
    return "; ".join(told[:3]) + ("; ..." if len(told) > 3 else "") if told else "there are no items"


def _judged(judge: Judge, part: Items, scores: Scores) -> Iterator[dict[str, Any]]:
    percentiles = judge.normal.percentile(scores).tolist()
    others = {name: values.tolist() for name, values in scores.items()}
    for i, percentile in enumerate(percentiles):
        named = {"name": part.names[i], "split": part.splits[i], "label": part.labels[i], "score": others[JUDGED][i]}
        found = {"percentile": percentile, "anomalous": percentile > THRESHOLD}
        yield named | found | {"by": {name: values[i] for name, values in others.items()}}


def _captions(part: Items, scores: Tensor) -> list[str]:
    names = [label or name.rpartition("/")[2] for name, label in zip(part.names, part.labels)]
    return [f"{name[:10]}  {score:.1f}" for name, score in zip(names, scores.tolist())]


def _separation(judge: Judge, rows: Sequence[Mapping[str, Any]], normal: Sequence[str]) -> dict[str, Any]:
    """AUROC of items of other labels than the normal ones: against those, and against the run's held-out items; and
    the share of them that each score catches, with a limit that one normal item in twenty exceeds."""
    labels = {row["label"] for row in rows} - {None}
    known = judge.scene.dataset.spec.label
    kept = set(normal) or labels & set(known.names if known else ())
    usual, strange = ([row["by"] for row in rows if (row["label"] in kept) == side] for side in (True, False))
    table, against = dict[str, dict[str, float | None]](), dict[str, float]()
    for name, held_out in judge.normal.scores.items():
        mine, others = (torch.tensor([by[name] for by in side], dtype=torch.float64) for side in (usual, strange))
        table[name] = dict.fromkeys(("auroc", "auroc_against_held_out", "caught"))
        if strange:
            against[name] = auroc(held_out, others)
            caught = float((others > judge.normal.limit(1 - THRESHOLD / 100, name)).double().mean())
            inside = auroc(mine, others) if usual else None
            table[name] = {"auroc": inside, "auroc_against_held_out": against[name], "caught": caught}
    both = {key: table[JUDGED][key] for key in ("auroc", "auroc_against_held_out")}
    return {"normal": sorted(kept), **both, "by_score": table, "remarks": fooled(against)}


def _sheet(judge: Judge, worst: Worst) -> PIL.Image.Image:
    """The worst items, from left to right, in bands of three lines."""
    form = judge.scene.model.spec.x
    cells: list[list[np.ndarray | None]] = []
    captions: list[list[str]] = []
    for first in range(0, len(worst.shown), ACROSS):
        x, y, maps, names = zip(*worst.shown[first : first + ACROSS])
        lines = [form.to_user(torch.stack(x))]
        if judge.warmth:
            lines += [form.to_user(torch.stack(y)), _coloured(torch.stack(maps), judge.warmth)]
        cells += [list(line) for line in lines]
        captions += [list(names), *([""] * len(names) for _ in lines[1:])]
    rows = ["item", "rebuilt", "difference"] * (len(cells) // 3) if judge.warmth else []
    title = f"{judge.scene.title}: the strangest items (normal: about 0, threshold {judge.threshold:.1f})"
    return sheet(cells, rows, captions=captions, title=title)


def _coloured(maps: Tensor, warmth: float) -> np.ndarray:
    """Heat `(B, H, W)` as colours uint8 `(B, H, W, 3)`: what one normal pixel in a hundred exceeds is dark red."""
    from matplotlib import colormaps

    return colormaps["inferno"]((maps / (3 * warmth)).clamp(0, 1).numpy(), bytes=True)[..., :3]


def _histogram(judge: Judge, rows: Sequence[Mapping[str, Any]]) -> PIL.Image.Image:
    """Scores of the run's held-out items and of those that were judged."""
    figure, axes = drawing(6.4, 3.6)
    given = np.array([row["score"] for row in rows])
    both = np.concatenate([judge.normal.scores[JUDGED].numpy(), given])
    edges = np.linspace(both.min(), np.quantile(both, 0.99), 60)
    axes.hist(
        judge.normal.scores[JUDGED].numpy(), edges, density=True, color=COLOURS[0], alpha=0.6, label="held-out data"
    )
    axes.hist(given.clip(*edges[[0, -1]]), edges, density=True, color=COLOURS[1], alpha=0.6, label="judged")
    axes.axvline(judge.threshold, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.set(xlabel="score", ylabel="density", title=judge.scene.title)
    axes.legend(frameon=False, fontsize=8)
    return rendered(figure)
