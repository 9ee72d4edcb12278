"""`figment translate` and `figment attack` on a person's own folders."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from PIL import ImageColor

import short
from figment import workbench
from figment.cli import main
from figment.core.errors import UsageError
from figment.data.faces.folder import write
from figment.explorer.attack import attack
from figment.explorer.scene import Scene
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


def test_two_kinds_of_ones_own_are_learned_and_translated_both_ways(figment: Any, tmp_path: Path) -> None:
    """Two folders without pairs, one of them grey; then pictures of any size, a folder and an archive."""
    for name, mode in (("A", "L"), ("B", "RGB")):
        (tmp_path / name).mkdir()
        for number in range(24):
            PIL.Image.new(mode, (14, 9), ImageColor.getcolor(f"hsl({10 * number}, 80%, 50%)", mode)).save(
                tmp_path / name / f"{number}.png"
            )
    data = f"unpaired:{tmp_path}/A,{tmp_path}/B"
    code, out, _ = figment("data", "check", data, "--json")
    assert (code, json.loads(out)["count"], json.loads(out)["other"]["channels"]) == (0, 24, 1)
    run = trained("cyclegan", data, tmp_path / "run")
    assert (run / "samples" / "step-000004.png").exists()
    PIL.Image.new("RGB", (37, 21), "red").save("red.png")
    for direction, mode in (("A-to-B", "RGB"), ("B-to-A", "L")):
        assert figment("translate", run, "red.png", "--out", "x.png", "--direction", direction)[0] == 0
        made = PIL.Image.open("x.png")
        assert (made.size, made.mode) == ((37, 21), mode)
        assert read_recipe("x.png")["direction"] == direction
    shutil.make_archive("packed", "zip", tmp_path, "B")
    code, out, _ = figment("translate", run, "packed.zip", "--direction", "B-to-A")
    assert (code, out, len(list(Path("packed-translated/B").iterdir()))) == (0, "packed-translated\n", 24)
    code, _, err = figment("translate", run, "red.png", "--direction", "B-to-C")
    assert (code, "A-to-B or B-to-A" in err) == (2, True)
    code, out, _ = figment("evaluate", run, "--json")
    figures = json.loads(out)["translation"]
    assert {"cycle", "slope", "slope_real"} <= figures["A-to-B"].keys() == figures["B-to-A"].keys()
    code, _, err = figment("train", "pix2pix", "--data", data, "--steps", 1)
    assert (code, "a picture to start from" in err, "cyclegan" in err) == (2, True, True)
    code, _, err = figment("train", "cyclegan", "--data", "faces", "--steps", 1)
    assert (code, "unpaired:A,B" in err) == (2, True)


def test_what_cannot_be_translated_says_why(figment: Any, tmp_path: Path) -> None:
    """Of a folder the rest is done; a picture alone ends with a reason; so does one that would become too large."""
    run = trained("super-resolution", "digits", tmp_path / "run", **{"model.scale": 8})
    code, _, err = figment("translate", run, "digits.png", "--direction", "A-to-B")
    assert (code, "one way only" in err) == (2, True)
    code, _, err = figment("translate", run, "digits.png", "--strength", 0.5, "--direction", "A-to-B")
    assert (code, "not with --strength" in err) == (2, True)
    PIL.Image.new("L", (2000, 600)).save("large.png")
    code, _, err = figment("translate", run, "large.png")
    assert (code, "16000x4800, more than 64 Mpx" in err) == (3, True)
    Path("broken.png").write_bytes(b"no picture")
    code, _, err = figment("translate", run, "broken.png")
    assert (code, "broken.png: not a picture" in err) == (3, True)
    clear = PIL.Image.new("RGBA", (5, 4))
    clear.save("clear.png")
    assert figment("translate", run, "clear.png", "--out", "x.png")[0] == 0
    assert PIL.Image.open("x.png").size == (40, 32)
    assert np.asarray(PIL.Image.open("x.png")).min() > 200, "what is transparent is paper"


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
    words = ("--steps", 3, "-n", 60, "--purify", vae, "--json")
    _, out, _ = figment("attack", run, "held:0", *words)
    figures = json.loads(out)
    assert figures["purified"].keys() == {"n", "clean", "bare", "unaware", "aware"}
    assert figures["shown"][0].keys() == {"name", "before", "after", "purified"}
    assert figures["purified"]["aware"] <= figures["purified"]["unaware"]
    assert figment("attack", run, "held:0", "--target", 3, *words)[0] == 0
    for words, said in (
        (["--purify", run], "does not purify"),
        (["--purify", tmp_path / "none"], "no run"),
        (["--purify", vae, "--level", 1], "level"),
    ):
        code, _, err = figment("attack", run, *words)
        assert code == 2
        assert said in err
    with pytest.raises(UsageError, match="does not purify"):
        attack(Scene(run, watch=lambda *_: pytest.fail("attacked before it was refused")), purify=run)
    code, _, err = figment("attack", vae)
    assert (code, "figment train classifier" in err) == (2, True)
    assert figment("translate", vae, "x.png")[0] == 2


def test_diffusion_draws_pictures_like_those_given(figment: Any, tmp_path: Path) -> None:
    run = trained("diffusion", "digits", tmp_path / "run")
    PIL.Image.linear_gradient("L").save("grey.png")
    again = ("translate", run, "grey.png", "--strength", "0.5", "--label", "3", "steps=2", "--out")
    assert figment(*again, "like.png")[:2] == (0, "like.png\n")
    assert figment(*again, "same.png")[0] == 0
    assert Path("like.png").read_bytes() == Path("same.png").read_bytes()
    assert PIL.Image.open("like.png").size == (8, 8)
    recipe = read_recipe("like.png")
    assert (recipe["strength"], recipe["label"], recipe["sampling"]) == (0.5, "3", {"steps": 2})
    for words, reason in [
        (("--strength", "1.5"), "from 0, which changes nothing"),
        (("--strength", "0.5", "--prompt", "a six"), "trained without captions"),
        (("--label", "3"), "only with --strength"),
        ((), "diffusion with --strength"),
    ]:
        code, _, err = figment("translate", run, "grey.png", *words, "--out", "other.png")
        assert code == 2
        assert reason in err
    code, _, err = figment("translate", trained("vae", "digits", tmp_path / "vae"), "grey.png", "--strength", "0.5")
    assert (code, "'vae' hides nothing in noise" in err) == (2, True)
