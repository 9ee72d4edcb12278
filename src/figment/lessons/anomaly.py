"""What a model has never seen it cannot rebuild, and where it fails is where to look."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from torch import Tensor

from figment.evaluate.memorisation import auroc
from figment.evaluate.outliers import JUDGED
from figment.explorer.anomaly import Judge
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import Panel, curves, pictures, plate
from figment.pictures import COLOURS, INK

STEPS = 1500
LEFT_OUT = 3  # labels, each left out by a model of its own
SHOWN, MOST = 10, 500  # pictures shown, and items of a label judged
USUAL, STRANGE = COLOURS[0], COLOURS[1]


def make(stage: Stage) -> Told:
    count = len(stage.names)
    chosen = sorted({round(i * (count - 1) / (LEFT_OUT - 1)) for i in range(LEFT_OUT)})
    judges = {
        label: Judge.of(stage.scene(f"vae-without-{label}", "vae", STEPS, data__without=[stage.names[label]]))
        for label in chosen
    }
    scores = {label: judged(stage, judge, label) for label, judge in judges.items()}
    figures: dict[str, Any] = {
        stage.names[label]: {
            "auroc": auroc(usual, strange),
            "caught": float((strange > judges[label].threshold).double().mean()),
            "false_alarms": float((usual > judges[label].threshold).double().mean()),
        }
        for label, (usual, strange) in scores.items()
    }
    mean = float(np.mean([found["auroc"] for found in figures.values()]))
    first = judges[chosen[0]]
    spoilt, place = damaged(stage, usual_of(stage, chosen[0]))
    found = located(first, spoilt, place)
    claims = [
        Claim("A label that was left out is told from the others by its score", "AUROC "
              + ", ".join(f"{name}: {found['auroc']:.2f}" for name, found in figures.items()), mean >= 0.75),
        Claim("A damaged spot is the hottest of the picture in most cases", f"in {found:.0%} of {len(spoilt)} "
              f"(by chance {chance(place):.0%})", found > 0.5),
    ]  # fmt: skip
    figures |= {"mean_auroc": mean, "located": found, "located_by_chance": chance(place)}
    text = TEXT.format(name=stage.names[chosen[0]], mean=mean, found=found, chance=chance(place))
    rows = [
        [_row(first, items_of(stage, chosen[0]), f"The label {stage.names[chosen[0]]}, never seen in training"),
         _row(first, spoilt, "Seen labels, with a square inverted")],
        [_histogram(stage.names[label], *scores[label], judges[label].threshold) for label in chosen],
    ]  # fmt: skip
    return Told(plate(LESSON.title, LESSON.teaches, rows), text, figures, claims)


def items_of(stage: Stage, label: int) -> Tensor:
    """Items of a label of either split, for a model that was trained without it: `(B, C, H, W)`."""
    parts = [batch.x[batch.c["label"] == label] for batch in (stage.held_out, stage.training)]
    return torch.cat(parts)[:MOST]


def usual_of(stage: Stage, label: int) -> Tensor:
    """Held-out items of all other labels."""
    return stage.held_out.x[stage.held_out.c["label"] != label][:MOST]


def judged(stage: Stage, judge: Judge, label: int) -> tuple[Tensor, Tensor]:
    """Scores of held-out items of the labels that were learned, and of items of the one that was left out."""
    usual, strange = (judge.scores(x)[0][JUDGED] for x in (usual_of(stage, label), items_of(stage, label)))
    return usual, strange


def damaged(stage: Stage, x: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures with a square of a quarter of their height inverted, and where it is: bool `(B, H, W)`."""
    count, _, height, width = x.shape
    side = max(2, min(height, width) // 4)
    generator = torch.Generator().manual_seed(stage.seed)
    top, left = (torch.randint(0, high - side + 1, (count, 1, 1), generator=generator) for high in (height, width))
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    place = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    return torch.where(place[:, None], -x, x), place


def located(judge: Judge, x: Tensor, place: Tensor) -> float:
    """How often the hottest pixel lies in the damaged square."""
    hottest = judge.scores(x)[2].flatten(1).argmax(1, keepdim=True)
    return float(place.flatten(1).gather(1, hottest).double().mean())


def chance(place: Tensor) -> float:
    return float(place.double().mean())


def _row(judge: Judge, x: Tensor, heading: str) -> Panel:
    """Items, what they are rebuilt as, and where the two differ."""
    form = judge.scene.model.spec.x
    x = x[: SHOWN // 2 + 1]
    _, rebuilt, maps = judge.scores(x)
    heat = colormaps["inferno"]((maps / (3 * judge.warmth)).clamp(0, 1).numpy(), bytes=True)[..., :3]
    shown = [part if part.shape[-1] == 3 else part.repeat(3, -1) for part in (form.to_user(x), form.to_user(rebuilt))]
    return pictures(
        heading, np.concatenate([*shown, heat]), len(x), names=["item", "rebuilt", "difference"], margin=1.0
    )


def _histogram(name: str, usual: Tensor, strange: Tensor, threshold: float) -> Panel:
    low, high = np.quantile(torch.cat([usual, strange]).numpy(), (0.0, 0.98))
    edges = np.linspace(low, high, 30)

    def draw(axes: Any) -> None:
        for scores, colour in ((usual, USUAL), (strange, STRANGE)):
            axes.hist(scores.numpy().clip(edges[0], edges[-1]), edges, density=True, color=colour, alpha=0.6)
        axes.axvline(threshold, color=INK, linewidth=1.2, linestyle=(0, (5, 3)))
        axes.set(yticks=[], xlim=(edges[0], edges[-1]))

    return curves(
        f"Without {name}: AUROC {auroc(usual, strange):.2f}",
        draw,
        f"Blue: seen labels. Orange: {name}. Dashed: one in twenty held-out items lies to the right.",
        ("score", ""),
        height=2.2,
    )


TEXT = """
A model that has learned some labels is shown one that it has not. It can only make of it what it knows: items of
{name} come back altered (left), and where the two differ the map is hot. The distance of its code from all
known codes, and how rarely normal items have such a bound on log p(x) for what compressors need, give a score. Below:
its distribution over held-out items of the labels that were learned and over those of the label that was left out, for
several models, each without a label of its own. The mean AUROC is {mean:.2f}, where 1 separates all and ½ is chance.

Nothing is told of what to look for. A spot where pixels were inverted (right) is rebuilt as it should have been: the
hottest pixel of the map lies in it in {found:.0%} of the pictures, against {chance:.0%} by chance.
"""

LESSON = Lesson(
    name="anomaly",
    title="What it has never seen, it cannot draw",
    source="Deck 004, 'Detect outliers' and 'Anomaly detection'. J. An and S. Cho, 'Variational autoencoder based "
    "anomaly detection using reconstruction probability' (2015)",
    teaches="A model rebuilds what it knows; what it rebuilds badly is strange, and shows where.",
    make=make,
    needs=("pictures", "labels"),
)
