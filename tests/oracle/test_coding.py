"""Compression: what is pushed is popped, at the price that the probabilities say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from figment import train
from figment.coding.ans import CHECKSUM, TOTAL, Stack, intervals
from figment.coding.lossless import compress, decompress
from figment.core.data import ArraySplit, Dataset, Image, Spec
from figment.core.errors import UsageError
from figment.core.model import Budget
from figment.explorer.scene import Scene, explore
from figment.models.autoencoders.vae import VAEConfig
from figment.models.classical.naive_bayes import NaiveBayesConfig
from figment.models.classical.ppca import PPCAConfig


def test_symbols_come_back_in_reverse_at_the_price_of_their_probabilities():
    generator = np.random.default_rng(0)
    mass = generator.dirichlet(np.full(7, 0.3))
    edges = intervals(np.log(mass))
    symbols = generator.choice(7, (4000, 5), p=mass)
    stack = Stack(5)
    empty = stack.bits
    for row in symbols:
        stack.push(edges[row], edges[row + 1] - edges[row])
    price = -np.log2(mass)[symbols].sum()
    assert abs((stack.bits - empty) / price - 1) < 0.005
    again = Stack.from_bytes(stack.to_bytes(), 5)

    def find(point):
        symbol = np.searchsorted(edges, point, side="right") - 1
        return symbol, edges[symbol], edges[symbol + 1] - edges[symbol]

    for row in symbols[::-1]:
        np.testing.assert_array_equal(again.pop(5, find), row)
    assert again.bits == empty


def test_every_outcome_has_an_interval_however_unlikely():
    edges = intervals(np.array([[0.0, -800.0, -900.0, -np.inf]]))
    assert (np.diff(edges) >= 1).all()
    assert edges[0, 0] == 0
    assert edges[0, -1] == TOTAL


def test_bits_borrowed_from_below_the_stack_are_given_back():
    """A pop before any push reads random bits; the pushes that undo it restore exactly those."""
    stack = Stack(3)
    before = stack.to_bytes()[:-CHECKSUM]
    drawn = [stack.pop(3, lambda p: (p // 16, p // 16 * 16, np.full_like(p, 16))) for _ in range(40)]
    for symbol in drawn[::-1]:
        stack.push(symbol * 16, np.full(3, 16))
    assert stack.to_bytes()[: len(before)] == before


def test_a_file_cut_short_or_damaged_is_a_usage_error():
    stack = Stack(4)
    stack.push(np.zeros(4, np.int64), np.full(4, 9))
    whole = stack.to_bytes()
    assert Stack.from_bytes(whole, 4).to_bytes() == whole
    flipped = bytes([*whole[:9], whole[9] ^ 16, *whole[10:]])
    for spoilt in (b"", b"1234567", whole[:-4], whole + b"1234", flipped):
        with pytest.raises(UsageError, match="cut short or damaged"):
            Stack.from_bytes(spoilt, 4)


@pytest.mark.parametrize(("binary", "observation"), [(True, "bernoulli"), (False, "categorical")])
def test_pictures_cost_what_a_factorised_model_says(binary: bool, observation: str):
    generator = np.random.default_rng(0)
    dark = generator.uniform(size=(1, 5, 4)) ** 3
    bits = 255 * (generator.uniform(size=(600, 1, 5, 4)) < dark)
    grey = np.clip(generator.normal(255 * dark, 9, (600, 1, 5, 4)), 0, 255)
    x = (bits if binary else grey).astype(np.uint8)
    spec = Spec(name="made", x=Image(channels=1, height=5, width=4, binary=binary))
    data = Dataset(spec, {"train": ArraySplit(spec, x, {})}, "made")
    model = NaiveBayesConfig(observation=observation).build(spec)
    list(model.fit(data, Budget()))
    shown = data.train.gather(np.arange(505)).x  # the last lot is not full
    stack = compress(model, shown, {})
    stated = -float(model.log_prob(shown, {}).double().sum()) / np.log(2)
    assert stated < stack.bits < 1.01 * stated + 64 * len(stack.heads)
    assert torch.equal(decompress(model, stack, 505, {}), shown)


def test_a_density_is_no_compressor():
    spec = Spec(name="made", x=Image(channels=1, height=5, width=4))
    with pytest.raises(UsageError, match="only a density"):
        compress(PPCAConfig(latent=2).build(spec), torch.zeros(2, 1, 5, 4), {})


@pytest.mark.parametrize(("decoder", "sigma"), [("bernoulli", "global"), ("logistic", "global"), ("logistic", "pixel")])
def test_bits_back_costs_the_bound_and_decodes_exactly(decoder: str, sigma: str):
    generator = np.random.default_rng(0)
    binary = decoder == "bernoulli"
    x = (
        255 * generator.integers(0, 2, (200, 1, 6, 6)) if binary else generator.integers(90, 170, (200, 1, 6, 6))
    ).astype("u1")
    spec = Spec(name="made", x=Image(channels=1, height=6, width=6, binary=binary))
    torch.manual_seed(0)
    model = VAEConfig(size="tiny", latent=3, decoder=decoder, sigma=sigma).build(spec).eval()
    shown = spec.x.to_model(x)
    stack = compress(model, shown, {}, lanes=4)
    with torch.no_grad():
        bound = torch.stack([model.bound(shown, {}) for _ in range(20)]).mean(0)
    stated = -float(bound.double().sum()) / np.log(2)
    assert abs(stack.bits - stated) < 0.02 * stated + 120 * 4  # a head, and the first code's bits, for each lane
    assert torch.equal(decompress(model, stack, 200, {}), shown)


def test_masses_of_a_decoder_are_its_likelihood_and_sum_to_one():
    spec = Spec(name="made", x=Image(channels=1, height=3, width=2))
    model = VAEConfig(size="tiny", latent=2, decoder="logistic", sigma="pixel").build(spec).eval()
    x, z = spec.x.to_model(np.random.default_rng(0).integers(0, 256, (5, 1, 3, 2)).astype("u1")), torch.randn(5, 2)
    with torch.no_grad():
        masses = model.log_masses(z, {}, 5)
        y = model._decode(z, {})
        own = masses.gather(2, ((x.flatten(1) + 1) * 127.5).round().long()[..., None])[..., 0].sum(1)
        torch.testing.assert_close(own, model.observation.log_likelihood(x, y), atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(masses.exp().sum(2), torch.ones(5, 6), atol=1e-4, rtol=0)


def test_the_explorer_compresses_to_the_bit(tmp_path: Path):
    run = train("naive-bayes", "digits", tmp_path / "run", steps=1).path
    found = explore(Scene(run), "compress", (), {"lossless": True, "count": 100})
    assert found.figures["exact"] is True
    assert found.figures["known_to_both"] == ["label"]
    assert 1 < found.figures["ratio_to_stated"] < 1.2  # a hundred small pictures, and sixteen heads
    assert found.figures["bytes"] < found.figures["png_bytes"]
    mixture = train("gaussian-mixture", "digits", tmp_path / "density", steps=1).path
    with pytest.raises(UsageError, match="only a density"):
        explore(Scene(mixture), "compress", (), {"lossless": True})
