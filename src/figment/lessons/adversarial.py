"""A small change that misleads a classifier, and two defences: training against it, and pictures cleaned first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from figment.evaluate.robustness import purified, right, shaken
from figment.explorer.scene import Scene
from figment.lessons import denoising
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import Panel, curves, pictures, plate
from figment.pictures import COLOURS
from figment.pixels.attacks import Attack, attacked
from figment.pixels.purification import Purification, purifier

STEPS = 700
EPS = 0.15  # the bound shown, black to white being 1
BOUNDS = (0.0, 0.05, 0.1, EPS, 0.2, 0.3)
COUNT, SHOWN = 200, 8  # held-out pictures measured, and shown
NAMES = {
    "noise": "random change, no defence",
    "bare": "no defence",
    "trained": "trained on attacked pictures",
    "unaware": "cleaned first, unknown to the attack",
    "aware": "cleaned first, known to the attack",
}


def make(stage: Stage) -> Told:
    plain = stage.scene("classifier", "classifier", STEPS)
    trained = stage.scene("classifier-trained", "classifier", STEPS, model__defence=EPS, model__attack_steps=3)
    cleaner = denoising.denoiser(stage)
    along: dict[str, list[float]] = {name: [] for name in NAMES}
    for eps in BOUNDS:
        for name, value in measured(stage, plain, trained, cleaner, eps).items():
            along[name].append(value)
    at, clean = {name: values[BOUNDS.index(EPS)] for name, values in along.items()}, along["bare"][0]
    figures: dict[str, Any] = {"eps": EPS, "bounds": BOUNDS, "clean": clean, **at, "along": along}
    claims = [
        Claim("A change that is found, not drawn, misleads the classifier in more than half of the pictures",
              f"{at['bare']:.0%} right of {clean:.0%}", at["bare"] < clean / 2),
        Claim("A random change of the same size hardly matters", f"{at['noise']:.0%} right",
              at["noise"] > clean - 0.1),
        Claim("A classifier trained on attacked pictures is right in 20 more of 100", f"{at['trained']:.0%} right",
              at["trained"] >= at["bare"] + 0.2),
        Claim("So is one whose pictures are cleaned first, if the attack does not know of it",
              f"{at['unaware']:.0%} right", at["unaware"] >= at["bare"] + 0.2),
        Claim("Where it knows, cleaning is worth less", f"{at['aware']:.0%} right", at["aware"] < at["unaware"] - 0.1),
    ]  # fmt: skip
    rows = [[_examples(stage, plain, trained, cleaner)], [_curves(along)]]
    return Told(plate(LESSON.title, LESSON.teaches, rows), TEXT.format(**figures), figures, claims)


def measured(stage: Stage, plain: Scene, trained: Scene, cleaner: Scene, eps: float) -> dict[str, float]:
    """Accuracies on held-out pictures that are changed by `eps` at most."""
    way = Attack(eps=eps, steps=10)
    found = purified(plain.model, cleaner.model, stage.dataset, way, COUNT, stage.seed)
    x, y = stage.held_out.x[:COUNT], stage.held_out.c["label"][:COUNT]
    against = attacked(trained.model.class_log_prob, x, y, way, noise=stage.noise(len(x)))
    return {
        "noise": right(plain.model.class_log_prob, shaken(x, way, stage.noise(len(x))), y),
        "trained": right(trained.model.class_log_prob, against, y),
        **{name: found[name] for name in ("bare", "unaware", "aware")},
    }


def _examples(stage: Stage, plain: Scene, trained: Scene, cleaner: Scene) -> Panel:
    batch, way = stage.examples(SHOWN), Attack(eps=EPS)
    x, y = batch.x, batch.c["label"]
    spoilt = attacked(plain.model.class_log_prob, x, y, way, noise=stage.noise(len(x)))
    with torch.no_grad():
        cleaned = purifier(cleaner.model, Purification())(spoilt)
    cells = {
        "as it is": (x, plain),
        f"change, {EPS:g} at most": ((spoilt - x) / (2 * EPS), None),
        "changed": (spoilt, plain),
        "changed, cleaned": (cleaned, plain),
        "changed against the\ntrained classifier": (
            attacked(trained.model.class_log_prob, x, y, way, noise=stage.noise(len(x))),
            trained,
        ),
    }
    panel = pictures(
        "Held-out pictures, and what they are taken for",
        stage.dataset.spec.x.to_user(torch.cat([shown for shown, _ in cells.values()])),
        SHOWN,
        "In the corner what the classifier says, in green where it is right.",
        names=list(cells),
        margin=1.75,
    )

    def draw(axes: Any) -> None:
        panel.draw(axes)
        for row, (shown, judge) in enumerate(cells.values()):
            for column, said in enumerate(_said(judge, shown) if judge else ()):
                axes.text((column + 0.06) / SHOWN, 1 - (row + 0.06) / len(cells), stage.names[said],
                          transform=axes.transAxes, va="top", fontsize=12, weight="bold",
                          color=COLOURS[2] if said == int(y[column]) else COLOURS[1],
                          bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.85})  # fmt: skip

    return replace(panel, draw=draw)


@torch.no_grad()
def _said(judge: Scene, x: Tensor) -> list[int]:
    return judge.model.class_log_prob(x).argmax(1).tolist()


def _curves(along: Mapping[str, list[float]]) -> Panel:
    def draw(axes: Any) -> None:
        for (name, values), colour in zip(along.items(), ("#b9b2a4", *COLOURS)):
            dashed = (0, (5, 3)) if name == "aware" else "-"
            axes.plot(BOUNDS, values, color=colour, linewidth=2.4, marker="o", linestyle=dashed, label=NAMES[name])
        axes.axvline(EPS, color="#6b665c", linewidth=1, linestyle=(0, (1, 3)))
        axes.set(ylim=(-0.02, 1.02))
        axes.legend(frameon=False, fontsize=10)

    caption = f"Of {COUNT} held-out pictures at most, each changed by PGD of ten steps; dotted: the bound shown above."
    return curves("How many are read rightly", draw, caption, ("how far each pixel may be changed", "share"), 3.2)


TEXT = """
Every pixel may change by {eps:g} at most, black to white being 1. Drawn at random such a change does little
({noise:.0%} of pictures are read rightly, {clean:.0%} as they are). Followed along the gradient of the classifier, in
ten small steps (projected gradient descent), it leaves {bare:.0%}: in many dimensions many small changes that all point
the wrong way add up, although the classifier is nearly linear and no stroke has moved.

Two defences. The same network trained on pictures attacked anew at every step is right in {trained:.0%}. Or the
pictures are cleaned first, here by a denoising autoencoder that never saw an attack: {unaware:.0%}, as long as the
attack was made for the classifier alone. An attack that knows of the cleaning and follows the gradient through both
leaves {aware:.0%}. That is what such a defence is worth; the higher figure only says that nobody looked.

With your own: `figment train classifier --data DIR`, then `figment attack RUN --eps 0.1 --purify RUN2`.
"""

LESSON = Lesson(
    name="adversarial-example",
    title="A change too small to matter, and what helps against it",
    source="Deck 001, 'Adversarial examples'. I. Goodfellow, J. Shlens and C. Szegedy, 'Explaining and harnessing "
    "adversarial examples' (2015); A. Madry et al., 'Towards deep learning models resistant to adversarial attacks' "
    "(2018); F. Tramèr et al., 'On adaptive attacks to adversarial example defenses' (2020)",
    teaches="A change that no one would mind misleads a classifier; a defence counts if the attack knows of it.",
    make=make,
    needs=("pictures", "labels"),
)
