"""The `latent` block of an evaluation, on a model whose codes are the factors themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

import short
from figment import workbench
from figment.core.data import ArraySplit, Classes, Dataset, Factor, Factors, Spec, Vector
from figment.core.model import HasPosterior, HasPrior, Model
from figment.core.noise import Noise
from figment.data.faces.dataset import FacesConfig
from figment.evaluate.features import features_for
from figment.evaluate.latent_space import latent_space
from figment.evaluate.report import figures

DEVIATION = 0.1


class Known(Model, HasPosterior, HasPrior):
    """q(z | x) = N((x, 0), (0.1, 1)): two latents are the row itself, a third is the prior."""

    def __init__(self, spec: Spec):
        super().__init__(None, spec)  # type: ignore[arg-type]

    def posterior(self, x: Tensor, c: Any) -> Normal:
        nothing = torch.zeros(len(x), 1)
        return Normal(torch.cat([x, nothing], 1), torch.cat([torch.full_like(x, DEVIATION), nothing + 1], 1))

    def prior(self, c: Any, noise: Noise) -> Tensor:
        return noise.normal((3,))

    def decode(self, z: Tensor, c: Any) -> Tensor:
        return z[:, :2]


def rows() -> Dataset:
    """Normal rows; each column is a factor, and the sign of the first is the label."""
    c = {
        "label": Classes(names=("left", "right"), frequencies=(0.5, 0.5)),
        "attributes": Factors(factors=(Factor(name="across"), Factor(name="up"))),
    }
    spec = Spec(name="rows", x=Vector(mean=(0.0, 0.0), scale=(1.0, 1.0)), c=c)
    splits = {}
    for seed, (name, count) in enumerate({"train": 4000, "test": 2000}.items()):
        x = np.random.default_rng(seed).normal(size=(count, 2)).astype(np.float32)
        splits[name] = ArraySplit(spec, x, {"label": (x[:, 0] > 0).astype(np.int64), "attributes": x})
    return Dataset(spec, splits, content="rows")


def test_codes_that_are_the_factors() -> None:
    data = rows()
    samples = torch.randn(1000, 2) + torch.tensor([3.0, 0.0])
    found = latent_space(Known(data.spec), data, samples, features_for(data))
    assert found is not None
    assert found["dimensions"] == 3 and found["active_units"] == 2
    assert found["mig"] > 0.7 and found["gaps"].keys() == {"across", "up"}
    assert found["neighbour_accuracy"] > 0.93
    gap = found["aggregate"]
    assert gap["at_least"] == pytest.approx(0, abs=0.02) and gap["at_most"] < 0.1 < 4 < gap["kl"]
    distance = found["decoded"]["frechet"]
    assert distance["real"] < 0.05 and distance["codes"] < 0.05
    assert distance["prior"] == pytest.approx(9, rel=0.1)


def test_trained_models_have_the_block_that_their_abilities_allow(tmp_path: Any) -> None:
    run = short.plan("vae", FacesConfig(size=16, count=200), **{"model.latent": 4, "model.conditional": False})
    data = run.data.build()
    block = figures(workbench.build(run, data), data, n=60)["latent"]
    assert block["dimensions"] == 4 and len(block["gaps"]) == 11
    assert {"active_units", "aggregate", "neighbour_accuracy", "decoded"} <= block.keys()
    gan = short.plan("gan", "digits")
    digits = gan.data.build()
    assert latent_space(workbench.build(gan, digits), digits) is None
    plain = figures(workbench.build(short.plan("autoencoder", "digits"), digits), digits)["latent"]
    assert plain.keys() == {"dimensions", "n", "neighbour_accuracy"}


def test_factors_that_do_not_vary_say_nothing_of_codes() -> None:
    data = rows()
    held_out = data.held_out
    still = ArraySplit(data.spec, held_out.x, {**held_out.c, "attributes": np.ones_like(held_out.x)})
    found = latent_space(Known(data.spec), Dataset(data.spec, {"train": data.train, "test": still}, content="still"))
    assert found is not None and "mig" not in found and "active_units" in found
