"""The recommendation, judged by what it is for: models trained again, with another seed, on three data sets."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import figment
from figment.evaluate.recommend import SURE, UTILITIES, recommend

pytestmark = [pytest.mark.learn, pytest.mark.timeout(3600)]

DATA = {
    "digits": {},
    "toy:moons": {},
    "faces": {"data__size": 16, "data__count": 2000},
}
STEPS = {"gaussian-mixture": 1, "with-prior": 600, "vae": 600, "gan": 600}
NEAR = 0.9  # of the best


def natural(row: dict[str, Any], goal: str) -> float:
    """A figure for a goal, from 0 up, the more the better: the mean of recall and coverage; 1 / (1 + d / d1), d the
    Fréchet distance and d1 that of real data without one class; the inverse of bits; a mean density."""
    if goal == "diverse":
        return (row["diversity"]["recall"] + row["diversity"]["coverage"]) / 2
    if goal == "faithful":
        return 1 / (1 + row["quality"]["frechet"] / row["quality"]["one_class_missing"])
    bits, nats = row["likelihood"]["bits_per_dim"], row["likelihood"]["nats"]
    return math.exp(nats) if bits is None else 1 / bits


@pytest.fixture(scope="module", params=DATA)
def measured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, Any]]]:
    """Rows of the same families, for two seeds of all that is random."""
    out = tmp_path_factory.mktemp("runs")
    told = []
    for seed in (0, 1):
        runs: list[Path] = []
        for kind, steps in STEPS.items():
            settings = {"training__previews": 0, **DATA[request.param]}
            folder = out / f"{kind}-{seed}"
            figment.train(kind, request.param, folder, steps=steps, seed=seed, **settings)
            runs.append(folder)
        told.append(figment.compare(runs=runs, out=out / f"compare-{seed}", n=2000, seed=seed)["rows"])
    return told


@pytest.mark.parametrize("goal", ["faithful", "diverse", "likelihood"])
def test_what_is_recommended_is_near_the_best_when_trained_again(measured: Any, goal: Any) -> None:
    before, again = measured
    told = recommend(before, goal)
    eligible = {row["model"]: natural(row, goal) for row in again if UTILITIES[goal](row, again) is not None}
    assert eligible[told["model"]] >= NEAR * max(eligible.values()), (told, eligible)


def test_what_it_is_sure_of_holds_when_trained_again(measured: Any) -> None:
    before, again = measured
    for goal, utility in UTILITIES.items():
        told = recommend(before, goal)
        if told is None or told["sure"] is None or told["sure"] < SURE:
            continue
        better, worse = (
            utility(row, again) for name in ("model", "runner_up") for row in again if row["model"] == told[name]
        )
        assert better and (worse is None or better.value > worse.value), told
