"""Attacks on a classifier whose worst case is known: log p(y | x) of logits linear in x."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from figment.core.errors import UsageError
from figment.core.noise import Noise
from figment.data import parse
from figment.evaluate.robustness import robustness, targeted
from figment.models.discriminative.classifier import ClassifierConfig
from figment.pixels.attacks import Attack, attacked, length

W = torch.randn(2, 12, generator=torch.Generator().manual_seed(0))
X = torch.rand(5, 1, 3, 4, generator=torch.Generator().manual_seed(1)) - 0.5  # far from black and white
Y = torch.tensor([0, 1, 1, 0, 1])


def linear(x: Tensor) -> Tensor:
    return (x.flatten(1) @ W.T).log_softmax(1)


def slope(y: Tensor) -> Tensor:
    """The direction in which the logit of y falls fastest against the other's."""
    return (W[1 - y] - W[y]).view(-1, 1, 3, 4)


@pytest.mark.parametrize("method", ["fgsm", "iterative", "pgd"])
@pytest.mark.parametrize("targeted", [False, True])
def test_the_worst_of_a_box_is_a_corner(method: Any, targeted: bool) -> None:
    worst = X + 0.2 * slope(Y).sign() * (-1 if targeted else 1)
    torch.testing.assert_close(attacked(linear, X, Y, Attack(method=method, eps=0.1), targeted=targeted), worst)


@pytest.mark.parametrize("method", ["fgsm", "iterative", "pgd"])
def test_the_worst_of_a_ball_lies_along_the_gradient(method: Any) -> None:
    way = slope(Y)
    worst = X + 0.6 * way / length(way).view(-1, 1, 1, 1)
    found = attacked(
        linear, X, Y, Attack(method=method, norm="l2", eps=0.3, steps=100, restarts=5), noise=Noise(0, range(5))
    )
    if method != "pgd":
        torch.testing.assert_close(found, worst, atol=2e-3, rtol=0)
    least, said = (linear(x).gather(1, Y[:, None]) for x in (worst, found))
    assert (said >= least - 1e-4).all()
    assert (said <= least + 0.05).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("eps", [0.0, 0.3, 20.0])
def test_changes_stay_within_the_bound_and_between_black_and_white(norm: Any, eps: float) -> None:
    x = 4 * X
    x = x.clamp(-1, 1)
    change = attacked(linear, x, Y, Attack(norm=norm, eps=eps, restarts=2)) - x
    size = change.abs().flatten(1).amax(1) if norm == "linf" else length(change)
    assert (size <= 2 * eps + 1e-5).all()
    assert (x + change).abs().max() <= 1 + 1e-6


def test_an_item_is_attacked_alike_in_any_batch() -> None:
    way, noise = Attack(steps=2, restarts=2), Noise(0, range(5))
    together = attacked(linear, X, Y, way, noise=noise)
    alone = torch.cat([attacked(linear, X[i : i + 1], Y[i : i + 1], way, noise=noise[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, alone)


def test_hidden_gradients_are_found_out_and_small_ones_are_not() -> None:
    dataset = parse("digits").build()
    torch.manual_seed(0)
    model: Any = ClassifierConfig(network="plain", size="tiny").build(dataset.spec)
    rows = dataset.train.gather(torch.arange(800).numpy())
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(60):
        loss = -model.class_log_prob(rows.x).gather(1, rows.c["label"][:, None]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    way = Attack(eps=0.1, steps=10)
    open_ = robustness(model, dataset, way, n=150)
    assert open_["clean"] >= 0.85
    assert open_["pgd"] <= open_["fgsm"] <= open_["noise"] - 0.1
    assert open_["masked"] == []
    assert targeted(model, dataset, Attack(eps=0.5), 3, n=100)["success"] >= 0.9
    plain = type(model).class_log_prob
    model.class_log_prob = lambda x: plain(model, x.div(0.25).round().mul(0.25) + 0 * x)
    hidden = robustness(model, dataset, way, n=150)
    assert hidden["pgd"] >= open_["pgd"] + 0.2
    assert hidden["masked"]
    with pytest.raises(UsageError, match="has other labels"):
        robustness(model, replace(dataset, spec=dataset.spec.model_copy(update={"c": {}})), way)
