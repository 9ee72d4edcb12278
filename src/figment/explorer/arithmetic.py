"""A + B - C, on codes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from figment.core.config import Config
from figment.core.data import Image
from figment.explorer.inputs import choose
from figment.explorer.scene import Found, Scene
from figment.latent.arithmetic import combine, parse_sum
from figment.latent.codes import psnr
from figment.pictures import sheet


class Options(Config):
    """There is nothing to choose."""


def explore(scene: Scene, words: Sequence[str], options: Options) -> Found:
    """decode(sum_k w_k z_k) of the terms in words, such as `smile.png + 0.5*label:glasses - held:3`, quoted or not."""
    scene.require_pictures("arithmetic")
    weights, names = parse_sum(words[0].split() if len(words) == 1 else words)
    terms = choose(scene, names)
    code = combine(scene.codec, terms.code, weights)
    y = scene.codec.decode(code)
    form = scene.model.spec.x
    assert isinstance(form, Image)
    cells: list[np.ndarray | None] = [*form.to_user(terms.x), *form.to_user(y)]
    signs = ["" if w == 1 and k == 0 else f"{'+' if w > 0 else '-'} " for k, w in enumerate(weights)]
    sizes = ["" if abs(w) == 1 else f"{abs(w):g} x " for w in weights]
    captions = [*(f"{sign}{size}{name}" for sign, size, name in zip(signs, sizes, terms.names)), "= this"]
    near = psnr(y.expand_as(terms.x), terms.x).tolist()
    figures = {
        "encoded_by": scene.codec.way,
        "weights": dict(zip(terms.names, weights)),
        "length_of_code": float(code.z.norm()),
        "psnr_to_terms": dict(zip(terms.names, near)),
    }
    return Found(figures, sheet([cells], captions=[captions], title=f"{scene.title}: a sum of codes"))
