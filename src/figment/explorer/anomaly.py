"""`figment anomaly`: a score and a heat map for each item of some data, calibrated on what a run holds for normal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from figment.core.data import Image
from figment.core.errors import DataError, UsageError
from figment.core.model import HasBound, HasImportance
from figment.core.run import DataConfig
from figment.data.items import Items, items
from figment.evaluate.likelihood import importance
from figment.evaluate.memorisation import auroc
from figment.explorer.scene import Found, Scene
from figment.latent.anomaly import THRESHOLD, Known, Normal, heat, log_error
from figment.latent.codes import Code
from figment.pictures import COLOURS, INK, drawing, rendered, sheet

TRAINING, NORMAL = 10_000, 2000  # rows that codes are compared with, and that scores are calibrated on
DRAWS = 8  # importance weights of a bound
ACROSS, BANDS = 12, 2  # pictures shown


@dataclass(frozen=True)
class Judge:
    """Gives items their scores: by how badly they are rebuilt, or by a bound on their log-probability where the model
    has one, and by how far their codes lie from those of training items; labels are unknown to it.

    An & Cho, "Variational autoencoder based anomaly detection using reconstruction probability" (2015).
    """

    scene: Scene
    known: Known
    normal: Normal
    warmth: float  # of the hottest hundredth of normal pixels

    @classmethod
    def of(cls, scene: Scene) -> Judge:
        """From the training and held-out items of the run's own data. Raises UsageError for a model without encoder."""
        if scene.codec.way != "encoder":
            raise UsageError("`anomaly` rebuilds items in one pass: take a run of autoencoder, vae or with-prior.")
        data = scene.dataset
        rows = np.random.default_rng(0).permutation(len(data.train))
        kept, apart = rows[:TRAINING], np.arange(min(NORMAL, len(data.held_out)))
        if data.held_out is data.train:  # too little to hold any out: one half against the other
            kept, apart = np.array_split(rows[:TRAINING], 2)
        with torch.no_grad():
            known = Known.of(torch.cat([_codes(scene, part.x) for part in _parts(scene, "train", kept)]))
            seen = [_measured(scene, known, part.x) for part in _parts(scene, "held", apart)]
        warm = torch.cat([maps.flatten() for _, _, maps in seen])
        warmth = float(np.quantile(warm.cpu().numpy(), 0.99))
        return cls(scene, known, Normal.of(torch.cat([measures for measures, _, _ in seen])), warmth)

    @torch.no_grad()
    def scores(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores `(B,)`, what items are rebuilt as `(B, ...)`, and where they differ: `(B, H, W)`, of rows `(B, D)`."""
        measures, rebuilt, maps = _measured(self.scene, self.known, x)
        return self.normal.score(measures), rebuilt, maps


def _parts(scene: Scene, split: str, rows: np.ndarray, size: int = 500) -> Any:
    return (scene.gather(split, np.sort(part)) for part in np.array_split(rows, -(-len(rows) // size)))


def _codes(scene: Scene, x: Tensor) -> Tensor:
    return scene.codec.coder.encode(x, scene.codec.conditions({}, len(x))).flatten(1).float()


def _measured(scene: Scene, known: Known, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How strange items are by each measure `(B, P)`, what they are rebuilt as, and where they differ."""
    model, c = scene.model, scene.codec.conditions({}, len(x))
    z = model.encode(x, c)
    y = scene.codec.decode(Code(z, c))
    if isinstance(model, HasBound):
        with torch.random.fork_rng():
            torch.manual_seed(scene.seed)
            bound = importance(model, DRAWS, x, c) if isinstance(model, HasImportance) else model.bound(x, c)
        surprise = -bound.double().cpu()
    else:
        surprise = log_error(x, y)
    maps = heat(x, y) if x.ndim == 4 else (x - y).square()
    return torch.stack([surprise, known.log_distance(z.flatten(1).float())], 1), y, maps


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
    `auroc` says how well the score separates them. Raises UsageError, DataError.
    """
    judge = Judge.of(scene)
    rows: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    worst = Worst(ACROSS * BANDS)
    total, found = items(scene.alike(config), scene.model.spec, split)
    with scene.watch("judging", total) as advance:
        for part in found:
            skipped |= part.faults
            if part.names:
                scores, rebuilt, maps = judge.scores(part.x.to(scene.model.device))
                rows += _judged(judge, part, scores)
                worst.add(scores, part.x, rebuilt.cpu(), maps.cpu(), _captions(part, scores))
                advance(len(part.names) + len(part.faults))
    if not rows:
        raise DataError(f"nothing can be judged: {_faults(skipped)}.")
    rows.sort(key=lambda row: -row["score"])
    figures = {
        "items": len(rows),
        "anomalous": sum(row["anomalous"] for row in rows),
        "threshold": judge.normal.threshold,
        "normal_items": len(judge.normal.scores),
        **_separation(scene, judge, rows, normal),
        "skipped": skipped,
        "scores": rows,
    }
    pictures = isinstance(scene.model.spec.x, Image)
    return Found(figures, _sheet(judge, worst) if pictures else _histogram(judge, rows))


def _faults(skipped: Mapping[str, str]) -> str:
    """The first few files that were skipped, and why."""
    told = [f"{name} is {fault}" if fault == "empty" else f"{name}: {fault}" for name, fault in skipped.items()]
    return "; ".join(told[:3]) + ("; ..." if len(told) > 3 else "") if told else "there are no items"


def _judged(judge: Judge, part: Items, scores: Tensor) -> list[dict[str, Any]]:
    percentiles = judge.normal.percentile(scores).tolist()
    return [
        {
            "name": name,
            "split": split,
            "label": label,
            "score": score,
            "percentile": percentile,
            "anomalous": percentile > THRESHOLD,
        }
        for name, split, label, score, percentile in zip(
            part.names, part.splits, part.labels, scores.tolist(), percentiles
        )
    ]


def _captions(part: Items, scores: Tensor) -> list[str]:
    names = [label or name.rpartition("/")[2] for name, label in zip(part.names, part.labels)]
    return [f"{name[:10]}  {score:.1f}" for name, score in zip(names, scores.tolist())]


def _separation(
    scene: Scene, judge: Judge, rows: Sequence[Mapping[str, Any]], normal: Sequence[str]
) -> dict[str, float | list[str] | None]:
    """AUROC of items of other labels than the normal ones: against those, and against the run's held-out items."""
    labels = {row["label"] for row in rows} - {None}
    unknown = set(normal) - labels
    if unknown:
        raise UsageError(
            f"--normal {', '.join(sorted(unknown))}: the data has no such label ({', '.join(sorted(labels))})."
        )
    known = scene.dataset.spec.label
    kept = set(normal) or labels & set(known.names if known else ())
    scores = {
        is_normal: torch.tensor(
            [row["score"] for row in rows if (row["label"] in kept) == is_normal], dtype=torch.float64
        )
        for is_normal in (True, False)
    }
    against_held_out = auroc(judge.normal.scores, scores[False]) if len(scores[False]) else None
    inside = auroc(scores[True], scores[False]) if len(scores[True]) and len(scores[False]) else None
    return {"normal": sorted(kept), "auroc": inside, "auroc_against_held_out": against_held_out}


def _sheet(judge: Judge, worst: Worst) -> PIL.Image.Image:
    """The worst items, from left to right, in bands of three lines."""
    form = judge.scene.model.spec.x
    cells: list[list[np.ndarray | None]] = []
    captions: list[list[str]] = []
    for first in range(0, len(worst.shown), ACROSS):
        x, y, maps, names = zip(*worst.shown[first : first + ACROSS])
        for part in (
            form.to_user(torch.stack(x)),
            form.to_user(torch.stack(y)),
            _coloured(torch.stack(maps), judge.warmth),
        ):
            cells.append(list(part))
            captions.append([""] * len(names))
        captions[-3] = list(names)
    rows = ["item", "rebuilt", "difference"] * (len(cells) // 3)
    title = f"{judge.scene.title}: the strangest items (normal: about 0, threshold {judge.normal.threshold:.1f})"
    return sheet(cells, rows, captions=captions, title=title)


def _coloured(maps: Tensor, warmth: float) -> np.ndarray:
    """Heat `(B, H, W)` as colours uint8 `(B, H, W, 3)`: what one normal pixel in a hundred exceeds is dark red."""
    from matplotlib import colormaps

    return colormaps["inferno"]((maps / (3 * warmth)).clamp(0, 1).numpy(), bytes=True)[..., :3]


def _histogram(judge: Judge, rows: Sequence[Mapping[str, Any]]) -> PIL.Image.Image:
    """Scores of the run's held-out items and of those that were judged."""
    figure, axes = drawing(6.4, 3.6)
    given = np.array([row["score"] for row in rows])
    both = np.concatenate([judge.normal.scores.numpy(), given])
    edges = np.linspace(both.min(), np.quantile(both, 0.99), 60)
    axes.hist(judge.normal.scores.numpy(), edges, density=True, color=COLOURS[0], alpha=0.6, label="held-out data")
    axes.hist(given.clip(*edges[[0, -1]]), edges, density=True, color=COLOURS[1], alpha=0.6, label="judged")
    axes.axvline(judge.normal.threshold, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.set(xlabel="score", ylabel="density", title=judge.scene.title)
    axes.legend(frameon=False, fontsize=8)
    return rendered(figure)
