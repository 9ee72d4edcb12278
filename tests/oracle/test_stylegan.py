"""Styles: what mixing, truncation, noise and path lengths do, against what they should."""

from __future__ import annotations

import itertools

import pytest
import torch

from figment.core.data import Batch, Classes, Image, Spec
from figment.core.model import Turn, with_sampling
from figment.core.noise import Noise
from figment.models.adversarial.stylegan import StyleGAN, StyleGANConfig, path_lengths
from figment.nn.style import Slow, StyleMapping

LABEL = Classes(names=("a", "b", "c"), frequencies=(0.5, 0.25, 0.25))
SPEC = Spec(name="test", x=Image(channels=3, height=18, width=13), c={"label": LABEL})


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def model(**settings: object) -> StyleGAN:
    return StyleGANConfig(size="tiny", latent=8, **settings).build(SPEC)


def batch(count: int = 6) -> Batch:
    x = torch.randn(count, *SPEC.x.shape).clamp(-1, 1)
    return Batch(x, {"label": torch.arange(count) % 3}, torch.arange(count).numpy())


def codes(count: int, *seeds: int) -> list[torch.Tensor]:
    return [Noise(seed, range(count)).normal((8,)) for seed in seeds]


def test_mixing_before_the_first_and_after_the_last_layer_is_one_picture():
    net, c = model(), {"label": torch.arange(4) % 3}
    first, second = codes(4, 0, 1)
    coarse, fine = (with_sampling(net, {}).styles(z, c) for z in (first, second))
    torch.testing.assert_close(net.mixed(coarse, fine, 0), net.decode(second, c))
    torch.testing.assert_close(net.mixed(coarse, fine, net.synthesis.layers), net.decode(first, c))
    between = [net.mixed(coarse, fine, layer) for layer in range(net.synthesis.layers + 1)]
    changes = [(a - b).abs().amax() for a, b in itertools.pairwise(between)]
    assert min(changes) > 1e-4, "each layer's style shows"


def test_training_mixes_the_share_asked_for():
    for share in (0.0, 0.5, 1.0):
        w = model(mixing=share).styles(batch(600))
        mixed = (w != w[:, :1]).flatten(1).any(1).float().mean().item()
        assert mixed == pytest.approx(share, abs=0.07)
        assert (w[:, 0] == w[:, -1]).all(1).float().mean().item() == pytest.approx(1 - share, abs=0.07)


def test_truncation_draws_styles_together():
    net, c, noise = model(), {"label": torch.zeros(5, dtype=torch.long)}, Noise(3, range(5))
    net.average.normal_()
    full = with_sampling(net, {"truncation": 1}).sample(c, noise)
    torch.testing.assert_close(full, net.sample(c, Noise(3, range(5))))
    alike = with_sampling(net, {"truncation": 0}).sample(c, Noise(3, range(5)))
    torch.testing.assert_close(alike, alike[:1].expand_as(alike))
    half = with_sampling(net, {"truncation": 0.5}).sample(c, Noise(3, range(5)))
    assert 0 < half.std(0).mean() < full.std(0).mean()


def test_noise_shows_as_strongly_as_it_was_learned():
    net, c = model(), {"label": torch.zeros(2, dtype=torch.long)}
    z = codes(1, 0)[0].expand(2, -1)
    w = net.truncated(net.mapping(z, c["label"]), 1.0)
    noise = torch.randn(2, net.synthesis.pixels)
    assert torch.equal(*net.synthesis(w, noise)), "at first not at all"
    torch.nn.init.ones_(net.synthesis.strength)
    first, second = net.synthesis(w, noise)
    assert (first - second).abs().amax() > 1e-2
    assert noise.shape[1] == sum(rows * columns for rows, columns in net.synthesis.sizes)


def test_path_lengths_of_a_linear_picture():
    """x = A w, of one layer: |J^T y| = |A^T y|, y normal noise over the root of the number of pixels."""
    a, w = torch.randn(3 * 4 * 5, 7), torch.randn(6, 1, 7, requires_grad=True)
    x = (w[:, 0] @ a.T).view(6, 3, 4, 5)
    torch.manual_seed(1)
    lengths = path_lengths(x, w)
    torch.manual_seed(1)
    y = torch.randn(6, 3, 4, 5) / 20**0.5
    torch.testing.assert_close(lengths, (y.flatten(1) @ a).norm(dim=1))


def test_mapped_codes_have_no_length_and_learn_slowly():
    mapping = StyleMapping(8, 16, 3)
    z = torch.randn(4, 8)
    torch.testing.assert_close(mapping(z), mapping(5 * z))
    layer, plain = Slow(8, 4, 100.0), torch.nn.Linear(8, 4, bias=False)
    with torch.no_grad():
        plain.weight.copy_(layer.weight / 100)
    changes = []
    for net in (layer, plain):
        before = net(z).detach()
        optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
        net(z).square().sum().backward()
        optimiser.step()
        changes.append((net(z) - before).abs().max())
    assert changes[0] < 0.03 * changes[1]


def test_the_generator_learns_the_mean_style_and_the_mean_length():
    net = model(path_length=0.1)
    losses = [net.generator_loss(batch(), Turn(count, 0.0)) for count in range(400)]
    assert "path_length" in losses[0].parts
    assert "path_length" not in losses[1].parts
    assert net.length == pytest.approx(losses[0].parts["path_length"].item(), rel=0.5)
    w = net.mapping(torch.randn(3000, 8), torch.arange(3000) % 3).mean(0)
    assert (net.average - w).norm() < 0.1 * net.mapping(torch.randn(3000, 8), torch.arange(3000) % 3).norm(dim=1).mean()
    published = [name for name, _ in net.named_buffers() if not name.startswith(net.training_only)]
    assert published == ["average"]
