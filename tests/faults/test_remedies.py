"""With --remedy, a run that shows a known sign of going wrong starts anew with settings that cure it, and says so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import short
from figment import workbench
from figment.core.data import Batch
from figment.core.errors import UsageError
from figment.core.model import Loss, Turn
from figment.core.run import Run, RunFolder
from figment.core.signs import LINES
from figment.core.training import Note
from figment.evaluate.diagnosis import diagnose
from figment.models.autoencoders.vae import VAE

CURED = 2e-3 * 9  # the learning rate that breaks the spell


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """A run whose loss stands still until its learning rate was raised twice."""
    whole = VAE.loss

    def loss(self: VAE, batch: Batch, turn: Turn) -> Loss:
        value = whole(self, batch, turn)
        run = RunFolder(tmp_path / "run").read_run()
        return value if run.training.lr > 0.99 * CURED else replace(value, value=value.value * 0 + 0.5)

    monkeypatch.setattr(VAE, "loss", loss)
    return short.rows(tmp_path, LINES + 5, **{"training.log_every": 1})[0]


def told(run: Run, folder: Path, **settings: object) -> list[str]:
    lines: list[str] = []
    watch = lambda events: lines.extend(e.text for e in events if isinstance(e, Note))  # noqa: E731
    workbench.execute(run, folder, watch=watch, announce=lines.append, **settings)  # type: ignore[arg-type]
    return lines


def test_a_run_starts_anew_with_what_cures_it(stuck: Run, tmp_path: Path) -> None:
    lines = told(stuck, tmp_path / "run", remedy=True)
    folder = RunFolder(tmp_path / "run")
    assert [line for line in lines if line.startswith("remedy: standstill: starting anew with training.lr=")] != []
    assert folder.read_run().training.lr == pytest.approx(CURED)
    assert [cure["sign"] for cure in folder.read_remedies()] == ["standstill"] * 2
    assert [line["step"] for line in folder.read_metrics()] == list(range(1, LINES + 6)), "of the last start alone"
    assert folder.read_status()["state"] == "done"
    report = diagnose(folder)
    assert report["findings"] == []
    assert len(report["remedies"]) == 2
    assert "nothing to do" in " ".join(told(stuck, folder.path, resume=True)), "the cured run is the one asked for"


def test_without_it_a_run_goes_on_and_says_so(stuck: Run, tmp_path: Path) -> None:
    lines = told(stuck, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    assert sum("warning: standstill" in line for line in lines) == 1
    assert folder.read_run() == stuck
    assert folder.read_remedies() == []


def test_three_times_at_most(monkeypatch: pytest.MonkeyPatch, stuck: Run, tmp_path: Path) -> None:
    monkeypatch.setitem(globals(), "CURED", 1.0)
    told(stuck, tmp_path / "run", remedy=True)
    folder = RunFolder(tmp_path / "run")
    assert folder.read_run().training.lr == pytest.approx(2e-3 * 27)
    assert [finding["name"] for finding in diagnose(folder)["findings"]] == ["standstill"]


def test_the_command_says_what_and_what_to_do(stuck: Run, tmp_path: Path) -> None:
    import figment.cli.diagnose  # noqa: F401 - adds its command
    from figment.cli.commands import app

    told(stuck, tmp_path / "run")
    said = CliRunner().invoke(app, ["diagnose", str(tmp_path / "run")]).stdout
    assert "standstill (steps" in said
    assert "remedy: training.lr=0.006" in said
    report = json.loads(CliRunner().invoke(app, ["diagnose", str(tmp_path / "run"), "--json"]).stdout)
    assert report["findings"][0]["settings"] == {"training.lr": pytest.approx(6e-3)}
    with pytest.raises(UsageError, match="no run"):
        diagnose(tmp_path / "nothing")
