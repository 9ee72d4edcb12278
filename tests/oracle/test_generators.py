"""Generators as values: no checkerboard, blocks that pass on what they double, growing without a jump; and the
convolutions they are made of."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from figment.core.data import Batch, Image, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import Turn
from figment.models.adversarial.gan import GENERATORS, GANConfig
from figment.nn.generator import Modulated
from figment.nn.plain_generator import Doubling
from figment.nn.progressive import (
    ProgressiveDiscriminator,
    ProgressiveGenerator,
    equalise,
    growth,
    pooled,
    unit_length,
)
from figment.nn.resample import DownConv, UpConv

PHOTOGRAPH = (3, 32, 32)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def spec(*shape: int) -> Spec:
    return Spec(name="test", x=Image(channels=shape[0], height=shape[1], width=shape[2]), c={})


def checkerboard(x: Tensor) -> float:
    """How much neighbours alternate, over how much the four pixels of a square vary at all: 1 if only that."""
    a, b, c, d = x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]
    alternating = (a - b - c + d).square().mean() / 4
    square = torch.stack([a, b, c, d])
    return float(alternating / (square - square.mean(0)).square().sum(0).mean())


def test_doubling_draws_no_checkerboard_where_transposed_convolution_does() -> None:
    even = torch.ones(1, 8, 6, 6)
    smooth = UpConv(8, 4)(even)[..., 2:-2, 2:-2]
    torch.testing.assert_close(smooth, smooth[..., :1, :1].expand_as(smooth), atol=1e-6, rtol=0)
    rough = nn.ConvTranspose2d(8, 4, 3, stride=2, padding=1, output_padding=1)(even)[..., 2:-2, 2:-2]
    assert (rough - rough[..., :1, :1]).abs().amax() > 0.1


@pytest.mark.parametrize("name", GENERATORS)
def test_untrained_generators_have_no_checkerboard(name: str) -> None:
    """White noise has a third of a square's variance in its alternating part."""
    assert checkerboard(torch.randn(64, *PHOTOGRAPH)) == pytest.approx(1 / 3, abs=0.02)
    with torch.no_grad():
        x = GENERATORS[name](PHOTOGRAPH, 16, 16)(torch.randn(64, 16))
    assert checkerboard(x) < 0.34


@pytest.mark.parametrize("name", GENERATORS)
def test_every_generator_hears_its_code_and_its_label(name: str) -> None:
    network = GENERATORS[name](PHOTOGRAPH, 16, 8, 3)
    z, label = torch.randn(2, 16), torch.tensor([0, 1])
    x = network(z, label)
    assert x.shape == (2, *PHOTOGRAPH)
    assert x.abs().amax() <= 1
    assert (x - network(z.flip(0), label)).abs().mean() > 1e-3
    assert (x - network(z, label.flip(0))).abs().mean() > 1e-3


def test_a_residual_block_that_adds_nothing_doubles_its_input() -> None:
    block = Doubling(4, 4, 6)
    nn.init.zeros_(block.second.weight)
    nn.init.zeros_(block.second.bias)
    nn.init.dirac_(block.skip.weight)
    h = torch.randn(2, 4, 5, 3)
    expected = nn.functional.interpolate(h, scale_factor=2) * 2**-0.5
    torch.testing.assert_close(block(h, torch.randn(2, 6)), expected)


# -- growing --------------------------------------------------------------------------------------------------------


def test_growth_is_left_alone_and_then_mixed_in_level_by_level() -> None:
    assert [growth(p, 3, 0.6) for p in (0, 0.05, 0.1, 0.15, 0.2, 0.35, 0.6, 1)] == pytest.approx(
        [0, 0, 0, 0.5, 1, 1.5, 3, 3]
    )
    steps = torch.tensor([growth(i / 500, 3, 0.5) for i in range(501)])
    assert (steps.diff() >= 0).all()
    assert steps.diff().amax() < 0.05
    assert growth(0.3, 0, 0.5) == 0  # a picture of 4 pixels has nothing to grow to


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_level_that_is_mixed_in_by_nothing_is_the_doubled_old_network(level: int) -> None:
    """alpha = 0 of the new level is the network before it, for both players: there is no jump."""
    generator, judge = ProgressiveGenerator(PHOTOGRAPH, 8, 8, 3), ProgressiveDiscriminator(PHOTOGRAPH, 8, 3, group=4)
    z, label, x = torch.randn(8, 8), torch.arange(8) % 3, torch.randn(8, *PHOTOGRAPH)

    def at(grown: float) -> tuple[Tensor, Tensor, Tensor]:
        for network in (generator, judge):
            network.growth.fill_(grown)
        return generator(z, label), judge(x, label), generator.at_stage(x)

    with torch.no_grad():
        old, faint, new = at(level - 1), at(level - 1 + 1e-7), at(level)
    assert generator.stage()[0] == level
    for before, after, whole in zip(old, faint, new):
        torch.testing.assert_close(after, before, atol=1e-6, rtol=1e-6)
        assert (whole - before).abs().amax() > 1e-3
    blocks = pooled(old[0], 4 - level)  # nothing finer than the old level is drawn
    torch.testing.assert_close(nn.functional.interpolate(blocks, scale_factor=2 ** (4 - level)), old[0])


def test_photographs_grow_from_four_to_thirty_two_pixels() -> None:
    generator = ProgressiveGenerator(PHOTOGRAPH, 8, 8)
    assert generator.start[1:] == (4, 4)
    assert generator.levels == 3
    for level, side in enumerate((4, 8, 16, 32)):
        generator.growth.fill_(level)
        x = generator(torch.randn(1, 8))[0, 0]
        assert x.unique().numel() == side * side


def test_players_grow_with_the_progress_of_the_run_and_publish_what_they_reached() -> None:
    data = spec(3, 16, 24)
    model = GANConfig(size="tiny", latent=8, generator="progressive").build(data)
    batch = Batch(torch.randn(6, 3, 16, 24), {}, torch.arange(6).numpy())
    for progress, level in ((0.0, 0), (0.1, 0), (0.3, 1), (0.4, 2), (1.0, 2)):
        for player, layers in zip(model.players(), (model.discriminator.down, model.generator.up)):
            loss = player.loss(batch, Turn(0, progress)).value
            weights = [next(layer.parameters()) for layer in layers]
            grads = torch.autograd.grad(loss, weights, allow_unused=True)
            assert [grad is not None for grad in grads] == [k < level for k in range(2)]
        assert model.generator.stage()[0] == level == model.discriminator.stage()[0]
    assert "generator.growth" in dict(model.named_buffers())


def test_features_have_unit_length() -> None:
    h = unit_length(7 * torch.randn(5, 16, 3, 3))
    torch.testing.assert_close(h.square().mean(1), torch.ones(5, 3, 3))
    torch.testing.assert_close(unit_length(3 * h), h)


def test_equalised_layers_keep_their_scale_and_learn_at_one_pace() -> None:
    """Adam moves each learned weight by lr whatever the layer's width: every layer by one share of its deviation."""
    network = equalise(nn.Sequential(nn.Linear(4, 64), nn.Linear(1024, 64), nn.Conv2d(16, 64, 3)), deviation=0.1)
    inputs = (torch.randn(2000, 4), torch.randn(2000, 1024), torch.randn(60, 16, 8, 8))
    for layer, x in zip(network, inputs):
        assert layer(x).square().mean().item() == pytest.approx(2, rel=0.25)  # He: 2, that a ReLU halves
    before = [layer.weight.detach().clone() for layer in network]
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    sum(layer(x).square().mean() for layer, x in zip(network, inputs)).backward()
    optimiser.step()
    for layer, old in zip(network, before):
        share = (layer.weight - old).abs().mean() / old.std()
        assert share.item() == pytest.approx(1e-3 / 0.1, rel=0.1)


def test_generators_of_pictures_are_for_pictures() -> None:
    rows = Spec(name="rows", x=Vector(mean=(0.0, 0.0), scale=(1.0, 1.0)), c={})
    with pytest.raises(UsageError, match="generator=residual draws pictures"):
        GANConfig(generator="residual").build(rows)


def test_folded_convolutions_equal_resampling_and_convolving():
    x = torch.randn(2, 3, 6, 8)
    up, down = UpConv(3, 5), DownConv(3, 5)
    plain = nn.functional.conv2d(nn.functional.interpolate(x, scale_factor=2), up.weight, up.bias, padding=1)
    torch.testing.assert_close(up(x), plain, atol=1e-5, rtol=1e-5)
    plain = nn.functional.avg_pool2d(nn.functional.conv2d(x, down.weight, down.bias, padding=1), 2)
    torch.testing.assert_close(down(x), plain, atol=1e-5, rtol=1e-5)


def test_modulated_convolution_equals_modulated_weights():
    """y = W' * x with W'_oi = d_o W_oi s_i for each example (Karras et al. 2020, equations 1 and 3)."""
    layer = Modulated(nn.Conv2d(4, 6, 3, padding=1, bias=False), style=5)
    x, w = torch.randn(2, 4, 7, 5), torch.randn(2, 5)
    for i in range(2):
        kernel = layer.convolution.weight * layer.style(w[i])[None, :, None, None]
        kernel = kernel / (kernel.square().sum((1, 2, 3), keepdim=True) + 1e-6).sqrt()
        plain = nn.functional.leaky_relu(nn.functional.conv2d(x[i : i + 1], kernel, padding=1), 0.2) * 2**0.5
        torch.testing.assert_close(layer(x, w)[i : i + 1], plain, atol=1e-5, rtol=1e-5)
