"""Directions in the space of codes along which one attribute changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from figment.core.errors import UsageError
from figment.explorer import attribute
from figment.explorer.map_picture import palette
from figment.explorer.scene import Scene
from figment.latent.attribute import direction
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.morphing import LATENT, STEPS
from figment.lessons.plate import bars, curves, pictures, plate

WANTED = ("smile", "skin", "hair=long", "glasses=none")  # of drawn faces; of other data the first four it knows
WEIGHTS = 5  # from -2 to 2 deviations
READ = 0.75  # chance of ranking two pictures rightly from which an attribute counts as read


def make(stage: Stage) -> Told:
    known = attribute.attributes(stage.dataset.spec)
    names = [name for name in WANTED if name in known] or known[:4]
    if not names:
        raise UsageError(f"lesson attribute-vector needs labels or attributes, and {stage.dataset.spec.name} has none.")
    scene = stage.scene(f"vae-{LATENT}", "vae", STEPS, model__latent=LATENT)
    options = attribute.Options(steps=WEIGHTS)
    figures: dict[str, Any] = {name: dict(attribute.explore(scene, [name], options).figures) for name in names}
    text = TEXT.format(names=", ".join(names), count=figures[names[0]]["examples"])
    if "oracle" in figures[names[0]]:
        text += ORACLE.format(kept=", ".join(f"{name} {figures[name]['oracle']['least_kept']:.0%}" for name in names))
    return Told(_drawn(stage, scene, figures), text, figures, _claims(figures))


def _claims(figures: dict[str, Any]) -> list[Claim]:
    least = min(figures, key=lambda name: figures[name]["auroc"])
    steady = [name for name, found in figures.items() if (np.diff(found["encoder_reads"]) > 0).all()]
    claims = [
        Claim(
            "Each attribute can be read from a code along its direction",
            f"two held-out pictures are ranked rightly in {figures[least]['auroc']:.0%} of cases or more ({least})",
            figures[least]["auroc"] >= READ,
        ),
        Claim(
            "Edited pictures, encoded again, show the attribute rising with every weight",
            f"{len(steady)} of {len(figures)} do",
            len(steady) == len(figures),
        ),
    ]
    judged = {name: found["oracle"] for name, found in figures.items() if "oracle" in found}
    if judged:
        risen = [name for name, found in judged.items() if found["rises"]]
        claims.append(
            Claim("and so does a reader that knows how faces are drawn", f"{len(risen)} of {len(judged)} rise"
                  f" ({', '.join(risen) or 'none'})", len(risen) == len(judged))
        )  # fmt: skip
        worst = min(judged, key=lambda name: judged[name]["least_kept"])
        lost = min(judged[worst]["kept"], key=lambda part: judged[worst]["kept"][part])
        claims.append(
            Claim("which finds every other factor as it was in 85 % of edited pictures", f"least {lost} under {worst}: "
                  f"{judged[worst]['least_kept']:.0%}", judged[worst]["least_kept"] >= 0.85)
        )  # fmt: skip
    return claims


def _drawn(stage: Stage, scene: Scene, figures: dict[str, Any]) -> Any:
    shown, user, learn = stage.examples(2), stage.dataset.spec.x.to_user, stage.training
    code, codes = scene.codec.encode(shown.x, {}), scene.codec.encode(learn.x, {}).z
    weights = torch.linspace(-2, 2, WEIGHTS)
    edits = []
    for name in figures:
        along = direction(codes, *attribute.targets(stage.dataset.spec, learn, name))
        edits.append(attribute.swept(scene, code, along, weights))  # (2, W, C, H, W)
    strips = [
        pictures(
            "Two held-out pictures, an attribute a row from −2 to 2 deviations" if k == 0 else "",
            user(torch.cat([edit[k] for edit in edits])),
            WEIGHTS,
            "In the middle: the picture as the model rebuilds it." if k == 0 else "",
            names=list(figures) if k == 0 else (),
            margin=1.4,
            width=1.303 if k == 0 else 1.0,
        )
        for k in range(2)
    ]
    tints = dict(zip(figures, palette(len(figures))))

    def readings(axes: Any) -> None:
        for name, found in figures.items():
            axes.plot(weights, found["encoder_reads"], color=tints[name], linewidth=2.4, marker="o", label=name)
        axes.legend(frameon=False, fontsize=10)

    charts = [
        curves("Encoded again", readings, "Where 200 edited held-out pictures lie along the direction, on average; "
               "1 is a deviation of the attribute.", ("weight of the edit", "deviations read")),
        bars("Read from held-out pictures", {name: found["auroc"] for name, found in figures.items()},
             "The chance that of two pictures the one with more of the attribute lies further along; ½ is chance.",
             colours=[tints[name] for name in figures], form="{:.2f}"),
    ]  # fmt: skip
    return plate(LESSON.title, LESSON.teaches, [strips, charts])


TEXT = """
From {count} training pictures whose attributes are known, the codes of those that have one are compared with the codes
of the others, all other known attributes held fixed. The difference is a vector v, one for each of: {names}. Adding α
v to the code of a new picture and decoding turns the attribute up (α > 0) or down (α < 0); the network itself never
saw an attribute. Large, plain attributes follow at once; those that take a few pixels must first have been learned by
the decoder at all, and a model trained for a minute has learned them least.
"""

ORACLE = """
These faces are drawn, so a reader that knows how can say what is left of everything else. The factor that suffers most
from each edit is still as it was in this share of edited pictures: {kept}. What the model blurs counts as lost, also
where nothing was edited.
"""

LESSON = Lesson(
    name="attribute-vector",
    title="Adding a smile",
    source="Deck 003, 'z + α · v'. A. B. L. Larsen, S. K. Sønderby, H. Larochelle and O. Winther, 'Autoencoding beyond "
    "pixels using a learned similarity metric' (2016)",
    teaches="The mean difference of codes with and without an attribute is a vector that adds it to any picture.",
    make=make,
    data="faces",
)
