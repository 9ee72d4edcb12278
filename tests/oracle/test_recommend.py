"""The recommender: the best measured row for a goal, and no more sureness than the figures allow."""

from __future__ import annotations

import pytest

from figment.evaluate.recommend import UTILITIES, recommend, sentence


def row(model: str, frechet: float, recall: float, speed: float, bits: float | None = None, copies: bool = False):
    return {
        "model": model,
        "quality": {"frechet": frechet, "interval": (0.9 * frechet, 1.1 * frechet), "one_class_missing": 30.0},
        "diversity": {"recall": recall, "coverage": recall, "n": 1000},
        "speed": {"samples_per_second": speed},
        "likelihood": None if bits is None else {"bits_per_dim": bits, "standard_error": 0.01, "alarms": []},
        "memorisation": {"copies": copies},
    }


ROWS = [
    row("mixture", 60.0, 0.5, 90_000, 3.0),
    row("gan", 20.0, 0.4, 30_000),
    row("diffusion", 10.0, 0.8, 200, 2.0),
    row("copier", 5.0, 0.95, 100, 2.5, copies=True),
    {
        "model": "autoencoder",
        "quality": None,
        "diversity": None,
        "speed": None,
        "likelihood": None,
        "memorisation": None,
    },
]


BEST = {"fast": "gan", "faithful": "copier", "diverse": "copier", "likelihood": "diffusion", "small-data": "diffusion"}


@pytest.mark.parametrize(("goal", "model"), BEST.items())
def test_the_best_measured_row_is_recommended(goal, model):
    told = recommend(ROWS, goal)
    assert told["model"] == model
    assert told["sure"] > 0.95
    assert sentence(told, goal).startswith(f"For '{goal}' take {model} (")


def test_rows_within_their_errors_are_a_toss_up():
    told = recommend([row("a", 10.0, 0.5, 10), row("b", 10.2, 0.5, 10)], "faithful")
    assert 0.5 < told["sure"] < 0.8
    assert "toss-up" in sentence(told, "faithful")
    same = recommend([row("a", 10.0, 0.5, 10), row("b", 10.0, 0.5, 10)], "diverse")
    assert same["sure"] == pytest.approx(0.5)


def test_an_order_that_another_seed_may_turn_round_is_not_sure():
    """However exactly it was measured: distances a tenth apart, bits a thousandth apart."""
    rows = [row("a", 10.0, 0.5, 10, 3.0), row("b", 11.0, 0.49, 10, 3.003)]
    for each in rows:
        each["quality"]["interval"], each["diversity"]["n"] = None, 10**6
        each["likelihood"]["standard_error"] = 0.0
    for goal in ("faithful", "diverse", "likelihood"):
        assert 0.5 < recommend(rows, goal)["sure"] < 0.8, goal


def test_impossible_likelihoods_and_missing_figures_recommend_nothing():
    broken = row("a", 10.0, 0.5, 10, 0.1)
    broken["likelihood"]["alarms"] = ["impossible"]
    assert recommend([broken], "likelihood") is None
    assert "no model here" in sentence(None, "likelihood")
    for goal in UTILITIES:
        assert recommend(ROWS[-1:], goal) is None


def test_one_model_alone_is_no_order():
    told = recommend(ROWS[:1], "likelihood")
    assert told["sure"] is None
    assert "no other model" in sentence(told, "likelihood")
