"""Figures of a latent space on codes whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from figment.core.data import Factor, Factors
from figment.latent import attribute, map
from figment.latent.aggregate import aggregate_gap
from figment.latent.disentanglement import binned, entropy, informed, mutual_information

N = 20_000


def factors() -> tuple[np.ndarray, Factors]:
    """A number, one of three levels, one of two."""
    generator = np.random.default_rng(0)
    values = np.stack([generator.uniform(-1, 1, N), generator.integers(3, size=N), generator.integers(2, size=N)], 1)
    names = (Factor(name="pose"), Factor(name="hair", levels=("red", "black", "fair")))
    return values.astype(np.float32), Factors(factors=(*names, Factor(name="glasses", levels=("no", "yes"))))


def noisy(values: np.ndarray) -> np.ndarray:
    return values + np.random.default_rng(1).normal(size=values.shape) * 0.01


def test_one_dimension_a_factor_has_the_whole_gap() -> None:
    values, spec = factors()
    found = informed(noisy(values)[:, [2, 0, 1]], values, spec)
    assert found.mig > 0.95
    assert found.shares.argmax(1).tolist() == [1, 2, 0]


def test_codes_that_know_nothing_have_no_gap() -> None:
    values, spec = factors()
    found = informed(np.random.default_rng(2).normal(size=(N, 6)), values, spec)
    assert found.mig < 0.005 and found.shares.max() < 0.01


def test_rotated_codes_have_a_small_gap_and_copies_none() -> None:
    values, spec = factors()
    standardised = (values - values.mean(0)) / values.std(0)
    mirror = np.eye(3) - 2 / 3  # mixes all three: two thirds of each factor in two dimensions alike
    assert informed(noisy(standardised @ mirror), values, spec).mig < 0.15
    assert informed(np.repeat(noisy(values), 2, 1), values, spec).mig < 0.02


def test_unknown_and_constant_factors_are_left_out() -> None:
    values, spec = factors()
    codes = noisy(values)
    values[::2, 1], values[:, 2] = np.nan, 1
    found = informed(codes, values, spec)
    assert found.names == ("pose", "hair") and found.mig > 0.95
    with pytest.raises(ValueError, match="no factor varies"):
        informed(codes, np.ones_like(values), spec)


def test_information_of_a_known_channel() -> None:
    """A bit through a symmetric channel that flips one in ten: ln 2 - H(0.1) nats; entropy is free of its bias."""
    generator = np.random.default_rng(4)
    sent = generator.integers(2, size=N)
    received = sent ^ (generator.uniform(size=N) < 0.1)
    flips = -(0.1 * math.log(0.1) + 0.9 * math.log(0.9))
    assert mutual_information(sent, received) == pytest.approx(math.log(2) - flips, abs=0.01)
    assert np.mean([entropy(generator.integers(50, size=200)) for _ in range(50)]) == pytest.approx(
        math.log(50), abs=0.02
    )
    assert np.bincount(binned(generator.normal(size=1000), 10)).tolist() == [100] * 10


def test_the_gap_of_a_gaussian_aggregate_lies_within_its_bounds() -> None:
    """q(z|x) = N(x, s^2 I), x ~ N(m, S): q(z) = N(m, S + s^2 I), whose divergence from the prior is known."""
    torch.manual_seed(0)
    m, root = torch.tensor([0.5, -1.0]), torch.tensor([[0.8, 0.0], [0.5, 0.3]])
    x = m + torch.randn(4000, 2) @ root.T
    deviation = torch.full_like(x, 0.5)
    z = x + deviation * torch.randn_like(x)
    q = MultivariateNormal(m, root @ root.T + 0.25 * torch.eye(2))
    truth = float(torch.distributions.kl_divergence(q, MultivariateNormal(torch.zeros(2), torch.eye(2))))
    found = aggregate_gap(x, deviation, z)
    assert found.at_least == pytest.approx(truth, abs=0.05)
    assert found.at_most == pytest.approx(truth, abs=0.05)
    information = 0.5 * float(torch.logdet(q.covariance_matrix / 0.25))
    assert found.kl - found.at_most == pytest.approx(information, abs=0.05)


def test_posteriors_that_are_the_prior_leave_no_gap_and_clusters_leave_one() -> None:
    torch.manual_seed(1)
    z = torch.randn(2000, 3)
    none = aggregate_gap(torch.zeros(2000, 3), torch.ones(2000, 3), z)
    assert abs(none.kl) < 1e-6 and abs(none.at_least) < 1e-6 and abs(none.at_most) < 1e-6
    corners = torch.randint(0, 2, (2000, 1)) * 2.0 - 1.0  # +-1 with variance .01: moments of N(0, 1.01)
    two = aggregate_gap(corners, torch.full((2000, 1), 0.1), corners + 0.1 * torch.randn(2000, 1))
    truth = -math.log(2) - 0.5 * math.log(2 * math.pi * math.e * 0.01) + 0.5 * math.log(2 * math.pi) + 0.505
    assert two.at_most == pytest.approx(truth, abs=0.02) and two.at_least < 0.01


def correlated(count: int = N) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes that are linear in a wanted 0-1 attribute and in another that mostly goes with it."""
    torch.manual_seed(2)
    wanted = (torch.rand(count) < 0.3).float()
    other = torch.where(torch.rand(count) < 0.8, wanted, 1 - wanted)
    a, b = torch.eye(5)[0], torch.eye(5)[1]
    return wanted[:, None] * a + other[:, None] * b + 0.5 * torch.randn(count, 5), wanted, other, a


def test_direction_is_the_difference_of_means_and_holds_others_fixed() -> None:
    codes, wanted, other, truth = correlated()
    plain = attribute.direction(codes, wanted)
    means = codes[wanted == 1].mean(0) - codes[wanted == 0].mean(0)
    assert torch.allclose(plain.vector, means / 2, atol=1e-4)
    corrected = attribute.direction(codes, wanted, [other[:, None]])
    assert corrected.corrected and not plain.corrected
    assert torch.allclose(corrected.vector, truth / 2, atol=0.02)
    assert attribute.cosine(corrected.vector, truth) > 0.99 > attribute.cosine(plain.vector, truth)


def test_a_direction_of_what_others_determine_or_what_does_not_vary() -> None:
    codes, wanted, other, _ = correlated(500)
    twin = (1 - wanted)[:, None]
    assert not attribute.direction(codes, wanted, [twin]).corrected
    both = [attribute.direction(codes, wanted, groups) for groups in ([other[:, None]], [twin, other[:, None], twin])]
    assert torch.allclose(both[0].vector, both[1].vector)
    with pytest.raises(ValueError, match="does not vary"):
        attribute.direction(codes, torch.ones(500))


def test_weights_lead_from_one_side_to_the_other() -> None:
    codes, wanted, _, _ = correlated()
    found = attribute.direction(codes, wanted)
    moved = found.applied(codes[:3], torch.tensor([-2.0, 0.0, 1.0]))
    assert moved.shape == (3, 3, 5) and torch.equal(moved[:, 1], codes[:3])
    along = found.score(moved.flatten(0, 1)).view(3, 3)
    assert torch.allclose(along[:, 2] - along[:, 0], torch.full((3,), 3.0), atol=1e-4)
    number = torch.linspace(-1, 1, 1001)  # its halves have means -1/2 and 1/2
    straight = attribute.direction(number[:, None] * torch.tensor([[0.0, 3.0]]), number)
    assert straight.unit == pytest.approx(0.5, abs=2e-3)
    assert torch.allclose(straight.vector, torch.tensor([0.0, 1.5]), atol=6e-3)


def test_area_under_the_curve_counts_pairs() -> None:
    torch.manual_seed(3)
    score, positive = torch.randint(0, 5, (60,)).float(), torch.rand(60) < 0.4
    pairs = score[positive][:, None] - score[~positive]
    assert attribute.auroc(score, positive) == pytest.approx(
        float((pairs > 0).float().mean() + (pairs == 0).float().mean() / 2)
    )
    assert math.isnan(attribute.auroc(score, torch.ones(60, dtype=torch.bool)))


def test_columns_describe_factors_for_a_regression() -> None:
    values, spec = factors()
    values[0] = np.nan
    for column, factor, width in zip(torch.from_numpy(values).T, spec.factors, (1, 2, 1)):
        design = attribute.columns(column, factor)
        assert design.shape == (N, width) and not design[0].any()
        assert torch.allclose(design.std(0, correction=0), torch.ones(width).double(), atol=1e-3)


def test_cells_of_the_prior_have_equal_mass() -> None:
    plane = map.prior_plane(9)
    assert plane.across[4] == pytest.approx(0, abs=1e-12) and plane.points.shape == (81, 2)
    masses = np.diff(
        [0, *(0.5 * (1 + math.erf(z / math.sqrt(2))) for z in (plane.across[1:] + plane.across[:-1]) / 2), 1]
    )
    assert masses.max() / masses.min() < 1.25
    box = map.box_plane(np.random.default_rng(0).uniform((0, 10), (1, 30), (5000, 2)), 10)
    assert box.across[[0, -1]] == pytest.approx([0.05, 0.95], abs=0.02)
    assert box.upwards[[0, -1]] == pytest.approx([11, 29], abs=0.4)


def test_areas_gaps_and_jumps_of_two_half_planes() -> None:
    """Two classes left and right of -0.5, nothing between: areas, an empty strip, and one row of jumps."""
    generator = np.random.default_rng(0)
    codes = generator.uniform((-1, -1), (1, 1), (6000, 2))
    codes = codes[np.abs(codes[:, 0] + 0.5) > 0.1]
    labels = (codes[:, 0] > -0.5).astype(int)
    plane = map.box_plane(codes, 40)
    assert np.mean(map.votes(codes, labels, plane.points) == 0) == pytest.approx(0.25, abs=0.03)
    assert map.neighbour_accuracy(codes[::2], labels[::2], codes[1::2], labels[1::2]) == 1
    within = generator.uniform((0, -1), (1, 1), (2000, 2))
    assert map.gaps(within, codes[::2], codes[1::2]).mean() == pytest.approx(0.05, abs=0.03)
    strip = np.stack([np.full(50, -0.5), np.linspace(-0.9, 0.9, 50)], 1)
    assert map.gaps(strip, codes[::2], codes[1::2]).all()
    changes = map.steps((plane.points[:, :1] > -0.5).astype(float), 40)
    assert len(changes) == 2 * 40 * 39 and changes.max() == 1 and (changes > 0).sum() == 40


def test_projections_keep_clusters_and_thumbnails_keep_apart() -> None:
    generator = np.random.default_rng(0)
    label = np.repeat(np.arange(3), 60)
    codes = generator.normal(size=(180, 64)) + 9 * np.eye(64)[label]
    laid, (flat, shares) = map.embedded(codes), map.principal(codes)
    for points in (laid, flat):
        assert map.neighbour_accuracy(points[::2], label[::2], points[1::2], label[1::2]) > 0.95
    assert 0 < shares[1] <= shares[0] < 1
    kept = map.apart(laid, 2.0, 1.0)
    between = np.abs(laid[kept][:, None] - laid[kept])
    assert kept[0] == 0 and len(kept) > 5
    assert ((between[..., 0] >= 2) | (between[..., 1] >= 1) | np.eye(len(kept), dtype=bool)).all()


def test_few_rows_make_no_gap_where_there_is_none() -> None:
    """z = x + s e ~ N(0, I) with x ~ N(0, 1 - s^2): the moments of 180 such x are off by .38 nats on average."""
    torch.manual_seed(2)
    x = torch.randn(30, 180, 16) * (1 - 0.2**2) ** 0.5
    deviation = torch.full_like(x[0], 0.2)
    assert np.mean([aggregate_gap(rows, deviation, rows).at_least for rows in x]) < 0.1
