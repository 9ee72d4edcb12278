"""The discriminator that sees pictures as a frozen denoiser does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from exact_denoiser import pictures, rows
from figment.core.data import Batch
from figment.core.errors import UsageError
from figment.core.model import Turn
from figment.models.diffusion.diffusion import Diffusion, DiffusionConfig
from figment.models.diffusion.distilled import Distilled, DistilledConfig
from figment.models.diffusion.judge import DenoiserJudge
from figment.nn.dit import DiT

SHAPE = (1, 9, 13)


def denoiser(network: str = "unet") -> Diffusion:
    torch.manual_seed(0)
    blocks = 8 if network == "dit" else 1
    config = DiffusionConfig(size="tiny", network=network, blocks=blocks)  # type: ignore[arg-type]
    model = config.build(pictures(*SHAPE, classes=3))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.requires_grad_(False).eval()


def student(**settings: Any) -> Distilled:
    torch.manual_seed(0)
    spec = pictures(*SHAPE, classes=3)
    config = DistilledConfig(size="tiny", evaluations=1, first=DiffusionConfig(size="tiny"), **settings)
    return config.build(spec)


@pytest.mark.parametrize("network", ["unet", "dit"])
def test_it_learns_and_the_denoiser_does_not(network: str) -> None:
    teacher = denoiser(network)
    judge = DenoiserJudge(teacher, SHAPE, 8, classes=3)
    x, label = torch.randn(4, *SHAPE, requires_grad=True), torch.tensor([0, 1, 2, 1])
    logits = judge(judge.sense(x), label)
    assert logits.shape == (4,)
    logits.square().sum().backward()
    assert x.grad is not None
    assert x.grad.flatten(1).abs().sum(1).all()
    assert all(p.grad is not None and p.grad.any() for p in judge.parameters())
    assert not {id(p) for p in teacher.parameters()} & {id(p) for p in judge.parameters()}


@torch.no_grad()
@pytest.mark.parametrize(("network", "through"), [("unet", [0, 1, 2]), ("dit", [1, 3])])
def test_maps_are_those_on_the_way_to_what_the_network_says(network: str, through: list[int]) -> None:
    teacher, made = denoiser(network), []
    own = teacher.network
    layers = own.blocks if isinstance(own, DiT) else [own.down[0].blocks[-1], own.down[1].blocks[-1], own.middle]
    for layer in layers:
        layer.register_forward_hook(lambda module, given, out: made.append(out))
    x, t = torch.randn(2, *SHAPE), torch.full((2,), 0.1)
    teacher.predict(x, t, {})
    passed = list(made)
    maps = teacher.maps(x, t)
    assert len(maps) == len(through)
    for seen, k in zip(maps, through):
        tokens = passed[k].ndim == 3
        torch.testing.assert_close(seen, passed[k].mT.reshape(seen.shape) if tokens else passed[k])


def test_its_slope_is_held_in_what_it_senses() -> None:
    """R1 of a judge that is linear in the maps is the square of its weights, whatever the denoiser makes of x."""
    own = student()
    assert isinstance(own.discriminator, DenoiserJudge)
    weight = torch.randn(own.discriminator.sense(torch.zeros(1, *SHAPE)).shape[1])
    own.discriminator.judge = lambda h, label=None: h @ weight  # type: ignore[method-assign]
    batch = Batch(torch.rand(4, *SHAPE) * 2 - 1, {"label": torch.tensor([0, 1, 2, 0])}, np.arange(4))
    slope = own.discriminator_loss(batch, Turn(0, 0.0)).parts["slope"]
    torch.testing.assert_close(slope, 2 * weight.square().sum(), rtol=1e-4, atol=0)


def test_one_evaluation_of_pictures_is_judged_by_the_teacher_others_by_the_data() -> None:
    spec = pictures(*SHAPE, classes=3)
    sights = {k: DistilledConfig(evaluations=k).fitted(spec) for k in (1, 4)}
    assert {k: (one.sight, one.gamma) for k, one in sights.items()} == {1: ("teacher", 1.0), 4: ("data", 0.3)}
    assert DistilledConfig(evaluations=1).fitted(rows(2, classes=3)).sight == "data"
    with pytest.raises(UsageError, match=r"model\.sight=teacher is for pictures"):
        DistilledConfig(evaluations=1, sight="teacher").check(rows(2))


def test_the_generator_hears_what_it_sees() -> None:
    own, x = student(), torch.zeros(2, *SHAPE, requires_grad=True)
    own.described(x, Turn(0, 0.0)).sum().backward()
    assert x.grad is not None
    assert x.grad.any()


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 5, 40)], ids=["small", "wide"])
@pytest.mark.parametrize(
    "settings",
    [
        {"deviation": True, "dropout": 0.2, "augment": "diffaugment"},
        {"regulariser": "spectral-norm"},
        {"regulariser": "clipping", "objective": "wasserstein"},
        {"regulariser": "gradient-penalty", "objective": "wasserstein"},
    ],
    ids=lambda settings: settings.get("regulariser", "r1+r2"),
)
def test_both_players_learn_by_it_in_every_game(shape: tuple[int, int, int], settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    spec = pictures(*shape, classes=3)
    config = DistilledConfig(size="tiny", evaluations=1, first=DiffusionConfig(size="tiny"), **settings)
    own = config.build(spec)
    batch = Batch(torch.rand(4, *shape) * 2 - 1, {"label": torch.tensor([0, 1, 2, 0])}, np.arange(4))
    for player in own.players():
        loss = player.loss(batch, Turn(0, 0.0)).value
        loss.backward()
        assert loss.isfinite()
        assert all(p.grad.isfinite().all() for p in player.parameters() if p.grad is not None)
