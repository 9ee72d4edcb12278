"""Bayes' rule: a conditional generative model made of a classifier and a model that knows no labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.colors import to_rgb
from scipy.stats import ks_2samp

from figment.core.data import Batch
from figment.explorer.map_picture import palette
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import Panel, curves, plate
from figment.models.classical.plane import OnPlane
from figment.pictures import INK, PAPER

COMPONENTS = 24  # Gaussians of the model of p(x)
CELLS, MARGIN = 240, 0.35  # points of the maps a side, and how far they reach beyond the data
DEGREE = 5  # of the polynomial under the classifier
DRAWN = 4000
FAR = 1000.0  # times the size of the data away from it


@dataclass(frozen=True)
class Parts:
    """p(x) and P(y | x), learned apart, on the plane of two principal components, and the frequencies P(y) `(K,)`."""

    model: OnPlane
    classifier: Any
    frequency: np.ndarray

    @classmethod
    def of(cls, model: OnPlane, batch: Batch, count: int) -> Parts:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import PolynomialFeatures, StandardScaler

        label = batch.c["label"].numpy()
        classifier = make_pipeline(
            StandardScaler(), PolynomialFeatures(DEGREE), StandardScaler(), LogisticRegression(C=100, max_iter=2000)
        ).fit(model.encode(batch.x, {}).numpy(), label)
        return cls(model, classifier, np.bincount(label, minlength=count) / len(label))

    def density(self, u: np.ndarray) -> np.ndarray:
        """p(x) `(N,)` of points `(N, 2)`."""
        points = torch.from_numpy(np.asarray(u, np.float32))
        return self.model.mixture.log_prob(points, torch.zeros(len(points), dtype=torch.int64)).exp().double().numpy()

    def labels(self, u: np.ndarray) -> np.ndarray:
        """P(y | x) `(N, K)`."""
        found = np.zeros((len(u), len(self.frequency)))
        found[:, self.classifier.classes_] = self.classifier.predict_proba(u)
        return found

    def conditional(self, u: np.ndarray) -> np.ndarray:
        """p(x | y) = P(y | x) p(x) / P(y) `(N, K)`."""
        return self.labels(u) * self.density(u)[:, None] / np.maximum(self.frequency, 1e-12)


def make(stage: Stage) -> Told:
    scene = stage.scene("mixture-without-labels", "gaussian-mixture", 1, model__latent=2, model__components=COMPONENTS)
    parts = Parts.of(scene.model, stage.training, len(stage.names))
    held, label = scene.model.encode(stage.held_out.x, {}).numpy(), stage.held_out.c["label"].numpy()
    low, high = held.min(0), held.max(0)
    axes = [np.linspace(a - MARGIN * (b - a), b + MARGIN * (b - a), CELLS) for a, b in zip(low, high)]
    grid = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)
    cell = np.prod([a[1] - a[0] for a in axes])
    noise = stage.noise(DRAWN)
    drawn = scene.model.prior({}, noise).numpy()
    kept = noise.stream("accept").uniform((1,)).numpy() < parts.labels(drawn)  # (DRAWN, K)
    shown = np.argsort(-parts.frequency, kind="stable")[:2]
    agreement = {
        stage.names[y]: min(
            (float(ks_2samp(drawn[kept[:, y], d], held[label == y, d]).pvalue) for d in range(2)), default=1.0
        )
        for y in shown
    }
    far = held.mean(0) + FAR * (high - low)
    surest, areas = parts.labels(far[None])[0], parts.conditional(grid).sum(0) * cell
    figures: dict[str, Any] = {
        "area_of_p_x_given_y": {name: float(area) for name, area in zip(stage.names, areas)},
        "accepted": {name: float(share) for name, share in zip(stage.names, kept.mean(0))},
        "frequency": {name: float(share) for name, share in zip(stage.names, parts.frequency)},
        "kolmogorov_smirnov_p": agreement,
        "far_away": {"surest_label": float(surest.max()), "density": float(parts.density(far[None])[0])},
    }
    off = float(np.abs(areas[shown] - 1).max())
    unequal = float(np.abs(kept.mean(0) - parts.frequency).max())
    claims = [
        Claim("p(x | y) made of the other three has an area of 1, though it was never fitted",
              f"{', '.join(f'{areas[y]:.3f}' for y in shown)}", off < 0.05),
        Claim("Of draws of p(x), a share P(y) is accepted as label y", f"off by {unequal:.3f} at most",
              unequal < 0.03),
        Claim("and those accepted are distributed as held-out items of that label",
              "Kolmogorov-Smirnov p = " + ", ".join(f"{p:.2f}" for p in agreement.values()),
              min(agreement.values()) > 0.01),
        Claim("Far from all data the classifier is still sure, while p(x) is nothing",
              f"P(y | x) = {surest.max():.3f}, p(x) = {figures['far_away']['density']:.1g}",
              surest.max() > 0.9 and figures["far_away"]["density"] < 1e-6),
    ]  # fmt: skip
    rows = [_maps(stage, parts, axes, grid, shown), _below(stage, parts, axes, held, label, drawn, kept, shown)]
    text = TEXT.format(sure=float(surest.max()), accepted=100 * float(kept[:, shown[0]].mean()),
                       name=stage.names[shown[0]])  # fmt: skip
    return Told(plate(LESSON.title, LESSON.teaches, rows), text, figures, claims)


def _maps(stage: Stage, parts: Parts, axes: Any, grid: np.ndarray, shown: np.ndarray) -> list[Panel]:
    """The rule as a row of pictures: p(x), P(y | x), and what their product is for two labels."""
    tints = np.array([to_rgb(colour) for colour in palette(len(parts.frequency))])
    box = (axes[0][0], axes[0][-1], axes[1][0], axes[1][-1])
    density, posterior, conditional = parts.density(grid), parts.labels(grid), parts.conditional(grid)

    def panel(heading: str, colours: np.ndarray, caption: str) -> Panel:
        def draw(axes: Any) -> None:
            axes.imshow(colours.reshape(CELLS, CELLS, 3).clip(0, 1), extent=box, origin="lower", aspect="auto")
            axes.set(xticks=[], yticks=[])

        return Panel(heading, draw, caption, -1.0)

    def heat(height: np.ndarray, tint: np.ndarray) -> np.ndarray:
        share = np.sqrt(height / height.max())[:, None]
        return (1 - share) * np.array(to_rgb(PAPER)) + share * tint

    return [
        panel("p(x)", heat(density, np.array(to_rgb(INK))), "A model without labels: all x compete for an area of 1."),
        panel("P(y | x)", posterior @ tints, "A classifier: at every x the labels compete. It answers everywhere."),
        *(
            panel(
                f"p(x | y = {stage.names[y]})",
                heat(conditional[:, y], tints[y]),
                f"Their product over P(y) = {parts.frequency[y]:.2f}: all x compete again, for each label.",
            )
            for y in shown
        ),
    ]


def _below(
    stage: Stage,
    parts: Parts,
    axes: Any,
    held: np.ndarray,
    label: np.ndarray,
    drawn: np.ndarray,
    kept: np.ndarray,
    shown: np.ndarray,
) -> list[Panel]:
    tints = palette(len(parts.frequency))
    first = int(shown[0])
    cut = np.stack([axes[0], np.full(CELLS, np.median(held[:, 1]))], 1)
    posterior, conditional = parts.labels(cut), parts.conditional(cut)

    def labels_compete(axes: Any) -> None:
        axes.stackplot(cut[:, 0], posterior.T, colors=tints, alpha=0.8, linewidth=0)
        axes.set(ylim=(0, 1), xlim=(cut[0, 0], cut[-1, 0]))

    def items_compete(axes: Any) -> None:
        for y in shown:
            axes.fill_between(cut[:, 0], conditional[:, y], color=tints[y], alpha=0.5, linewidth=0)
            axes.plot(cut[:, 0], conditional[:, y], color=tints[y], linewidth=2)
        axes.set(ylim=(0, None), xlim=(cut[0, 0], cut[-1, 0]))

    def accepted(axes: Any) -> None:
        some = slice(0, 1500)
        axes.scatter(*drawn[some][~kept[some, first]].T, s=5, color="#c9c3b6", linewidths=0)
        axes.scatter(*drawn[some][kept[some, first]].T, s=7, color=tints[first], alpha=0.7, linewidths=0)
        axes.set(xticks=[], yticks=[])

    return [
        curves("Labels compete", labels_compete, "P(y | x) along a cut through the middle: 1 in all at every x, also "
               "where nothing lies.", ("x", "P(y | x)")),
        curves("Items compete", items_compete, "p(x | y) along the same cut: what one x gains, others lose; far away "
               "nothing is left.", ("x", "p(x | y)")),
        curves("Draws by refusal", accepted, f"Draws of p(x), accepted as {stage.names[first]} with probability "
               "P(y | x); grey: refused.", ("", "")),
    ]  # fmt: skip


TEXT = """
The upper row is the rule, p(x | y) = P(y | x) p(x) / P(y), as pictures. A model that has never seen a label (left) and
a classifier that knows nothing of how likely an item is (second) make, multiplied and divided by how frequent the
label is, a model of each label by itself. None was trained for it.

Below, what is normalised over what. A classifier divides 1 among the labels at every x: the band is full everywhere,
and far from all data it still answers, with {sure:.3f} for its favourite. A density divides 1 among all x: where
nothing lies, nothing is left, and so an item can be refused. With a label given, all x compete once more.

To draw from p(x | y) one need not know it: draw from p(x), and accept with probability P(y | x). Of all draws
{accepted:.0f} % were kept as {name}. Where that wastes too many, the slopes add up in the same way, grad log p(x | y)
= grad log p(x) + grad log P(y | x), and a diffusion model can be led by a classifier.
"""

LESSON = Lesson(
    name="bayes-rule",
    title="p(x | y) = P(y | x) p(x) / P(y)",
    source="Deck 004, 'Discriminative vs. generative models'; deck 000. P. Dhariwal and A. Nichol, 'Diffusion models "
    "beat GANs on image synthesis' (2021)",
    teaches="A classifier and a model without labels make a conditional generative model; what differs is who competes "
    "for mass.",
    make=make,
    data="toy:moons",
    needs=("labels",),
)
