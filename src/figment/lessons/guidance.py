"""Guidance: away from what is likely without the label; surer pictures, and fewer kinds of them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch

from figment.evaluate.prdc import prdc
from figment.latent.neighbours import nearest_rows
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import curves, pictures, plate
from figment.models.diffusion.sampling import Sampling
from figment.pictures import COLOURS

STEPS, MEASURED, SHOWN = 300, 300, 10
WEIGHTS = (0.0, 1.0, 2.0, 4.0, 8.0)


def make(stage: Stage) -> Told:
    scene = stage.scene("conditional", "diffusion", STEPS, model__conditional=True)
    return told(stage, scene.model)


@torch.no_grad()
def told(stage: Stage, model: Any) -> Told:
    form = stage.form
    classes = len(stage.names)
    labels = torch.arange(MEASURED) % classes
    train, of_train = stage.training.x.flatten(1), stage.training.c["label"]
    real = stage.held_out.x.flatten(1)
    found: dict[float, dict[str, float]] = {}
    samples = []
    for w in WEIGHTS:
        x = model.with_sampling(Sampling(guidance=w)).sample({"label": labels}, stage.noise(MEASURED))
        samples.append(x[:SHOWN])
        rows = x.clamp(-1, 1).flatten(1)
        read = of_train[nearest_rows(rows, [(0, train)], 1)[0][:, 0]]
        within = torch.stack([rows[labels == y].var(0).sum() for y in range(classes)]).mean()
        found[w] = {
            "read_as_asked": float((read == labels).float().mean()),
            "coverage": prdc(real, rows).coverage,
            "variance_within_labels": float(within),
        }
    asked, covered, spread = ([found[w][key] for w in WEIGHTS] for key in found[0.0])
    figures: dict[str, Any] = {str(w): values for w, values in found.items()}
    claims = [
        Claim("The more guidance, the more samples are read as the label asked for", _list(asked),
              all(b > a - 0.01 for a, b in pairwise(asked)) and asked[-1] > asked[0]),
        Claim("At weight 2 nearly all are", f"{asked[2]:.3f}", asked[2] >= 0.95),
        Claim("Beyond weight 1 the more guidance, the less of the data is covered", _list(covered),
              covered[1] > covered[3] > covered[4]),
        Claim("Pictures of one label grow alike", f"their variance falls from {spread[1]:.1f} to {spread[3]:.1f}",
              spread[1] > spread[3]),
    ]  # fmt: skip

    def draw(axes: Any) -> None:
        axes.plot(WEIGHTS, asked, color=COLOURS[0], linewidth=2, marker="o", label="read as asked")
        axes.plot(WEIGHTS, covered, color=COLOURS[1], linewidth=2, marker="o", label="coverage of the data")
        axes.set_ylim(0, 1.05)
        axes.legend(frameon=False)

    panels = [
        [
            pictures(
                "The same noise and labels, more and more guidance",
                form.to_user(torch.cat(samples).clamp(-1, 1)),
                SHOWN,
                "Weight 0 drops the label, 1 is the model as it learned, above it goes further than it learned.",
                names=[f"w = {w:g}" for w in WEIGHTS],
                margin=0.8,
            )
        ],
        [
            curves(
                "What is won and lost", draw, "By the nearest training picture; of held-out pictures.", ("weight w", "")
            )
        ],
    ]
    text = TEXT.format(one=asked[1], two=asked[2], none=asked[0], kept=covered[1], left=covered[-1])
    return Told(plate(LESSON.title, LESSON.teaches, panels), text, figures, claims)


def _list(values: list[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values) + " at weights " + ", ".join(f"{w:g}" for w in WEIGHTS)


TEXT = """
One network learned both p(x | label) and, with the label hidden one time in ten, p(x). Guidance takes their difference,
the direction in which the label pushes, and goes w times as far. At w = 0 the label is not heard ({none:.2f} of samples
are read as asked, chance); at 1 it is ({one:.2f}); at 2 {two:.3f}. What it costs is diversity: each label's pictures
become alike, and the samples cover {kept:.2f} of the data at weight 1 but {left:.2f} at the largest. Guidance does not
sample from p(x | label) any more, but from something sharper.
"""

LESSON = Lesson(
    name="guidance",
    title="Guidance against diversity",
    source="Decks 000 and 001, 'Conditional diffusion'. J. Ho and T. Salimans, 'Classifier-free diffusion guidance' "
    "(2021)",
    teaches="Pushed further towards a label than was learned, pictures are surer and fewer kinds of them are left.",
    needs=("pictures", "labels"),
    make=make,
)
