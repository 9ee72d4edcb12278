"""Three models of each label, from independent pixels to a covariance of its own: means, samples, boundaries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.core.data import Batch
from figment.core.model import HasLogProb
from figment.evaluate.bayes import log_joint
from figment.explorer.map_picture import palette
from figment.explorer.scene import Scene
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import Panel, bars, pictures, plate
from figment.pictures import COLOURS
from figment.use import draw

PLANE, LABELS, CELLS = 30, 10, 200  # principal components, labels shown, points of a map a side
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "naive Bayes": ("naive-bayes", {"model__observation": "gaussian"}),
    "linear (LDA)": ("gda", {"model__covariance": "shared"}),
    "quadratic (QDA)": ("gda", {"model__covariance": "full"}),
}


def classifier(stage: Stage, name: str, latent: int) -> Scene:
    """One of the three, finished; those of discriminant analysis on so many principal components."""
    kind, settings = KINDS[name]
    plane = {"model__latent": latent} if kind == "gda" else {}
    label = f"{name.split()[0]}-{latent}" if plane else name.replace(" ", "-")
    return stage.scene(label, kind, 1, model__conditional=True, **settings, **plane)


def judged(model: Any, batch: Batch) -> dict[str, float]:
    """Accuracy by Bayes' rule, and mean -log p(x | y) of each item's own label in nats."""
    joint = log_joint(model, batch.x)
    assert isinstance(model, HasLogProb)
    own = model.log_prob(batch.x, {"label": batch.c["label"]})
    return {"accuracy": float((joint.argmax(1) == batch.c["label"]).double().mean()), "nll": -float(own.mean())}


def straightness(model: Any, u: Tensor) -> float:
    """The largest second difference of log p(u | y) - log p(u | 0) halfway between codes, relative to its size."""
    a, b = u[: len(u) // 2], u[len(u) // 2 : 2 * (len(u) // 2)]

    def odds(points: Tensor) -> Tensor:
        each = [model.mixture.log_prob(points, torch.full((len(points),), k)) for k in range(model.spec.label.count)]
        return (torch.stack(each, 1) - each[0][:, None]).double()

    first, middle, last = odds(a), odds((a + b) / 2), odds(b)
    return float((first + last - 2 * middle).abs().max() / (1 + first.abs().max()))


def make(stage: Stage) -> Told:
    spec, batch = stage.dataset.spec, stage.held_out
    scenes = {name: classifier(stage, name, min(PLANE, spec.x.dimensions)) for name in KINDS}
    found = {name: judged(scene.model, batch) for name, scene in scenes.items()}
    accuracy = {name: row["accuracy"] for name, row in found.items()}
    bent = {name: straightness(scenes[name].model, scenes[name].model.encode(batch.x, {})) for name in list(KINDS)[1:]}
    naive, linear, quadratic = KINDS
    claims = [
        Claim("Independent pixels do worst, one covariance better, one for each label best",
              " < ".join(f"{value:.3f}" for value in accuracy.values()),
              accuracy[naive] < accuracy[linear] < accuracy[quadratic]),
        Claim("A covariance for each label is also the likeliest, -log p(x | y) of held-out pictures",
              ", ".join(f"{name} {row['nll']:.1f}" for name, row in found.items()) + " nats",
              found[quadratic]["nll"] < min(found[naive]["nll"], found[linear]["nll"])),
        Claim("With a shared covariance the boundaries are straight", f"log-odds bend by {bent[linear]:.1e}; with one "
              f"each, by {bent[quadratic]:.1e}", bent[linear] < 1e-4 < bent[quadratic]),
    ]  # fmt: skip
    shown = min(LABELS, len(stage.names))
    rows = [
        [pictures("What each model takes a label to look like", _sheet(stage, scenes, shown), shown,
                  "Real pictures, the mean of each label, and two draws of each model for each label.",
                  names=["real", "mean", *(name for name in KINDS for _ in range(2))], margin=1.5)],
        [*_boundaries(stage), bars("Accuracy on held-out pictures", accuracy, colours=COLOURS[:3], form="{:.1%}")],
    ]  # fmt: skip
    text = TEXT.format(naive=accuracy[naive], linear=accuracy[linear], quadratic=accuracy[quadratic], plane=PLANE,
                       nats=[row["nll"] for row in found.values()])  # fmt: skip
    return Told(plate(LESSON.title, LESSON.teaches, rows), text, {**found, "bend": bent}, claims)


def _sheet(stage: Stage, scenes: Mapping[str, Scene], shown: int) -> np.ndarray:
    """Rows of pictures: real ones, means, and two draws a model, a column a label."""
    x, label = stage.training.x, stage.training.c["label"]
    real = [x[label == y][0] for y in range(shown)]
    mean = [x[label == y].mean(0) for y in range(shown)]
    drawn: list[Tensor] = []
    for scene in scenes.values():
        columns = [draw(scene.model, 2, seed=stage.seed, given={"label": torch.tensor(y)})[0] for y in range(shown)]
        drawn += [column[i] for i in range(2) for column in columns]
    return stage.dataset.spec.x.to_user(torch.stack([*real, *mean, *drawn]))


def _boundaries(stage: Stage) -> list[Panel]:
    """What LDA and QDA on two components decide where, with held-out codes."""
    tints = np.array([[int(tint[i : i + 2], 16) / 255 for i in (1, 3, 5)] for tint in palette(len(stage.names))])
    panels = []
    for name, wording in (("linear (LDA)", "One covariance: straight boundaries."),
                          ("quadratic (QDA)", "One for each label: conic sections.")):  # fmt: skip
        model = classifier(stage, name, 2).model
        codes, label = model.encode(stage.held_out.x, {}).numpy(), stage.held_out.c["label"].numpy()
        low, high = codes.min(0) - 0.3 * codes.std(0), codes.max(0) + 0.3 * codes.std(0)
        across, up = np.meshgrid(*(np.linspace(a, b, CELLS) for a, b in zip(low, high)))
        u = torch.from_numpy(np.stack([across.ravel(), up.ravel()], 1).astype(np.float32))
        each = [model.mixture.log_prob(u, torch.full((len(u),), k)) for k in range(len(tints))]
        likeliest = (torch.stack(each, 1) + model.mixture.log_frequency).argmax(1).view(CELLS, CELLS).numpy()
        box = (low[0], high[0], low[1], high[1])
        panels.append(_areas(name, tints, likeliest, box, codes, label, wording))
    return panels


def _areas(
    name: str, tints: np.ndarray, likeliest: np.ndarray, box: Any, codes: np.ndarray, label: np.ndarray, wording: str
) -> Panel:
    def fill(axes: Any) -> None:
        axes.imshow(0.55 * tints[likeliest] + 0.45, extent=box, origin="lower", aspect="auto")
        axes.scatter(*codes.T, s=9, color=tints[label], edgecolors="white", linewidths=0.3)
        axes.set(xticks=[], yticks=[])

    return Panel(f"{name[0].upper()}{name[1:]}, two components", fill, wording, 2.6)


TEXT = """
To turn Bayes' rule round one needs p(x | y): a model of the pictures of each label. Three ways to have one, each fitted
in closed form, each drawing pictures of its own.

Naive Bayes takes pixels to be independent given the label. Its means are right, and its draws are speckled: neighbours
know nothing of each other. Gaussian discriminant analysis, on {plane} principal components, knows how pixels vary
together: with one covariance for all labels draws hang together, but each label varies as all do on average; with one
for each label they vary as their own label does. Accuracy follows: {naive:.1%}, {linear:.1%}, {quadratic:.1%}.
Likelihood need not: -log p(x | y) is {nats[0]:.1f}, {nats[1]:.1f} and {nats[2]:.1f} nats. To tell labels apart, only
what differs between them counts.

Below, what this means for boundaries, on the plane of two components. With a shared covariance the quadratic terms
cancel, log p(y | x) is linear in x, and boundaries are straight, as those of softmax regression. With one each they
are conic sections. (Two components are few: the accuracies are those of the models above.)
"""

LESSON = Lesson(
    name="class-densities",
    title="A model of every label",
    source="Deck 003, 'Generative vs discriminative modelling'. R. A. Fisher, 'The use of multiple measurements in "
    "taxonomic problems' (1936); M. E. Maron, 'Automatic indexing: an experimental inquiry' (1961)",
    teaches="Independent pixels, one covariance, or one for each label: the better p(x | y) is, the better Bayes' rule "
    "tells labels apart.",
    make=make,
    needs=("pictures", "labels"),
)
