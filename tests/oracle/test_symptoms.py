"""Figures of what is drawn, on pictures and rows whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from figment.core.data import ArraySplit, Dataset, Image, Spec
from figment.core.signs import LATTICE
from figment.evaluate.symptoms import grain, grain_above, lattice, likeness_to_noise, spread, symptoms


def smooth(count: int, seed: int, size: int = 16) -> Tensor:
    """Pictures in which each pixel is much like its neighbours."""
    coarse = torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size, mode="bicubic").clamp(-1, 1)


REAL, FRESH = smooth(400, 0), smooth(64, 1)
NOISE = torch.randn(64, 1, 16, 16, generator=torch.Generator().manual_seed(2))


def test_white_noise_has_grain_one_and_flat_pictures_none() -> None:
    assert grain(NOISE) == pytest.approx(1, abs=0.05)
    assert grain(torch.ones(4, 1, 8, 8)) == 0
    assert grain_above(FRESH, REAL) < 0.05
    assert grain_above(NOISE, REAL) == pytest.approx(1, abs=0.05)


def test_spread_is_relative() -> None:
    assert spread(REAL, REAL) == pytest.approx(1)
    assert spread(3 * REAL, REAL) == pytest.approx(3)
    assert spread(FRESH[:1].expand(64, -1, -1, -1), REAL) == 0


@pytest.mark.parametrize("period", [2, 4])
@pytest.mark.parametrize("axis", [2, 3])
def test_a_lattice_is_seen_on_either_axis(period: int, axis: int) -> None:
    x = FRESH.clone()
    x.index_add_(axis, torch.arange(0, 16, period), torch.full_like(x, 0.6).narrow(axis, 0, 16 // period))
    assert lattice(x, REAL) > 2 * LATTICE
    assert lattice(FRESH, REAL) < 3
    assert lattice(NOISE, REAL) < LATTICE, "power everywhere is no lattice"


def test_rows_of_noise_are_far_from_data() -> None:
    angle = torch.rand(1000, generator=torch.Generator().manual_seed(3)) * 6.283
    ring = 2**0.5 * torch.stack([angle.cos(), angle.sin()], 1)
    noise = torch.randn(1000, 2, generator=torch.Generator().manual_seed(4))
    assert likeness_to_noise(ring.flip(1), ring) < 0.05
    assert likeness_to_noise(noise, ring) == pytest.approx(1, abs=0.3)
    assert likeness_to_noise(ring[:1].expand(500, 2) + 1e-3 * noise[:500], ring) == 0, "collapsed to a point"
    assert likeness_to_noise(noise, torch.randn(1000, 2)) == 0, "data that is noise itself"


def test_copies_are_told_from_fresh_pictures() -> None:
    spec = Spec(name="smooth", x=Image(channels=1, height=16, width=16))
    pixels = ((REAL + 1) * 127.5).round().byte().numpy()
    splits = {"train": ArraySplit(spec, pixels[:300], {}), "test": ArraySplit(spec, pixels[300:], {})}
    dataset = Dataset(spec, splits, "content")
    fresh, copied = symptoms(FRESH, dataset), symptoms(REAL[:64], dataset)
    assert fresh["drawn.copies"] <= fresh["drawn.fresh"] < copied["drawn.copies"]
    assert copied["drawn.copies"] == 1
    assert "drawn.copies" not in symptoms(FRESH, dataset, samples=False)
    assert np.isfinite(list(fresh.values())).all()
