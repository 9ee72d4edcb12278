"""`figment attack`: pictures, a small change that misleads a classifier, and its verdicts before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.core.data import Image
from figment.core.errors import UsageError
from figment.core.model import CanClassify
from figment.core.noise import Noise
from figment.evaluate.robustness import robustness, targeted
from figment.explorer.inputs import read
from figment.explorer.scene import Found, Scene
from figment.pictures import sheet
from figment.pixels.attacks import Attack, attacked

SHOWN = 10


def attack(
    scene: Scene, words: Sequence[str] = (), way: Attack | None = None, target: str | None = None, n: int = 500
) -> Found:
    """Attacks `n` held-out items at most, and shows some, or those that words name (`held:3`, a picture file).

    With a `target`, towards that label: `success` is the share of other items read as it. Raises UsageError for a model
    that is no classifier, or rows.
    """
    model, way = scene.model, way or Attack()
    if not isinstance(scene.model, CanClassify):
        raise UsageError(f"'{model.config.kind}' gives no verdicts to change. Train one: figment train classifier")
    if not isinstance(model.spec.x, Image):
        raise UsageError(f"an attack shows pictures, and {model.spec.name} has rows of numbers.")
    label = model.spec.label
    assert label is not None
    wanted = None if target is None else label.read(target)
    if wanted is None:
        figures: dict[str, Any] = robustness(model, scene.dataset, way, n, scene.seed, scene.watch)
    else:
        figures = targeted(model, scene.dataset, way, wanted, n, scene.seed, scene.watch)
    x, names = _shown(scene, words, wanted)
    own = model.class_log_prob(x).argmax(1)  # what it says is what an attack changes: files have no label
    y = own if wanted is None else torch.full_like(own, wanted)
    noise = Noise(scene.seed, range(len(x)))
    changed = attacked(model.class_log_prob, x, y, way, targeted=wanted is not None, noise=noise)
    verdicts = [_verdicts(model, part, label.names) for part in (x, changed)]
    figures["shown"] = [
        {"name": name, "before": before, "after": after} for name, before, after in zip(names, *verdicts)
    ]
    return Found(figures, _picture(scene, x, changed, names, verdicts, way))


def _shown(scene: Scene, words: Sequence[str], wanted: int | None) -> tuple[Tensor, Sequence[str]]:
    """The items named, or the first held-out ones of each label in turn, none of the label that is wanted."""
    if words:
        found = [read(scene, word) for word in words]
        if any(item.x is None for item in found):
            raise UsageError("an attack starts from pictures: name files, held:N or train:N.")
        return torch.cat([item.x for item in found if item.x is not None]), [item.name for item in found]
    labels = scene.held_out(512).c["label"].tolist()
    turn = [labels[:row].count(label) for row, label in enumerate(labels)]
    rows = sorted(
        (row for row in range(len(labels)) if labels[row] != wanted), key=lambda row: (turn[row], labels[row])
    )
    batch = scene.gather("held", np.array(rows[:SHOWN]))
    return batch.x, [f"held:{row}" for row in rows[:SHOWN]]


@torch.no_grad()
def _verdicts(model: Any, x: Tensor, names: Sequence[str]) -> list[str]:
    sure, read_as = model.class_log_prob(x).exp().max(1)
    return [f"{names[k]} {p:.0%}" for p, k in zip(sure.tolist(), read_as.tolist())]


def _picture(
    scene: Scene, x: Tensor, changed: Tensor, names: Sequence[str], verdicts: Sequence[Sequence[str]], way: Attack
) -> Any:
    form = scene.model.spec.x
    change = changed - x
    scaled = change / change.abs().amax().clamp(min=1e-6)
    cells = [list(form.to_user(part)) for part in (x, scaled, changed)]
    sizes = [f"{float(part.abs().max()) / 2:.2f}" for part in change]
    if way.norm == "l2":
        sizes = [f"{float(part.norm()) / 2:.2f}" for part in change]
    fooled = sum(before.split()[:-1] != after.split()[:-1] for before, after in zip(*verdicts))
    title = f"{scene.title}: {way.method}, {way.norm} {way.eps:g}: {fooled} of {len(x)} verdicts change"
    return sheet(
        cells,
        ["picture", f"change / {float(change.abs().amax()) / 2:.2g}", "attacked"],
        columns=names,
        captions=[verdicts[0], sizes, verdicts[1]],
        title=title,
    )
