"""A small classifier, trained once on labelled pictures: its features are what pictures are compared in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from figment.core.data import Dataset, Image, Split
from figment.core.optimisers import Optimiser
from figment.core.processes import autocast, resolve_precision
from figment.core.threads import Threads
from figment.nn.features import Architecture, Features, fitted, moved, network_for, resized

ROWS = 60_000
BATCH = 128
CHUNK = 512  # rows at full size in memory at a time
PASSES = {"plain": 2.0, "residual": 2.5}  # over 60,000 rows: what each needs for 91 % on Fashion-MNIST


def features_of(rows: int) -> int:
    """How many features: 128, fewer for small sets, whose covariances would be singular otherwise."""
    return 128 if rows >= 10_000 else 32


def build(architecture: Architecture, dataset: Dataset) -> Features:
    """The network for a dataset of labelled pictures, untrained, in evaluation mode."""
    image, label = dataset.spec.x, dataset.spec.label
    assert isinstance(image, Image)
    assert label is not None
    size = fitted(image.height, image.width)
    network = network_for(architecture, image.channels, size, features_of(len(dataset.train)), label.count)
    return network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def train(
    architecture: Architecture, dataset: Dataset, device: torch.device, progress: Callable[[float], None] | None = None
) -> tuple[Features, float]:
    """A trained network and its accuracy on the held-out split.

    Cross-entropy, Muon, a learning rate that rises and falls once, batches moved by up to a pixel. At most 60,000
    rows, each seen `PASSES` times (those of small sets more often); always from the same seed.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build(architecture, dataset).to(device)
        x, y = _table(dataset.train, ROWS, device)
        steps = int(max(PASSES[architecture] * len(x), min(60_000, 60 * len(x)))) // BATCH
        _descend(network, x, y, steps, progress)
        return network, accuracy(network, dataset.held_out, device)


def _table(split: Split, rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
    chosen = np.arange(len(split))
    if len(chosen) > rows:
        chosen = np.sort(np.random.default_rng(0).permutation(len(split))[:rows])
    pairs = []
    for start in range(0, len(chosen), CHUNK):
        part = split.gather(chosen[start : start + CHUNK])
        pairs.append((resized(part.x, *fitted(*part.x.shape[2:])), part.c["label"]))
    x, y = (torch.cat(parts) for parts in zip(*pairs))
    return x.to(device, memory_format=torch.channels_last), y.to(device)


def _descend(
    network: Features, x: Tensor, y: Tensor, steps: int, progress: Callable[[float], None] | None, peak: float = 4e-3
) -> None:
    optimiser = Optimiser(dict(network.named_parameters()), "muon", (0.9, 0.99), weight_decay=0.02)
    generator = torch.Generator().manual_seed(0)
    precision = resolve_precision("auto", x.device, pictures=True)
    order = torch.empty(0, dtype=torch.int64)
    network.train()
    threads = Threads(adaptive=x.device.type == "cpu")
    try:
        for step in range(steps):
            if len(order) < min(BATCH, len(x)):
                order = torch.randperm(len(x), generator=generator)
            rows, order = order[:BATCH].to(x.device), order[BATCH:]
            done = (step + 0.5) / steps
            with threads.chosen():
                with autocast(precision, x.device):
                    logits = network(moved(x[rows], 1, generator))
                network.zero_grad(set_to_none=True)
                F.cross_entropy(logits.float(), y[rows]).backward()
                optimiser.step(peak * min(done / 0.2, (1 - done) / 0.8))
            if progress is not None and step % 20 == 0:
                progress(done)
    finally:
        threads.restore()
    network.eval()


@torch.inference_mode()
def accuracy(network: Features, split: Split, device: torch.device, limit: int = 10_000) -> float:
    """The share of rows of a split whose label the network reads rightly."""
    x, y = _table(split, limit, device)
    right = [(network(a).argmax(1) == b).double() for a, b in zip(x.split(512), y.split(512))]
    return float(torch.cat(right).mean())
