"""Flows on real pictures, and on points whose density is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

import figment
from figment import lessons, workbench
from figment.data.toys import NAMES
from figment.evaluate.likelihood import likelihood_of_run
from figment.evaluate.measure import measure
from figment.evaluate.report import evaluate
from figment.models.flows.flow import Flow
from real import source

REACH, LATTICE = 4.2, 601  # standard deviations of the plane, and cells of it a side, that a density is summed over


@pytest.mark.smoke
def test_a_flow_learns_the_density_of_the_moons(tmp_path: Path) -> None:
    """By its own density and, within the errors, by its samples; neither column of them is told from the data."""
    run = figment.train("flow", "toy:moons", tmp_path / "run", steps=600)
    row = evaluate(run, n=2000)
    assert row["quality"]["kl_from"] == "density"
    assert 0 < row["quality"]["kl"] <= 0.05, row
    assert row["quality"]["kolmogorov_smirnov"]["p"] > 0.01
    assert row["likelihood"]["kind"] == "exact"
    assert not row["likelihood"]["alarms"]
    x, _ = workbench.draw(figment.load(run.path), 2000)
    sampled = measure(x, run.read_run().data.build())["quality"]
    assert sampled["kl"] == pytest.approx(row["quality"]["kl"], abs=4 * sampled["kl_standard_error"])


@pytest.mark.smoke
def test_noise_becomes_data_on_the_line_and_on_the_plane(tmp_path: Path) -> None:
    told = lessons.teach("distribution-transformer", tmp_path)
    p = told["figures"]["kolmogorov_smirnov_p"]
    assert min(p["line"], p["plane, x"], p["plane, y"]) > 0.01 > p["untransformed"]
    assert all(claim["holds"] for claim in told["claims"]), told["claims"]
    with PIL.Image.open(told["files"]["webp"]) as film:
        assert film.n_frames > 20  # type: ignore[attr-defined]


@pytest.mark.learn
@pytest.mark.parametrize("name", NAMES)
def test_flows_learn_the_density_of_every_toy(name: str, tmp_path: Path) -> None:
    """KL(data || model) <= .05 nats, standard error included; the density's integral over the plane is 1."""
    run = figment.train("flow", f"toy:{name}", tmp_path / "run", steps=1500)
    found = likelihood_of_run(run.path)
    assert 0 < found["kl"] + 2 * found["kl_standard_error"] <= 0.05
    assert not found["alarms"]
    model = figment.load(run.path)
    assert isinstance(model, Flow)
    side, generator, mass = 2 * REACH / LATTICE, torch.Generator().manual_seed(0), 0.0
    corners = torch.arange(LATTICE) * side - REACH
    with torch.no_grad():
        for part in torch.cartesian_prod(corners, corners).split(50_000):
            x = part + side * torch.rand(part.shape, generator=generator)  # a random point of each cell
            mass += float(model.log_prob(x, {}).double().exp().sum()) * side**2
    assert mass == pytest.approx(1, abs=1e-3)


@pytest.mark.learn
@pytest.mark.parametrize(("transform", "steps"), [("coupling", 500), ("autoregressive", 500), ("continuous", 600)])
def test_every_kind_of_flow_learns_a_density_and_can_be_undone(transform: str, steps: int, tmp_path: Path) -> None:
    run = figment.train("flow", "toy:moons", tmp_path / "run", steps=steps, model__transform=transform)
    assert likelihood_of_run(run.path)["kl"] <= 0.05
    model, batch = figment.load(run.path), run.read_run().data.build().held_out.gather(np.arange(2000))
    assert isinstance(model, Flow)
    assert float(model.inverse_error(batch.x, batch.c)) < 1e-4


@pytest.mark.learn
@pytest.mark.timeout(3600)
def test_digits_in_few_bits_and_back_without_loss(tmp_path: Path) -> None:
    """MNIST, 1,500 steps, a fifth of ten minutes on two cores: bits/dim, and x from its code in single precision."""
    run = figment.train("flow", source("mnist"), tmp_path / "run", steps=1500)
    assert likelihood_of_run(run.path)["bits_per_dim"] <= 1.2
    batch = run.read_run().data.build().held_out.gather(np.arange(200))
    model = figment.load(run.path)
    with torch.no_grad():
        again = model.decode(model.encode(batch.x, batch.c), batch.c)
    assert float((again - batch.x).abs().max()) <= 1e-4
