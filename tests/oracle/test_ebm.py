"""Energies that are known: their slopes, what noise takes from them, and the walkers that draw from them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from figment.core.data import Image, Spec, Vector
from figment.core.errors import UsageError
from figment.core.noise import Noise
from figment.latent.codes import Codec
from figment.models.energy.denoising import SPREAD, NoisyEnergy
from figment.models.energy.ebm import EBM, Choices, EBMConfig

PLANE = Spec(name="rows", x=Vector(mean=(0.0, 0.0), scale=(1.0, 1.0)))
PICTURE = Spec(name="pictures", x=Image(channels=1, height=2, width=3))
MEAN, WIDTH = torch.tensor([1.0, -0.5]), 0.5
PIXELS = torch.tensor([[[-0.5, 0.0, 0.5], [0.3, -0.2, 0.1]]])


class Ratio(nn.Module):
    """log of N(MEAN, WIDTH^2 I) over N(0, 4 I), but for a constant."""

    def forward(self, x: Tensor, label: Tensor | None) -> Tensor:
        return -(x - MEAN).square().sum(1) / (2 * WIDTH**2) + x.square().sum(1) / 8


class Known(nn.Module):
    """What makes E_s that of N(PIXELS, (SPREAD^2 + s^2) I): linear in x."""

    def __init__(self, level: Callable[[Tensor], Tensor]):
        super().__init__()
        self.level = level

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        s = self.level(t)
        v = s**2 + SPREAD**2
        return s / SPREAD * ((x * PIXELS).flatten(1).sum(1) / v.sqrt() - PIXELS.square().sum() / (2 * v))


@pytest.fixture
def pictures() -> EBM:
    model = EBMConfig(size="tiny").build(PICTURE)
    assert isinstance(model.network, NoisyEnergy)
    model.network.network = Known(model.network.level)
    return model


@pytest.fixture
def normal() -> EBM:
    model = EBMConfig(size="tiny").build(PLANE)
    model.network = Ratio()
    return model


def test_the_slope_is_that_of_the_energy(normal: EBM) -> None:
    x = torch.randn(5, 2, requires_grad=True)
    (wanted,) = torch.autograd.grad(normal.energy(x, {}).sum(), x)
    torch.testing.assert_close(normal.slope(x, None, 1.0), wanted)
    torch.testing.assert_close(normal.slope(x, None, 0.0), x.detach() / 4)


def test_walkers_draw_from_exp_of_minus_the_energy(normal: EBM) -> None:
    x = normal.with_sampling(Choices(steps=300, step=0.1)).sample({}, Noise(0, range(2000)))
    torch.testing.assert_close(x.mean(0), MEAN, atol=0.05, rtol=0)
    torch.testing.assert_close(x.std(0), torch.full((2,), WIDTH), atol=0.04, rtol=0)
    downhill = normal.with_sampling(Choices(steps=500, step=0.1, annealed=0.5, noise=0)).sample({}, Noise(0, range(4)))
    torch.testing.assert_close(downhill, MEAN.expand(4, 2), atol=1e-2, rtol=0)


def test_pictures_with_noise_have_the_energy_of_a_wider_normal_and_are_cleaned_by_tweedie(pictures: EBM) -> None:
    x, t = torch.randn(4, 1, 2, 3), torch.tensor([0.0, 0.3, 0.7, 1.0])
    label, s = torch.zeros(4, dtype=torch.int64), pictures.network.level(t)
    v = s**2 + SPREAD**2
    torch.testing.assert_close(s[[0, 3]], torch.tensor([0.05, 5.0]))
    energy = pictures.network.energy(x, t, label)
    torch.testing.assert_close(energy, (x - PIXELS).square().flatten(1).sum(1) / (2 * v), atol=1e-4, rtol=1e-4)
    posterior = (x * SPREAD**2 + PIXELS * s.view(-1, 1, 1, 1) ** 2) / v.view(-1, 1, 1, 1)
    torch.testing.assert_close(pictures.network.cleaned(x, t, label), posterior, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(pictures.energy(x[:1], {}), energy[:1])


def test_the_loss_is_least_where_the_energy_is_that_of_the_data(pictures: EBM) -> None:
    """There it is the variance of data given data with noise, in its units 1."""
    torch.manual_seed(0)
    x, label = PIXELS + SPREAD * torch.randn(20_000, 1, 2, 3), torch.zeros(20_000, dtype=torch.int64)
    assert float(pictures.network.loss(x, label).detach()) == pytest.approx(1, abs=0.02)
    assert float(pictures.network.loss(x + 0.3, label).detach()) > 1.1


@pytest.mark.parametrize("settings", [{}, {"steps": 40, "step": 1.2}, {"steps": 80, "annealed": 0.7}])
def test_walkers_come_down_to_the_pictures(pictures: EBM, settings: dict[str, float]) -> None:
    x = pictures.with_sampling(Choices(**settings)).sample({}, Noise(0, range(4000)))
    torch.testing.assert_close(x.mean(0), PIXELS, atol=0.04, rtol=0)
    torch.testing.assert_close(x.std(0), torch.full((1, 2, 3), SPREAD), atol=0.025, rtol=0)


def test_each_way_of_learning_is_for_its_own_form_of_data() -> None:
    for learning, spec in (("noise", PICTURE), ("walkers", PICTURE), ("denoising", PLANE)):
        with pytest.raises(UsageError, match="leave it out"):
            EBMConfig(learning=learning).build(spec)


def test_a_model_that_walks_has_no_codes(pictures: EBM) -> None:
    with pytest.raises(UsageError, match="no codes"):
        Codec(pictures)
