"""`figment explore RUN ACTION`: what is inside a trained model, one file an action.

An action is a line in `ACTIONS` and a module of the same name with

* `Options`: a `Config` with the choices it takes (`--steps 9` and `steps=9` alike), each with bounds and a description;
* `explore(scene, words, options) -> Found`: figures, and a picture or the frames of a film.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from figment.core.errors import UsageError, did_you_mean

ACTIONS = {
    "reconstruct": "[IMAGE ...]: pictures, and what the model makes of their codes",
    "interpolate": "[IMAGE_A IMAGE_B]: a morph from one to the other, as a strip and as a film",
    "traverse": "[--image IMAGE]: one latent at a time, the most used first",
    "map": "[--color NAME]: where the data lies among codes, whose area is how large, where nothing is",
    "attribute": "NAME, or --positive FOLDER --negative FOLDER: one attribute turned up and down",
    "arithmetic": "A + B - C: sums of codes, with weights as in 0.5*A",
    "mix": "[IMAGE ...]: stylegan: the coarse styles of one picture, the fine ones of another",
    "neighbours": "[IMAGE ...]: the training pictures nearest by code and by pixel",
    "compress": "what its codes cost in bytes, beside principal components and JPEG",
    "strips": "[IMAGE ...]: diffusion: pictures drowned in noise, and the way back",
    "attention": "[--prompt TEXT]: where attention to each word matters while a picture is drawn, or what it changes",
    "terms": "diffusion: what each step of the chain from data to noise adds to the bound",
    "probe": "what a few labels make of its codes, and of its encoder as a beginning",
}


def action(name: str) -> Any:
    """The module of an action. Raises UsageError where there is none of that name."""
    if name not in ACTIONS:
        raise UsageError(f"There is nothing to explore by '{name}'. {did_you_mean(name, ACTIONS)}")
    return import_module(f"figment.explorer.{name}")
