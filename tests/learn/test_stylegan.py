"""Rows D12 and D15 on MNIST: what styles of coarse and of fine layers decide, truncation, sums of styles."""

from __future__ import annotations

import pytest

import figment
from figment.explorer.scene import Scene, explore
from real import source

pytestmark = [pytest.mark.learn, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """After 700 steps of 32, 160 CPU seconds."""
    run = figment.train("stylegan", source("mnist"), tmp_path_factory.mktemp("stylegan") / "run", steps=700)
    return Scene(run.path)


def test_coarse_styles_decide_the_digit_and_fine_ones_do_not(scene: Scene) -> None:
    """Karras et al. 2019: the way between two styles is shorter than between two codes."""
    found = explore(scene, "mix", (), {"n": 500}).figures
    assert found["kept_by_fine"] >= 0.9
    assert found["changed_by_coarse"] >= 0.9
    assert found["path_length"]["w"] < found["path_length"]["z"]


def test_truncation_trades_recall_for_precision(scene: Scene) -> None:
    whole, half = (figment.evaluate(scene.run, n=1000, options={"truncation": psi}) for psi in (1.0, 0.5))
    assert half["quality"]["precision"] > whole["quality"]["precision"]
    assert half["diversity"]["recall"] < whole["diversity"]["recall"]


def test_the_difference_of_two_mean_styles_turns_one_digit_into_another(scene: Scene) -> None:
    """Radford et al. 2016: style + mean(b) - mean(a) of samples of a label a is read as b in 80 of 100."""
    names, read = scene.model.spec.label.names, []
    for a in range(10):
        b = (a + 1 + a % 9) % 10
        words = (f"label:{names[a]}", "+", f"label:{names[b]}", "-", f"label:{names[a]}")
        read.append(explore(scene, "arithmetic", words, {"n": 50}).figures["read_as"].get(names[b], 0.0))
    assert sum(read) / len(read) >= 0.8, read
