"""What a few labels make of a representation: a linear reading of frozen codes, and training on from an encoder."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

Encode = Callable[
    [nn.Module, Tensor], Tensor
]  # (model, x (B, ...)) -> codes (B, d) that its weights are trained through


def draw_labelled(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Positions of `count` of N labelled items, every class as often as another, to within one: int64 `(count,)`."""
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(labels))
    turn = np.empty(len(labels), np.int64)  # how many of its class come before an item
    for k in np.unique(labels):
        here = order[labels[order] == k]
        turn[here] = np.arange(len(here))
    first = generator.permutation(int(labels.max()) + 1)  # the classes that have one more
    return order[np.lexsort((first[labels[order]], turn[order]))][:count]


@dataclass(frozen=True)
class LinearProbe:
    """The logits W z + b of the classes `(K,)` that labels `(N,)` have, fitted to rows `(N, d)` by logistic regression
    on standardised numbers. Alain & Bengio, "Understanding intermediate layers using linear classifier probes" (2017).
    """

    weight: np.ndarray
    bias: np.ndarray
    classes: np.ndarray

    @classmethod
    def of(cls, z: np.ndarray, y: np.ndarray) -> LinearProbe:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        mean, scale = z.mean(0), z.std(0) + 1e-6
        with warnings.catch_warnings(), threadpool_limits(1, "blas"):  # as those of small matrices wait for each other
            warnings.simplefilter("ignore", ConvergenceWarning)
            fitted = LogisticRegression(max_iter=200, tol=1e-3).fit((z - mean) / scale, y)
        weight, bias = fitted.coef_ / scale, fitted.intercept_
        if len(fitted.classes_) == 2:  # one row then says which of the two
            weight, bias = np.concatenate([np.zeros_like(weight), weight]), np.append(0.0, bias)
        return cls(weight, bias - weight @ mean, fitted.classes_)

    def accuracy(self, z: np.ndarray, y: np.ndarray) -> float:
        """The share of rows `(M, d)` whose label `(M,)` is read rightly."""
        return float((self.classes[(z @ self.weight.T + self.bias).argmax(1)] == y).mean())


def trained_accuracy(
    model: nn.Module,
    encode: Encode,
    x: Tensor,
    y: Tensor,
    held_out: Tensor,
    truth: Tensor,
    *,
    steps: int,
    seed: int,
    rate: float = 1e-3,
    batch: int = 100,
) -> float | None:
    """The accuracy on held-out items of a copy of a model's encoder with a linear head, all trained on x `(N, ...)`, y
    `(N,)` by cross-entropy; None where the code does not depend on any weight.

    The head starts as the linear probe of the codes, lest its own learning spoil what the encoder knows (Kumar et al.,
    "Fine-tuning can distort pretrained features and underperform out-of-distribution", 2022). Erhan et al., "Why does
    unsupervised pre-training help deep learning?" (2010).
    """
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        own = copy.deepcopy(model).requires_grad_()
        start = encode(own, x)
        if not start.requires_grad:
            return None
        head = _head(LinearProbe.of(start.detach().cpu().numpy(), y.cpu().numpy()), int(max(y.max(), truth.max())) + 1)
        head.to(x)
        optimiser = torch.optim.AdamW([*own.parameters(), *head.parameters()], rate, weight_decay=0.01)
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = rate * min(1, 10 * (step + 1) / steps, 2 * (1 - step / steps))
            rows = torch.randperm(len(x), device=x.device)[:batch]
            loss = F.cross_entropy(head(encode(own, x[rows])), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            read = torch.cat([head(encode(own, part)).argmax(1) for part in held_out.split(500)])
        return float((read == truth).double().mean())


def _head(probe: LinearProbe, classes: int) -> nn.Linear:
    """A probe as a layer; classes that it has not seen start at its lowest bias."""
    head = nn.Linear(probe.weight.shape[1], classes)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(float(probe.bias.min()))
        head.weight[probe.classes] = torch.from_numpy(probe.weight).float()
        head.bias[probe.classes] = torch.from_numpy(probe.bias).float()
    return head
