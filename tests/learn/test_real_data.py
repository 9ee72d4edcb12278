"""Recipes on real data, ten minutes a model on two cores: `make learn` with FIGMENT_DATA set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import figment
from figment.evaluate.report import evaluate
from real import source

pytestmark = [pytest.mark.learn, pytest.mark.timeout(3600)]
FASHION = {"diffusion": 1.1, "gan": 1.4, "with-prior": 1.9}  # times the distance of real data without one class


@pytest.mark.parametrize("kind", FASHION)
def test_fashion_in_ten_minutes(kind: str, tmp_path: Path) -> None:
    run = figment.train(kind, source("fashion_mnist"), tmp_path / "run", minutes=10)
    for features in ("classifier", "classifier-residual"):
        quality = evaluate(run, n=5000, features=features)["quality"]
        assert quality["features_accuracy"] >= 0.91
        assert quality["frechet"] <= FASHION[kind] * quality["one_class_missing"], quality


def test_digits_of_all_classes_are_drawn_by_a_gan(tmp_path: Path) -> None:
    """MNIST: every class, surely read, as far from the data as rows D7 and D8 allow."""
    run = figment.train("gan", source("mnist"), tmp_path / "run", minutes=10)
    row: dict[str, Any] = evaluate(run, n=5000)
    assert min(row["diversity"]["class_shares"]) >= 0.03
    assert row["quality"]["confidence"] >= 0.9
    assert row["quality"]["label_accuracy"] >= 0.9
    assert row["quality"]["frechet"] <= 1.7 * row["quality"]["one_class_missing"], row["quality"]


def test_guided_labels_are_read_back(tmp_path: Path) -> None:
    """MNIST with labels, guidance 2: a classifier reads the label asked for."""
    run = figment.train("diffusion", source("mnist"), tmp_path / "run", minutes=10)
    row: dict[str, Any] = evaluate(run, n=2000, options={"guidance": 2})
    assert row["quality"]["features_accuracy"] >= 0.99
    assert row["quality"]["label_accuracy"] >= 0.97
    assert row["diversity"]["coverage"] >= 0.7
