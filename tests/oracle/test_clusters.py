"""k-means and mean shift on points whose groups are known."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from sklearn.metrics import normalized_mutual_info_score

from figment.cli import main
from figment.data import parse
from figment.models.classical.clusters import (
    bandwidth_of,
    k_means,
    kernel_density,
    lloyd,
    mean_shift,
    purity,
    shifted,
    squared_distances,
)
from figment.pictures import read_recipe
from figment.pixels.colour import to_lab, to_rgb
from figment.pixels.regions import regions


def blobs(count: int = 600, spread: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    y = generator.integers(0, 3, count)
    return np.array([[0.0, 0.0], [4.0, 0.5], [1.5, 3.5]])[y] + spread * generator.normal(size=(count, 2)), y


@pytest.mark.parametrize("spread", [0.2, 0.4, 0.6])
def test_mean_shift_finds_three_modes_untold_and_they_are_stationary(spread: float) -> None:
    points, y = blobs(spread=spread)
    found = mean_shift(points)
    assert len(found.centres) == 3
    assert purity(found.assigned, y) > 0.98
    assert (found.nearest(points) == found.assigned).all()
    h = bandwidth_of(points)
    gradient = (shifted(found.centres, points, h) - found.centres) * kernel_density(found.centres, points, h)[:, None]
    assert np.abs(gradient / h**2).max() < 1e-3


def test_a_ridge_has_one_mode_and_a_small_group_beside_it_another() -> None:
    """A long even ridge is full of bumps that chance made; no dip between them is real."""
    generator = np.random.default_rng(0)
    ridge = np.c_[generator.uniform(0, 30, 1500), 0.3 * generator.normal(size=1500)]
    few = [15.0, 6.0] + 0.3 * generator.normal(size=(60, 2))
    found = mean_shift(np.concatenate([ridge, few]), 0.8)
    assert np.bincount(found.assigned).tolist() == [1500, 60]


def test_mean_shift_climbs_the_density() -> None:
    points, _ = blobs()
    x = points[:50]
    heights = []
    for _ in range(5):
        heights.append(kernel_density(x, points, 0.5))
        x = shifted(x, points, 0.5)
    assert (np.diff(heights, axis=0) > -1e-12).all()


def test_k_means_assigns_to_the_nearest_and_its_centres_are_means() -> None:
    points, y = blobs()
    found = k_means(points, 3)
    assert purity(found.assigned, y) > 0.99
    np.testing.assert_array_equal(found.nearest(points), found.assigned)
    for k in range(3):
        np.testing.assert_allclose(found.centres[k], points[found.assigned == k].mean(0), atol=1e-6)
    assert found.inertia == pytest.approx(squared_distances(points, found.centres).min(1).sum())


def test_the_inertia_never_rises_and_the_best_of_several_ends_counts() -> None:
    points = np.random.default_rng(2).normal(size=(500, 3))
    path = [found.inertia for found in lloyd(points, points[:8])]
    assert len(path) > 5
    assert (np.diff(path) <= 0).all()
    ends = [k_means(points, 8, seed, starts=1).inertia for seed in range(4)]
    assert k_means(points, 8).inertia == min(ends)


def test_starting_far_apart_beats_starting_anywhere() -> None:
    generator = np.random.default_rng(1)
    points = generator.uniform(-20, 20, (12, 2))[generator.integers(0, 12, 900)] + generator.normal(size=(900, 2)) * 0.3
    apart, anywhere = (
        np.mean([k_means(points, 12, seed, plus, starts=1).inertia for seed in range(10)]) for plus in (True, False)
    )
    assert apart < 0.7 * anywhere


def test_clusters_of_digits_agree_with_their_labels() -> None:
    batch = parse("digits").build().train.gather(np.arange(1600))
    found = k_means(batch.x.flatten(1).numpy(), 10)
    labels = batch.c["label"].numpy()
    assert normalized_mutual_info_score(labels, found.assigned) > 0.65
    assert purity(found.assigned, labels) > 0.7


def test_colours_have_their_published_coordinates_and_come_back() -> None:
    corners = np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    known = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [87.73, -86.18, 83.18], [32.30, 79.19, -107.86]]
    np.testing.assert_allclose(to_lab(corners), known, atol=0.02)
    every = np.random.default_rng(0).integers(0, 256, (500, 3)).astype(np.uint8)
    np.testing.assert_array_equal(to_rgb(to_lab(every)), every)


@pytest.mark.parametrize("count", [3, None])
def test_a_picture_of_three_colours_has_three_regions(count: int | None) -> None:
    flag = np.zeros((30, 60, 3), np.uint8)
    flag[:, :30], flag[:, 30:50], flag[:, 50:] = (200, 40, 40), (240, 240, 235), (30, 60, 160)
    noisy = np.clip(flag + np.random.default_rng(0).normal(0, 3, flag.shape), 0, 255).astype(np.uint8)
    found = regions(noisy, count, bandwidth=6.0)
    assert len(found.colours) == 3
    np.testing.assert_allclose(found.shares, [1 / 2, 1 / 3, 1 / 6], atol=0.002)
    assert np.abs(found.picture.astype(int) - flag).max() <= 3


def test_a_graded_background_is_one_region() -> None:
    across, down = np.meshgrid(np.linspace(40, 220, 90), np.linspace(200, 60, 60))
    picture = np.stack([across, np.full_like(across, 90), down], -1)
    picture[20:40, 30:60] = (250, 240, 60)
    found = regions(picture.astype(np.uint8))
    np.testing.assert_allclose(found.shares, [8 / 9, 1 / 9])
    assert found.colours[1].tolist() == [250, 240, 60]


def test_the_command_splits_a_picture_of_ones_own(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    flag = np.zeros((30, 60, 3), np.uint8)
    flag[:, :30], flag[:, 30:50], flag[:, 50:] = (200, 40, 40), (240, 240, 235), (30, 60, 160)
    PIL.Image.fromarray(flag).save(tmp_path / "flag.png")

    def colours(*words: str) -> Any:
        monkeypatch.setattr(sys, "argv", ["figment", "data", "colours", str(tmp_path / "flag.png"), *words])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr().out
        return end.value.code or (json.loads(said) if "--json" in words else said)

    found = colours("--json", "--out", str(tmp_path / "out.png"))
    assert [region["colour"] for region in found["regions"]] == ["#c82828", "#f0f0eb", "#1e3ca0"]
    assert read_recipe(tmp_path / "out.png")["picture"] == "flag.png"
    assert len(colours("--json", "--count", "2", "--out", str(tmp_path / "two.png"))["regions"]) == 2
    assert "#f0f0eb  0.3333\n" in colours("--out", str(tmp_path / "out.png"))
    assert colours("--out", str(tmp_path / "out.gif")) == 2
