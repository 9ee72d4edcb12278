"""Runs of a few steps, and what two runs have in common."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import synthetic
from figment import planning, workbench
from figment.core.checkpoint import read_state
from figment.core.data import Dataset
from figment.core.run import DataConfig, Run, RunFolder
from figment.core.training import Note, Step, training

SETTINGS = {"model.size": "tiny", "training.batch": 8, "training.previews": 0, "training.log_every": 2}
TIMED = ("seconds", "examples_per_second")


def plan(kind: str, data: str | DataConfig, steps: int = 4, **settings: Any) -> Run:
    """A run of a kind at its smallest."""
    return planning.plan(kind, data, overrides={**SETTINGS, "training.steps": steps, **settings})


def rows(folder: Path, steps: int = 9, **settings: Any) -> tuple[Run, Dataset]:
    """A run on points of the plane, the fastest there is, and its data."""
    data = synthetic.write("plane", folder)
    return plan("vae", data, steps, **settings), data.build()


def learn(run: Run, dataset: Dataset, folder: Path, stop: int | None = None, **settings: Any) -> RunFolder:
    """Trains in a folder to the end, or until some step."""
    target = RunFolder(folder)
    folder.mkdir(exist_ok=True)
    with training(run, target, dataset, workbench.build(run, dataset), **settings) as events:
        for event in events:
            if isinstance(event, Step) and event.step == stop:
                break
    return target


def resumed(run: Run, dataset: Dataset, folder: Path, **settings: Any) -> list[str]:
    """What is said when a run goes on to its end."""
    folder.mkdir(exist_ok=True)
    with training(run, RunFolder(folder), dataset, workbench.build(run, dataset), **settings) as events:
        return [event.text for event in events if isinstance(event, Note)]


def untimed(folder: RunFolder) -> list[dict[str, Any]]:
    """The log without its times."""
    return [{k: v for k, v in line.items() if k not in TIMED} for line in folder.read_metrics()]


def outcome(folder: RunFolder) -> str:
    """A hash of all tensors of the last checkpoint, of the published weights, and of the log without its times."""
    digest = hashlib.sha256(repr(untimed(folder)).encode())
    files, _ = read_state(max(folder.checkpoints.iterdir()))
    for file, tensors in sorted(files.items()):
        for name, tensor in sorted(tensors.items()):
            digest.update(f"{file} {name} {tuple(tensor.shape)}".encode() + tensor.numpy().tobytes())
    digest.update((folder.model / "model.safetensors").read_bytes())
    return digest.hexdigest()
