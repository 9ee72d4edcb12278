"""Codes of symbols: nearest vectors, their running means, a causal prior, and what is said when few are used."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import synthetic
from figment.core.alarms import from_log
from figment.core.data import Batch
from figment.core.model import Turn
from figment.core.noise import Noise
from figment.core.signs import LINES
from figment.models.autoencoders.vq_vae import MEMORY, VQVAE, VQVAEConfig
from figment.nn.causal import CausalGrid


def model(form: str = "odd-labelled", **settings: object) -> VQVAE:
    torch.manual_seed(0)
    built = VQVAEConfig(size="tiny", codes=6, dimensions=3, **settings).build(synthetic.spec_of(form))
    with torch.no_grad():
        for parameter in built.symbols.parameters():
            parameter.normal_(0, 0.3)
    return built


def test_logits_of_a_place_depend_on_the_places_before_it_and_on_all_of_them() -> None:
    torch.manual_seed(0)
    net = CausalGrid(5, (3, 4), width=8, depth=4)
    torch.nn.init.normal_(net.logits_out.weight)
    symbols = torch.zeros(1, 3, 4, dtype=torch.int64)
    base = net(symbols).flatten(1, 2)
    reached = []
    for place in range(12):
        other = symbols.clone()
        other[0, place // 4, place % 4] = 3
        reached.append(((net(other).flatten(1, 2) - base).abs().amax(2)[0] > 1e-9).tolist())
    assert reached == [[after > place for after in range(12)] for place in range(12)]


@torch.no_grad()
def test_the_prior_is_a_distribution_and_draws_follow_it() -> None:
    built = VQVAEConfig(size="tiny", codes=2).build(synthetic.spec_of("grey-labelled"))
    built.symbols = CausalGrid(2, (2, 2), 8, 2, classes=4)
    built.grid = (2, 2)
    for parameter in built.symbols.parameters():
        parameter.normal_(0, 0.5)
    every = torch.cartesian_prod(*[torch.arange(2)] * 4).view(16, 2, 2)
    mass = built.log_prior(every, torch.ones(16, dtype=torch.int64)).exp()
    assert float(mass.sum()) == pytest.approx(1, abs=1e-5)
    count = 4000
    z = built.prior({"label": torch.ones(count, dtype=torch.int64)}, Noise(0, range(count)))
    drawn = (z.permute(0, 2, 3, 1)[..., None, :] - built.codebook).square().sum(-1).argmin(-1).flatten(1)
    frequency = (drawn @ torch.tensor([8, 4, 2, 1])).bincount(minlength=16) / count
    torch.testing.assert_close(frequency, mass, atol=0.03, rtol=0)


def test_symbols_are_those_of_the_nearest_vectors_and_the_gradient_passes_straight() -> None:
    built = model()
    x = torch.rand(4, 3, 9, 7) * 2 - 1
    z, k = built.encoder(x), built.indices(x)
    distance = torch.cdist(z.permute(0, 2, 3, 1).flatten(0, 2), built.codebook)
    assert torch.equal(k.flatten(), distance.argmin(1))
    torch.testing.assert_close(built.encode(x, {}), built.codebook[k].permute(0, 3, 1, 2))
    batch = Batch(x, {"label": torch.zeros(4, dtype=torch.int64)}, np.arange(4))
    built.config = built.config.model_copy(update={"commitment": 0.0})
    built.loss(batch, Turn(5, 0.5)).value.backward()
    assert built.encoder.project_in.weight.grad is not None  # through the decoder alone
    assert float(built.encoder.project_in.weight.grad.abs().sum()) > 0


def test_the_codebook_is_the_running_mean_of_what_is_nearest() -> None:
    built = model(revive=False)
    built.usage.fill_(4.0)
    before, z = built.codebook.clone(), torch.randn(2, 3, *built.grid)
    k = built._nearest(z)
    share = built._follow(z, k, Turn(1, 0.1))
    flat = z.permute(0, 2, 3, 1).flatten(0, 2)
    for j in range(6):
        mine = flat[k.flatten() == j]
        weight = MEMORY * 4.0 + (1 - MEMORY) * len(mine)
        wanted = (MEMORY * 4.0 * before[j] + (1 - MEMORY) * mine.sum(0)) / weight
        torch.testing.assert_close(built.codebook[j], wanted)
        assert float(share[j]) == pytest.approx(len(mine) / len(flat))


def far_from(used: Tensor) -> Tensor:
    """All vectors but the first where no data is."""
    return torch.cat([used[:1], used[1:] + 1000])


def test_vectors_that_are_hardly_used_are_put_where_the_data_is() -> None:
    built, z = model(), torch.randn(8, 3, 4, 4)
    built.codebook.copy_(far_from(built.codebook))
    built.usage.zero_()
    built.usage[0] = 100.0
    first = built.codebook[0].clone()
    built._renew(z, Turn(1, 0.1))
    assert torch.equal(built.codebook[0], first)
    flat = z.permute(0, 2, 3, 1).flatten(0, 2)
    assert float(torch.cdist(built.codebook[1:], flat).amin(1).max()) < 1e-2


def test_a_codebook_that_is_not_used_is_told() -> None:
    told = from_log([{"autoencoder.loss": 1.0 / (i + 1), "autoencoder.perplexity": 1.5} for i in range(LINES)])
    assert len(told) == 1
    assert "model.revive=true" in told[0].advice
    assert from_log([{"autoencoder.loss": 1.0 / (i + 1), "autoencoder.perplexity": 9.0} for i in range(LINES)]) == []
    whole = {"autoencoder.perplexity": 1.9, "autoencoder.used": 0.95}  # of two
    assert from_log([{"autoencoder.loss": 1.0 / (i + 1), **whole} for i in range(LINES)]) == []
