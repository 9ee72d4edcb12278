"""What a Fréchet distance means on this data: what real data scores that is fresh, lacks a class, or is blurred."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from figment.core.data import Dataset, Image
from figment.evaluate import cache
from figment.evaluate.features import FeatureNet
from figment.evaluate.frechet import Moments, distance
from figment.evaluate.prdc import NEIGHBOURS, prdc
from figment.evaluate.reference import Reference, rows_of

CLASSES = 50


@dataclass(frozen=True)
class Yardsticks:
    """Fréchet distances of n real training rows to the held-out rows. `floor`: as they are; `one_class_missing`: the
    median over classes left out; `blurred`: by a Gaussian of 1 pixel. `real`: precision, recall, density and coverage
    of real rows, empty where those are too few. None where the data has no classes, or is no picture."""

    floor: float
    one_class_missing: float | None
    blurred: float | None
    real: dict[str, float]


def yardsticks(dataset: Dataset, net: FeatureNet, real: Reference, n: int) -> Yardsticks:
    """The yardsticks at n samples, cached with the features."""
    key = cache.key("yardsticks", real.key, n)
    kept = cache.read(key)
    if kept is not None:
        return Yardsticks(**kept[1])
    held_out = Moments.of(real.held_out)
    equal = min(n, len(real.held_out), len(real.train))
    found = Yardsticks(
        floor=distance(Moments.of(real.train[:n]), held_out),
        one_class_missing=_one_class_missing(real, held_out, n),
        blurred=_blurred(dataset, net, held_out, n),
        real=asdict(prdc(real.held_out[:equal], real.train[:equal])) if equal > NEIGHBOURS else {},
    )
    cache.write(key, {}, asdict(found))
    return found


def _one_class_missing(real: Reference, held_out: Moments, n: int) -> float | None:
    present = real.labels.unique()
    if len(present) < 2 or int(present[0]) < 0:
        return None
    chosen = present[torch.randperm(len(present), generator=torch.Generator().manual_seed(0))][:CLASSES]
    without = [distance(Moments.of(real.train[real.labels != label][:n]), held_out) for label in chosen]
    return float(torch.tensor(without).quantile(0.5))


def _blurred(dataset: Dataset, net: FeatureNet, held_out: Moments, n: int) -> float | None:
    if not isinstance(dataset.spec.x, Image):
        return None
    features = torch.cat([net(blurred(x)) for x, _ in rows_of(dataset.train, n)])
    return distance(Moments.of(features), held_out)


def blurred(x: Tensor, sigma: float = 1.0) -> Tensor:
    """Pictures `(B, C, H, W)` convolved with a Gaussian of `sigma` pixels, edges repeated."""
    reach = int(3 * sigma + 0.5)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma).square())
    weights = (weights / weights.sum()).to(x).expand(x.shape[1], 1, 1, -1)
    padded = F.pad(x, (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, weights, groups=x.shape[1]), weights.mT, groups=x.shape[1])
