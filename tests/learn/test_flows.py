"""Flows on real pictures, and on points whose density is known."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

import figment
from figment.data.toys import NAMES
from figment.evaluate.likelihood import likelihood_of_run
from figment.evaluate.report import evaluate

STEPS = {"checkerboard": 6000}  # its edges are sharp


@pytest.mark.smoke
def test_a_flow_learns_the_density_of_the_moons(tmp_path: Path) -> None:
    run = figment.train("flow", "toy:moons", tmp_path / "run", steps=1000)
    row = evaluate(run, n=2000)
    assert row["quality"]["kl"] <= 0.05, row
    assert row["likelihood"]["kind"] == "exact"
    assert not row["likelihood"]["alarms"]


@pytest.mark.learn
@pytest.mark.parametrize("name", NAMES)
def test_flows_learn_the_density_of_every_toy(name: str, tmp_path: Path) -> None:
    """KL(data || model) <= .05 nats; the density's integral over the plane is 1."""
    run = figment.train("flow", f"toy:{name}", tmp_path / "run", steps=STEPS.get(name, 2000))
    assert evaluate(run, n=5000)["quality"]["kl"] <= 0.05
    model = figment.load(run.path)
    axis, mass = torch.linspace(-6, 6, 1601), 0.0
    with torch.no_grad():
        for part in torch.cartesian_prod(axis, axis).split(100_000):
            c = {} if model.spec.label is None else {"label": torch.zeros(len(part), dtype=torch.int64)}
            mass += float(model.log_prob(part, c).double().exp().sum())
    assert mass * float(axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=1e-3)


@pytest.mark.learn
@pytest.mark.timeout(3600)
def test_digits_in_few_bits_and_back_without_loss(tmp_path: Path) -> None:
    """MNIST, 1,500 steps, a fifth of ten minutes on two cores: bits/dim, and x from its code in single precision."""
    folder = os.environ.get("FIGMENT_DATA")
    if not folder:
        pytest.skip("FIGMENT_DATA is not set: it names the folder of real data")
    run = figment.train("flow", str(Path(folder) / "mnist"), tmp_path / "run", steps=1500)
    assert likelihood_of_run(run.path)["bits_per_dim"] <= 1.2
    batch = run.read_run().data.build().held_out.gather(np.arange(200))
    model = figment.load(run.path)
    with torch.no_grad():
        again = model.decode(model.encode(batch.x, batch.c), batch.c)
    assert float((again - batch.x).abs().max()) <= 1e-4
