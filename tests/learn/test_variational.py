"""What the values of a VAE do to real digits: rows B4, C1, C5, C7, C13 and C16 of the catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import figment
from figment.core.alarms import from_log
from figment.core.run import RunFolder
from figment.core.signs import LINES
from figment.evaluate.likelihood import likelihood_of_run
from figment.evaluate.report import evaluate, evaluate_folders
from figment.explorer.scene import Scene, explore
from figment.samples import save_samples
from real import source

MEAN_SQUARES = 5.657  # sigma at which -log p(x | z) is the mean of squares over the 64 pixels: sqrt(64 / 2)


def trained(path: Path, data: str = "digits", steps: int = 400, **settings: Any) -> RunFolder:
    given = {f"model__{key}": value for key, value in {"conditional": False, **settings}.items()}
    return figment.train("vae", data, path, steps=steps, training__previews=0, **given)


def collapses(run: RunFolder) -> bool:
    """Whether the loop told of it at any line of the log."""
    log = run.read_metrics()
    found = (sign.name for end in range(LINES, len(log) + 1) for sign in from_log(log[:end]))
    return "posterior collapse" in found


@pytest.mark.smoke
def test_mean_squares_plus_kl_collapse_and_the_remedies_cure_it(tmp_path: Path) -> None:
    collapsed = trained(tmp_path / "collapsed", sigma=MEAN_SQUARES, size="tiny")
    learned = trained(tmp_path / "learned", size="tiny")
    freed = trained(tmp_path / "freed", sigma=MEAN_SQUARES, free_bits=0.2, size="tiny")
    assert [collapses(run) for run in (collapsed, learned, freed)] == [True, False, False]
    error = [evaluate(run, n=200)["reconstruction"]["mse"] for run in (collapsed, learned, freed)]
    assert error[1] < error[0] / 3
    assert error[2] < error[0] / 1.3


@pytest.mark.smoke
@pytest.mark.parametrize("kappa", [0.2, 0.3, 0.4])
def test_geco_reaches_the_error_it_is_asked_for(kappa: float, tmp_path: Path) -> None:
    log = trained(tmp_path / "run", steps=700, objective="geco", kappa=kappa, size="tiny").read_metrics()
    last = log[-10:]
    assert sum(line["error"] for line in last) / 10 == pytest.approx(kappa, rel=0.1)
    assert last[-1]["multiplier"] == pytest.approx(last[0]["multiplier"], rel=0.25)


@pytest.mark.smoke
def test_a_learned_sigma_is_the_residual_and_beats_every_fixed_beta(tmp_path: Path) -> None:
    """||x - f(z)||^2 + beta KL is the bound of sigma^2 = beta / 2; or beta weighs the KL of a decoder with sigma = 1.

    Each run is judged by its own density of held-out digits, 100 importance weights each.
    """
    learned = trained(tmp_path / "learned", size="tiny")
    fixed: dict[str, Any] = {f"sum of squares, {b}": {"sigma": (b / 2) ** 0.5} for b in (0.03, 0.1, 0.3, 1.0, 3.0)}
    fixed |= {f"sigma = 1, {beta}": {"sigma": 1.0, "beta": beta} for beta in (0.1, 1.0, 10.0)}
    runs = {name: trained(tmp_path / name, size="tiny", **settings) for name, settings in fixed.items()}
    model, x = figment.load(learned.path), learned.read_run().data.build().train.gather(np.arange(1000)).x
    with torch.no_grad():
        residual = float((model.decode(model.posterior(x, {}).sample(), {}) - x).square().mean().sqrt())
    assert float(model.observation.sigma) == pytest.approx(residual, rel=0.05)
    bits = {name: likelihood_of_run(run.path, draws=100)["bits_per_dim"] for name, run in runs.items()}
    assert likelihood_of_run(learned.path, draws=100)["bits_per_dim"] < min(bits.values()), bits


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Five minutes of black and white draws of MNIST's grey values."""
    path = tmp_path_factory.mktemp("binary") / "run"
    settings = {"data__binarise": "dynamic", "model__conditional": False}
    return figment.train("vae", source("mnist"), path, minutes=5, **settings)


@pytest.mark.learn
@pytest.mark.timeout(3600)
def test_five_minutes_of_binary_mnist(binary: RunFolder) -> None:
    """IWAE-500 of all 10,000 test digits, one fixed draw each; latents of less than 0.01 nats change no picture.

    From -2 to 2, where the prior has 95 of 100 codes, none of them changes pixels by a thousandth of their range.
    """
    bound = likelihood_of_run(binary.path, n=10_000)
    weighted = likelihood_of_run(binary.path, n=10_000, draws=500)
    assert weighted["n"] == 10_000
    assert not weighted["alarms"]
    assert bound["nats"] < weighted["nats"] < -weighted["entropy"]
    assert weighted["nats"] >= -95
    found = explore(Scene(binary.path), "traverse", (), {"reach": 2}).figures
    assert 10 <= found["active"] < found["latents"], found
    assert found["active"] == sum(nats > 0.01 for nats in found["use"].values())
    assert found["dead"] == found["latents"] - found["active"], found


@pytest.mark.learn
@pytest.mark.timeout(3600)
def test_even_draws_from_a_box_of_codes_are_farther_from_digits_than_draws_of_a_prior(
    binary: RunFolder, tmp_path: Path
) -> None:
    """Row B4, of 56 numbers each: half as far again, as folders of pictures beside MNIST as it is, by two networks.

    The VAE shows the chance of white in each pixel, which is grey again where data.binarise=dynamic has drawn it.
    """
    settings: dict[str, Any] = {"model__size": "tiny", "training__batch": 64, "training__previews": 0}
    plain = figment.train("autoencoder", source("mnist"), tmp_path / "plain", steps=1000, **settings)
    box: dict[str, Any] = {"model__first": str(plain.path), "model__distribution": "box"}
    figment.train("with-prior", source("mnist"), tmp_path / "box", steps=1, **box)
    for name, run in {"junk": tmp_path / "box", "digits": binary.path}.items():
        save_samples(run, tmp_path / name, n=2000)
    for features in ("classifier", "classifier-residual"):
        junk, digits = (
            evaluate_folders(str(tmp_path / name), source("mnist"), features=features)["quality"]["frechet"]
            for name in ("junk", "digits")
        )
        assert junk >= 1.5 * digits, (features, junk, digits)
