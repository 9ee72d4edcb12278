"""Losses and gradients that are not finite stop a run before the update; --remedy goes back and on, more gently."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import short
from figment import workbench
from figment.core.data import Batch
from figment.core.errors import Diverged
from figment.core.model import Loss, Turn
from figment.core.optimisers import Optimiser
from figment.core.processes import Processes
from figment.core.run import RunFolder
from figment.core.session import Session
from figment.models.autoencoders.vae import VAE

Break = Callable[[Tensor], Tensor]
BREAKS: dict[str, Break] = {
    "nan": lambda loss: loss * torch.nan,
    "inf": lambda loss: loss + torch.inf,
    "gradient alone": lambda loss: loss + (loss - loss.detach()).abs().sqrt(),
}


def breaking(monkeypatch: pytest.MonkeyPatch, how: Break, at: int, times: int = 1_000) -> None:
    """The loss is broken at one update, so many times."""
    whole, left = VAE.loss, [times]

    def loss(self: VAE, batch: Batch, turn: Turn) -> Loss:
        value = whole(self, batch, turn)
        if turn.count != at or not left[0]:
            return value
        left[0] -= 1
        return replace(value, value=how(value.value))

    monkeypatch.setattr(VAE, "loss", loss)


@pytest.mark.parametrize("how", BREAKS.values(), ids=BREAKS)
def test_nothing_is_updated(how: Break, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, dataset = short.rows(tmp_path)
    breaking(monkeypatch, how, at=3)
    model = workbench.build(run, dataset)
    session = Session(run, dataset, model, Processes())
    for _ in range(3):
        session.take_step(0.5)
    before = {f: {k: t.clone() for k, t in tensors.items()} for f, tensors in session.tensors().items()}
    with pytest.raises(Diverged, match=r"step 4, vae: .* not finite; nothing was updated"):
        session.take_step(0.5)
    after = session.tensors()
    assert session.clock.step == 3
    for file in ("average", "optimiser-vae"):
        assert all(torch.equal(after[file][k], t) for k, t in before[file].items())
    assert all(torch.equal(after["weights"][k], p) for k, p in before["weights"].items() if k != "observation.variance")


def test_a_run_ends_with_4_and_says_which_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, dataset = short.rows(tmp_path)
    short.learn(run, dataset, tmp_path / "run", stop=2)
    breaking(monkeypatch, BREAKS["nan"], at=4)
    with pytest.raises(Diverged, match="--remedy") as caught:
        short.resumed(run, dataset, tmp_path / "run")
    assert caught.value.exit_code == 4
    folder = RunFolder(tmp_path / "run")
    told = json.loads((folder.path / "diverged.json").read_text())
    assert len(told["rows"]) == run.training.batch
    assert set(told["rows"]) <= set(range(len(dataset.train)))
    assert folder.read_status()["state"] == "failed"
    assert "step 5" in folder.read_status()["error"]
    assert [path.name for path in folder.checkpoints.iterdir()] == ["step-0000000002"]
    assert not folder.model.exists()


def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rate of each update."""
    taken: list[float] = []
    step = Optimiser.step

    def seen(self: Optimiser, lr: float) -> None:
        taken.append(lr)
        step(self, lr)

    monkeypatch.setattr(Optimiser, "step", seen)
    return taken


@pytest.mark.parametrize("stop", [None, 2], ids=["from the start", "from a checkpoint"])
def test_the_remedy_goes_back_with_half_the_rate(
    stop: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, dataset = short.rows(tmp_path, **{"training.decay": "constant", "training.warmup": 0})
    if stop:
        short.learn(run, dataset, tmp_path / "run", stop)
    breaking(monkeypatch, BREAKS["nan"], at=4, times=1)
    taken = rates(monkeypatch)
    notes = short.resumed(run, dataset, tmp_path / "run", remedy=True)
    first, lr = stop or 0, run.training.lr
    assert taken == [lr] * (4 - first) + [lr / 2] * (9 - first)
    assert any(note == f"remedy: learning rate x 0.5 from step {first}" for note in notes)
    assert [line["step"] for line in RunFolder(tmp_path / "run").read_metrics()] == [2, 4, 6, 8, 9]


def test_going_back_to_the_start_forgets_the_moments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, dataset = short.rows(tmp_path, **{"training.decay": "constant"})
    halved = run.override({"training.lr": run.training.lr / 2})
    expected = short.learn(halved, dataset, tmp_path / "halved")
    breaking(monkeypatch, BREAKS["nan"], at=4, times=1)
    folder = short.learn(run, dataset, tmp_path / "run", remedy=True)
    assert short.outcome(folder) == short.outcome(expected)


def test_a_remedy_that_does_not_help_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, dataset = short.rows(tmp_path)
    breaking(monkeypatch, BREAKS["nan"], at=4)
    with pytest.raises(Diverged):
        short.learn(run, dataset, tmp_path / "run", remedy=True)
    assert RunFolder(tmp_path / "run").read_status()["state"] == "failed"


def test_fp16_skips_an_overflow_and_halves_the_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, dataset = short.rows(tmp_path, **{"training.precision": "fp16"})
    breaking(monkeypatch, BREAKS["gradient alone"], at=1, times=1)
    session = Session(run, dataset, workbench.build(run, dataset), Processes())
    session.take_step(0.5)
    scale = session.scale
    before = [p.detach().clone() for p in session.model.parameters()]
    session.take_step(0.5)
    assert session.scale == scale / 2
    assert session.seats[0].count == 1
    assert all(torch.equal(p, old) for p, old in zip(session.model.parameters(), before))
    session.take_step(0.5)
    assert session.seats[0].count == 2
    assert not all(torch.equal(p, old) for p, old in zip(session.model.parameters(), before))


def test_watching_the_held_out_figure_changes_nothing(tmp_path: Path) -> None:
    run, dataset = short.rows(tmp_path)
    session = Session(run, dataset, workbench.build(run, dataset), Processes())
    session.take_step(0.5)
    before = {k: t.clone() for k, t in session.tensors()["weights"].items()}
    state = torch.get_rng_state()
    assert session.watch_held_out() == session.watch_held_out()
    assert all(torch.equal(t, before[k]) for k, t in session.tensors()["weights"].items())
    assert torch.equal(state, torch.get_rng_state())
