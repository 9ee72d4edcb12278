"""Accuracy by the number of examples: models of p(x | y) turned round by Bayes' rule, against p(y | x) by itself."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from figment.core.data import Batch, Dataset
from figment.core.model import Budget, ModelConfig
from figment.core.order import Order
from figment.data.binary import binarised
from figment.evaluate.bayes import log_joint
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import Panel, curves, plate
from figment.models.classical.gda import GDAConfig
from figment.models.classical.naive_bayes import NaiveBayesConfig
from figment.pictures import COLOURS, INK

SMALLEST, LARGEST, SIZES = 10, 2000, 8  # examples trained on; `effort` takes more
SEEDS, HELD_OUT = 12, 500  # of few examples so many draws are averaged
PLANE = 20  # principal components under discriminant analysis
TINTS = {"naive Bayes": COLOURS[0], "linear": COLOURS[2], "quadratic": COLOURS[3], "softmax": COLOURS[1]}

Learner = Callable[[int, int], float]  # (examples, seed) -> accuracy on held-out items


@dataclass(frozen=True)
class Curve:
    """Mean accuracy by the number of examples `(sizes,)`, and its standard error over draws of them."""

    mean: np.ndarray
    error: np.ndarray


def generative(config: ModelConfig, dataset: Dataset, test: Batch) -> Learner:
    """argmax_y p(x | y) P(y), fitted to the first n training rows in a seed's order."""

    def accuracy(n: int, seed: int) -> float:
        model: Any = config.build(dataset.spec)
        for _ in model.fit(dataset, Budget(rows=n, seed=seed)):
            pass
        return float((log_joint(model, test.x).argmax(1) == test.c["label"]).double().mean())

    return accuracy


def discriminative(dataset: Dataset, test: Batch) -> Learner:
    """Softmax regression, fitted to the same rows."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    truth = test.c["label"].numpy()

    def accuracy(n: int, seed: int) -> float:
        batch = dataset.train.gather(Order(seed, dataset.train).rows(0, n))
        label = batch.c["label"].numpy()
        if (label == label[0]).all():
            return float((truth == label[0]).mean())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fitted = LogisticRegression(max_iter=200).fit(batch.x.flatten(1).numpy(), label)
        return float(fitted.score(test.x.flatten(1).numpy(), truth))

    return accuracy


def make(stage: Stage) -> Told:
    seeds, most = max(2, round(SEEDS * min(1.0, stage.effort))), round(LARGEST * max(1.0, stage.effort))
    grey, white = stage.dataset, binarised(stage.dataset, "threshold")
    sizes = np.geomspace(SMALLEST, min(most, len(grey.train)), SIZES).round().astype(int).tolist()
    rows = np.random.default_rng(0).permutation(len(grey.held_out))[: round(HELD_OUT * (most / LARGEST) ** 0.5)]

    def curve(learn: Learner) -> Curve:
        tries = [[learn(n, stage.seed + s) for s in range(max(1, min(seeds, seeds * LARGEST // n)))] for n in sizes]
        return Curve(*np.array([(np.mean(one), np.std(one) / len(one) ** 0.5) for one in tries]).T)

    def measured(dataset: Dataset, kinds: Mapping[str, ModelConfig]) -> dict[str, Curve]:
        """Accuracies of kinds of p(x | y), and of softmax regression, on the same rows."""
        test = dataset.held_out.gather(rows)
        learners = {name: generative(config, dataset, test) for name, config in kinds.items()}
        learners["softmax"] = discriminative(dataset, test)
        return {name: curve(learn) for name, learn in learners.items()}

    pairs = measured(white, {"naive Bayes": NaiveBayesConfig(smoothing=0.1)})
    others = measured(
        grey, {"linear": GDAConfig(covariance="shared", latent=PLANE), "quadratic": GDAConfig(latent=PLANE)}
    )
    lead = pairs["naive Bayes"].mean - pairs["softmax"].mean
    crossed = crossing(np.array(sizes), lead)
    ends = {name: (found.mean[1], found.mean[-1]) for name, found in pairs.items()}
    few, many = sizes[1], sizes[-1]
    claims = [
        Claim(f"With {few} examples naive Bayes is ahead of softmax regression",
              f"{ends['naive Bayes'][0]:.3f} against {ends['softmax'][0]:.3f}", lead[1] > 0),
        Claim(f"with {many} it is behind", f"{ends['naive Bayes'][1]:.3f} against {ends['softmax'][1]:.3f}",
              lead[-1] < 0),
        Claim("so the curves cross", f"at about {crossed:.0f} examples" if crossed else "they do not", bool(crossed)),
        Claim("A generative model whose assumptions fit stays ahead: quadratic discriminant analysis, with most data",
              f"{others['quadratic'].mean[-1]:.3f} against {others['softmax'].mean[-1]:.3f}",
              others["quadratic"].mean[-1] > others["softmax"].mean[-1]),
    ]  # fmt: skip
    figures = {
        "examples": sizes,
        "black_and_white": {name: found.mean.tolist() for name, found in pairs.items()},
        "grey": {name: found.mean.tolist() for name, found in others.items()},
        "crossing": crossed,
    }
    panels = [
        _panel("One assumption, turned two ways", sizes, pairs, crossed,
               "Black and white pictures. Naive Bayes and softmax regression both have log P(y | x) linear in x."),
        _panel("Other assumptions", sizes, others, None,
               f"Grey pictures. One covariance for all labels (linear) or one each (quadratic), on {PLANE} principal "
               "components."),
    ]  # fmt: skip
    text = TEXT.format(few=few, many=many, nb=ends["naive Bayes"], soft=ends["softmax"],
                       quadratic=others["quadratic"].mean[-1], grey=others["softmax"].mean[-1],
                       quadratic_few=others["quadratic"].mean[1], grey_few=others["softmax"].mean[1])  # fmt: skip
    return Told(plate(LESSON.title, LESSON.teaches, [panels]), text, figures, claims)


def crossing(sizes: np.ndarray, lead: np.ndarray) -> float | None:
    """Where the lead last turns from above to below zero, between two sizes on a logarithmic scale."""
    falls = np.flatnonzero((lead[:-1] > 0) & (lead[1:] <= 0))
    if not len(falls):
        return None
    i = falls[-1]
    return float(sizes[i] * (sizes[i + 1] / sizes[i]) ** (lead[i] / (lead[i] - lead[i + 1])))


def _panel(heading: str, sizes: list[int], found: Mapping[str, Curve], crossed: float | None, caption: str) -> Panel:
    def draw(axes: Any) -> None:
        for name, curve in found.items():
            mean, off = 1 - curve.mean, 2 * curve.error
            axes.fill_between(sizes, (mean - off).clip(1e-3), mean + off, color=TINTS[name], alpha=0.2, linewidth=0)
            axes.plot(sizes, mean, color=TINTS[name], linewidth=2.4, label=name)
        if crossed:
            axes.axvline(crossed, color=INK, linewidth=1.2, linestyle=(0, (5, 3)))
            axes.text(crossed, 0.94, f" {crossed:.0f}", transform=axes.get_xaxis_transform(), fontsize=10, color=INK)
        axes.set(xscale="log", yscale="log", xlim=(sizes[0], sizes[-1]))
        axes.minorticks_off()
        axes.set_xticks(sizes[::2], [str(n) for n in sizes[::2]])
        low, high = axes.get_ylim()
        marks = [share for share in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if low <= share <= high]
        axes.set_yticks(marks, [f"{share:.0%}" for share in marks])
        axes.legend(loc="lower left", frameon=False, fontsize=11)

    return curves(heading, draw, caption, ("examples trained on", "errors on held-out pictures"), 3.6)


TEXT = """
To tell labels apart one can learn P(y | x) itself, or learn what each label looks like, p(x | y), and turn it round by
Bayes' rule. Naive Bayes and softmax regression (left) are such a pair: both draw straight boundaries, but the one asks
how the pictures come about and the other only where the boundary lies.

With {few} examples the generative half is ahead, {nb[0]:.3f} against {soft[0]:.3f}: what it assumes, pixels that are
independent given the label, stands in for data. With {many} it is behind, {nb[1]:.3f} against {soft[1]:.3f}: the
assumption is false, and more data does not mend it. Shaded: two standard errors over draws of the training examples.

It is the assumption that falls behind, not the way round. With a covariance for each label (right) p(x | y) is
described well enough to reach {quadratic:.3f}, where softmax regression reaches {grey:.3f}. But covariances need data
too: with {few} examples the quadratic model has {quadratic_few:.3f}, and softmax regression {grey_few:.3f}. (Softmax
regression has the usual penalty on its weights, C = 1; naive Bayes adds 0.1 to each count.)
"""

LESSON = Lesson(
    name="generative-or-discriminative",
    title="How much data does it take?",
    source="Decks 003 and 004, 'Discriminative vs. generative models'. A. Ng and M. Jordan, 'On discriminative vs. "
    "generative classifiers: a comparison of logistic regression and naive Bayes' (2002)",
    teaches="What a generative model assumes stands in for data: it is ahead with few examples, and behind with many "
    "if the assumption is false.",
    make=make,
    needs=("pictures", "labels"),
)
