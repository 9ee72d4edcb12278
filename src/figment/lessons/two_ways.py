"""Two kinds of pictures turned into each other without pairs, with the way back and without it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from figment.evaluate.unpaired import unpaired
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import Panel, bars, pictures, plate
from figment.pictures import COLOURS
from figment.translations import views

STEPS = 4000
SHOWN, MEASURED = 10, 200
WEIGHTS = {"cycle": 3.0, "none": 0.0}
HEADINGS = {"cycle": "With the way back", "none": "Without"}


def make(stage: Stage) -> Told:
    figures, rows = {}, []
    batch = stage.dataset.held_out.gather(np.arange(min(SHOWN, len(stage.dataset.held_out))))
    for name, weight in WEIGHTS.items():
        scene = stage.scene(
            f"cyclegan-{name}", "cyclegan", STEPS, training__previews=0, model__cycle=weight, model__size="small"
        )
        figures[name] = unpaired(scene.model, stage.dataset, MEASURED, "fixed")
        with torch.no_grad():
            shown = views(scene.model, batch.suited(scene.model.spec))
        rows.append([_panel(name, scene.model.spec.x.to_user(torch.cat(shown)), figures[name], len(batch))])
    directions = list(figures["cycle"])
    errors = {name: float(np.mean([found[way]["cycle"] for way in directions])) for name, found in figures.items()}
    claims = [
        Claim("There and back is where one started", f"off by {errors['cycle']:.3f}, black to white being 1; without "
              f"the term {errors['none']:.3f}", errors["cycle"] <= 0.05 < errors["none"]),
    ]  # fmt: skip
    judged = {}
    if "switched" in figures["cycle"][directions[0]]:
        judged = {name: _judged(found) for name, found in figures.items()}
        claims += [
            Claim("The other kind is reached", f"an oracle reads it in {judged['cycle']['switched']:.0%}",
                  judged["cycle"]["switched"] >= 0.5),
            Claim("and all else is kept better than without the way back", f"{judged['cycle']['kept']:.0%} of factors "
                  f"against {judged['none']['kept']:.0%}", judged["cycle"]["kept"] > judged["none"]["kept"] + 0.1),
        ]  # fmt: skip
        shares = {f"{HEADINGS[name].lower()}: {key}": value[key] for name, value in judged.items() for key in value}
        rows.append([
            bars("What an oracle reads in the translations", shares, "The share that is now of the other kind, and of "
                 "all other factors the share that is as it was.",
                 colours=[COLOURS[0]] * 2 + [COLOURS[1]] * 2, form="{:.2f}")
        ])  # fmt: skip
    text = TEXT.format(cycle=f"{errors['cycle']:.3f}", none=f"{errors['none']:.3f}")
    return Told(plate(LESSON.title, LESSON.teaches, rows), text, {**figures, "judged": judged}, claims)


def _judged(found: dict[str, Any]) -> dict[str, float]:
    """Means over both directions."""
    switched = [share for way in found.values() for share in way["switched"].values()]
    kept = [share for way in found.values() for share in way["kept"].values()]
    return {"switched": float(np.mean(switched)), "kept": float(np.mean(kept))}


def _panel(name: str, pixels: np.ndarray, found: dict[str, Any], columns: int) -> Panel:
    caption = "; ".join(f"{way}: there and back off by {figures['cycle']:.3f}" for way, figures in found.items()) + "."
    names = ["A", "made B", "back to A", "B", "made A", "back to B"]
    return pictures(HEADINGS[name], pixels, columns, caption, names=names, margin=0.95)


TEXT = """
There are pictures of two kinds, A and B, and none of one is the other form of one of the other. Two networks learn
the ways between them, each against a judge that knows one kind. A judge can only ask that what is made look like its
kind, and any picture of that kind will do: so the lower panel changes whatever it likes, and the way back leads
elsewhere (off by {none}). The upper one was asked in addition that the way there and back end where it started
({cycle}), and that a picture of the right kind already be left alone: then only that is changed which tells the kinds
apart.

What B has and A has not must still be remembered on the way B, A, B: the network hides it in A in traces that one
does not see.

On data of one's own: `figment train cyclegan --data unpaired:A,B` with two folders, then `figment translate RUN
PICTURE --direction A-to-B`.
"""

LESSON = Lesson(
    name="two-ways",
    title="There and back",
    source="Decks 003 and 004, 'CycleGAN'. J.-Y. Zhu, T. Park, P. Isola and A. A. Efros, 'Unpaired image-to-image "
    "translation using cycle-consistent adversarial networks' (2017)",
    teaches="Without pairs a judge asks only for the right kind; the way back keeps everything else.",
    make=make,
    data="faces:glasses",
    needs=("pictures", "two kinds"),
)
