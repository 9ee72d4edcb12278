"""Every ability that a kind's class lists can be called, and gives what it promises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import synthetic
from figment import registry, use, workbench
from figment.core.data import Batch
from figment.core.model import ABILITIES, abilities
from figment.core.noise import Noise
from figment.pixels.known import pixels
from short import plan

N = 4


def decode(model: Any, batch: Batch) -> Tensor:
    coded = "CanEncode" in abilities(model)
    return model.decode(model.encode(batch.x, batch.c) if coded else model.prior(batch.c, Noise(0, range(N))), batch.c)


def masses(model: Any, batch: Batch) -> Tensor:
    """Sums over the levels of each pixel, which are 1; of a density there are none."""
    if model.measure != "mass":
        return torch.ones(N, 1)
    z = model.encode(batch.x, batch.c) if "CanEncode" in abilities(model) else None
    total = model.log_masses(z, batch.c, N).exp().sum(2)
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-3, rtol=0)
    return total


def translate(model: Any, batch: Batch) -> Tensor:
    ends = model.pair(batch) if "HasPairs" in abilities(model) else model.ends(batch)
    return model.translate(ends[0])


CALLS: dict[str, Callable[[Any, Batch], Tensor]] = {
    "CanSample": lambda model, batch: model.sample(batch.c, Noise(0, range(N))),
    "CanEncode": lambda model, batch: model.encode(batch.x, batch.c),
    "CanDecode": decode,
    "HasPosterior": lambda model, batch: model.posterior(batch.x, batch.c).stddev.log(),
    "HasPrior": lambda model, batch: model.prior(batch.c, Noise(0, range(N))),
    "HasLogProb": lambda model, batch: model.log_prob(batch.x, batch.c),
    "HasMasses": masses,
    "HasBound": lambda model, batch: model.bound(batch.x, batch.c),
    "HasImportance": lambda model, batch: model.log_weights(batch.x, batch.c, 3).mT,
    "HasEnergy": lambda model, batch: model.energy(batch.x, batch.c),
    "EstimatesLogProb": lambda model, batch: model.log_prob_estimator()(batch.x, batch.c),
    "HasFlowLikelihood": lambda model, batch: model.flow_log_likelihood(batch.x, batch.c, 2),
    "CanDenoise": lambda model, batch: model.denoise(batch.x, torch.full((N,), 0.5), batch.c).mean,
    "CanJump": lambda model, batch: model.jump(batch.x, torch.full((N,), 0.5), torch.full((N,), 0.2), batch.c),
    "CanComplete": lambda model, batch: model.complete(
        batch.x, pixels((torch.arange(batch.x.shape[-1]).expand_as(batch.x) < 3).float()), batch.c, Noise(0, range(N))
    ),
    "CanVary": lambda model, batch: model.vary(batch.x, 0.5, batch.c, Noise(0, range(N))),
    "CanTranslate": translate,
    "HasPairs": lambda model, batch: model.pair(batch)[1],
    "HasDirections": lambda model, batch: model.towards(model.directions[1]).translate(model.ends(batch)[1]),
    "CanSegment": lambda model, batch: model.segment(batch.x),
    "CanClassify": lambda model, batch: model.class_log_prob(batch.x),
    "HasFeatures": lambda model, batch: model.features(batch.x),
    "HasSampling": lambda model, batch: model.with_sampling(model.Sampling()).sample(batch.c, Noise(0, range(N))),
}
LIKE_X = {"CanSample", "CanDecode", "CanDenoise", "CanJump", "CanVary", "HasSampling"}
ROWS = {"HasLogProb", "HasBound", "HasEnergy", "EstimatesLogProb", "HasFlowLikelihood"}


@pytest.mark.parametrize("kind", registry.kinds("model"))
def test_every_ability_of_a_kind_can_be_called(kind: str, tmp_path: Path) -> None:
    forms = synthetic.forms_for(registry.load("model", kind))
    data = synthetic.write(next((form for form in forms if form.endswith("-labelled")), forms[0]), tmp_path)
    model = use.load(workbench.execute(plan(kind, data), tmp_path / "run").path)
    batch = data.build().held_out.gather(np.arange(N)).suited(model.spec)
    for name in abilities(model):
        torch.manual_seed(0)
        with torch.no_grad():
            found = CALLS[name](model, batch)
        assert len(found) == N, name
        assert found.isfinite().all(), name
        assert name not in LIKE_X or found.shape == batch.x.shape, name
        assert name not in ROWS or found.shape == (N,), name


def test_every_ability_has_a_call() -> None:
    assert {ability.__name__ for ability in ABILITIES} <= set(CALLS)
