"""Colours for grey pictures: by squared error, with a judge, and by how likely each colour is."""

from __future__ import annotations

from typing import Any

import torch

from figment.evaluate.translation import translation, translations
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import bars, pictures, plate
from figment.pictures import COLOURS
from figment.translations import views

STEPS = 1600
SHOWN, MEASURED = 10, 300
WEIGHT = 0.2
NAMES = {"squared": "squared error", "judged": "with a judge", "classes": "likely colours"}
WAYS: dict[str, dict[str, Any]] = {
    "squared": {"model__error": "l2"},
    "judged": {"model__error": "l1", "model__adversarial": WEIGHT},
    "classes": {"model__error": "classes"},
}


def make(stage: Stage) -> Told:
    scenes = {
        name: stage.scene(f"grey-{name}", "colourise", STEPS, model__size="small", training__previews=0, **way)
        for name, way in WAYS.items()
    }
    figures: dict[str, Any] = {}
    for name, scene in scenes.items():
        found = translation(list(translations(scene.model, stage.dataset, MEASURED)))
        figures[name] = {key: found[key] for key in ("psnr", "hue", "chroma_variance", "chroma_variance_real")}
    share = {name: found["chroma_variance"] / found["chroma_variance_real"] for name, found in figures.items()}
    claims = [
        Claim("By squared error colours come out paler than they are, some being implied and some not",
              f"{share['squared']:.0%} of the true variance of colours", share["squared"] < 0.75),
        Claim("A judge asks for more", f"{share['judged']:.0%}", share["judged"] > share["squared"]),
        Claim("The likely one of many colours is no mean of them", f"{share['classes']:.0%}",
              share["classes"] > max(0.5, share["squared"])),
    ]  # fmt: skip
    batch = stage.examples(SHOWN).suited(scenes["squared"].model.spec)
    with torch.no_grad():
        seen = [views(scene.model, batch) for scene in scenes.values()]
    (given, _, truth), made = seen[0], [one[1] for one in seen]
    pixels = stage.dataset.spec.x.to_user(torch.cat([given, *made, truth]))
    right = {said: figures[name]["hue"] for name, said in NAMES.items()}
    spread = {said: share[name] for name, said in NAMES.items()}
    rows = [
        [
            pictures(
                "Grey pictures coloured",
                pixels,
                len(batch),
                "Held-out pictures. Each coloured one has exactly the lightness of the grey one.",
                names=["given", *NAMES.values(), "truth"],
                margin=1.25,
            )
        ],
        [
            bars("Variance of colours, the truth being 1", spread, colours=COLOURS[:3], form="{:.2f}"),
            bars("Coloured pixels of the right hue", right, colours=COLOURS[:3], form="{:.2f}", named=False),
        ],
    ]
    text = TEXT.format(**{name: f"{part:.0%}" for name, part in share.items()})
    return Told(plate(LESSON.title, LESSON.teaches, rows), text, figures, claims)


TEXT = """
A grey picture has its lightness and lacks two numbers a pixel, a* and b* of CIE L\\*a\\*b\\*, which a U-Net adds.
Where the shape implies the colour it can be learned. Where it does not, the best guess by squared error is the mean
of all colours that may be there, and the mean of all hues is grey: {squared} of the true variance. A judge of patches
finds grey shirts suspicious and asks for some colour: {judged}, though not for the true one, which nobody can know.

A network may also say how likely each of 305 colours is, as a classifier does. Nothing is lost then: what is given out
can be a likely colour, with rare ones, which are vivid, counted somewhat more: {classes}.

On data of one's own: `figment train colourise --data FOLDER`, then `figment translate RUN PICTURE`.
"""

LESSON = Lesson(
    name="colouring",
    title="Colours that were not given",
    source="Deck 001, 'Image colourisation'. R. Zhang, P. Isola and A. A. Efros, 'Colorful image colorization' (2016); "
    "K. Nazeri, E. Ng and M. Ebrahimi, 'Image colorization using generative adversarial networks' (2018)",
    teaches="The mean of all colours that may be there is grey; a judge asks for one of them, and so may whoever knows "
    "how likely each is.",
    make=make,
    data="faces",
    needs=("pictures", "colours"),
)
