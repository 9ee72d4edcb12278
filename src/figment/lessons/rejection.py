"""Labels with the right to refuse one: Bayes' rule on pictures like those learned from, on others, and on noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from figment.core.data import Image
from figment.data import faces
from figment.data.digits import DigitsConfig
from figment.evaluate.bayes import Judged, Limits
from figment.evaluate.outliers import JUDGED, TRAINING, Observer, some_of
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import Panel, curves, plate
from figment.pictures import COLOURS, INK

REFUSED = 0.05  # of normal pictures
MOST = 2000  # held-out pictures that limits are set by, and as many that are judged
COUNT, SHOWN = 300, 8  # strange pictures of a kind, and pictures in a row


def make(stage: Stage) -> Told:
    latent = min(50, stage.dataset.spec.x.dimensions)
    scene = stage.scene("quadratic", "gda", 1, model__conditional=True, model__latent=latent)
    held = stage.dataset.held_out
    mixed = np.random.default_rng(0).permutation(len(held))
    known, asked_of = (held.gather(rows[:MOST]) for rows in np.array_split(mixed, 2))
    observer = Observer.of(scene.model, some_of(stage.dataset.train, TRAINING))
    normal, asked = (Judged.of(observer, batch.x) for batch in (known, asked_of))
    limits = Limits.of(normal, REFUSED)
    strange = strangers(stage)
    others = {name: Judged.of(observer, x) for name, x in strange.items()}
    refused = {name: refusals(limits, items) for name, items in {"own, held out": asked, **others}.items()}
    right = asked.posterior.argmax(1) == asked_of.c["label"]
    accepted = torch.tensor([reason is None for reason in limits.reasons(asked)])
    accuracy = {"all": float(right.double().mean()), "accepted": float(right[accepted].double().mean())}
    sure = {name: float((items.surest.exp() > 0.99).double().mean()) for name, items in others.items()}
    figures: dict[str, Any] = {"accuracy": accuracy, "refused": refused, "sure_of_strange": sure}
    claims = [
        Claim("About as many normal pictures are refused as were asked for", f"{refused['own, held out']:.1%}, asked "
              f"for {REFUSED:.0%}", refused["own, held out"] < 3 * REFUSED),
        Claim("Labels that are given are right in 95 of 100 cases", f"{accuracy['accepted']:.1%} of those accepted, "
              f"{accuracy['all']:.1%} of all", accuracy["accepted"] >= max(0.95, accuracy["all"])),
        *(Claim(f"{name.capitalize()} is refused, 95 of 100 at least", f"{refused[name]:.1%}", refused[name] >= 0.95)
          for name in others),
        Claim("though the classifier alone is sure of a label for it", ", ".join(f"{name}: P(y | x) > 0.99 in "
              f"{share:.0%}" for name, share in sure.items()), max(sure.values()) > 0.5),
    ]  # fmt: skip
    rows = [
        [_own(stage, asked_of.x, asked, limits)],
        [_strange(stage, strange, others, limits)],
        [_scores(asked, others, limits, refused)],
    ]
    text = TEXT.format(asked=REFUSED, **accuracy, own=refused["own, held out"],
                       strange=", ".join(f"{refused[name]:.1%} of {name}" for name in others),
                       sure=", ".join(f"{share:.0%} of {name}" for name, share in sure.items()))  # fmt: skip
    return Told(plate(LESSON.title, LESSON.teaches, rows), text, figures, claims)


def strangers(stage: Stage) -> dict[str, Tensor]:
    """Pictures `(COUNT, C, H, W)` of other kinds, in the form of the data: noise, and a data set that is none of it."""
    form = stage.dataset.spec.x
    assert isinstance(form, Image)
    generator = torch.Generator().manual_seed(stage.seed)
    noise = torch.randint(0, 256, (COUNT, *form.shape), generator=generator) * (2 / 255) - 1
    if stage.dataset.spec.name == "digits":
        drawn = torch.from_numpy(faces.draw(stage.seed, range(COUNT), 32)).permute(0, 3, 1, 2) * (2 / 255) - 1
        name = "faces"
    else:
        drawn, name = DigitsConfig().build().train.gather(np.arange(COUNT)).x, "digits"
    grey = drawn.mean(1, keepdim=True).expand(-1, form.channels, -1, -1)
    other = F.interpolate(grey, size=(form.height, form.width), mode="bilinear", antialias=True)
    return {"noise": noise, name: other.clamp(-1, 1)}


def refusals(limits: Limits, items: Judged) -> float:
    """The share of items that is refused."""
    return float(np.mean([reason is not None for reason in limits.reasons(items)]))


def _own(stage: Stage, x: Tensor, asked: Judged, limits: Limits) -> Panel:
    """Accepted pictures, and refused ones, with what the model says of each."""
    reasons = limits.reasons(asked)
    accepted = [i for i, reason in enumerate(reasons) if reason is None][:SHOWN]
    refused = sorted((i for i, reason in enumerate(reasons) if reason is not None), key=lambda i: str(reasons[i]))
    chosen = [*accepted, *refused[:: max(1, len(refused) // SHOWN)][:SHOWN]]
    said = [_said(stage, asked, reasons, i) for i in chosen]
    return _captioned("Of its own kind: accepted, then refused", stage, x[chosen], said)


def _strange(stage: Stage, drawn: Mapping[str, Tensor], others: Mapping[str, Judged], limits: Limits) -> Panel:
    x, said = [], []
    for name, items in others.items():
        reasons = limits.reasons(items)
        x.append(drawn[name][:SHOWN])
        said += [_said(stage, items, reasons, i) for i in range(SHOWN)]
    return _captioned(f"Of other kinds: {' and '.join(others)}", stage, torch.cat(x), said)


def _said(stage: Stage, items: Judged, reasons: list[str | None], i: int) -> str:
    label = stage.names[int(items.posterior[i].argmax())]
    return f"{label}, {float(items.surest[i].exp()):.2f}" if reasons[i] is None else f"{label}? {reasons[i]}"


def _captioned(heading: str, stage: Stage, x: Tensor, said: list[str]) -> Panel:
    """Pictures with a line under each, `SHOWN` a row."""
    pixels = stage.dataset.spec.x.to_user(x)
    lines = -(-len(pixels) // SHOWN)

    def draw(axes: Any) -> None:
        axes.axis("off")
        axes.set(xlim=(0, SHOWN), ylim=(lines, 0))
        for i, (picture, line) in enumerate(zip(pixels, said)):
            left, top = i % SHOWN, i // SHOWN
            shown = picture if picture.shape[-1] == 3 else picture[..., :1].repeat(3, -1)
            axes.imshow(
                shown, extent=(left + 0.11, left + 0.89, top + 0.8, top), interpolation="nearest", aspect="auto"
            )
            refused = "?" in line
            axes.text(left + 0.5, top + 0.83, line, ha="center", va="top", fontsize=10, weight="bold",
                      color=COLOURS[1] if refused else COLOURS[2])  # fmt: skip

    return Panel(heading, draw, "", 1.35 * lines)


def _scores(asked: Judged, others: Mapping[str, Judged], limits: Limits, refused: Mapping[str, float]) -> Panel:
    scores = {
        name: limits.normal.score(items.measures)[JUDGED] for name, items in {"own, held out": asked, **others}.items()
    }
    shift = 1 - min(float(values.min()) for values in scores.values())

    def draw(axes: Any) -> None:
        for (name, values), colour in zip(scores.items(), COLOURS):
            shown = np.log10(values.numpy() + shift)
            axes.hist(shown, 25, color=colour, alpha=0.65, label=f"{name}: {refused[name]:.1%} refused")
        axes.axvline(np.log10(limits.strangest + shift), color=INK, linewidth=1.3, linestyle=(0, (5, 3)))
        axes.set(yticks=[])
        axes.legend(frameon=False, fontsize=11)

    caption = "Deviations from normal pictures, above the least strange one, as a power of ten; dashed: the limit."
    return curves("How strange a picture is", draw, caption, ("log10 deviations", ""), 2.4)


TEXT = """
A classifier must give a label to whatever it is shown. A model of p(x | y) for each label can do more: it knows
p(x) = sum p(x | y) P(y), how likely a picture is at all, and may refuse. Limits were set so that {asked:.0%} of normal
pictures are refused, half as unsure of the label, half as strange: by a code far from known ones, or by a likelihood
that is low for what compressors need, or that normal pictures of such a need seldom have.

Of held-out pictures of its own kind {own:.1%} were refused, and of those accepted {accepted:.1%} got the right label,
of all {all:.1%}. Of other kinds were refused: {strange}. The labels alone would not have told: P(y | x) was above 0.99
for {sure}.

With your own pictures: `figment train gda --data DIR`, then `figment classify RUN DIR --reject 0.05`.
"""

LESSON = Lesson(
    name="rejection",
    title="A label, or none",
    source="Deck 004, 'Assign labels, while rejecting outliers'. C. Bishop, 'Novelty detection and neural network "
    "validation' (1994)",
    teaches="A classifier must answer; a density for each label, turned round by Bayes' rule, may refuse.",
    make=make,
    needs=("pictures", "labels"),
)
