"""Checkpoints and models that are damaged, cut short, hostile, or written by a process that dies."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

import short
from figment import use, workbench
from figment.core import checkpoint
from figment.core.checkpoint import Checkpoints, write_folder
from figment.core.data import FORMAT, Dataset
from figment.core.errors import FigmentError, InvalidCheckpoint, UsageError
from figment.core.run import Run, RunFolder

FILES = ["weights.safetensors", "average.safetensors", "optimiser-vae.safetensors", "state.json", "manifest.json"]
PUBLISHED = ["config.json", "spec.json", "model.safetensors", "manifest.json"]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Dataset, Path]:
    """A run of 9 steps that was stopped at 3 and at 6, with a checkpoint of each."""
    folder = tmp_path_factory.mktemp("interrupted")
    run, dataset = short.rows(folder)
    for stop in (3, 6):
        short.learn(run, dataset, folder / "run", stop)
    return run, dataset, folder / "run"


@pytest.fixture
def copied(interrupted: tuple[Run, Dataset, Path], tmp_path: Path) -> tuple[Run, Dataset, Path]:
    run, dataset, folder = interrupted
    return run, dataset, shutil.copytree(folder, tmp_path / "run")


@pytest.fixture(scope="module")
def whole(interrupted: tuple[Run, Dataset, Path], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return short.learn(*interrupted[:2], tmp_path_factory.mktemp("whole") / "run")


class Canary:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-len(content) // 3] ^= 1
    path.write_bytes(content)


def cut(share: Callable[[int], int]) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, share(path.stat().st_size))


DAMAGE: dict[str, Callable[[Path], None]] = {
    "flipped": flip,
    "empty": cut(lambda size: 0),
    "half": cut(lambda size: size // 2),
    "one short": cut(lambda size: size - 1),
    "missing": Path.unlink,
    "pickle": lambda path: path.write_bytes(pickle.dumps(Canary(path.parent / "canary"))) and None,
}
damaged = pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)


def checkpoint_of(folder: Path, step: int) -> Path:
    return folder / "checkpoints" / f"step-{step:010d}"


@damaged
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(
    name: str, damage: Any, copied: Any, whole: RunFolder
) -> None:
    run, dataset, folder = copied
    damage(checkpoint_of(folder, 6) / name)
    notes = short.resumed(run, dataset, folder)
    assert "warning" in notes[0]
    assert str(checkpoint_of(folder, 6)) in notes[0]
    if name != "manifest.json":
        assert name in notes[0]
    assert notes[1] == "resumed at step 3"
    assert not (checkpoint_of(folder, 6) / "canary").exists()
    assert short.outcome(RunFolder(folder)) == short.outcome(whole)


def test_where_none_is_sound_nothing_is_trained(copied: Any) -> None:
    run, dataset, folder = copied
    for step in (3, 6):
        flip(checkpoint_of(folder, step) / "weights.safetensors")
    with pytest.raises(InvalidCheckpoint, match=r"weights\.safetensors is damaged.*--overwrite") as caught:
        short.resumed(run, dataset, folder)
    assert caught.value.exit_code == 5
    assert len(list((folder / "checkpoints").iterdir())) == 2


def test_a_file_that_was_not_written_makes_a_checkpoint_unsound(copied: Any) -> None:
    run, dataset, folder = copied
    shutil.copy(checkpoint_of(folder, 3) / "weights.safetensors", checkpoint_of(folder, 6) / "extra.safetensors")
    assert "extra.safetensors is not among" in short.resumed(run, dataset, folder)[0]


def test_a_newer_format_is_refused_politely(copied: Any) -> None:
    run, dataset, folder = copied
    path = checkpoint_of(folder, 6) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": FORMAT + 1}))
    assert f"has format {FORMAT + 1}; this figment reads up to {FORMAT}" in short.resumed(run, dataset, folder)[0]


def test_a_checkpoint_of_another_model_is_no_crash(copied: Any, tmp_path: Path) -> None:
    run, dataset, folder = copied
    other = run.override({"model.latent": 1})
    with pytest.raises(InvalidCheckpoint):
        short.resumed(other, dataset, folder)


def test_weights_under_other_names_are_refused_with_what_to_do(whole: RunFolder, tmp_path: Path) -> None:
    folder = shutil.copytree(whole.path, tmp_path / "run") / "model"
    tensors = checkpoint.read_tensors(folder / "model.safetensors")
    tensors["variance"] = tensors.pop("observation.variance")  # as an earlier version wrote it
    texts = {name: (folder / name).read_text() for name in PUBLISHED[:2]}
    write_folder(folder, {**texts, "model.safetensors": tensors})
    with pytest.raises(
        InvalidCheckpoint, match=r"observation\.variance.*another version of figment.*train again"
    ) as caught:
        use.load(tmp_path / "run")
    assert caught.value.exit_code == 5


# -- published models -------------------------------------------------------------------------------------------------


@damaged
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_damaged_model_is_never_loaded(name: str, damage: Any, whole: RunFolder, tmp_path: Path) -> None:
    folder = shutil.copytree(whole.model, tmp_path / "model")
    damage(folder / name)
    with pytest.raises(InvalidCheckpoint, match=str(folder)) as caught:
        use.load(folder)
    assert caught.value.exit_code == 5
    assert not (folder / "canary").exists()


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "spec.json"])
def test_a_hostile_file_with_a_fitting_manifest_executes_nothing(file: str, whole: RunFolder, tmp_path: Path) -> None:
    folder, canary = shutil.copytree(whole.model, tmp_path / "model"), tmp_path / "canary"
    torch.save(Canary(canary), folder / file)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"][file] = hashlib.sha256((folder / file).read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InvalidCheckpoint):
        use.load(folder)
    with pytest.raises(InvalidCheckpoint):
        use.load(folder / file)
    assert not canary.exists()


def test_the_card_is_the_owners_to_edit(whole: RunFolder, tmp_path: Path) -> None:
    folder = shutil.copytree(whole.model, tmp_path / "model")
    (folder / "README.md").write_text("# Mine")
    use.load(folder)


def test_no_run_and_no_model_are_told_apart(whole: RunFolder, copied: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no run"):
        use.load(tmp_path / "nowhere")
    (copied[2] / "run.json").write_text("{}")
    with pytest.raises(InvalidCheckpoint, match="not finished: go on with --resume"):
        use.load(copied[2])


def test_models_of_earlier_releases_load_and_sample_as_they_did() -> None:
    formats = Path(__file__).parent.parent / "formats"
    for folder in sorted(formats.iterdir()):
        model = use.load(folder)
        expected = json.loads((folder / "samples.txt").read_text())
        drawn, _ = use.draw(model, len(expected), seed=0, precision="fp32")
        torch.testing.assert_close(drawn, torch.tensor(expected), atol=1e-4, rtol=0)


# -- writing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["rename", "fsync", "mkdir"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_writer_killed_anywhere_leaves_a_sound_checkpoint(
    call: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it replaces the only one there is, of the same step."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=1)
    checkpoints.save(1, {"weights": {"w": torch.zeros(3)}}, {"step": 1})
    child = os.fork()
    if child == 0:
        real, calls = getattr(os, call), []

        def dying(*words: Any, **settings: Any) -> Any:
            calls.append(words)
            if len(calls) == count:
                os._exit(9)
            return real(*words, **settings)

        monkeypatch.setattr(checkpoint.os, call, dying)
        checkpoints.save(1, {"weights": {"w": torch.ones(3)}}, {"step": 1})
        os._exit(0)
    os.waitpid(child, 0)
    checkpoints.sweep()
    assert [path.name for path in checkpoints.path.iterdir()] == ["step-0000000001"]
    assert [error for _, error in checkpoints.newest_valid()] == [None]


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("I/O error: No space left on device")],
    ids=["OSError", "SafetensorError"],
)
def test_a_full_disk_costs_nothing_that_was_saved(
    error: Exception, copied: Any, whole: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, dataset, folder = copied

    def full(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(FigmentError, match=r"cannot write .*step-.* \([\d,]+ bytes\): the disk is full") as caught:
            short.resumed(run, dataset, folder)
    assert caught.value.exit_code == 1
    assert RunFolder(folder).read_status()["state"] == "failed"
    assert not list(folder.rglob(".tmp-*"))
    assert short.resumed(run, dataset, folder)[0] == "resumed at step 6"
    assert short.outcome(RunFolder(folder)) == short.outcome(whole)


def test_what_dead_writers_left_is_swept(copied: Any) -> None:
    run, dataset, folder = copied
    (folder / "checkpoints" / ".tmp-1-step-0000000009").mkdir()
    (folder / ".tmp-1-status.json").write_text("{")
    short.resumed(run, dataset, folder)
    assert not list(folder.rglob(".tmp-*"))


def test_a_place_that_cannot_be_written_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run, _ = short.rows(tmp_path)
    with pytest.raises(FigmentError, match="cannot write to"):
        workbench.execute(run, tmp_path / "file" / "run")
    with pytest.raises(UsageError, match="is a file"):
        workbench.execute(run, tmp_path / "file")
    if os.geteuid():  # the superuser may write anywhere
        (tmp_path / "locked").mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
        with pytest.raises(FigmentError, match="cannot write to"):
            workbench.execute(run, tmp_path / "locked" / "run")


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_stay(keep: int, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep)
    for step in range(1, 6):
        checkpoints.save(step, {"weights": {"w": torch.zeros(1)}}, {"step": step})
    assert checkpoints.steps() == list(range(6 - keep, 6))


@pytest.mark.parametrize("keep", [1, 2])
def test_a_damaged_later_checkpoint_costs_no_sound_one(keep: int, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep)
    for step in (1, 9, 5):  # 9 turned out bad; the run went on from 1
        checkpoints.save(step, {"weights": {"w": torch.zeros(1)}}, {"step": step})
    assert checkpoints.steps() == [1, 5][-keep:]


def test_a_checkpoint_that_cannot_be_removed_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError

    checkpoints = Checkpoints(tmp_path, keep=1)
    for step in (1, 2):
        checkpoints.save(step, {"weights": {"w": torch.zeros(1)}}, {"step": step})
        monkeypatch.setattr(os, "rmdir", refused)
        monkeypatch.setattr(os, "unlink", refused)
    assert 2 in checkpoints.steps()


def test_a_log_cut_short_is_read_up_to_there(copied: Any, whole: RunFolder) -> None:
    run, dataset, folder = copied
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')
    short.resumed(run, dataset, folder)
    assert short.untimed(RunFolder(folder)) == short.untimed(whole)


def test_tied_and_strided_tensors_are_written(tmp_path: Path) -> None:
    tied = torch.arange(12.0).view(3, 4)
    write_folder(tmp_path / "x", {"a.safetensors": {"one": tied, "two": tied.T, "three": tied[:, 1]}})
    read = checkpoint.read_tensors(tmp_path / "x" / "a.safetensors")
    assert torch.equal(read["two"], tied.T)
    assert torch.equal(read["three"], tied[:, 1])
