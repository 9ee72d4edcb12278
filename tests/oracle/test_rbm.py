"""The restricted Boltzmann machine against sums over all its states."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from figment.core.data import Classes, Image, Spec, Vector
from figment.core.model import density
from figment.core.noise import Noise
from figment.models.energy.rbm import RBM, Choices, Fresh, RBMConfig

LABELS = {"label": Classes(names=("a", "b"), frequencies=(0.5, 0.5))}
BINARY = Spec(name="tiny", x=Image(channels=1, height=2, width=4, binary=True), c=LABELS)
STATES = torch.tensor(list(product([0.0, 1.0], repeat=8)))
PLANE = Spec(name="rows", x=Vector(mean=(0.0, 0.0), scale=(1.0, 1.0)))


def machine(spec: Spec, seed: int = 0, **settings: str) -> RBM:
    """Four hidden units with weights that matter."""
    torch.manual_seed(seed)
    model = RBMConfig(hidden=4, **settings).build(spec)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.5 if parameter is model.log_variance else 1)
        model.mean.uniform_(0.2, 0.8)
    return model


def chains(model: RBM, group: int, count: int, sweeps: int) -> Tensor:
    y, chance = torch.full((count,), group), Fresh(count, model.device, seed=1)
    v = model.start(y, chance)
    for _ in range(sweeps):
        v, _ = model.sweep(v, y, 1.0, chance)
    return v


def probabilities(model: RBM, group: int) -> Tensor:
    return (-model.free_energy(STATES, torch.full((len(STATES),), group))).softmax(0)


def test_free_energy_is_the_sum_over_hidden_states() -> None:
    model, y = machine(BINARY), torch.zeros(len(STATES), dtype=torch.int64)
    offset = STATES - model.mean
    own = -offset @ (model.mean.logit() + model.visible_bias[0])
    hidden = torch.tensor(list(product([0.0, 1.0], repeat=4)))
    joint = own[:, None] - (model.hidden_bias[0] + offset @ model.weight.T) @ hidden.T
    torch.testing.assert_close(model.free_energy(STATES, y), -torch.logsumexp(-joint, 1), atol=1e-4, rtol=1e-5)
    x = (2 * STATES - 1).view(-1, 1, 2, 4)
    torch.testing.assert_close(model.energy(x, {"label": y}), model.free_energy(STATES, y))


@torch.no_grad()
def test_long_chains_visit_states_as_often_as_the_energy_says() -> None:
    for group in range(3):  # each label, and none
        model, count = machine(BINARY), 20_000
        visited = (chains(model, group, count, 100) @ 2.0 ** torch.arange(7, -1, -1)).long()
        frequency = visited.bincount(minlength=len(STATES)) / count
        expected = probabilities(model, group)
        # the mean distance of as many exact draws, sum sqrt(2 p (1 - p) / (pi n)) / 2
        chance = float((2 * expected * (1 - expected) / (torch.pi * count)).sqrt().sum() / 2)
        assert float((frequency - expected).abs().sum() / 2) < 1.3 * chance


def test_gradient_from_long_chains_is_that_of_the_log_likelihood() -> None:
    model, count = machine(BINARY), 40_000
    data, y = STATES[[3, 77, 200]], torch.zeros(3, dtype=torch.int64)
    everywhere = torch.zeros(len(STATES), dtype=torch.int64)
    exact = model.free_energy(data, y).mean() + torch.logsumexp(-model.free_energy(STATES, everywhere), 0)
    v = chains(model, 0, count, 100)
    contrast = model.free_energy(data, y).mean() - model.free_energy(v, torch.zeros(count, dtype=torch.int64)).mean()
    for parameter in (model.weight, model.visible_bias, model.hidden_bias):
        wanted, found = (torch.autograd.grad(value, parameter, retain_graph=True)[0] for value in (exact, contrast))
        torch.testing.assert_close(found, wanted, atol=0.02, rtol=0)


@torch.no_grad()
def test_annealed_importance_sampling_finds_log_z() -> None:
    model = machine(BINARY)
    for group, log_z in enumerate(model.log_partition(draws=400, steps=400)):
        y = torch.full((len(STATES),), group)
        assert float(log_z) == pytest.approx(float((-model.free_energy(STATES, y)).logsumexp(0)), abs=0.02)  # 2 % of Z


@torch.no_grad()
@pytest.mark.parametrize("variance", ["learned", "one"])
def test_gaussian_units_integrate_to_one_and_chains_have_their_moments(variance: str) -> None:
    model = machine(PLANE, variance=variance)
    axis = torch.linspace(-12, 12, 481)
    grid = torch.cartesian_prod(axis, axis)
    torch.manual_seed(0)
    mass = model.log_prob_estimator()(grid, {}).double().exp() * (axis[1] - axis[0]) ** 2
    assert float(mass.sum()) == pytest.approx(1, abs=0.02)
    mass = mass / mass.sum()
    v, mean = chains(model, 0, 20_000, 200), (mass[:, None] * grid).sum(0)
    spread = (mass[:, None] * (grid - mean).square()).sum(0).sqrt()
    torch.testing.assert_close(v.mean(0), mean.float(), atol=0.05, rtol=0)
    torch.testing.assert_close(v.std(0), spread.float(), atol=0.05, rtol=0)


@torch.no_grad()
def test_samples_follow_the_energy_of_their_label() -> None:
    model, count = machine(BINARY), 2000
    asked = torch.arange(count) % 2
    x = model.with_sampling(Choices(steps=40, show="draw")).sample({"label": asked}, Noise(0, range(count)))
    v = (x.flatten(1) + 1) / 2
    for group in range(2):
        expected = probabilities(model, group) @ STATES
        torch.testing.assert_close(v[asked == group].mean(0), expected, atol=0.06, rtol=0)
    assert density(model) == "approximate"
