"""What a variational autoencoder may maximise, and the pieces of which it is made: pure functions, in nats."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Objective = Literal["elbo", "tc", "geco", "iwae"]
SPEED, STRONGEST = 0.03, 1e4  # of the multiplier: how fast it follows the constraint, and its largest value
PATIENCE = 0.25  # the excess from which it grows no faster: early on, the error is high for want of training


def at_least(kl: Tensor, nats: float) -> Tensor:
    """sum_j max(nats, mean over the batch of KL_j), KL `(B, d)`: below `nats`, a dimension is not pushed further down.

    Free bits: Kingma et al., "Improving variational inference with inverse autoregressive flow" (2016).
    """
    return kl.mean(0).clamp(min=nats).sum()


def total_correlation(z: Tensor, mean: Tensor, log_variance: Tensor, rows: int) -> Tensor:
    """KL(q(z) || prod_j q(z_j)) of codes z ~ q(z | x) `(B, d)`, q(z) = sum_n q(z | x_n) / N over N = `rows` examples.

    q(z_i) is estimated from the batch: its own q(z | x_i) with weight 1/N, each other with (1 - 1/N) / (B - 1), which
    is unbiased (the logarithm is not) and exact for B = N. Chen et al., "Isolating sources of disentanglement in
    variational autoencoders" (2018), with stratified weights averaged over the choice of the one that stands out.
    """
    count = len(z)
    total = max(rows, count)
    weights = torch.full((count, count), (1 - 1 / total) / max(count - 1, 1), device=z.device)
    weights.fill_diagonal_(1 / total if count > 1 else 1.0)
    scaled = (z[:, None] - mean).square() * (-log_variance).exp()
    each = -0.5 * (scaled + log_variance + math.log(2 * math.pi))  # (B, B, d): log q(z_i | x_n) of each dimension
    joint = torch.logsumexp(each.sum(2) + weights.log(), 1)
    product = torch.logsumexp(each + weights.log()[..., None], 1).sum(1)
    return (joint - product).mean()


def multiplied(multiplier: Tensor, excess: Tensor) -> Tensor:
    """The Lagrange multiplier of a constraint `excess` <= 0 after an update: it grows while the constraint is broken.

    lambda <- lambda exp(speed min(excess, patience)). Rezende & Viola, "Taming VAEs" (2018).
    """
    return (multiplier * (SPEED * excess.clamp(max=PATIENCE)).exp()).clamp(1 / STRONGEST, STRONGEST)


def log_mean(log_weights: Tensor) -> Tensor:
    """log (1/k) sum_i w_i of log-weights `(k, B)`: `(B,)`. Of importance weights, a bound that rises with k.

    Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders" (2016).
    """
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))
