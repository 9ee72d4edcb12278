"""Styles drawn towards their mean: better pictures, and fewer kinds of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from figment.evaluate.features import fixed
from figment.evaluate.prdc import prdc
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import curves, pictures, plate
from figment.lessons.style_mixing import trained
from figment.pictures import COLOURS
from figment.use import draw

PSI = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
SHOWN, COUNT = 10, 1000  # samples shown, and measured


def make(stage: Stage) -> Told:
    scene, net = trained(stage), fixed()
    real = net(stage.held_out.x)
    rows, found = [], {}
    for psi in PSI:
        x, _ = draw(scene.model, COUNT, seed=stage.seed, options={"truncation": psi})
        rows.append(stage.dataset.spec.x.to_user(x[:SHOWN]))
        features = net(x)
        both = prdc(real, features)
        found[psi] = {
            "precision": both.precision,
            "recall": both.recall,
            "spread": float(features.var(0).sum() / real.var(0).sum()),
        }
    whole, half = found[1.0], found[0.5]
    figures: dict[str, Any] = {"samples": COUNT, **{f"psi {psi:g}": each for psi, each in found.items()}}
    claims = [
        Claim("Half-way to the mean style, more samples look like the data", f"precision {half['precision']:.2f} "
              f"against {whole['precision']:.2f}", half["precision"] > whole["precision"]),
        Claim("and less of the data looks like a sample", f"recall {half['recall']:.2f} against {whole['recall']:.2f}",
              half["recall"] < whole["recall"]),
        Claim("At the mean style all samples are nearly the same", f"{found[0.0]['spread']:.1%} of the spread of data",
              found[0.0]["spread"] < 0.1),
    ]  # fmt: skip

    def lines(axes: Any) -> None:
        for name, colour in zip(("precision", "recall", "spread"), COLOURS):
            values = [found[psi][name] for psi in PSI]
            axes.plot(PSI, values, color=colour, linewidth=2.4, marker="o", label=name)
        axes.legend(frameon=False, fontsize=10)

    shown = pictures(
        "The same samples, their styles drawn towards the mean one",
        np.concatenate(rows),
        SHOWN,
        "ψ = 1 leaves styles where they are, 0 puts all at the mean; beyond 1 they are pushed apart.",
        names=[f"ψ = {psi:g}" for psi in PSI],
        margin=0.9,
    )
    chart = curves(
        "What is gained and what is lost",
        lines,
        f"Of {COUNT:,} samples against {len(real):,} held-out pictures, in the features shipped with figment. "
        "Precision: samples among the data; recall: data among the samples; spread: their variance relative to its.",
        ("ψ", ""),
    )
    told = {f"{name}_{key}": value for name, of in (("half", half), ("whole", whole)) for key, value in of.items()}
    return Told(plate(LESSON.title, LESSON.teaches, [[shown], [chart]]), TEXT.format(**told), figures, claims)


TEXT = """
Each sample follows a style w = f(z). Before it is drawn, w is moved towards the mean of all: a + ψ (w - a). Styles
near the mean were met often in training, and the generator draws them well; rare ones it draws badly. So with ψ = 0.5
precision is {half_precision:.2f} instead of {whole_precision:.2f}. The price is diversity: recall is {half_recall:.2f}
instead of {whole_recall:.2f}, and samples spread {half_spread:.0%} as much as the data instead of {whole_spread:.0%}.
Pictures of generators in papers are often drawn so; figures of quality should say with which ψ.

With your own: `figment sample RUN truncation=0.5`, and `figment evaluate RUN truncation=0.5` for its figures.
"""

LESSON = Lesson(
    name="truncation",
    title="Nearer to the mean",
    source="Deck 003, 'StyleGAN'. T. Karras, S. Laine and T. Aila, 'A style-based generator architecture for "
    "generative adversarial networks' (2019)",
    teaches="Samples whose styles lie nearer to the mean are better and more alike: quality is traded for diversity.",
    make=make,
    data="digits",
)
