"""Pictures from pictures: what each family must reach, beside what costs nothing to do."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import figment
from figment.core.run import RunFolder
from figment.data.faces.tasks import TASKS
from figment.evaluate import translation as measures
from figment.pixels.colour import to_rgb
from figment.workbench import load
from real import source

pytestmark = [pytest.mark.learn, pytest.mark.timeout(3600)]


def measured(run: RunFolder, n: int = 300) -> dict[str, Any]:
    dataset = run.read_run().data.build()
    return measures.translation(list(measures.translations(load(run.path), dataset, n)))


def overlap(run: RunFolder) -> float:
    """Intersection over union of the digit."""
    dataset = run.read_run().data.build()
    return measures.segmentation(load(run.path), dataset)["classes"]["1"]["iou"]


@pytest.fixture(scope="module")
def clutter(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A scan of a digit somewhere among fragments of others, and where it is: `masks:` of 32x32 pixels."""
    from sklearn.datasets import load_digits

    folder, generator = tmp_path_factory.mktemp("clutter"), np.random.default_rng(0)
    small = [PIL.Image.fromarray((x * (255 / 16)).astype(np.uint8)) for x in load_digits().images]
    scans = np.stack([np.asarray(x.resize((20, 20), PIL.Image.Resampling.BICUBIC)) for x in small])
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for number in range(2000):
        x, mask = np.zeros((32, 32), np.uint8), np.zeros((32, 32), np.uint8)
        for _ in range(10):
            piece, (a, b), (i, j) = scans[generator.integers(len(scans))], *generator.integers(0, (14, 26), (2, 2)).T
            there = x[i : i + 6, j : j + 6]
            np.maximum(there, piece[a : a + 6, b : b + 6], out=there)
        digit, (i, j) = scans[generator.integers(len(scans))], generator.integers(0, 13, 2)
        here = slice(i, i + 20), slice(j, j + 20)
        x[here] = np.where(digit > 30, digit, x[here])
        mask[here] = digit > 100
        PIL.Image.fromarray(x).save(folder / "images" / f"{number}.png")
        PIL.Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
    return f"masks:{folder}"


@pytest.mark.smoke
def test_a_digit_is_found_in_clutter_and_detail_needs_skips(clutter: str, tmp_path: Path) -> None:
    """Row A8: IoU >= .90; removing the skips costs >= .05."""
    with_, without = (
        overlap(figment.train("segmenter", clutter, tmp_path / str(skips), steps=200, model__skips=skips))
        for skips in (True, False)
    )
    assert with_ >= 0.90
    assert without <= with_ - 0.05


def test_super_resolution_of_digits(tmp_path: Path) -> None:
    """Row D13: at twice the size, 4 dB above bilinear interpolation."""
    found = measured(figment.train("super-resolution", source("mnist"), tmp_path / "run", steps=500, model__scale=2))
    assert found["psnr"] >= found["bilinear"]["psnr"] + 4
    assert found["ssim"] > found["bicubic"]["ssim"]


def coloured(folder: Path, implied: bool) -> str:
    """Scans of digits in a colour of their class, or in any of the same lightness: pictures of 16x16 pixels."""
    from sklearn.datasets import load_digits

    scans, generator = load_digits(), np.random.default_rng(0)
    folder.mkdir()
    for number, (scan, digit) in enumerate(zip(scans.images / 16, scans.target)):
        angle = 2 * np.pi * (digit / 10 if implied else generator.random())
        tint = to_rgb(np.array((70.0, 40 * np.cos(angle), 40 * np.sin(angle))))
        pixels = PIL.Image.fromarray(np.rint(scan[..., None] * tint).astype(np.uint8))
        pixels.resize((16, 16), PIL.Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return str(folder)


def test_colours_that_are_implied_are_found_and_others_are_chosen(tmp_path: Path) -> None:
    """Row D14: the hue of 80 % of coloured pixels where the digit implies it, and at least half of the variance of
    colours; where nothing implies them, squared error gives grey, and a discriminator colours."""

    def made(name: str, implied: bool, steps: int, **way: Any) -> tuple[float, float]:
        data = coloured(tmp_path / f"{name}-data", implied)
        found = measured(figment.train("colourise", data, tmp_path / name, steps=steps, **way))
        return found["hue"], found["chroma_variance"] / found["chroma_variance_real"]

    hue, spread = made("implied", implied=True, steps=600)
    assert hue >= 0.8
    assert spread >= 0.5
    assert made("squared", implied=False, steps=300, model__error="l2")[1] <= 0.01
    assert made("judged", implied=False, steps=300, model__error="l1", model__adversarial=1.0)[1] >= 0.5


def test_super_resolution_of_photographs(tmp_path: Path) -> None:
    """Row D13: at four times the size, .8 dB above bicubic interpolation."""
    found = measured(figment.train("super-resolution", source("cifar10"), tmp_path / "run", steps=1500))
    assert found["psnr"] >= found["bicubic"]["psnr"] + 0.8


@pytest.mark.parametrize("task", TASKS)
def test_a_drawn_task_beats_copying(task: str, twin: Any) -> None:
    """Row D9: nearer to the truth than what was given."""
    found = twin(task, 0.05)
    assert found["l1"] < found["copied"]["l1"]


def test_a_discriminator_sharpens_what_is_given_in_outline(twin: Any) -> None:
    """Row D9: steeper between neighbouring pixels than by L1 alone, and more varied in colour. Where the given picture
    has all the edges (grey to colour, day to night, aerial to map) there is nothing to sharpen."""
    found, plain = (twin("edges-to-photo", weight) for weight in (0.05, 0.0))
    assert found["slope"] > plain["slope"]
    assert found["chroma_variance"] > plain["chroma_variance"]


@pytest.fixture(scope="module")
def tinted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Scans of digits (A), and other ones inverted, on a tint (B): `unpaired:` with the digits as labels."""
    from sklearn.datasets import load_digits

    folder, scans = tmp_path_factory.mktemp("tinted"), load_digits()
    for number, (scan, digit) in enumerate(zip(scans.images, scans.target)):
        grey = np.rint(scan * (255 / 16))
        light = np.rint((255 - grey)[..., None] * np.array([1.0, 0.62, 0.25]))
        place = folder / "AB"[number % 2] / str(digit)
        place.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray((light if number % 2 else grey).astype(np.uint8)).save(place / f"{number}.png")
    return f"unpaired:{folder}/A,{folder}/B"


def test_digits_keep_what_they_are_on_a_way_they_can_come_back(tinted: str, tmp_path: Path) -> None:
    """Row D10: cycle L1 <= .05, and four in five digits kept; without the cycle term that is not so."""
    for cycle in (10.0, 0.0):
        run = figment.train("cyclegan", tinted, tmp_path / str(cycle), steps=300, model__cycle=cycle)
        found = figment.evaluate(run.path)["translation"].values()
        holds = all(way["cycle"] <= 0.05 and way["label_kept"] >= 0.8 for way in found)
        assert holds == (cycle > 0), found


def test_faces_put_glasses_on_and_take_them_off(tmp_path: Path) -> None:
    """Of pictures without pairs: an oracle sees glasses switched in 85 % both ways, and each other factor kept in 80 %;
    without the way back that is not so."""
    for cycle, steps in ((3.0, 2200), (0.0, 1000)):
        run = figment.train("cyclegan", "faces:glasses", tmp_path / str(cycle), steps=steps, model__cycle=cycle)
        found = figment.evaluate(run.path, features="fixed")["translation"].values()
        holds = all(way["switched"]["glasses"] >= 0.85 and way["least_kept"] >= 0.8 for way in found)
        assert holds == (cycle > 0), found


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Task, weight of the discriminator -> figures of a run of 400 steps."""

    @cache
    def make(task: str, weight: float) -> dict[str, Any]:
        out = tmp_path_factory.mktemp(task) / "run"
        settings: dict[str, Any] = {"model__adversarial": weight, "data__count": 4000}
        return measured(figment.train("pix2pix", f"faces:{task}", out, steps=400, **settings))

    return make
