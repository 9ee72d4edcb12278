"""Energies: what noise contrast learns is a density, and Langevin walkers draw from a known one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from figment.core.data import Spec, Vector
from figment.core.noise import Noise
from figment.models.energy.ebm import EBM, Choices, EBMConfig

PLANE = Spec(name="rows", x=Vector(mean=(0.0, 0.0), scale=(1.0, 1.0)))
MEAN, SPREAD = torch.tensor([1.0, -0.5]), 0.5


class Ratio(nn.Module):
    """log of N(MEAN, SPREAD^2 I) over N(0, 4 I), but for a constant."""

    def forward(self, x: Tensor, label: Tensor | None) -> Tensor:
        return -(x - MEAN).square().sum(1) / (2 * SPREAD**2) + x.square().sum(1) / 8


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
    torch.testing.assert_close(x.std(0), torch.full((2,), SPREAD), atol=0.04, rtol=0)
    downhill = normal.with_sampling(Choices(steps=500, step=0.1, annealed=0.5, noise=0)).sample({}, Noise(0, range(4)))
    torch.testing.assert_close(downhill, MEAN.expand(4, 2), atol=1e-2, rtol=0)
