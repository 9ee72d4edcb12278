"""What a VAE observes and maximises, against closed forms: rows C4, C13, C16 and X5 of the catalogue."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal

from figment.core.config import parse
from figment.core.data import Batch, Dataset, Image, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import HasBound, Model, ModelConfig, Turn
from figment.data import parse as data
from figment.evaluate.likelihood import importance, likelihood
from figment.models.autoencoders.likelihoods import logistic_log_mass
from figment.models.autoencoders.objectives import at_least, multiplied, total_correlation
from figment.models.autoencoders.observations import Gaussian, PixelGaussian
from figment.models.autoencoders.vae import VAEConfig

LEVELS = torch.linspace(-1, 1, 256)


@pytest.mark.parametrize("mean", [-1.5, -1.0, -0.3, 0.999, 3.0])
@pytest.mark.parametrize("scale", [1e-3, 0.01, 0.3, 20.0])
def test_discretised_logistic_masses_sum_to_one_and_are_differences_of_its_distribution(mean: float, scale: float):
    x = LEVELS[:, None]
    masses = logistic_log_mass(x, torch.full_like(x, mean), torch.tensor(math.log(scale)))
    assert masses.double().exp().sum().item() == pytest.approx(1, abs=1e-4)
    edges = torch.cat([torch.tensor([-math.inf]), (LEVELS[1:] + LEVELS[:-1]) / 2, torch.tensor([math.inf])]).double()
    expected = torch.sigmoid((edges - mean) / scale).diff()
    torch.testing.assert_close(masses.double().exp(), expected, atol=2e-4, rtol=0)


def test_discretised_logistic_has_a_gradient_where_its_masses_vanish():
    x = torch.tensor([[1.0], [0.0039215686]])
    mean, log_scale = torch.full((2, 1), -1.0, requires_grad=True), torch.tensor(-7.0, requires_grad=True)
    masses = logistic_log_mass(x, mean, log_scale)
    masses.sum().backward()
    assert masses.isfinite().all()
    assert (mean.grad > 100).all()
    assert log_scale.grad.isfinite()


def test_a_sigma_for_each_pixel_is_torch_normal():
    torch.manual_seed(0)
    x, y = torch.randn(3, 2, 4, 4), torch.randn(3, 4, 4, 4)
    mean, log_variance = y.chunk(2, 1)
    expected = Normal(mean, (log_variance / 2).exp()).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(PixelGaussian().log_likelihood(x, y), expected, atol=1e-2, rtol=1e-4)


def test_mean_and_sum_of_squares_are_values_of_sigma():
    """X5: -log p(x | z) is the mean of squares at sigma^2 = D/2, their sum at sigma^2 = 1/2, up to a constant."""
    x, a, b = torch.randn(3, 5, 1, 6, 6)
    for sigma, weight in ((math.sqrt(36 / 2), 1 / 36), (math.sqrt(1 / 2), 1.0)):
        observed = Gaussian(sigma)
        difference = observed.log_likelihood(x, b) - observed.log_likelihood(x, a)
        squares = [(x - y).square().flatten(1).sum(1) for y in (a, b)]
        torch.testing.assert_close(difference, weight * (squares[0] - squares[1]), atol=1e-4, rtol=1e-4)


class Fixed(nn.Module):
    """The network of a linear-Gaussian model: x -> moments of a q that is too wide, z -> W z."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None):
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, h: Tensor, embedding: Tensor | None) -> Tensor:
        y = h.float() @ self.weight.T
        return y if self.bias is None else torch.cat([y, self.bias.expand(len(h), -1)], 1)


def test_importance_weighted_bounds_rise_to_the_evidence():
    torch.manual_seed(0)
    weight, variance = torch.tensor([[1.5, 0.0], [0.0, 0.7], [0.0, 0.0]]), 0.4
    spec = Spec(name="rows", x=Vector(mean=(0.0,) * 3, scale=(1.0,) * 3))
    vae = VAEConfig(latent=2, sigma=math.sqrt(variance)).build(spec)
    precision = weight.square().sum(0) / variance + 1
    vae.decoder = Fixed(weight)
    vae.encoder = Fixed((weight / variance / precision).T * 0.8, (3 / precision).log()[None])  # shrunk, and too wide
    evidence = MultivariateNormal(torch.zeros(3), weight @ weight.T + variance * torch.eye(3))
    x = evidence.sample((400,))
    with torch.no_grad():
        bounds = [importance(vae, k, x, {}).mean().item() for k in (1, 5, 50, 2000)]
        elbo = torch.stack([vae.bound(x, {}) for _ in range(50)]).mean().item()
    exact = evidence.log_prob(x).mean().item()
    assert bounds == sorted(bounds)
    assert bounds[0] == pytest.approx(elbo, abs=0.3)
    assert bounds[1] < exact - 0.02
    assert bounds[-1] == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize(("batch", "tolerance"), [(2000, 0.05), (250, 0.1)])
def test_total_correlation_of_a_correlated_normal_is_its_closed_form(batch: int, tolerance: float):
    """q(z) = N(0, S) for codes of normal means: TC = 1/2 (sum_j log S_jj - log det S)."""
    torch.manual_seed(0)
    noise = torch.tensor([0.3, 0.5])
    mixing = torch.tensor([[1.0, 0.0], [0.9, 0.4]])
    mean = torch.randn(2000, 2) @ mixing.T
    log_variance = (2 * noise.log()).expand_as(mean)
    z = mean + noise * torch.randn_like(mean)
    covariance = mixing @ mixing.T + noise.square().diag()
    expected = 0.5 * (covariance.diag().log().sum() - torch.logdet(covariance)).item()
    parts = zip(*(tensor.split(batch) for tensor in (z, mean, log_variance)))
    found = torch.stack([total_correlation(*part, rows=2000) for part in parts]).mean().item()
    assert expected > 0.4
    assert found == pytest.approx(expected, abs=tolerance)
    alone = torch.randn(2000, 2)
    independent = total_correlation(alone + noise * torch.randn(2000, 2), alone, log_variance, 2000)
    assert independent.item() == pytest.approx(0, abs=0.05)


def test_free_bits_are_a_floor_without_a_pull():
    kl = torch.tensor([[0.1, 2.0], [0.3, 4.0]], requires_grad=True)
    value = at_least(kl, 0.5)
    value.backward()
    assert value.item() == pytest.approx(0.5 + 3.0)
    assert kl.grad.tolist() == [[0.0, 0.5], [0.0, 0.5]]
    assert at_least(kl, 0.0).item() == pytest.approx(kl.sum(1).mean().item())


def test_the_multiplier_settles_where_the_constraint_holds():
    """min over e of -log e + l/2 (e^2 / kappa^2 - 1) is e = kappa / sqrt(l): at the constraint, l = 1."""
    for start in (1e-3, 1e3):
        multiplier = torch.tensor(start)
        for _ in range(2000):
            excess = 1 / multiplier - 1
            multiplier = multiplied(multiplier, excess)
        assert multiplier.item() == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize("objective", ["elbo", "tc", "geco", "iwae"])
@pytest.mark.parametrize("shape", [(3,), (1, 6, 5)])
def test_every_objective_learns_and_publishes_no_multiplier(objective: str, shape: tuple[int, ...]):
    x: Vector | Image = Vector(mean=(0.0,) * 3, scale=(1.0,) * 3)
    x = x if len(shape) == 1 else Image(channels=1, height=6, width=5)
    vae = parse(VAEConfig, {"objective": objective, "size": "tiny"} | ({"kappa": 0.1} if objective == "geco" else {}))
    model = vae.build(Spec(name="made", x=x))
    batch = Batch(torch.rand(16, *shape), {}, np.arange(16))
    loss = model.loss(batch, Turn(1, 0.5, rows=100))
    loss.value.backward()
    assert loss.value.isfinite()
    assert all(p.grad is not None for p in model.parameters())
    assert {"nll", "kl", "bound", "active", "sigma"} <= loss.parts.keys()
    assert (model.multiplier.item() > 1) == (objective == "geco")  # the first error is far above kappa


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"objective": "iwae", "beta": 4}, "has no beta"),
        ({"objective": "tc", "free_bits": 0.1}, "has no free_bits"),
        ({"draws": 5}, "has no draws"),
        ({"kappa": 0.1}, "has no kappa"),
        ({"objective": "geco"}, "kappa=0.1"),
        ({"objective": "geco", "kappa": 0.1, "sigma": 0.5}, "decoder=gaussian sigma=global"),
        ({"decoder": "bernoulli", "sigma": "pixel"}, "has no sigma"),
        ({"sigma": "none"}, "'pixel'"),
    ],
)
def test_settings_that_do_nothing_are_refused(settings: dict[str, object], told: str):
    with pytest.raises(UsageError, match=told):
        parse(VAEConfig, settings)


def test_8_bit_decoders_are_for_pictures():
    with pytest.raises(UsageError, match="8-bit pictures"):
        VAEConfig(decoder="logistic").build(Spec(name="rows", x=Vector(mean=(0.0,), scale=(1.0,))))


class BoastConfig(ModelConfig):
    kind: str = "boast"
    accepts = (Image,)


class Boast(Model, HasBound):
    """Claims `nats` for every picture."""

    measure = "mass"

    def __init__(self, spec: Spec, nats: float):
        super().__init__(BoastConfig(), spec)
        self.nats = nats

    def bound(self, x: Tensor, c: object) -> Tensor:
        return torch.full((len(x),), self.nats)


def test_less_than_the_chance_in_the_draws_is_impossible():
    drawn: Dataset = data("digits", {"binarise": "dynamic"}).build()
    entropy = likelihood(Boast(drawn.spec, -100.0), drawn)
    assert entropy is not None
    assert not entropy["alarms"]
    assert entropy["nats"] == -100
    (alarm,) = likelihood(Boast(drawn.spec, 1.0 - entropy["entropy"]), drawn)["alarms"]  # type: ignore[index]
    assert "chance" in alarm


def test_a_model_of_black_and_white_has_no_likelihood_of_grey():
    drawn, grey = data("digits", {"binarise": "dynamic"}).build(), data("digits").build()
    with pytest.raises(UsageError, match="black and white"):
        likelihood(Boast(drawn.spec, -100.0), grey)


def test_importance_weights_are_of_models_that_have_some():
    drawn = data("digits", {"binarise": "dynamic"}).build()
    with pytest.raises(UsageError, match="leave --draws out"):
        likelihood(Boast(drawn.spec, -100.0), drawn, draws=5)
