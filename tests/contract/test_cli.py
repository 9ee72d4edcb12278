"""The command line as docs promise it: exit codes, one JSON document, files of samples, recipes."""

from __future__ import annotations

import errno
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import pytest
import torch

import short
from figment import listing, use, workbench
from figment.cli import main
from figment.core.model import Loss
from figment.core.run import RunFolder
from figment.models.autoencoders.vae import VAE

TINY = ["--steps", "3", "--batch", "16", "model.size=tiny", "training.previews=1"]


class Answer(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def figment(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Calls `figment WORDS` in this process."""

    def call(*words: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["figment", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        return Answer(int(caught.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small VAE of the digits."""
    return workbench.execute(short.plan("vae", "digits"), tmp_path_factory.mktemp("cli") / "run").path


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small VAE of points in the plane."""
    folder = tmp_path_factory.mktemp("cli")
    return workbench.execute(short.rows(folder)[0], folder / "points").path


def document(answer: Answer) -> Any:
    """The one JSON document on stdout."""
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


# -- help and lists ---------------------------------------------------------------------------------------------------


def test_every_command_explains_itself(figment: Any) -> None:
    assert figment("--help").code == 0
    for name in ("list", "data check", "train", "sample", "evaluate", "compare", "likelihood", "show"):
        answer = figment(*name.split(), "--help")
        assert answer.code == 0
        assert "Usage: figment" in answer.out


@pytest.mark.parametrize("topic", listing.TOPICS)
def test_lists(topic: str, figment: Any) -> None:
    rows = document(figment("list", topic, "--json"))
    assert rows
    assert all(isinstance(row, dict) for row in rows)
    text = figment("list", topic)
    assert text.code == 0
    assert len(text.out.splitlines()) == len(rows) + 1


def test_lists_and_commands_say_what_was_meant(figment: Any) -> None:
    answer = figment("list", "modles")
    assert answer.code == 2
    assert "Did you mean 'models'?" in answer.err
    assert figment("trian", "vae").code == 2


# -- train ------------------------------------------------------------------------------------------------------------


def test_train_prints_where_the_run_is(figment: Any) -> None:
    answer = figment("train", "vae", "--data", "digits", *TINY)
    assert (answer.code, answer.out) == (0, "runs/vae-digits\n")
    assert "next: figment sample runs/vae-digits" in answer.err
    folder = RunFolder("runs/vae-digits")
    for name in ("run.json", "env.json", "metrics.jsonl", "status.json", "samples/step-000003.png", "checkpoints",
                 "model/config.json", "model/spec.json", "model/model.safetensors", "model/README.md"):  # fmt: skip
        assert (folder.path / name).exists()
    value = document(figment("train", "vae", "--data", "digits", *TINY, "--json"))
    assert value["run"] == "runs/vae-digits-2"
    assert value["state"] == "done"


def test_out_that_exists(figment: Any, tmp_path: Path) -> None:
    words = ["train", "vae", "--data", "toy:moons", "data.count=64", "--out", "run", *TINY]
    assert figment(*words).code == 0
    weights = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    answer = figment(*words)
    assert answer.code == 2
    assert "run exists. Go on with --resume, start anew with --overwrite, or change --out." in answer.err
    answer = figment(*words, "--resume")
    assert answer.code == 0
    assert "finished already" in answer.err
    answer = figment(*words, "--resume", "training.lr=0.5")
    assert answer.code == 2
    assert re.search(r"another config: training\.lr is 0\.\d+ there, 0\.5 here", answer.err)
    assert figment(*words, "--overwrite").code == 0
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == weights
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    assert figment(*words[:-len(TINY) - 1], "mine", *TINY, "--overwrite").code == 2  # fmt: skip
    assert (tmp_path / "mine" / "letter.txt").exists()


def test_a_dry_run_writes_nothing(figment: Any, tmp_path: Path) -> None:
    for model in ("vae", "gaussian-mixture", "with-prior"):
        value = document(figment("train", model, "--data", "digits", "--dry-run", "--json", *TINY))
        assert {"run", "parameters", "peak_memory_bytes"} <= value.keys()
        assert value["run"]["model"]["size"] == "tiny"
    assert "nothing was written" in figment("train", "vae", "--data", "digits", "--dry-run", *TINY).out
    assert not list(tmp_path.iterdir())


def test_init_starts_from_other_weights(figment: Any, run: Path, points: Path) -> None:
    words = ["train", "vae", "--data", "digits", *TINY, "training.lr=1e-30", "training.ema=0"]
    assert figment(*words, "--init", run).code == 0
    mine, theirs = use.load("runs/vae-digits"), use.load(run)
    assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), theirs.parameters()))
    assert figment("train", "gaussian-mixture", "--data", "digits", *TINY, "--init", points).code == 2


def test_exit_codes_of_data_divergence_and_damage(figment: Any, run: Path, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "broken.png").write_bytes(b"no picture")
    assert figment("train", "vae", "--data", "pictures", *TINY).code == 3
    answer = figment("sample", "nowhere")
    assert answer.code == 2
    assert "there is no run at nowhere" in answer.err
    (tmp_path / "empty").mkdir()
    assert figment("sample", "empty").code == 5
    assert figment("show", "empty").code == 5
    monkeypatch.setattr(VAE, "loss", lambda self, *_: Loss(next(self.parameters()).sum() * torch.nan))
    answer = figment("train", "vae", "--data", "digits", *TINY)
    assert answer.code == 4
    assert "Traceback" not in answer.err


def test_a_full_disk_is_one_line(figment: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: RunFolder, _: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(self.metrics))

    monkeypatch.setattr(RunFolder, "append_metrics", full)
    answer = figment("train", "vae", "--data", "digits", *TINY, "training.log_every=1")
    assert answer.code == 1
    assert "error: No space left on device: runs/vae-digits/metrics.jsonl" in answer.err
    assert "Traceback" not in answer.err


def test_data_that_changed_is_told(figment: Any, run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    for name, change in (("env.json", {"data": "other"}), ("status.json", {"state": "preempted"})):
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    settings = [f"{k}={json.dumps(v)}" for k, v in short.SETTINGS.items()]
    answer = figment("train", "vae", "--data", "digits", "--steps", 4, "--out", "run", "--resume", *settings)
    assert answer.code == 0, answer.err
    assert "warning: the data has changed since this run began" in answer.err


# -- sample -----------------------------------------------------------------------------------------------------------


def arrays(path: str) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def test_samples_as_arrays(figment: Any, run: Path, points: Path) -> None:
    assert figment("sample", run, "-n", 5, "--out", "x.npz").out == "x.npz\n"
    stored = arrays("x.npz")
    assert (stored["samples"].dtype, stored["samples"].shape) == (np.uint8, (5, 8, 8, 1))
    assert (stored["labels"].dtype, stored["labels"].shape) == (np.int64, (5,))
    assert json.loads(str(stored["recipe"]))["n"] == 5
    assert figment("sample", points, "-n", 5, "--out", "p.npz").code == 0
    stored = arrays("p.npz")
    assert (stored["samples"].dtype, stored["samples"].shape) == (np.float32, (5, 2))
    assert "labels" not in stored


def test_sample_i_is_the_same_alone(figment: Any, run: Path) -> None:
    common = ["--precision", "fp32", "--seed", 7]
    figment("sample", run, "-n", 4, "--out", "all.npz", *common)
    together = arrays("all.npz")
    for i in range(4):
        figment("sample", run, "-n", 1, "--start", i, "--out", "one.npz", *common)
        alone = arrays("one.npz")
        assert abs(alone["samples"].astype(int) - together["samples"][i : i + 1]).max() <= 1  # one grey level's edge
        assert alone["labels"] == together["labels"][i]


def test_labels(figment: Any, run: Path, points: Path) -> None:
    figment("sample", run, "-n", 6, "--label", "3", "--out", "x.npz")
    assert set(arrays("x.npz")["labels"]) == {3}
    answer = figment("sample", run, "--label", "ten", "--out", "y.npz")
    assert answer.code == 2
    assert "There is no label 'ten'" in answer.err
    assert "without labels" in figment("sample", points, "--label", "1").err
    assert not Path("y.npz").exists()


@pytest.mark.parametrize("words", [["-n", 5], ["-n", 1, "--start", 3, "--label", "4"], ["-n", 9, "--batch", 4]])
def test_a_grid_is_drawn_again_from_its_recipe(words: list[Any], figment: Any, run: Path) -> None:
    assert figment("sample", run, *words, "--seed", 2, "--out", "x.png").code == 0
    assert figment("sample", run, *words, "--seed", 2, "--out", "y.png").code == 0
    assert figment("sample", run, "--recipe", "x.png", "--out", "z.png").code == 0
    assert Path("x.png").read_bytes() == Path("y.png").read_bytes() == Path("z.png").read_bytes()
    recipe = document(figment("show", "x.png", "--json"))
    assert (recipe["seed"], recipe["n"], recipe["model"]) == (2, words[1], "vae")
    assert {"precision", "threads", "torch", "sampling", "start"} <= recipe.keys()


def test_a_folder_holds_one_file_each_and_each_its_recipe(figment: Any, run: Path) -> None:
    assert figment("sample", run, "-n", 5, "--start", 2, "--batch", 2, "--out", "folder").out == "folder\n"
    names = [path.name for path in sorted(Path("folder").iterdir())]
    assert names == [f"{i:06d}.png" for i in range(2, 7)]
    for name in names:
        assert PIL.Image.open(f"folder/{name}").size == (8, 8)
        assert figment("sample", run, "--recipe", f"folder/{name}", "--out", "again.png").code == 0
        assert Path("again.png").read_bytes() == Path(f"folder/{name}").read_bytes()


def test_wrong_requests_of_samples(figment: Any, run: Path, points: Path) -> None:
    figment("sample", run, "-n", 1, "--out", "x.png")
    answer = figment("sample", points, "--recipe", "x.png")
    assert answer.code == 2
    assert "other weights" in answer.err
    PIL.Image.new("L", (4, 4)).save("plain.png")
    assert "carries no recipe" in figment("sample", run, "--recipe", "plain.png").err
    for words in (["--out", "x.jpg"], ["-n", 0], ["--start", -1], ["--seed", -1], ["--steps", 4], ["guidance=2"],
                  ["--device", "tpu"], ["--precision", "fp8"]):  # fmt: skip
        answer = figment("sample", run, *words)
        assert answer.code == 2, words
        assert "Traceback" not in answer.err
    assert sorted(path.name for path in Path().iterdir()) == ["plain.png", "x.png"]


# -- look -------------------------------------------------------------------------------------------------------------


def test_one_document_on_stdout(figment: Any, run: Path) -> None:
    checked = document(figment("data", "check", "digits", "--json"))
    assert isinstance(checked, dict)
    shown = document(figment("show", run, "--json"))
    assert shown["run"]["model"]["kind"] == "vae"
    assert shown["status"]["state"] == "done"
    assert figment("show", run).out.startswith("run.model.")


def test_show_of_nothing(figment: Any) -> None:
    answer = figment("show", "nowhere")
    assert answer.code == 2
    assert "there is nothing at nowhere" in answer.err
