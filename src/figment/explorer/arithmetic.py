"""A + B - C, on codes; on styles where a model has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pydantic
import torch
from torch import Tensor

from figment.core.config import Config
from figment.core.data import Image
from figment.core.errors import UsageError
from figment.evaluate.features import features_for
from figment.explorer.inputs import MEAN_OF, choose, distinct
from figment.explorer.scene import Found, Scene
from figment.latent.arithmetic import combine, parse_sum
from figment.latent.codes import Code, psnr
from figment.models.adversarial.stylegan import StyleGAN
from figment.pictures import sheet


class Options(Config):
    """How often the same is added elsewhere."""

    n: int = pydantic.Field(
        0, ge=0, le=10_000, description="samples of the first one's label to which the others are added as well: what "
        "a classifier reads in them"
    )  # fmt: skip


@dataclass(frozen=True)
class Summed:
    """Pictures of the terms `(K, ...)`, of their sum `(1, ...)`, and of the sums with samples in the first one's place
    `(n, ...)`; what was summed, in figures."""

    x: Tensor
    y: Tensor
    elsewhere: Tensor
    figures: Mapping[str, float | str]


def explore(scene: Scene, words: Sequence[str], options: Options) -> Found:
    """decode(sum_k w_k z_k) of the terms in words, such as `smile.png + 0.5*label:glasses - held:3`, quoted or not; of
    a model of styles the picture of sum_k w_k f(z_k), `label:` then being the mean style of samples of that label.

    `read_as`: the share of each label a classifier reads in `n` samples, of the first one's label, to which the others
    are added. Raises UsageError for a sum that is none, and for `n` where there are no labels.
    """
    scene.require_pictures("arithmetic")
    known = scene.dataset.spec.label if options.n else None
    if options.n and known is None:
        raise UsageError(f"n={options.n}: {scene.dataset.spec.name} has no labels that could be read. Leave it out.")
    weights, names = parse_sum(words[0].split() if len(words) == 1 else words)
    summed = (_styles if isinstance(scene.model, StyleGAN) else _codes)(scene, weights, names, options.n)
    names, form = list(distinct(names)), scene.model.spec.x
    assert isinstance(form, Image)
    cells: list[np.ndarray | None] = [*form.to_user(summed.x), *form.to_user(summed.y)]
    signs = ["" if w == 1 and k == 0 else f"{'+' if w > 0 else '-'} " for k, w in enumerate(weights)]
    sizes = ["" if abs(w) == 1 else f"{abs(w):g} x " for w in weights]
    captions = [*(f"{sign}{size}{name}" for sign, size, name in zip(signs, sizes, names)), "= this"]
    near = psnr(summed.y.expand_as(summed.x), summed.x).tolist()
    figures: dict[str, Any] = {
        "encoded_by": scene.codec.way,
        "weights": dict(zip(names, weights)),
        **summed.figures,
        "psnr_to_terms": dict(zip(names, near)),
    }
    if known is not None:
        judge = features_for(scene.dataset, "classifier")
        figures["accuracy_of_judge"] = judge.accuracy
        figures["read_as"] = _shares(judge.classify(summed.elsewhere).argmax(1), known.names)
    return Found(
        figures, sheet([cells], captions=[captions], title=f"{scene.title}: a sum of {summed.figures['summed']}")
    )


def _codes(scene: Scene, weights: Sequence[float], names: Sequence[str], n: int) -> Summed:
    codec, terms = scene.codec, choose(scene, names)
    first, rest = terms.code[:1], terms.code[1:]
    code = combine(codec, terms.code, weights)
    elsewhere = [combine(codec, Code.joined([other, rest]), weights) for other in _others(scene, first, n).split()]
    y = codec.decode(Code.joined([code, *elsewhere]))
    return Summed(terms.x, y[:1], y[1:], {"summed": "codes", "length_of_code": float(code.z.norm())})


@torch.no_grad()
def _styles(scene: Scene, weights: Sequence[float], names: Sequence[str], n: int) -> Summed:
    terms = [_style(scene, name) for name in names]
    others = _others(scene, terms[0].code, n)
    w = torch.cat([terms[0].w, scene.codec.coder.styles(others.z, others.c)])
    w = weights[0] * w + sum(weight * term.w for weight, term in zip(weights[1:], terms[1:]))
    y = torch.cat([scene.model.mixed(part, part, 0).float() for part in w.split(64)])
    return Summed(torch.cat([term.x for term in terms]), y[:1], y[1:], {"summed": "styles"})


class Style(NamedTuple):
    """A term: its picture `(1, ...)`, its style `(1, L, width)`, and a code of its label."""

    x: Tensor
    w: Tensor
    code: Code


def _style(scene: Scene, name: str) -> Style:
    codec, (kind, _, label) = scene.codec, name.partition(":")
    if kind != "label":
        chosen = choose(scene, [name])
        return Style(chosen.x, codec.coder.styles(chosen.code.z, chosen.code.c), chosen.code)
    code = codec.prior(range(MEAN_OF), scene.model.spec.given(label=label))
    w = codec.coder.styles(code.z, code.c).mean(0, keepdim=True)
    return Style(scene.model.mixed(w, w, 0).float(), w, code[:1])


def _others(scene: Scene, first: Code, n: int) -> Code:
    """Codes of `n` samples under the conditions of the first term."""
    return first.at(scene.codec.prior(range(n)).z) if n else first[:0]


def _shares(label: Tensor, names: Sequence[str]) -> dict[str, float]:
    """The share of each label that occurs among `(B,)`, the largest first."""
    counts = torch.bincount(label, minlength=len(names))
    return {names[k]: int(counts[k]) / len(label) for k in counts.argsort(descending=True) if counts[k]}
