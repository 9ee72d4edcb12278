"""Changes to pictures that a discriminator is shown, so that a generator does not learn them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from figment.core.data import Batch, Image, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import Turn
from figment.models.adversarial import augmentation
from figment.models.adversarial.gan import GANConfig


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def test_augmentation_has_the_gradient_of_what_it_shows():
    """At one draw of its chances it is linear in x plus a constant: finite differences agree with autograd."""
    x = torch.rand(3, 3, 6, 8, dtype=torch.float64, requires_grad=True)

    def fixed(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        return augmentation.augment(x, 0.7)

    assert torch.autograd.gradcheck(fixed, (x,), fast_mode=True)
    assert torch.equal(augmentation.augment(x, 0.0), x)
    assert (augmentation.augment(x, 1.0) != x).flatten(1).any(1).all()


def test_shifting_moves_pictures_by_whole_pixels():
    x = torch.arange(1.0, 1 + 16 * 24).view(1, 1, 16, 24).expand(400, 1, 16, 24)
    moved = augmentation.shift(x)
    corner = moved[:, 0, 8, 12] - x[0, 0, 8, 12]  # -24 for each row down, -1 for each column to the right
    down, right = (-corner / 24).round(), torch.remainder(-corner + 12, 24) - 12
    assert set(down.tolist()) == {-2.0, -1.0, 0.0, 1.0, 2.0}
    assert set(right.tolist()) == {-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0}
    one = int((down == 2).nonzero()[0])
    assert (moved[one, 0, :2] == 0).all()


def test_augmentation_does_not_leak_at_the_largest_adaptive_share():
    """Pictures with one bright pixel, at each of 25 places, are changed to pictures whose means are as far from
    linearly dependent as no mixture of them can hide: what is drawn can only pass if its places are the data's."""
    torch.manual_seed(0)
    basis = torch.eye(25).view(25, 1, 5, 5)
    means = torch.stack([augmentation.augment(basis, augmentation.MOST).view(25, 25) for _ in range(4000)]).mean(0)
    assert torch.linalg.svdvals(means).amin() > 0.05
    blurred = torch.stack([augmentation.shift(basis).view(25, 25) for _ in range(4000)]).mean(0)
    assert torch.linalg.svdvals(blurred).amin() < 0.02  # which a change done to all may do: means no longer tell


def test_the_share_rises_while_the_discriminator_knows_too_much():
    share = torch.tensor(0.0)
    shares = [share := augmentation.adapted(share, torch.tensor(0.95), 0.6, 0.01) for _ in range(10)]
    assert shares[0] == pytest.approx(0.01 / augmentation.RISE)
    assert shares[-1] == augmentation.MOST
    assert augmentation.adapted(share, torch.tensor(0.6), 0.6, 0.01) < augmentation.MOST


def test_adaptive_augmentation_keeps_its_share_in_checkpoints_only():
    pictures = Spec(name="test", x=Image(channels=1, height=8, width=8))
    model = GANConfig(size="tiny", augment="adaptive", target=0.9, lazy=1).build(pictures)
    batch = Batch(torch.randn(64, 1, 8, 8).clamp(-1, 1), {}, np.arange(64))
    model.share.fill_(0.5)
    parts = model.discriminator_loss(batch, Turn(8, 0.04)).parts  # steps of a two-hundredth of the run
    assert parts["share"] == model.share == pytest.approx(0.5 - 0.005 / augmentation.RISE)
    assert "share" in model.training_only
    with pytest.raises(UsageError, match="augment"):
        GANConfig(augment="diffaugment").build(Spec(name="test", x=Vector(mean=(0.0, 0.0), scale=(1.0, 1.0))))
