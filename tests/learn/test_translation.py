"""Pictures from pictures: what each family must reach, beside what costs nothing to do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import figment
from figment.core.run import RunFolder
from figment.evaluate import translation as measures
from figment.workbench import load

pytestmark = [pytest.mark.learn, pytest.mark.timeout(3600)]
TWINS: dict[str, Any] = {"kind": "faces", "count": 4000}


def source(name: str) -> str:
    folder = os.environ.get("FIGMENT_DATA")
    if not folder:
        pytest.skip("FIGMENT_DATA is not set: it names the folder of real data")
    return str(Path(folder) / name)


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
