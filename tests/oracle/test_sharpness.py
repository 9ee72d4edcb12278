"""The variance of the Laplacian, where it can be counted by hand."""

from __future__ import annotations

import pytest
import torch

from figment.data import parse
from figment.evaluate.measure import measure
from figment.evaluate.report import evaluate
from figment.evaluate.sharpness import sharpness
from figment.workbench import train


@pytest.mark.parametrize("size", [(1, 5, 9), (3, 7, 4)])
def test_a_single_bright_pixel(size: tuple[int, int, int]) -> None:
    """-4 where it is and 1 at its four neighbours: a mean of 0 and a sum of squares of 20."""
    x = torch.zeros(2, *size)
    x[1, :, 2, 2] = 0.5
    assert sharpness(x).tolist() == pytest.approx([0.0, 0.25 * 20 / (size[1] * size[2])])


def test_a_flat_picture_has_none_and_blur_takes_it_away() -> None:
    x = torch.rand(4, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    blurred = torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    assert sharpness(torch.full((1, 3, 1, 1), 0.3)).item() == 0
    assert (sharpness(blurred) < 0.2 * sharpness(x)).all()


def test_evaluation_sets_samples_beside_data() -> None:
    """Real digits are as sharp as real digits; their mean is not."""
    data = parse("digits").build()
    x = data.train.gather(torch.arange(200).numpy()).x
    real, soft = (measure(part, data, "fixed")["quality"] for part in (x, x.mean(0, keepdim=True).expand_as(x)))
    assert real is not None and soft is not None
    assert real["sharpness"] == pytest.approx(real["sharpness_real"], rel=0.15)
    assert soft["sharpness"] < 0.25 * soft["sharpness_real"]


def test_what_is_rebuilt_is_set_beside_what_was_given(tmp_path) -> None:
    """A code of one number leaves little more than the mean picture."""
    figures = evaluate(train("autoencoder", "digits", tmp_path / "run", steps=30, model__latent=1))["reconstruction"]
    assert 0 < figures["sharpness"] < 0.5 * figures["sharpness_real"]
