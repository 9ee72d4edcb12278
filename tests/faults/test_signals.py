"""Signals, kills and locks: nothing saved is lost, and a run that goes on ends where an unbroken one does."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

import short
from children import finish, start, wait_for
from figment import workbench
from figment.core.checkpoint import Checkpoints
from figment.core.errors import FigmentError
from figment.core.run import RunFolder
from figment.core.training import Step, Stopped, training

LONG = ["train", "vae", "--data", "digits", "--out", "run", "--steps", 1_000_000, "model.size=tiny", "--batch", 16]


def checkpoints(folder: Path) -> list[str]:
    path = folder / "checkpoints"
    return sorted(p.name for p in path.iterdir() if p.name.startswith("step-")) if path.exists() else []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_once_and_ends_with_its_code(number: signal.Signals, code: int, tmp_path: Path) -> None:
    process, run = start([*LONG, "training.previews=0"], tmp_path), RunFolder(tmp_path / "run")
    wait_for(lambda: len(run.read_metrics()) > 1)
    os.kill(process.pid or 0, number)
    assert finish(process) == code
    status = run.read_status()
    assert status["state"] == "preempted"
    assert checkpoints(run.path) == [f"step-{status['step']:010d}"]
    assert (tmp_path / "stdout").read_text() == ""
    said = (tmp_path / "stderr").read_text()
    assert f"stopped by {number.name}; saved. Go on with --resume --out run" in said
    assert "Traceback" not in said


def test_a_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    run, dataset = short.rows(tmp_path)
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def interrupted_twice() -> None:
        with training(run, folder, dataset, workbench.build(run, dataset)) as events:
            next(events)
            assert signal.getsignal(signal.SIGINT) != handlers[0]
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        interrupted_twice()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert not checkpoints(folder.path)
    assert folder.read_status()["state"] == "preempted"


def test_a_signal_while_saving_lets_it_finish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, dataset = short.rows(tmp_path, **{"training.checkpoint_seconds": 0})
    save, saved = Checkpoints.save, []

    def signalled(self: Checkpoints, step: int, *words: Any) -> Path:
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        saved.append(step)
        return save(self, step, *words)

    monkeypatch.setattr(Checkpoints, "save", signalled)
    with pytest.raises(Stopped) as caught:
        short.learn(run, dataset, tmp_path / "run")
    assert caught.value.exit_code == 143
    assert saved[-1] == 5
    assert short.resumed(run, dataset, tmp_path / "run")[0] == "resumed at step 5"


def test_an_interrupt_stops_a_closed_form_too(tmp_path: Path) -> None:
    run = short.plan("gaussian-mixture", "digits")
    folder, dataset = RunFolder(tmp_path / "run"), run.data.build()
    folder.path.mkdir()

    def interrupted() -> None:
        with training(run, folder, dataset, workbench.build(run, dataset)) as events:
            assert isinstance(next(events), Step)
            os.kill(os.getpid(), signal.SIGINT)
            assert not list(events)

    with pytest.raises(Stopped):
        interrupted()
    assert folder.read_status()["state"] == "preempted"
    assert not folder.model.exists()


def test_handlers_come_back_after_any_end(tmp_path: Path) -> None:
    run, dataset = short.rows(tmp_path)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    short.learn(run, dataset, tmp_path / "whole")
    short.learn(run, dataset, tmp_path / "left", stop=2)
    with pytest.raises(ZeroDivisionError), training(run, RunFolder(tmp_path / "left"), dataset,
                                                    workbench.build(run, dataset)):  # fmt: skip
        raise ZeroDivisionError("an error of the caller's own")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert RunFolder(tmp_path / "left").read_status() | {"updated": 0, "pid": 0, "seconds": 0} == {
        "state": "failed", "step": 0, "error": "an error of the caller's own", "updated": 0, "pid": 0, "seconds": 0,
    }  # fmt: skip


def test_the_number_of_threads_comes_back_after_any_end(tmp_path: Path) -> None:
    """Runs bounded by the clock try several."""
    run, dataset = short.rows(tmp_path)
    run = run.override({"training.steps": None, "training.minutes": 1})
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        short.learn(run, dataset, tmp_path / "left", stop=2)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    """kill -9 at random moments, twenty times in one run: it ends where an unbroken run does."""
    words = ["train", "vae", "--data", "toy:moons", "data.count=512", "--steps", 800, "--batch", 16, "model.size=tiny",
             "--resume", "training.checkpoint_seconds=0.1", "training.previews=0"]  # fmt: skip
    chance, run = random.Random(0), RunFolder(tmp_path / "run")
    for _ in range(20):
        process, seen = start([*words, "--out", "run"], tmp_path), run.read_metrics()
        wait_for(lambda: run.read_metrics() != seen or not process.is_alive())  # noqa: B023
        time.sleep(chance.random() * 0.2)
        process.kill()
        process.join()
    assert checkpoints(run.path)
    assert finish(start([*words, "--out", "run"], tmp_path)) == 0
    assert finish(start([*words, "--out", "whole"], tmp_path)) == 0
    assert short.outcome(run) == short.outcome(RunFolder(tmp_path / "whole"))
    assert "Traceback" not in (tmp_path / "stderr").read_text()
    assert not list(run.path.rglob(".tmp-*"))


# -- locks ------------------------------------------------------------------------------------------------------------


def test_two_processes_do_not_share_a_run(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    process: BaseProcess = start([*LONG, "training.previews=0"], tmp_path)
    wait_for(lambda: run.read_metrics())
    value = run.read_run()
    with pytest.raises(FigmentError, match=rf"in use by another process \(pid {process.pid} on ") as caught:
        workbench.execute(value, run.path, resume=True)
    assert caught.value.exit_code == 1
    with pytest.raises(FigmentError, match="in use"):
        workbench.execute(value, run.path, overwrite=True)
    process.kill()
    process.join()
    with run.locked():  # the lock of a process that died is free
        assert f"pid {os.getpid()}" in (run.path / "run.lock").read_text()


def test_an_old_lock_file_locks_nothing(tmp_path: Path) -> None:
    run, _ = short.rows(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.lock").write_text("pid 1 on elsewhere\n")
    folder = workbench.execute(run, tmp_path / "run")
    assert json.loads((folder.path / "status.json").read_text())["state"] == "done"
