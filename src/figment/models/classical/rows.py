"""The rows a closed-form fit may use, and how sure it may become of them."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from figment.core.data import Batch, Dataset, Image, Spec
from figment.core.model import Budget
from figment.core.order import Order

ROUNDING = (2 / 255) ** 2 / 12  # the variance of pixels within their grey level, in model range


def rounding(spec: Spec) -> float:
    """The least variance data of this spec can have: no density is infinitely sure."""
    return ROUNDING if isinstance(spec.x, Image) else 1e-6


def batches(data: Dataset, spec: Spec, budget: Budget, device: torch.device) -> Iterator[Batch]:
    """The training rows a fit may use, in random order, a thousand at a time."""
    rows = Order(budget.seed, data.train).rows(0, min(len(data.train), budget.rows))
    for start in range(0, len(rows), 1000):
        yield data.train.gather(rows[start : start + 1000]).suited(spec).to(device)
