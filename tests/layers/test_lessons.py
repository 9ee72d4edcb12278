"""Lessons: the list, what each writes, what it refuses, and that it says so where a figure is not as expected."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner

import figment.cli.lessons  # noqa: F401 - the command
from figment import lessons
from figment.cli.commands import app
from figment.core.errors import UsageError
from figment.core.training import Stopped
from figment.lessons.lesson import Claim, Stage, Told
from figment.lessons.plate import bars, pictures, plate
from figment.pictures import read_recipe


def test_every_lesson_stands_in_the_list_with_all_it_must_say() -> None:
    result = CliRunner().invoke(app, ["lesson", "--json"])
    assert result.exit_code == 0
    rows = json.loads(result.stdout)
    assert [row["name"] for row in rows] == list(lessons.LESSONS)
    for row in rows:
        assert all(row[key] for key in ("name", "title", "teaches", "source", "data"))
        assert lessons.load(row["name"]).name == row["name"]
    folder = Path(lessons.__file__).parent
    written = {path.stem for path in folder.glob("*.py")} - {"__init__", "lesson", "plate"}
    assert written == set(lessons.LESSONS.values())


def test_an_unknown_name_is_told_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'wrong-kl'"):
        lessons.teach("wrong-lk")


def test_requests_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="needs no data"):
        lessons.teach("wrong-kl", data="digits")
    with pytest.raises(UsageError, match="needs pictures"):
        lessons.teach("latents-2-or-5", data="toy:moons")
    with pytest.raises(UsageError, match="--effort"):
        lessons.teach("wrong-kl", effort=0)


def test_the_wrong_formula_is_measured_and_written(tmp_path: Path) -> None:
    told = lessons.teach("wrong-kl", tmp_path)
    assert told["figures"]["kl"] == pytest.approx(0.5966, abs=1e-4)
    assert told["figures"]["printed"] == pytest.approx(-0.5268, abs=1e-4)
    assert all(claim["holds"] for claim in told["claims"])
    written = json.loads((tmp_path / "wrong-kl.json").read_text())
    assert written["figures"] == told["figures"]
    assert [claim["holds"] for claim in written["claims"]] == [True] * 4
    assert "0.5966" in (tmp_path / "wrong-kl.md").read_text()
    assert read_recipe(tmp_path / "wrong-kl.png")["lesson"] == "wrong-kl"


def test_models_are_trained_once_and_the_same_way(tmp_path: Path) -> None:
    """The second call finds the models; another folder comes to the same figures; other data is refused there."""
    trained: list[str] = []

    def watch(name: str):
        return lambda events: trained.append(name) or list(events)

    first = lessons.teach("latents-2-or-5", tmp_path / "a", effort=0.005, watch=watch)
    assert trained == ["ae-2", "ae-5"]
    again = lessons.teach("latents-2-or-5", tmp_path / "a", effort=0.005, watch=watch)
    assert len(trained) == 2
    elsewhere = lessons.teach("latents-2-or-5", tmp_path / "b", effort=0.005)
    assert first["figures"] == again["figures"] == elsewhere["figures"]
    with pytest.raises(UsageError, match="another config"):
        lessons.teach("latents-2-or-5", tmp_path / "a", effort=0.01)


def test_a_lesson_that_is_stopped_says_how_to_go_on(tmp_path: Path) -> None:
    """By itself again, not by an option that it does not have; what was trained is found there."""
    trained: list[str] = []

    def watch(name: str):
        trained.append(name)
        first = len(trained) == 2  # a second signal would stop it at once
        return lambda events: [os.kill(os.getpid(), signal.SIGINT) for k, _ in enumerate(events) if first and k == 0]

    with pytest.raises(Stopped, match="Go on with the same command") as stopped:
        lessons.teach("latents-2-or-5", tmp_path, effort=0.005, watch=watch)
    assert stopped.value.exit_code == 130
    assert "resume" not in str(stopped.value)
    lessons.teach("latents-2-or-5", tmp_path, effort=0.005, watch=watch)
    assert trained == ["ae-2", "ae-5", "ae-2", "ae-5"]


def test_a_lesson_that_failed_says_so() -> None:
    """Six steps teach a network nothing that PCA does not know: the text must not claim it."""
    lesson = SimpleNamespace(name="x", title="X", teaches="Y.", source="Z", data="digits")
    told = Told(PIL.Image.new("RGB", (4, 4)), "text", {}, [Claim("A beats B", "2 > 1", False)])
    page = lessons.page(lesson, Stage("digits", Path("runs"), seed=3), told)  # type: ignore[arg-type]
    assert "A beats B: 2 > 1 - **not so in this run**" in page
    assert "figment lesson x --seed 3" in page


def test_examples_show_every_label_in_turn() -> None:
    labels = Stage("digits", Path("runs")).examples(20).c["label"].tolist()
    assert labels == [*range(10), *range(10)]


def test_plates_hold_all_their_panels() -> None:
    """A panel more makes a plate higher; its pictures are there, pixel by pixel."""
    red = np.zeros((4, 3, 5, 3), np.uint8)
    red[..., 0] = 255
    row = [pictures("Red", red, 2, "four red fields", names=("one", "two")), bars("Bars", {"a": 1.0, "b": 2.0})]
    one, two = plate("Title", "A sentence.", [row]), plate("Title", "A sentence.", [row, row])
    assert one.width == two.width == 1800
    assert one.height < two.height
    assert (np.asarray(one) == (255, 0, 0)).all(-1).mean() > 0.05
