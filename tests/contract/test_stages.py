"""Models of two stages, both trained by one command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import figment
from figment import workbench


def test_both_stages_share_the_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, training = {}, workbench.training

    def noted(run: Any, folder: Any, *rest: Any, **options: Any) -> Any:
        given[folder.path.name] = run.training.minutes
        return training(run, folder, *rest, **options)

    monkeypatch.setattr(workbench, "training", noted)
    run = figment.train("with-prior", "digits", tmp_path / "run", minutes=0.05, model__size="tiny")
    assert given == {"first": pytest.approx(0.04), "run": pytest.approx(0.01)}
    assert run.read_run().training.minutes == 0.05
