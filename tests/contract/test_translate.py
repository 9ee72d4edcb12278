"""`figment translate` and `figment attack` on a person's own folders."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

import short
from figment import workbench
from figment.cli import main
from figment.data.faces.folder import write
from figment.pictures import read_recipe


@pytest.fixture
def figment(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Calls `figment WORDS` in this process: exit code, stdout, stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["figment", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0), *capsys.readouterr()

    return call


def trained(kind: str, data: str, folder: Path, **settings: Any) -> Path:
    return workbench.execute(short.plan(kind, data, **{"training.previews": 1, **settings}), folder).path


def test_pairs_of_ones_own_are_learned_and_pictures_of_any_size_translated(figment: Any, tmp_path: Path) -> None:
    made = write(tmp_path / "made", 24, {"size": 16}, form="pairs")
    code, out, _ = figment("data", "check", f"pairs:{made}", "--json")
    assert (code, json.loads(out)["count"]) == (0, 24)
    run = trained("pix2pix", f"pairs:{made}", tmp_path / "run")
    assert PIL.Image.open(run / "samples" / "step-000004.png").width > 3 * 16
    lines = PIL.Image.new("L", (37, 21), 200)
    lines.save("lines.png")
    code, out, _ = figment("translate", run, "lines.png", "--out", "face.png")
    assert (code, out) == (0, "face.png\n")
    assert PIL.Image.open("face.png").size == (37, 21)
    assert PIL.Image.open("face.png").mode == "RGB"
    assert read_recipe("face.png")["source"] == "lines.png"
    code, out, _ = figment("translate", run, made / "A", "--out", "faces")
    assert (code, out, len(list(Path("faces").iterdir()))) == (0, "faces\n", 24)
    code, out, _ = figment("evaluate", run, "--json")
    figures = json.loads(out)["translation"]
    assert {"l1", "psnr", "ssim", "slope", "slope_real", "copied", "hue"} <= figures.keys()
    code, _, err = figment("sample", run)
    assert code == 2
    assert "figment translate" in err
    code, _, err = figment("train", "pix2pix", "--data", "digits", "--steps", 1)
    assert code == 2
    assert "pairs:FOLDER" in err
    few = ("--steps", 1, "--batch", 2, "model.size=tiny", "training.previews=0", "--out", "again")
    assert "next: figment translate again PICTURE" in figment("train", "pix2pix", "--data", f"pairs:{made}", *few)[2]


def test_masks_of_ones_own_are_learned_and_written_as_numbers(figment: Any, tmp_path: Path) -> None:
    made = write(tmp_path / "made", 24, {"size": 16}, form="masks")
    run = trained("segmenter", f"masks:{made}", tmp_path / "run")
    picture = next((made / "images").iterdir())
    assert figment("translate", run, picture, "--out", "mask.png")[0] == 0
    mask = PIL.Image.open("mask.png")
    assert (mask.mode, mask.size) == ("P", (16, 16))
    assert mask.getextrema()[1] < 9
    _, out, _ = figment("evaluate", run, "--json")
    assert {"iou", "dice", "accuracy", "classes"} <= json.loads(out)["segmentation"].keys()


def test_a_classifier_is_attacked(figment: Any, tmp_path: Path) -> None:
    run = trained("classifier", "digits", tmp_path / "run")
    code, out, _ = figment("attack", run, "--eps", 0.2, "--steps", 3, "-n", 60, "--out", "x.png", "--json")
    figures = json.loads(out)
    assert code == 0
    assert {"clean", "noise", "fgsm", "iterative", "pgd", "masked", "shown", "pictures"} <= figures.keys()
    assert read_recipe("x.png")["eps"] == 0.2
    code, out, _ = figment("attack", run, "held:0", "--target", 3, "-n", 60, "--steps", 3, "--json")
    assert 0 <= json.loads(out)["success"] <= 1
    for words, said in ((["--method", "cw"], "fgsm"), (["--eps", -1], "eps"), (["--target", "ten"], "no label 'ten'")):
        code, _, err = figment("attack", run, *words)
        assert code == 2
        assert said in err
    vae = trained("vae", "digits", tmp_path / "vae")
    code, _, err = figment("attack", vae)
    assert (code, "figment train classifier" in err) == (2, True)
    assert figment("translate", vae, "x.png")[0] == 2
