"""Data so small that hardly anything is held out, through every command that measures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner

from figment import planning, workbench
from figment.core.errors import UsageError
from figment.core.run import RunFolder
from figment.evaluate import distillation
from figment.evaluate.bayes import classify
from figment.evaluate.report import evaluate
from figment.explorer.scene import Scene, explore
from figment.lessons import teach


def written(folder: Path, train: int, test: int, levels: int = 256) -> Path:
    """Random pictures of two labels, of 6x5 pixels and so many grey levels."""
    generator = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for i in range(count):
            path = folder / split / "ab"[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(generator.integers(0, levels, (6, 5), dtype=np.uint8)).save(path)
    return folder


def trained(kind: str, folder: Path, test: int, levels: int = 256, **overrides: Any) -> RunFolder:
    data = str(written(folder / "data", 20, test, levels))
    settings = {"model.size": "tiny", "training.steps": 2, "training.batch": 4, "training.previews": 0, **overrides}
    return workbench.execute(planning.plan(kind, data, overrides=settings), folder / "run")


def test_one_held_out_item_alone_is_no_measure(tmp_path: Path) -> None:
    row = evaluate(trained("vae", tmp_path, 1).path, n=50)
    assert row["quality"]["split"] == "train"
    assert row["memorisation"] is None


@pytest.mark.parametrize("test", [2, 5])
def test_what_few_held_out_items_cannot_say_is_left_out_with_a_note(test: int, tmp_path: Path) -> None:
    row = evaluate(trained("vae", tmp_path, test).path, n=50)
    assert row["quality"]["split"] == "test"
    assert row["quality"]["frechet"] >= 0
    assert row["quality"]["precision"] is row["diversity"]["recall"] is row["diversity"]["coverage"] is None
    assert f"{test} held-out rows are too few for precision" in " ".join(row["quality"]["notes"])


@pytest.mark.parametrize(("test", "classified"), [(1, 10), (2, 1)])
def test_items_are_classified_and_mapped_however_few_are_held_out(test: int, classified: int, tmp_path: Path) -> None:
    run = trained("vae", tmp_path, test, **{"model.latent": 60})
    assert len(classify(run.path, str(tmp_path / "data"), 0.1)["items"]) == classified
    assert explore(Scene(run.path), "map").figures["items"] >= 2


def test_held_out_data_is_known_again_by_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the items that limits are set on, and those trained on, would be judged."""
    run = trained("gda", tmp_path, 6, **{"data.rows": 18})
    monkeypatch.chdir(tmp_path)
    found = classify(run.path, "data", 0.1)
    assert found["calibrated_on"] == len(found["items"]) == 3


def test_bayes_rule_names_what_a_model_lacks_however_little_is_held_out(tmp_path: Path) -> None:
    run = trained("autoencoder", tmp_path, 1)
    with pytest.raises(UsageError, match="knows no labels"):
        classify(run.path, str(tmp_path / "data"))


def test_equal_codes_make_no_map(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one and the same code"):
        explore(Scene(trained("ppca", tmp_path, 4, levels=1).path), "map")


def test_a_table_has_a_dash_for_what_few_held_out_items_cannot_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import figment.cli.distill  # noqa: F401 - adds its command
    from figment.cli.commands import app

    monkeypatch.setattr(distillation, "speed", lambda *_: {"samples_per_second": 1.0, "batch": 50})
    monkeypatch.chdir(tmp_path)
    trained("diffusion", tmp_path, 3).path.rename("diffusion")  # also the name of a kind
    words = ["distill", "diffusion", "--steps", "2", "-n", "50", "model.size=tiny", "training.batch=4"]
    done = CliRunner().invoke(app, [*words, "training.previews=0", "--evaluations", "2"])
    assert [line.split()[-4:-2] for line in done.stdout.splitlines()[1:-1]] == [["-", "-"]] * 5
    said = [line for line in done.stderr.splitlines() if line.startswith("distilled in")]
    assert said == ["distilled in 2 evaluations", "distilled in 1 evaluation"]
    assert not (tmp_path / "diffusion-distilled" / "first").exists(), "the run is the teacher"


def test_a_lesson_wants_something_to_measure(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lesson distillation measures on held-out items, and data has 3: more than 5"):
        teach("distillation", tmp_path / "out", str(written(tmp_path / "data", 20, 3)))
