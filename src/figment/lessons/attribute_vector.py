"""Directions in the space of codes along which one attribute changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.core.data import Batch
from figment.core.errors import UsageError
from figment.explorer.attribute import attributes, swept, targets
from figment.explorer.scene import Scene
from figment.latent.attribute import Direction, auroc, direction, halves
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.perturbation import LATENT, STEPS
from figment.lessons.plate import Panel, pictures, plate
from figment.pictures import INK

WANTED = ("smile", "turn", "skin", "glasses=none")  # of drawn faces; of other data the first four it knows
WEIGHTS = torch.linspace(-2, 2, 7)
EDITED = 100  # held-out pictures whose edits are read


def make(stage: Stage) -> Told:
    scene = stage.scene(f"vae-{LATENT}", "vae", STEPS, model__latent=LATENT)
    spec = stage.dataset.spec
    names = [name for name in WANTED if name in attributes(spec)] or attributes(spec)[:4]
    if not names:
        raise UsageError(f"lesson attribute-vector needs labels or attributes, and {spec.name} has none.")
    found = {name: learned(scene, stage.training, name) for name in names}
    read = np.stack([reading(scene, stage.held_out[:EDITED], found, name) for name in names])  # (A, weights, A)
    moved = read[:, -1] - read[:, 0]  # what all read, from the first weight to the last
    figures: dict[str, Any] = {
        "auroc": {name: told(scene, stage.held_out, along, name) for name, along in found.items()},
        "read": {name: read[i, :, i].tolist() for i, name in enumerate(names)},
        "moved": {name: dict(zip(names, moved[i].tolist())) for i, name in enumerate(names)},
    }
    steady = [name for i, name in enumerate(names) if (np.diff(read[i, :, i]) > 0).all()]
    aside = max(
        (abs(moved[i, j]) / moved[i, i] for i in range(len(names)) for j in range(len(names)) if i != j), default=0
    )
    lowest = min(figures["auroc"], key=lambda name: figures["auroc"][name])
    claims = [
        Claim("Each attribute is read from a code along its direction", f"chance of ranking two held-out pictures "
              f"rightly at least {figures['auroc'][lowest]:.2f} ({lowest})", figures["auroc"][lowest] > 0.75),
        Claim("Edited pictures, encoded again, show it rising at every weight", f"{len(steady)} of {len(names)}",
              len(steady) == len(names)),
        Claim("while the others stay: none moves half as far", f"at most {aside:.2f} times as far", aside < 0.5),
    ]  # fmt: skip
    text = TEXT.format(names=", ".join(names), aside=aside, count=len(stage.training))
    return Told(_drawn(stage, scene, found, moved), text, figures, claims)


def learned(scene: Scene, batch: Batch, name: str) -> Direction:
    """The direction of an attribute, from training pictures that are known to have it or not."""
    target, others = targets(scene.dataset.spec, batch, name)
    return direction(scene.codec.encode(batch.x, {}).z, target, others)


def told(scene: Scene, batch: Batch, along: Direction, name: str) -> float:
    """How well a direction ranks held-out pictures by the attribute."""
    target, _ = targets(scene.dataset.spec, batch, name)
    return auroc(along.score(scene.codec.encode(batch.x, {}).z), halves(target))


def reading(scene: Scene, batch: Batch, found: dict[str, Direction], name: str) -> np.ndarray:
    """The mean place along every direction of pictures edited along one of them, and encoded again: `(W, A)`."""
    x = swept(scene, scene.codec.encode(batch.x, {}), found[name], WEIGHTS)
    z = scene.codec.encode(x.flatten(0, 1), {}).z
    scores = torch.stack([along.score(z) for along in found.values()], 1)
    return scores.view(len(batch), len(WEIGHTS), -1).mean(0).numpy()


def _drawn(stage: Stage, scene: Scene, found: dict[str, Direction], moved: np.ndarray) -> Any:
    batch, user = stage.examples(2), stage.dataset.spec.x.to_user
    code = scene.codec.encode(batch.x, {})
    edits: list[Tensor] = [swept(scene, code, along, WEIGHTS) for along in found.values()]  # each (2, W, C, H, W)
    names = list(found)
    strips = [
        pictures(
            "" if k else "Two held-out pictures; one attribute from −2 to 2 deviations a row",
            user(torch.cat([edit[k] for edit in edits])),
            len(WEIGHTS),
            "" if k else "The middle column is the picture as the model rebuilds it.",
            names=() if k else names,
            margin=1.4,
            width=1 if k else 1.27,
        )
        for k in range(2)
    ]

    def cells(axes: Any) -> None:
        axes.imshow(moved, cmap="PuOr", vmin=-4, vmax=4, aspect="auto")
        axes.grid(visible=False)
        axes.set_xticks(range(len(names)), [f"read: {name}" for name in names], fontsize=10)
        axes.set_yticks(range(len(names)), [f"moved: {name}" for name in names], fontsize=10)
        for (i, j), value in np.ndenumerate(moved):
            axes.text(j, i, f"{value:+.1f}", ha="center", va="center", fontsize=12, color=INK)

    caption = (
        "Deviations by which each attribute, read from the edited pictures by the encoder, changes from end to end. "
        "Asked for: 4 on the diagonal, 0 elsewhere."
    )
    table = Panel("What an edit moves", cells, caption, 2.0, 1.0, (1.6, 0.35))
    return plate(LESSON.title, LESSON.teaches, [strips, [table]])


TEXT = """
From {count} training pictures whose attributes are known, the codes of those that have one are compared with the codes
of the others, all other known attributes held fixed. The difference is a vector v, one for each of: {names}. Adding α
v to the code of a new picture and decoding turns the attribute up (α > 0) or down (α < 0); the network itself never
saw an attribute.

The table says how selective that is: edited pictures are encoded again, and each attribute is read off along its own
vector. An attribute that was not asked for moves by at most {aside:.2f} of the one that was.
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
