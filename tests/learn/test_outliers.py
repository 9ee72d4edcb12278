"""Labels with rejection, strange items told, and pictures without loss: rows A10 and A11 of the catalogue, on MNIST and
Fashion-MNIST by the commands a person has. About 6 minutes of one core.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner

import figment
import figment.cli.anomaly
import figment.cli.classify
import figment.cli.explore
from figment.cli.commands import app
from figment.core.run import RunFolder
from real import source

pytestmark = [pytest.mark.learn, pytest.mark.timeout(3600)]

FOUR = ("likelihood", "typicality", "ratio", "complexity")  # that every density has
Runs = Callable[..., RunFolder]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Trains a kind on a data set, each once."""
    root, made = tmp_path_factory.mktemp("runs"), dict[str, RunFolder]()

    def run(kind: str, data: str, steps: int = 1, **settings: Any) -> RunFolder:
        name = f"{kind}-{data}"
        if name not in made:
            made[name] = figment.train(kind, source(data), root / name, steps=steps, training__previews=0, **settings)
        return made[name]

    return run


def told(*words: str | Path) -> dict[str, Any]:
    """What a command prints with --json."""
    result = CliRunner().invoke(app, [*map(str, words), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def noises(folder: Path, count: int = 300) -> Path:
    """Pictures of noise and of nothing, a sub-folder a kind."""
    generator, shape = np.random.default_rng(0), (count, 28, 28)
    kinds = {
        "uniform": generator.integers(0, 256, shape),
        "gaussian": generator.normal(128, 60, shape).clip(0, 255),
        "salt-and-pepper": 255 * generator.integers(0, 2, shape),
        "sparse": 255 * (generator.uniform(size=shape) < 0.1),
        "constant": np.linspace(0, 255, count)[:, None, None] + np.zeros(shape),
    }
    for kind, pictures in kinds.items():
        (folder / kind).mkdir(parents=True)
        for i, picture in enumerate(pictures.astype(np.uint8)):
            PIL.Image.fromarray(picture).save(folder / kind / f"{i}.png")
    return folder


def test_digits_are_labelled_and_what_is_none_is_refused(runs: Runs, tmp_path: Path) -> None:
    run = runs("gaussian-mixture", "mnist").path
    own = told("classify", run, source("mnist"), "--reject", "0.05")
    assert own["n"] == 5000
    assert own["rejected"] <= 0.05, own["rejected"]
    assert own["accuracy_of_accepted"] >= 0.97, own["accuracy_of_accepted"]
    clothes = told("classify", run, source("fashion_mnist"), "--reject", "0.05", "--split", "test")
    assert clothes["n"] == 10_000
    assert clothes["rejected"] >= 0.95
    items = told("classify", run, noises(tmp_path / "noise"), "--reject", "0.05")["items"]
    for kind in {item["truth"] for item in items}:
        refused = [item["rejected"] is not None for item in items if item["truth"] == kind]
        assert np.mean(refused) >= 0.95, (kind, np.mean(refused))


def test_the_failure_of_raw_likelihood_is_printed_with_its_repair(runs: Runs) -> None:
    """A model of clothes finds digits likelier than clothes."""
    run = runs("naive-bayes", "fashion_mnist").path
    found = told("classify", run, source("mnist"), "--reject", "0.05", "--split", "test", "--n", "2000")
    assert found["auroc"]["likelihood"] < 0.2
    assert found["auroc"]["strangeness"] >= 0.95
    assert "likelihood is fooled" in found["remarks"][0]


@pytest.mark.parametrize("kind", ["gaussian-mixture", "naive-bayes", "vae"])
def test_clothes_are_told_from_digits_and_back(kind: str, runs: Runs, tmp_path: Path) -> None:
    """AUROC of all scores by one command each way; the one that judges was chosen without an outlier."""
    settings = {"steps": 500, "model__decoder": "logistic"} if kind == "vae" else {}
    table = {}
    for own, other in (("fashion_mnist", "mnist"), ("mnist", "fashion_mnist")):
        out = tmp_path / f"{own}.png"
        found = told("anomaly", runs(kind, own, **settings).path, source(other), "--split", "test", "--out", out)
        table[own] = {name: row["auroc_against_held_out"] for name, row in found["by_score"].items()}
        assert set(FOUR) <= set(table[own])
        assert found["anomalous"] >= 0.9 * found["items"]
        assert PIL.Image.open(out).size[0] > 500
    print(kind, table)
    assert min(row["strangeness"] for row in table.values()) >= 0.95, table
    if kind != "gaussian-mixture":
        assert table["fashion_mnist"]["likelihood"] < 0.5 < table["mnist"]["likelihood"], table


@pytest.mark.parametrize("kind", ["naive-bayes", "vae"])
def test_a_thousand_digits_without_loss(kind: str, runs: Runs, tmp_path: Path) -> None:
    settings = {"steps": 500, "model__decoder": "logistic"} if kind == "vae" else {}
    run = runs(kind, "mnist", **settings).path
    found = told("explore", run, "compress", "--lossless", "count=1000", "--out", tmp_path / "compress.png")
    assert found["measured"] == 1000
    assert found["exact"] is True
    assert 0.99 <= found["ratio_to_stated"] <= 1.03, found["ratio_to_stated"]
