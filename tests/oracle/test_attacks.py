"""Attacks on a classifier whose worst case is known: log p(y | x) of logits linear in x."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from figment.core.data import ArraySplit, Classes, Dataset, Image, Spec
from figment.core.errors import UsageError
from figment.core.model import CanClassify, CanDecode, CanDenoise, CanEncode, Denoised
from figment.core.noise import Noise
from figment.data import parse
from figment.evaluate.robustness import purified, robustness, targeted
from figment.models.diffusion.schedule import Straight
from figment.models.discriminative.classifier import ClassifierConfig
from figment.pixels.attacks import Attack, attacked, length
from figment.pixels.purification import Purification, past, purifier

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


LABEL = Classes(names=("0", "1"), frequencies=(0.5, 0.5))
SPEC = Spec(name="test", x=Image(channels=1, height=3, width=4), c={"label": LABEL})


class Linear(CanClassify):
    """log p(y | x) of logits +-(a . x), a = 1 in the upper row and -1 in the middle one."""

    device, spec = torch.device("cpu"), SPEC

    def class_log_prob(self, x: Tensor) -> Tensor:
        logit = 6 * (x[:, 0, 0] - x[:, 0, 1]).sum(1)
        return torch.stack([-logit, logit], 1).log_softmax(1)


class Upper(CanEncode, CanDecode):
    """Knows pictures whose lower rows are grey: it keeps the upper row."""

    spec = SPEC

    def encode(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        assert (c["label"] == 2).all(), "labels are unknown"
        return x[:, 0, 0]

    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return torch.nn.functional.pad(z[:, None, None], (0, 0, 0, 2))


class Normal(CanDenoise):
    """Knows that x ~ N(0, I): E[x | x_t] = alpha x_t / (alpha^2 + sigma^2)."""

    schedule, spec = Straight(), SPEC.model_copy(update={"c": {}})

    def denoise(self, x_t: Tensor, t: Tensor, c: Mapping[str, Tensor]) -> Denoised:
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        return Denoised((alpha / (alpha**2 + sigma**2))[:, None, None, None] * x_t)


def test_a_purifier_helps_against_attacks_that_do_not_know_of_it() -> None:
    """Upper rows are .2 from grey in [-1, 1]: a bound of .075, which is .15 there, wins with both rows and not with the
    upper one alone; one of .04 with neither, one of .15 with either."""
    y = np.arange(20) % 2
    pixels = np.full((20, 1, 3, 4), 127.5)
    pixels[:, 0, 0] += 0.2 * 127.5 * (2 * y[:, None] - 1)
    split = ArraySplit(SPEC, pixels.round().astype(np.uint8), {"label": y})
    dataset = Dataset(SPEC, {"train": split, "test": split}, "test")
    found = {eps: purified(Linear(), Upper(), dataset, Attack(eps=eps), 20) for eps in (0.04, 0.075, 0.15)}  # type: ignore[arg-type]
    assert [found[eps]["bare"] for eps in found] == [1, 0, 0]
    assert [found[eps]["unaware"] for eps in found] == [1, 1, 0]
    assert [found[eps]["aware"] for eps in found] == [1, 1, 0]
    assert {each["clean"] for each in found.values()} == {1.0}
    aimed = purified(Linear(), Upper(), dataset, Attack(eps=0.15), 20, label=1)  # type: ignore[arg-type]
    assert aimed == {"n": 10, "clean": 0, "bare": 1, "unaware": 1, "aware": 1}


def test_noise_and_back_keeps_what_it_should_of_a_normal_picture() -> None:
    """The equation of N(0, I) only scales: x_0 = x_t / sqrt(alpha^2 + sigma^2)."""
    t, noise = 0.4, Noise(0, range(5))
    rate = (0.6**2 + t**2) ** 0.5
    wanted = (0.6 * X + t * Noise(0, range(5)).normal(X.shape[1:])) / rate
    found = purifier(Normal(), Purification(level=t, steps=100), noise)(X)
    torch.testing.assert_close(found, wanted.clamp(-1, 1), atol=2e-2, rtol=0)


def test_a_slope_goes_past_a_purifier_that_has_none() -> None:
    steps = lambda x: x.mul(4).round().div(4)  # noqa: E731
    x = X.clone().requires_grad_()
    y = past(steps)(x)
    torch.testing.assert_close(y, steps(X))
    (slope,) = torch.autograd.grad(y.square().sum(), x)
    torch.testing.assert_close(slope, 2 * steps(X))
    with pytest.raises(UsageError, match="does not purify"):
        purifier(SimpleNamespace(config=SimpleNamespace(kind="gan")), Purification())


def test_one_step_that_helps_is_told() -> None:
    """A classifier that knows the attack by heart: what one step changes makes it right."""
    from figment.evaluate.robustness import _masked

    found = {"clean": 0.9, "noise": 0.9, "fgsm": 0.97, "iterative": 0.5, "pgd": 0.1, "unbounded": 0.0}
    assert _masked(found) == ["one step leaves 97.0% right, none 90.0%"]
