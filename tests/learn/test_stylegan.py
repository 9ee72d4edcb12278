"""Rows D12 and D15 on MNIST: what styles of coarse and of fine layers decide, truncation, sums of styles."""

from __future__ import annotations

import pytest
import torch

import figment
from figment.evaluate.features import features_for
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


@torch.no_grad()
def test_the_difference_of_two_mean_styles_turns_one_digit_into_another(scene: Scene) -> None:
    """Radford et al. 2016: w + mean(b) - mean(a) of a sample of label a is read as b in 80 of 100."""
    model, judge = scene.model, features_for(scene.dataset, "classifier")
    code = scene.codec.prior(range(2000))
    w, label = scene.codec.coder.styles(code.z, code.c), code.c["label"].argmax(1)
    means = torch.stack([w[label == k].mean(0) for k in range(10)])
    a = label[:200]
    b = (a + torch.arange(1, 201) % 9 + 1) % 10
    moved = w[:200] + means[b] - means[a]
    assert float((judge.classify(model.mixed(moved, moved, 0)).argmax(1) == b).float().mean()) >= 0.8
