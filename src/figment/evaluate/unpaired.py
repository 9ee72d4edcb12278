"""What becomes of pictures that are translated without a truth to compare with: the way back, and what is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.core.data import Batch, Dataset, Factors, Image
from figment.core.model import HasDirections, Model
from figment.data import faces
from figment.data.unpaired import sides
from figment.evaluate.features import features_for
from figment.evaluate.measure import SMALLEST, measure
from figment.evaluate.translation import CHUNK, slope
from figment.translations import translated


def unpaired(
    model: Model,
    dataset: Dataset,
    n: int = 1000,
    features: str | None = None,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Figures of each direction, of `n` held-out pictures at most: `cycle`, the error of the way there and back (L1,
    black to white is 1); `slope` beside that of real pictures; the `frechet` distance from those, with its `floor`;
    where both kinds have the same labels `label_kept`, how often a classifier of the other kind reads the label that a
    picture had; of drawn faces `switched` and `kept`, see `_factors`."""
    assert isinstance(model, HasDirections)
    ends = sides(dataset)
    figures: dict[str, Any] = {}
    for place, direction in enumerate(model.directions):
        given, wanted = _some(ends[place], n), _some(ends[1 - place], n)
        made = _through(model.towards(direction), given.x)
        again = _through(model.towards(model.directions[1 - place]), made)
        found: dict[str, Any] = {"n": len(made), "cycle": float((again - given.x).abs().mean() / 2)}
        found |= {"slope": float(slope(made).mean()), "slope_real": float(slope(wanted.x).mean())}
        if len(made) >= SMALLEST:
            target = ends[1 - place]
            labels = given.c.get("label") if _names(ends[place]) == _names(target) else None
            quality = measure(made, target, features_for(target, features, progress), labels)["quality"] or {}
            found |= {key: quality[key] for key in ("frechet", "floor", "features")}
            found |= {"label_kept": quality["label_accuracy"]} if quality.get("label_accuracy") is not None else {}
        figures[direction] = found | _factors(made, given, wanted, dataset)
    return figures


def _some(dataset: Dataset, n: int) -> Batch:
    return dataset.held_out.gather(np.random.default_rng(0).permutation(len(dataset.held_out))[:n])


def _through(way: Any, x: Tensor) -> Tensor:
    """Pictures translated, in 8 bits."""
    return torch.cat([translated(way, part) for part in x.split(CHUNK)]).add(1).mul(127.5).round().div(127.5).sub(1)


def _names(dataset: Dataset) -> tuple[str, ...]:
    return dataset.spec.label.names if dataset.spec.label else ()


def _factors(made: Tensor, given: Batch, wanted: Batch, dataset: Dataset) -> dict[str, Any]:
    """Of drawn faces, what an oracle reads in what was made of them: `switched`, how often each factor that tells the
    two kinds apart has a level of the other kind, and `kept`, how often each other one is as it was; unreadable is
    neither."""
    part, form = dataset.spec.c.get("attributes"), dataset.spec.x
    if not (isinstance(part, Factors) and isinstance(form, Image) and part.factors == faces.FACTORS):
        return {}
    before, there = (batch.c["attributes"].numpy() for batch in (given, wanted))
    read = faces.read(form.to_user(made))
    right = faces.agree(before, read)
    figures: dict[str, Any] = {"switched": {}, "kept": {}}
    for k, factor in enumerate(faces.FACTORS):
        if factor.levels and not np.isin(before[:, k], there[:, k]).any():
            figures["switched"][factor.name] = float(np.isin(read[:, k], there[:, k]).mean())
        else:
            figures["kept"][factor.name] = float(right[:, k].mean())
    return figures | {"least_kept": min(figures["kept"].values())}
