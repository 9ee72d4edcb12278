"""`figment complete`: what is known stays, what is missing is drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from typer.testing import CliRunner

import short
from figment import workbench
from figment.cli.complete import app
from figment.core.errors import UsageError
from figment.data import parse
from figment.explorer import completion
from figment.explorer.files import destination
from figment.explorer.scene import Scene
from figment.pictures import read_recipe
from figment.pixels.known import grey

FEW = {"steps": 3, "times": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return workbench.execute(short.plan("diffusion", "digits"), tmp_path_factory.mktemp("complete") / "run").path


def rows(run: Path, word: str, **options: Any) -> torch.Tensor:
    scene, choices = Scene(run, sampling=FEW), completion.Options(**{"count": 3, **options})
    ways = completion.with_sampling(scene.model, {**scene.model.completion, **FEW})
    return completion._row(scene, ways, word, completion.read(scene, word), choices)


@pytest.mark.parametrize(
    ("part", "missing"),
    [("top", np.s_[:4, :]), ("bottom", np.s_[4:, :]), ("left", np.s_[:, :4]), ("centre", np.s_[2:6, 2:6])],
)
def test_what_is_known_stays(part: str, missing: Any, run: Path) -> None:
    given, known, *filled = rows(run, "held:1", erase=part)[:, 0]
    hole = torch.zeros(8, 8, dtype=torch.bool)
    hole[missing] = True
    for picture in filled:
        torch.testing.assert_close(picture[~hole], given[~hole])
        assert not torch.allclose(picture[hole], known[hole])
    assert not torch.allclose(filled[0], filled[1])


def test_what_is_known_of_colours_is_shown_in_grey(tmp_path: Path) -> None:
    faces = parse("faces", {"count": 32, "size": 8})
    given, seen, *filled = rows(
        workbench.execute(short.plan("diffusion", faces), tmp_path).path, "held:1", erase="colour"
    )
    assert torch.equal(seen, seen[:1].expand_as(seen))
    for picture in (given, *filled):
        torch.testing.assert_close(grey(picture[None]), grey(seen[None]))


def test_a_mask_of_another_shape_is_refused(run: Path, tmp_path: Path) -> None:
    """It would be cropped elsewhere than the picture."""
    PIL.Image.new("L", (9, 4), 255).save(tmp_path / "mask.png")
    PIL.Image.new("L", (30, 20)).save(tmp_path / "wide.png")
    for word, size in (("held:1", "8 x 8"), (str(tmp_path / "wide.png"), "30 x 20")):
        with pytest.raises(UsageError, match=f"mask.png is 9 x 4 pixels, and {word} {size}: give a mask"):
            rows(run, word, mask=tmp_path / "mask.png")
    for size in ((15, 10), (8, 8)):  # the shape of the picture, or of what the model makes of it
        PIL.Image.new("L", size, 255).save(tmp_path / "mask.png")
        assert rows(run, str(tmp_path / "wide.png"), mask=tmp_path / "mask.png").shape == (5, 1, 8, 8)


def test_masks_and_transparent_parts_say_the_same(run: Path, tmp_path: Path) -> None:
    opacity = np.full((8, 8), 255, np.uint8)
    opacity[5:] = 0
    grey = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    seen, hole = PIL.Image.fromarray(grey), PIL.Image.fromarray(255 - opacity)
    seen.save(tmp_path / "whole.png")
    hole.save(tmp_path / "mask.png")
    seen.putalpha(PIL.Image.fromarray(opacity))
    seen.save(tmp_path / "holed.png")
    masked = rows(run, str(tmp_path / "whole.png"), mask=tmp_path / "mask.png")
    holed = rows(run, str(tmp_path / "holed.png"))
    torch.testing.assert_close(masked[1:], holed[1:])
    assert bool((holed[1, 0, 5:] == 0).all())


def test_transparent_parts_of_a_picture_that_lies_on_its_head_are_turned_with_it(run: Path, tmp_path: Path) -> None:
    holed, exif = PIL.Image.linear_gradient("L").resize((8, 8)), PIL.Image.Exif()
    holed.putalpha(PIL.Image.fromarray(np.repeat(np.uint8([255, 255, 255, 255, 255, 0, 0, 0]), 8).reshape(8, 8)))
    holed.save(tmp_path / "upright.png")
    exif[0x0112] = 3  # to be turned by half a circle
    holed.transpose(PIL.Image.Transpose.ROTATE_180).save(tmp_path / "turned.png", exif=exif)
    upright, turned = (rows(run, str(tmp_path / f"{name}.png")) for name in ("upright", "turned"))
    torch.testing.assert_close(turned, upright)


def test_the_command_writes_one_picture_and_says_what_it_cost(run: Path, tmp_path: Path) -> None:
    words = [str(run), "held:0", "held:1", "--erase", "top", "-n", "2", "steps=3", "times=2", "--json"]
    result = CliRunner().invoke(app, ["complete", *words, "--out", str(tmp_path / "x.png")])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["network_evaluations"] == 6
    assert read_recipe(tmp_path / "x.png")["settings"] == {"erase": "top", "count": 2}


def test_a_folder_takes_each_filling_by_itself(run: Path, tmp_path: Path) -> None:
    words = [str(run), "held:0", "held:1", "--erase", "detail", "--factor", "4", "-n", "2", "steps=3", "times=1"]
    result = CliRunner().invoke(app, ["complete", *words, "--out", str(tmp_path / "parts")])
    assert result.exit_code == 0, result.output
    assert sorted(file.name for file in (tmp_path / "parts").iterdir()) == [
        "held-0-1.png", "held-0-2.png", "held-1-1.png", "held-1-2.png"
    ]  # fmt: skip
    assert PIL.Image.open(tmp_path / "parts" / "held-0-1.png").size == (8, 8)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file: name a folder"):
        destination(run, "complete", tmp_path / "file", parts=True)


def test_what_cannot_be_completed_is_told(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing is missing"):
        rows(run, "held:0")
    with pytest.raises(UsageError, match="sampler=ddpm"):
        completion.complete(Scene(run, sampling={"sampler": "heun"}), ["held:0"], completion.Options(erase="top"))
    with pytest.raises(UsageError, match="no colours"):
        rows(run, "held:0", erase="colour")
    with pytest.raises(UsageError, match="does not divide 8 x 8"):
        rows(run, "held:0", erase="detail", factor=3)
    other = workbench.execute(short.plan("vae", "digits"), tmp_path / "vae").path
    with pytest.raises(UsageError, match="'vae' cannot complete"):
        completion.complete(Scene(other), ["held:0"], completion.Options(erase="top"))
