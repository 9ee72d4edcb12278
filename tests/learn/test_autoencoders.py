"""Autoencoders on MNIST, by the commands a person has: rows B1 to B3 and B5 to B9 of the catalogue
(B4 stands in test_variational.py). About 12 minutes of one core.

Errors are in units of a pixel from 0 (black) to 1 (white); models are `tiny` and trained for so many steps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import figment
import figment.cli.anomaly
from figment.cli.commands import app
from figment.core.run import RunFolder
from figment.data import parse
from figment.evaluate.report import reconstruction
from figment.explorer.scene import Scene, explore
from figment.models.autoencoders.contraction import jacobian_norm_estimate
from real import source

pytestmark = [pytest.mark.learn, pytest.mark.timeout(3600)]

Runs = Callable[..., RunFolder]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Trains `autoencoder` on MNIST (or part of it), each kind of run once."""
    root, made = tmp_path_factory.mktemp("runs"), dict[str, RunFolder]()

    def run(steps: int, data: dict[str, Any] | None = None, **settings: Any) -> RunFolder:
        key = json.dumps([steps, data, settings], sort_keys=True)
        if key not in made:
            given = {"model__size": "tiny", "training__previews": 0, **settings}
            config = parse(source("mnist"), data or {})
            made[key] = figment.train("autoencoder", config, root / str(len(made)), steps=steps, **given)
        return made[key]

    return run


def error(run: RunFolder, split: str = "test") -> float:
    """Mean squared error a pixel in [0, 1], of up to 5,000 held-out (or training) items."""
    dataset = run.read_run().data.build()
    if split == "train":
        dataset = figment.core.data.Dataset(dataset.spec, {"train": dataset.train}, dataset.content)
    figures = reconstruction(figment.load(run.path), dataset, n=5000)
    assert figures is not None
    return figures["mse"] / 4


def test_b1_five_numbers_hold_what_two_do_not(runs: Runs) -> None:
    two, five = error(runs(1500, model__latent=2)), error(runs(1000, model__latent=5))
    assert two <= 0.047, two  # PCA: 0.0557
    assert five <= 0.033, five  # PCA: 0.0445
    assert five <= 0.75 * two


def test_b2_an_autoencoder_learns_a_hundred_pictures_by_heart(runs: Runs) -> None:
    settings = {"model__latent": 16, "data": {"rows": 100}}
    plain = runs(1200, **settings)
    tame = runs(1200, **settings, model__regulariser="denoising", model__corruption=0.5)
    gaps = {run: error(run) / error(run, "train") for run in (plain, tame)}
    assert gaps[plain] >= 4, gaps
    assert gaps[tame] <= 0.75 * gaps[plain], gaps


def test_b3_classes_part_in_two_dimensions(runs: Runs) -> None:
    found = explore(Scene(runs(1500, model__latent=2).path), "map")
    assert found.figures["neighbour_accuracy"] >= 0.65, found.figures  # PCA: 0.423


def slope(run: RunFolder) -> tuple[float, float]:
    """Mean ||dz/dx||_F^2 over held-out items, and relative to the variance of their codes."""
    model = figment.load(run.path)
    x = run.read_run().data.build().held_out.gather(np.arange(1000)).x.requires_grad_()
    torch.manual_seed(0)
    z = model.encode(x, {})  # type: ignore[operator]
    norm = float(jacobian_norm_estimate(z, x).mean().detach())
    return norm, norm / float(z.detach().var(0).sum())


def test_b5_contraction_flattens_the_encoder_at_little_cost(runs: Runs) -> None:
    """To a fifth and below, also where the scale of codes, which a decoder undoes, is taken out."""
    plain = runs(600, model__latent=16)
    tame = runs(600, model__latent=16, model__regulariser="contractive", model__contraction=0.15)
    (steep, relative), (flat, left) = slope(plain), slope(tame)
    assert error(tame) <= 1.3 * error(plain), (error(tame), error(plain))
    assert flat <= steep / 5, (flat, steep)
    assert left <= relative / 5, (left, relative)


@pytest.mark.parametrize(("noise", "floor"), [("gaussian", 20.0), ("salt-and-pepper", 18.0), ("masking", 18.0)])
def test_b6_a_denoising_autoencoder_denoises(noise: str, floor: float, runs: Runs) -> None:
    """Pictures spoilt at 0.3 (Gaussian: 13.3 dB, and 19.1 from 64 principal components), beside a plain one's."""
    settings = {"corrupt": noise, "count": 500, "amount": 0.3}
    plain = explore(Scene(runs(800).path), "reconstruct", (), settings).figures
    run = runs(800, model__regulariser="denoising", model__noise=noise, model__corruption=0.3)
    denoised = explore(Scene(run.path), "reconstruct", (), settings).figures
    ratio = 10 * math.log10(4 / denoised["mse"])
    assert ratio >= floor, denoised
    assert denoised["mse"] < 0.8 * plain["mse"], (denoised, plain)
    assert denoised["mse"] < 0.5 * denoised["mse_spoilt"]


def test_b7_an_ordered_code_beats_principal_components_at_every_length(runs: Runs) -> None:
    run = runs(1500, model__latent=64, model__regulariser="ordered")
    found = explore(Scene(run.path), "compress", (), {"count": 500}).figures["psnr_by_numbers"]
    lengths = sorted(found["autoencoder"])
    assert (lengths[0], lengths[-1]) == (1, 64)
    worse = [k for k in lengths if found["autoencoder"][k] <= found["pca"][k]]
    assert not worse, found


def test_b8_codes_need_few_labels(runs: Runs) -> None:
    found = explore(Scene(runs(600, model__latent=16).path), "probe", (), {"held_out": 1000}).figures
    assert found["linear"]["code"][1000]["accuracy"] >= 0.85, found
    assert found["linear"]["code"][100]["accuracy"] > found["linear"]["pca"][100]["accuracy"], found
    assert found["trained_on"]["gain"] >= 0.03, found


def judged(run: RunFolder, data: str, out: Path) -> dict[str, Any]:
    """What `figment anomaly` prints."""
    words = ["anomaly", str(run.path), data, "--split", "test", "--out", str(out / "anomaly.png"), "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_b9_digits_never_seen_are_strange(runs: Runs, tmp_path: Path) -> None:
    """Leaving out each digit in turn."""
    areas = {}
    for digit in range(10):
        run = runs(250, data={"without": str(digit)}, model__latent=16)
        areas[digit] = judged(run, source("mnist"), tmp_path)["auroc"]
    assert np.mean(list(areas.values())) >= 0.75, areas


def test_b9_clothes_are_no_digits(runs: Runs, tmp_path: Path) -> None:
    found = judged(runs(600, model__latent=16), source("fashion_mnist"), tmp_path)
    assert found["auroc_against_held_out"] >= 0.97, found["auroc_against_held_out"]
    assert found["anomalous"] >= 0.9 * found["items"]
