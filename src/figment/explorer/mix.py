"""Two pictures in one: the coarse layers follow the style of the first, the fine ones that of the second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pydantic
import torch
from torch import Tensor

from figment.core.config import Config
from figment.core.data import Image
from figment.core.errors import UsageError
from figment.evaluate.features import FeatureNet, features_for, fixed
from figment.explorer.inputs import choose
from figment.explorer.scene import Found, Scene
from figment.latent.codes import Code
from figment.latent.interpolate import linear, spherical
from figment.models.adversarial.stylegan import StyleGAN
from figment.pictures import sheet

STEP = 1e-2  # of the way between two codes, over which lengths are measured


class Options(Config):
    """Where styles change, and how many pictures."""

    layer: int | None = pydantic.Field(None, ge=1, description="the first fine layer (unset: the last)")
    count: int = pydantic.Field(6, ge=2, le=50, description="samples, where no pictures are named")
    n: int = pydantic.Field(500, ge=2, le=10_000, description="pairs of samples measured")


def explore(scene: Scene, words: Sequence[str], options: Options) -> Found:
    """x = g(w_1 ... w_L), w_i = w of one picture below `layer`, of another from there on, for each two of those named.

    Of pairs of samples: the share whose label, as a classifier reads it, stays when the fine styles are another's
    (`kept_by_fine`), and, where labels differ, goes when the coarse ones are (`changed_by_coarse`). `path_length`: the
    mean squared change of features (`fixed`) per squared step, halfway anywhere between two codes (z, on the sphere)
    and between their styles (w): short where a step changes little at once. Karras, Laine & Aila, "A style-based
    generator architecture for generative adversarial networks" (2019). Raises UsageError for a model without styles.
    """
    scene.require_pictures("mix")
    model, form = scene.model, scene.model.spec.x
    if not isinstance(model, StyleGAN):
        raise UsageError(f"'{model.config.kind}' has no styles to mix. Train one that has: figment train stylegan")
    layers = model.synthesis.layers
    layer = layers - 1 if options.layer is None else options.layer
    if layer >= layers:
        raise UsageError(f"layer={layer}: it has {layers} layers, counted from 0, and the last is {layers - 1}.")
    chosen = choose(scene, list(words) or [f"sample:{i}" for i in range(options.count)])
    w = scene.codec.coder.styles(chosen.code.z, chosen.code.c)
    count = len(w)
    with torch.no_grad():
        own = scene.codec.decode(chosen.code)
        x = model.mixed(w.repeat_interleave(count, 0), w.repeat(count, 1, 1), layer).unflatten(0, (count, count))
    assert isinstance(form, Image)
    top: list[np.ndarray | None] = [None, *form.to_user(own)]
    table = [top, *([form.to_user(own[i : i + 1])[0], *form.to_user(x[i])] for i in range(count))]
    title = f"{scene.title}: layers 0 to {layer - 1} of {layers} as on the left, the others as above"
    figures = {"layers": layers, "layer": layer, "n": options.n, **labels(scene, layer, options.n)}
    figures["path_length"] = path_lengths(scene, options.n)
    return Found(figures, sheet(table, ["", *chosen.names], ["", *chosen.names], title=title))


def labels(scene: Scene, layer: int, n: int) -> dict[str, Any]:
    """What a classifier reads in mixtures of `n` pairs of samples: nothing where the data has no labels."""
    if scene.dataset.spec.label is None:
        return {}
    model, codec, judge = scene.model, scene.codec, features_for(scene.dataset, "classifier")
    with torch.no_grad():
        a, b = (codec.prior(range(first, first + n)) for first in (0, n))
        v, w = (codec.coder.styles(code.z, code.c) for code in (a, b))
        drawn = codec.decode(a), codec.decode(b), _parts(lambda v, w: model.mixed(v, w, layer), v, w)
        first, second, mixed = (judge.classify(x).argmax(1) for x in drawn)
    found = {"accuracy_of_judge": judge.accuracy, "kept_by_fine": float((mixed == first).double().mean())}
    if len(differ := torch.nonzero(first != second).flatten()):
        found["changed_by_coarse"] = float((mixed != second)[differ].double().mean())
    return found


@torch.no_grad()
def path_lengths(scene: Scene, n: int) -> dict[str, float]:
    """E |f(x(t + h)) - f(x(t))|^2 / h^2, t uniform, on `n` ways between codes (`z`) and between their styles (`w`)."""
    codec, model, net = scene.codec, scene.model, fixed()
    a, b = (codec.prior(range(first, first + n)) for first in (0, n))
    ends = codec.coder.styles(a.z, a.c), codec.coder.styles(b.z, a.c)  # both of the first one's label
    times = torch.rand(n, generator=torch.Generator().manual_seed(scene.seed)).to(a.z) * (1 - STEP)
    codes, styles = [], []
    for t in (times, times + STEP):
        z = torch.cat([spherical(*way[:2], way[2][None]) for way in zip(a.z, b.z, t)])
        w = torch.cat([linear(*way[:2], way[2][None]) for way in zip(*ends, t)])
        codes.append(codec.decode(Code(z, a.c)))
        styles.append(_parts(lambda w: model.mixed(w, w, 0), w))
    return {"z": _length(net, *codes), "w": _length(net, *styles)}


def _length(net: FeatureNet, x: Tensor, y: Tensor) -> float:
    return float((net(y) - net(x)).square().sum(1).mean() / STEP**2)


def _parts(paint: Callable[..., Tensor], *styles: Tensor) -> Tensor:
    """Pictures of styles, some at a time."""
    return torch.cat([paint(*part).float() for part in zip(*(w.split(64) for w in styles))])
