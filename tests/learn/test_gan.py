"""Games of two in the plane: all modes are found; a game that goes wrong is named, and its remedy cures it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import figment
from figment.core.noise import Noise
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


def test_a_wasserstein_critic_with_a_gradient_penalty_finds_every_mode(tmp_path: Path) -> None:
    """Row D6, with the small weight of toys: 10 gamma = 0.1."""
    game = {"model__objective": "wasserstein", "model__regulariser": "gradient-penalty", "model__gamma": 0.01}
    settings = {"model__critics": 5, "training__batch": 128}
    run = figment.train("gan", "toy:gaussians8", tmp_path / "run", steps=2500, **game, **settings)
    quality = evaluate(run)["quality"]
    assert quality["modes_found"] == 8, quality
    assert quality["on_mode"] >= 0.8, quality


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


@pytest.mark.smoke
def test_labels_are_drawn_and_a_code_keeps_its_style(tmp_path: Path) -> None:
    """What was asked for is read back, all classes are drawn, and digits of one code slant alike (row D8)."""
    run = figment.train("gan", "digits", tmp_path / "run", steps=800, training__previews=0)
    row = evaluate(run)
    assert row["quality"]["label_accuracy"] >= 0.9, row["quality"]
    assert min(row["diversity"]["class_shares"]) >= 0.03
    assert row["diversity"]["recall"] >= 0.8, row["diversity"]
    model = figment.load(run.path)
    z = model.prior({}, Noise(0, range(200)))
    with torch.no_grad():
        slants = np.stack([slant(model.decode(z, {"label": torch.full((200,), y)})[:, 0]) for y in range(10)])
    alike = np.corrcoef(slants)[~np.eye(10, dtype=bool)]  # of every two labels over codes
    assert alike.mean() >= 0.4


def slant(x: torch.Tensor) -> np.ndarray:
    """How far ink `(B, H, W)` moves to the side from one row to the next, by least squares."""
    ink = x + 1
    rows, columns = torch.meshgrid(*(torch.arange(side).float() for side in x.shape[1:]), indexing="ij")
    total = ink.sum((1, 2), keepdim=True)
    down, across = (at - (ink * at).sum((1, 2), keepdim=True) / total for at in (rows, columns))
    return ((ink * down * across).sum((1, 2)) / (ink * down.square()).sum((1, 2))).numpy()


def test_a_discriminator_that_wins_is_named(tmp_path: Path) -> None:
    """It learns at thirty times the generator's rate, unbounded, and the generator's loss is flat where it loses."""
    game = {"model__objective": "minimax", "model__regulariser": "none", "model__rate": 30.0, "training__lr": 1e-4}
    run = figment.train("gan", "digits", tmp_path / "run", steps=400, model__size="tiny", **game)
    named = {finding["name"]: finding["settings"] for finding in diagnose(run)["findings"]}
    assert named.keys() == {"discriminator wins", "vanishing gradient"}
    assert named["discriminator wins"]["model.objective"] == "relativistic"
