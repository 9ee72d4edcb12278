"""Two processes that train together: what one would learn, one log, exact resumption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import short
from children import finish, launch, together, wait_for
from figment import registry, use, workbench
from figment.core.data import Batch, Spec
from figment.core.model import Loss, Turn
from figment.core.processes import Processes
from figment.core.run import RunFolder
from figment.core.session import Session
from figment.data import parse
from figment.models.autoencoders.autoencoder import Autoencoder

FEW = ["--device", "cpu", "model.size=tiny", "--batch", 8, "training.previews=1", "training.log_every=2"]
POINTS = ["--data", "toy:moons", "data.count=512", *FEW]
LONG = ["train", "gan", *POINTS, "--steps", 120, "--resume", "training.checkpoint_seconds=0.4"]


SOURCES = ("digits", "toy:moons", "faces", "faces:edges-to-photo", "faces:glasses", "faces:parts")


@cache
def spec_of(text: str) -> Spec:
    return parse(text, {"count": 64} if ":" in text or text == "faces" else {}).build().spec


@pytest.mark.parametrize("kind", registry.kinds("model"))
def test_every_kind_trains_on_two(kind: str, tmp_path: Path) -> None:
    """Without --out: both must agree on a folder."""
    data = next(text for text in SOURCES if registry.load("model", kind).lack(spec_of(text)) is None)
    few = ["data.count=64"] if data.startswith("faces") else []
    assert together(["train", kind, "--data", data, *FEW, *few, "--steps", 4], tmp_path, 2) == [0, 0], (
        tmp_path / "stderr1"
    ).read_text()
    folder = RunFolder(tmp_path / "runs" / f"{kind}-{data.removeprefix('toy:').partition(':')[0]}")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [folder.path.name]
    steps = [line["step"] for line in folder.read_metrics()]
    assert steps == sorted(set(steps))
    assert folder.read_status()["state"] == "done"
    use.load(folder.path)
    assert (tmp_path / "stdout0").read_text() == f"runs/{folder.path.name}\n"
    assert (tmp_path / "stdout1").read_text() == ""


def test_two_learn_what_one_does(tmp_path: Path) -> None:
    """The autoencoder's loss draws nothing, so halves of a batch in two processes make the gradient of the whole."""
    words = ["train", "autoencoder", *POINTS, "--steps", 20, "training.optimiser=adamw", "training.lr=1e-3"]
    assert together([*words, "--out", "two"], tmp_path, 2) == [0, 0]
    assert together([*words, "--out", "one"], tmp_path, 1) == [0]
    two, one = (use.load(tmp_path / name) for name in ("two", "one"))
    for a, b in zip(two.parameters(), one.parameters()):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


class Stand:
    """One of two processes, without the other."""

    count, device, first = 2, torch.device("cpu"), True

    def __init__(self, rank: int):
        self.rank = rank

    def average(self, tensors: list[Tensor]) -> None: ...

    def mean(self, value: Tensor) -> Tensor:
        return value

    gather = mean


def test_a_batch_is_shared_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes and micro-batches see each row of the global batch once."""
    seen: list[np.ndarray] = []
    whole = Autoencoder.loss

    def loss(self: Autoencoder, batch: Batch, turn: Turn) -> Loss:
        seen.append(batch.rows)
        return whole(self, batch, turn)

    monkeypatch.setattr(Autoencoder, "loss", loss)
    _, dataset = short.rows(tmp_path)
    run = short.plan("autoencoder", "toy:moons", **{"training.accumulate": 2, "training.batch": 8})
    for rank in (0, 1):
        stand: Any = Stand(rank)
        session = Session(run, dataset, workbench.build(run, dataset), stand)
        session.take_step(0.5)
    assert [len(rows) for rows in seen] == [2, 2, 2, 2]
    assert (np.concatenate(seen) == session.batch(0).rows).all()


@pytest.mark.parametrize(
    ("kind", "source", "kept"),
    [
        ("latent-diffusion", "digits", ["mean", "spread"]),
        ("rbm", "digits", ["mean"]),
        ("colourise", "faces", ["palette.share"]),
    ],
)
def test_what_is_kept_of_the_first_batch_is_that_of_all_its_micro_batches(
    kind: str, source: str, kept: list[str]
) -> None:
    found = []
    small = {"data.count": 40, "data.size": 16} if source == "faces" else {}
    for parts in (1, 4):
        settings = {"training.accumulate": parts, "training.batch": 16, "training.precision": "fp32", **small}
        run = short.plan(kind, source, **settings)
        dataset = run.data.build()
        session = Session(run, dataset, workbench.build(run, dataset), Processes("cpu"))
        session.take_step(0.0)
        found.append([session.model.get_buffer(name) for name in kept])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The outcome of LONG on two processes."""
    folder = tmp_path_factory.mktemp("unbroken")
    assert together([*LONG, "--out", "run"], folder, 2) == [0, 0]
    return short.outcome(RunFolder(folder / "run"))


def test_a_signal_to_one_stops_all_and_two_go_on_exactly(tmp_path: Path, unbroken: str) -> None:
    folder = RunFolder(tmp_path / "run")
    ranks = launch([*LONG, "--out", "run"], tmp_path, 2)
    wait_for(lambda: len(folder.read_metrics()) > 3)
    os.kill(ranks[1].pid or 0, signal.SIGTERM)
    assert [finish(rank) for rank in ranks] == [143, 143]
    assert folder.read_status()["state"] == "preempted"
    assert together([*LONG, "--out", "run"], tmp_path, 2) == [0, 0]
    assert short.outcome(folder) == unbroken


def test_saved_by_two_resumed_by_one(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    ranks = launch([*LONG, "--out", "run"], tmp_path, 2)
    wait_for(lambda: len(folder.read_metrics()) > 3)
    os.kill(ranks[0].pid or 0, signal.SIGINT)
    assert [finish(rank) for rank in ranks] == [130, 130]
    assert together([*LONG, "--out", "run"], tmp_path, 1) == [0]
    assert "saved by 2 processes, resumed by 1: the same batches" in (tmp_path / "stderr0").read_text()
    assert [line["step"] for line in folder.read_metrics()] == list(range(2, 121, 2))
    use.load(folder.path)


def test_a_killed_worker_is_started_again_by_torchrun(tmp_path: Path, unbroken: str) -> None:
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2,
             "--max-restarts", 1, "-m", "figment", *LONG, "--out", "run"]  # fmt: skip
    # torch 2.13 keeps one store for all attempts, with addresses of the dead in it, unless told not to share it
    environment = os.environ | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    launcher = subprocess.Popen(
        [str(word) for word in words], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    folder = RunFolder(tmp_path / "run")
    wait_for(lambda: folder.checkpoints.exists() and list(folder.checkpoints.glob("step-*")))
    os.kill(int((folder.path / "run.lock").read_text().split()[1]), signal.SIGKILL)
    _, said = launcher.communicate(timeout=200)
    assert launcher.returncode == 0, said
    assert "resumed at step" in said
    assert short.outcome(folder) == unbroken
