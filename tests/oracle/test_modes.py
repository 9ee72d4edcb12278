"""Modes found, and the share of samples on one, of toys that consist of peaks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from figment.data import parse
from figment.evaluate.measure import measure
from figment.evaluate.points import on_modes

CENTRES = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0], [5.0, 5.0]])


def test_rows_within_three_deviations_are_on_a_mode():
    x = torch.tensor([[0.29, 0.0], [0.31, 0.0], [5.0, 0.2], [2.5, 2.5]])
    assert on_modes(x, CENTRES, 0.1) == (2, 0.5)


def test_a_mode_is_found_by_a_tenth_of_its_share():
    """Of 400 rows a quarter of a mode's share is 25, a tenth 10."""
    few = torch.cat([CENTRES[:1].expand(391, 2), CENTRES[1:2].expand(9, 2)])
    assert on_modes(few, CENTRES, 0.1) == (1, 1.0)
    enough = torch.cat([CENTRES[:1].expand(390, 2), CENTRES[1:2].expand(10, 2)])
    assert on_modes(enough, CENTRES, 0.1) == (2, 1.0)


@pytest.mark.parametrize(("name", "count"), [("gaussians8", 8), ("grid25", 25)])
def test_of_the_data_itself_all_modes_are_found(name, count):
    """Of a normal distribution of the plane 1 - exp(-9 / 2) = 98.9 % lies within three deviations."""
    dataset = parse(f"toy:{name}").build()
    x = dataset.splits["valid"].gather(np.arange(4000)).x
    quality = measure(x, dataset)["quality"]
    assert (quality["modes"], quality["modes_found"]) == (count, count)
    assert quality["on_mode"] == pytest.approx(1 - np.exp(-4.5), abs=0.006)


def test_half_a_ring_is_seen_and_curves_have_no_modes():
    ring = parse("toy:gaussians8").build()
    batch = ring.splits["valid"].gather(np.arange(4000))
    half = batch.x[batch.c["label"] < 4]
    assert measure(half, ring)["quality"]["modes_found"] == 4
    moons = parse("toy:moons").build()
    assert moons.modes is None
