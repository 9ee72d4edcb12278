"""A generator whose layers each follow a style of their own: coarse ones of one picture, fine ones of another."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from figment.explorer.mix import labels, path_lengths
from figment.explorer.scene import Scene
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import Panel, bars, pictures, plate
from figment.pictures import COLOURS

STEPS = 1500
COUNT = 5  # pictures that are mixed
PAIRS = 400


def make(stage: Stage) -> Told:
    scene = trained(stage)
    layers = scene.model.synthesis.layers
    places = sorted({1, layers // 2, layers - 1})  # the first layer that follows the other picture
    found = {layer: labels(scene, layer, PAIRS) for layer in places}
    first, last, length = found[places[0]], found[places[-1]], path_lengths(scene, PAIRS)
    figures: dict[str, Any] = {"layers": layers, "path_length": length}
    claims = [Claim("A step between styles changes a picture more evenly than one between codes: its path is shorter",
                    f"{length['w']:.3g} against {length['z']:.3g}", length["w"] < length["z"])]  # fmt: skip
    lengths = {"codes z": length["z"], "styles w": length["w"]}
    caption = "Mean squared change of features per squared step, anywhere on the way between two samples."
    charts = [bars("Path length", lengths, caption, colours=[COLOURS[1], COLOURS[0]])]
    if last:
        kept = {f"{layer} of {layers} layers": each["kept_by_fine"] for layer, each in found.items()}
        lost = last.get("changed_by_coarse", 0.0)
        figures |= {"kept": kept, "changed_by_coarse": lost}
        claims += [
            Claim("The label goes with coarse layers: it is kept where only the finest is another's", f"in "
                  f"{last['kept_by_fine']:.0%}, in {first['kept_by_fine']:.0%} where only the coarsest is its own",
                  last["kept_by_fine"] >= first["kept_by_fine"] + 0.3),
            Claim("and lost where all but the finest are another's", f"{lost:.0%} lose it", lost >= 0.8),
        ]  # fmt: skip
        charts.insert(0, bars("The label is that of the left", kept, "As a classifier reads it in pairs of samples, so "
                              "many of the coarsest layers following the left.", form="{:.0%}"))  # fmt: skip
    grids = [_grid(stage, scene, layer) for layer in places]
    text = TEXT.format(layers=layers, **length, said=SAID.format(first=first["kept_by_fine"], last=last["kept_by_fine"])
                       if last else "")  # fmt: skip
    return Told(plate(LESSON.title, LESSON.teaches, [grids, charts]), text, figures, claims)


def trained(stage: Stage) -> Scene:
    """The generator of styles that lessons share."""
    return stage.scene("stylegan", "stylegan", STEPS)


@torch.no_grad()
def _grid(stage: Stage, scene: Scene, layer: int) -> Panel:
    code = scene.codec.prior(range(2 * COUNT))
    w, own = scene.codec.coder.styles(code.z, code.c), scene.codec.decode(code)
    left, above = w[:COUNT], w[COUNT:]
    x = scene.model.mixed(left.repeat_interleave(COUNT, 0), above.repeat(COUNT, 1, 1), layer)
    user = stage.dataset.spec.x.to_user
    blank = np.full_like(user(own[:1]), 255)
    rows = [np.concatenate([blank, user(own[COUNT:])])]
    rows += [np.concatenate([user(own[i : i + 1]), user(x[i * COUNT : (i + 1) * COUNT])]) for i in range(COUNT)]
    heading = "The coarsest layer of the left" if layer == 1 else f"The {layer} coarsest of the left"
    return pictures(heading, np.concatenate(rows), COUNT + 1, "All other layers follow the picture above.")


TEXT = """
The generator has {layers} layers, from a grid of a few pixels to the full size. Each scales its channels by a style,
and all styles of a sample are the same vector w = f(z), unless one mixes: the layers up to some depth follow w of one
sample, the rest w of another. In training this is done to half of the pictures, so that layers learn to do without each
other. What the coarsest layers decide, such as where things are, comes from the left; what the finest decide, such as
colours, from above. {said}

Codes z must fill a ball evenly, whatever the data look like; styles w need not. So the way between two styles is
smoother: a small step changes the picture by {w:.3g}, of codes by {z:.3g} (squared distance of features per squared
step).

With your own: `figment train stylegan --data DIR`, then `figment explore RUN mix layer=3`.
"""

SAID = """As a classifier reads mixtures, the label of the left is kept in {last:.0%} if only the finest layer is the
other's, and in {first:.0%} if only the coarsest is its own."""

LESSON = Lesson(
    name="style-mixing",
    title="A style for every layer",
    source="Deck 003, 'StyleGAN'. T. Karras, S. Laine and T. Aila, 'A style-based generator architecture for "
    "generative adversarial networks' (2019)",
    teaches="Coarse layers say what is where, fine ones what it looks like; each can be taken from another picture.",
    make=make,
    data="digits",
)
