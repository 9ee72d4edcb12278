"""Games of two in the plane: all modes are found; a game that goes wrong is named, and its remedy cures it."""

from __future__ import annotations

from pathlib import Path

import pytest

import figment
from figment.evaluate.diagnosis import diagnose
from figment.evaluate.report import evaluate

pytestmark = [pytest.mark.learn, pytest.mark.timeout(1800)]

# Half of the game is left out: nothing bounds the discriminator, and samples are judged one by one.
BROKEN = {
    "model__conditional": False,
    "model__objective": "non-saturating",
    "model__regulariser": "none",
    "training__lr": 4e-3,
    "training__batch": 128,
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("name", "fewest"), [("gaussians8", 8), ("grid25", 24)])
def test_the_default_finds_every_mode(name: str, fewest: int, seed: int, tmp_path: Path) -> None:
    run = figment.train("gan", f"toy:{name}", tmp_path / "run", steps=2000, seed=seed)
    quality = evaluate(run)["quality"]
    assert quality["modes_found"] >= fewest, quality
    assert quality["on_mode"] >= 0.9, quality
    assert diagnose(run)["findings"] == []


def test_a_collapsed_game_is_named(tmp_path: Path) -> None:
    run = figment.train("gan", "toy:gaussians8", tmp_path / "run", steps=800, **BROKEN)
    assert evaluate(run)["quality"]["modes_found"] <= 4
    (finding,) = (f for f in diagnose(run)["findings"] if f["name"] == "mode collapse")
    assert finding["settings"] == {"model.objective": "relativistic", "model.regulariser": "r1+r2"}


def test_its_remedy_cures_it(tmp_path: Path) -> None:
    run = figment.train("gan", "toy:gaussians8", tmp_path / "run", steps=2500, remedy=True, **BROKEN)
    assert run.read_remedies()
    quality = evaluate(run)["quality"]
    assert quality["modes_found"] >= 7, quality
    assert quality["on_mode"] >= 0.8, quality


def test_a_discriminator_that_wins_is_named(tmp_path: Path) -> None:
    """It learns at thirty times the generator's rate, unbounded, and the generator's loss is flat where it loses."""
    game = {"model__objective": "minimax", "model__regulariser": "none", "model__rate": 30.0, "training__lr": 1e-4}
    run = figment.train("gan", "digits", tmp_path / "run", steps=400, model__size="tiny", **game)
    named = {finding["name"]: finding["settings"] for finding in diagnose(run)["findings"]}
    assert named.keys() == {"discriminator wins", "vanishing gradient"}
    assert named["discriminator wins"]["model.objective"] == "relativistic"
