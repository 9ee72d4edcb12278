"""Six tasks of turning one picture into another, by L1 alone and with a discriminator of patches."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from figment.data.faces.tasks import TASKS
from figment.evaluate.translation import translation, translations
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import Panel, bars, pictures, plate
from figment.pictures import COLOURS
from figment.translations import views

STEPS, ROWS = 800, 3000  # of the data that comes along; steps are fewer of larger pictures
SHOWN, MEASURED = 6, 200
WEIGHT = 0.05
NAMES = ["given", "L1 alone", "L1 and judge", "truth"]


def make(stage: Stage) -> Told:
    own = stage.data != LESSON.data
    stages = [stage] if own else [stage.on(f"faces:{task}", count=ROWS) for task in TASKS]
    figures: dict[str, Any] = {}
    panels = []
    for one in stages:
        task = one.dataset.spec.name.removeprefix("faces:")
        scenes = {
            name: one.scene(
                name, "pix2pix", STEPS, model__size="small", model__adversarial=weight, training__previews=0
            )
            for name, weight in (("plain", 0.0), ("judged", WEIGHT))
        }
        found = {
            name: translation(list(translations(scene.model, one.dataset, MEASURED))) for name, scene in scenes.items()
        }
        figures[task] = {name: {key: told[key] for key in ("l1", "psnr", "slope")} for name, told in found.items()}
        figures[task] |= {"copied": found["judged"]["copied"]["l1"], "slope_real": found["judged"]["slope_real"]}
        judged = scenes["judged"].model
        batch = one.examples(SHOWN).suited(judged.spec)
        with torch.no_grad():
            given, made, truth = views(judged, batch)
            shown = torch.cat([given, views(scenes["plain"].model, batch)[1], made, truth])
        panels.append(_panel(task, judged.spec.x.to_user(shown), figures[task], len(batch)))
    return _told(figures, panels)


def _panel(task: str, pixels: np.ndarray, found: dict[str, Any], columns: int) -> Panel:
    caption = f"Distance from the truth {found['judged']['l1']:.3f}; copied unchanged, {found['copied']:.3f}."
    return pictures(task.replace("-", " "), pixels, columns, caption, names=NAMES, margin=1.15)


def _told(figures: dict[str, Any], panels: list[Panel]) -> Told:
    nearer = [task for task, f in figures.items() if max(f["plain"]["l1"], f["judged"]["l1"]) < f["copied"]]
    share = {
        name: float(np.mean([f[name]["slope"] / f["slope_real"] for f in figures.values()]))
        for name in ("plain", "judged")
    }
    claims = [
        Claim("What is learned comes nearer to the truth than what was given", f"in {len(nearer)} of {len(figures)} "
              "tasks", len(nearer) == len(figures)),
        Claim("With a judge of patches the pictures are steeper between neighbouring pixels than by L1 alone",
              f"{share['judged']:.0%} of the truth's slopes against {share['plain']:.0%}",
              share["judged"] > share["plain"]),
    ]  # fmt: skip
    slopes = {
        f"{task}, {name}": figures[task][key]["slope"] / figures[task]["slope_real"]
        for task in figures
        for key, name in (("plain", "L1"), ("judged", "judged"))
    }
    rows = [panels[i : i + 2] for i in range(0, len(panels), 2)]
    rows.append([
        bars("How steep the pictures are, the truth being 1", slopes, "The mean difference of neighbouring pixels. "
             "Where the given picture has all the edges, there is nothing to sharpen.",
             colours=[COLOURS[1], COLOURS[0]] * len(figures), form="{:.2f}")
    ])  # fmt: skip
    text = TEXT.format(
        judged=f"{share['judged']:.0%}", plain=f"{share['plain']:.0%}", nearer=len(nearer), all=len(figures)
    )
    return Told(plate(LESSON.title, LESSON.teaches, rows), text, figures, claims)


TEXT = """
In the middle of each panel the same network is at work: a U-Net that sees the first row and is asked for the last.
Held to the truth by the mean absolute error alone it draws, where several pictures would fit, something between them:
the median, which is smooth. A second network that sees patches of 16 pixels beside what they were made from, and
tells made ones from true ones, does not accept that: the slopes rise from {plain} to {judged} of the true ones. In
{nearer} of {all} tasks both are nearer to the truth than the given picture was.

What is not in the given picture cannot be known: a line drawing does not say the colour of a shirt. The judge can
only ask that there be a colour.

On data of one's own: `figment train pix2pix --data pairs:FOLDER`, then `figment translate RUN PICTURE`.
"""

LESSON = Lesson(
    name="translation-tasks",
    title="From one picture to another",
    source="Decks 003 and 004, 'pix2pix'. P. Isola, J.-Y. Zhu, T. Zhou and A. A. Efros, 'Image-to-image translation "
    "with conditional adversarial networks' (2017)",
    teaches="One network and one loss learn six tasks; a judge of patches asks for the detail that an average lacks.",
    make=make,
    data="faces:edges-to-photo",
    needs=("pictures", "pairs"),
)
