"""`figment attack`: pictures, a small change that misleads a classifier, and its verdicts before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.core.data import Image
from figment.core.errors import UsageError
from figment.core.model import CanClassify
from figment.core.noise import Noise
from figment.evaluate.robustness import purified, robustness, targeted
from figment.explorer.inputs import read
from figment.explorer.scene import Found, Scene
from figment.pictures import sheet
from figment.pixels.attacks import Attack, attacked
from figment.pixels.purification import Purification, purifier
from figment.use import load

SHOWN = 10


def attack(
    scene: Scene,
    words: Sequence[str] = (),
    way: Attack | None = None,
    target: str | None = None,
    n: int = 500,
    purify: str | Path | None = None,
    purification: Purification | None = None,
) -> Found:
    """Attacks `n` held-out items at most, and shows some, or those that words name (`held:3`, a picture file).

    With a `target`, towards that label: `success` is the share of other items read as it. `purify` is a run of a
    generative model that pictures pass before they are judged. Raises UsageError for a model that is no classifier,
    rows, or a purifier of other pictures.
    """
    model, way = scene.model, way or Attack()
    if not isinstance(scene.model, CanClassify):
        raise UsageError(f"'{model.config.kind}' gives no verdicts to change. Train one: figment train classifier")
    if not isinstance(model.spec.x, Image):
        raise UsageError(f"an attack shows pictures, and {model.spec.name} has rows of numbers.")
    label = model.spec.label
    assert label is not None
    wanted = None if target is None else label.read(target)
    through = None if purify is None else _purifier(scene, purify)
    if wanted is None:
        figures: dict[str, Any] = robustness(model, scene.dataset, way, n, scene.seed, scene.watch)
    else:
        figures = targeted(model, scene.dataset, way, wanted, n, scene.seed, scene.watch)
    if through is not None:
        figures["purified"] = purified(
            model, through, scene.dataset, way, n, scene.seed, label=wanted, way=purification, watch=scene.watch
        )
    x, names = _shown(scene, words, wanted)
    own = model.class_log_prob(x).argmax(1)  # what it says is what an attack changes: files have no label
    y = own if wanted is None else torch.full_like(own, wanted)
    noise = Noise(scene.seed, range(len(x)))
    changed = attacked(model.class_log_prob, x, y, way, targeted=wanted is not None, noise=noise)
    stages = {"before": x, "after": changed}
    if through is not None:
        with torch.no_grad():
            rows = noise.stream("purify")
            stages["purified"] = purifier(through, purification or Purification(), rows)(changed)
    verdicts = {stage: _verdicts(model, part, label.names) for stage, part in stages.items()}
    figures["shown"] = [{"name": name, **dict(zip(verdicts, said))} for name, *said in zip(names, *verdicts.values())]
    return Found(figures, _picture(scene, stages, names, verdicts, way))


def _purifier(scene: Scene, run: str | Path) -> Any:
    """The model of another run, of pictures like these. Raises UsageError, before anything is attacked."""
    through = load(run, scene.device)
    if through.spec.x != scene.model.spec.x:
        raise UsageError(
            f"{run} models other pictures ({through.spec.name}) than {scene.run} judges: train it on those."
        )
    purifier(through, Purification())
    return through


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
    scene: Scene, stages: Mapping[str, Tensor], names: Sequence[str], verdicts: Mapping[str, Sequence[str]], way: Attack
) -> Any:
    form = scene.model.spec.x
    x, changed, *rest = stages.values()
    change = changed - x
    scaled = change / change.abs().amax().clamp(min=1e-6)
    sizes = [f"{float(part.abs().max()) / 2:.2f}" for part in change]
    if way.norm == "l2":
        sizes = [f"{float(part.norm()) / 2:.2f}" for part in change]
    fooled = sum(
        before.split()[:-1] != after.split()[:-1] for before, after in zip(verdicts["before"], verdicts["after"])
    )
    title = f"{scene.title}: {way.method}, {way.norm} {way.eps:g}: {fooled} of {len(x)} verdicts change"
    return sheet(
        [list(form.to_user(part)) for part in (x, scaled, changed, *rest)],
        ["picture", f"change / {float(change.abs().amax()) / 2:.2g}", "attacked", "purified"][: 3 + len(rest)],
        columns=names,
        captions=[verdicts["before"], sizes, *list(verdicts.values())[1:]],
        title=title,
    )
