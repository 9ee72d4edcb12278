"""Few steps and fewer: a deterministic solver against the long chain, and a student against its teacher."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import figment
from figment.core.model import with_sampling
from figment.core.run import RunFolder
from figment.evaluate.distillation import distill
from figment.evaluate.measure import measure
from figment.use import draw, load

pytestmark = pytest.mark.learn


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("teacher") / "run"
    return figment.train("diffusion", "digits", folder, steps=400, model__size="tiny")


def test_twenty_steps_of_ddim_do_nearly_as_well_as_a_thousand(teacher: RunFolder) -> None:
    """Without fresh noise a sample is a function of its noise, 50 steps invert it, and 20 steps come within 1.5 times
    the distance of 1000 (Song et al., "Denoising diffusion implicit models", 2021)."""
    model, dataset = load(teacher.path), teacher.read_run().data.build()
    distance = {}
    for steps in (20, 1000):
        x, c = draw(model, 400, options={"sampler": "ddim", "steps": steps})
        quality = measure(x, dataset, None, c["label"])["quality"]
        assert quality
        distance[steps] = quality["frechet"]
    assert distance[20] <= 1.5 * distance[1000], distance
    options = {"sampler": "ddim", "steps": 50}
    assert torch.equal(draw(model, 4, options=options)[0], draw(model, 4, options=options)[0])
    ways, batch = with_sampling(model, options), dataset.held_out.gather(np.arange(32)).suited(model.spec)
    with torch.no_grad():
        again = ways.decode(ways.encode(batch.x, batch.c), batch.c)
    error = (again.clamp(-1, 1) - batch.x).square().flatten(1).mean(1)
    assert float((10 * (4 / error).log10()).mean()) >= 25


def test_a_student_beats_its_teacher_at_as_many_evaluations(teacher: RunFolder, tmp_path: Path) -> None:
    rows = distill(teacher.path, tmp_path / "student", evaluations=4, steps=150, n=500)["rows"]
    found = {(row["model"], row["evaluations"]): row["quality"]["frechet"] for row in rows}
    assert found["distilled", 4] < found["diffusion", 4], found
