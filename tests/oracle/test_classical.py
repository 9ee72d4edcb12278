"""The closed-form models against scikit-learn, autograd-free algebra and sums that must be one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.naive_bayes import BernoulliNB
from sklearn.neighbors import KernelDensity

from figment.core.data import ArraySplit, Classes, Dataset, Image, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import Budget, Model
from figment.core.noise import Noise
from figment.models.classical.gda import GDAConfig
from figment.models.classical.kde import KDEConfig
from figment.models.classical.naive_bayes import NaiveBayesConfig
from figment.models.classical.ppca import PPCAConfig

CLASSES = Classes(names=("a", "b", "c"), frequencies=(0.5, 0.3, 0.2))


def rows(count: int = 900, dimensions: int = 4, labels: bool = True) -> tuple[Dataset, np.ndarray, np.ndarray]:
    """Three Gaussians, each with a covariance of its own."""
    generator = np.random.default_rng(0)
    y = generator.choice(3, count, p=CLASSES.frequencies)
    turn = generator.normal(size=(3, dimensions, dimensions)) * 0.6
    x = (
        generator.normal(size=(3, dimensions))[y] * 2
        + (turn[y] @ generator.normal(size=(count, dimensions, 1)))[..., 0]
    )
    x = x.astype(np.float32)
    value = Vector(mean=(0.0,) * dimensions, scale=(1.0,) * dimensions)
    spec = Spec(name="made", x=value, c={"label": CLASSES} if labels else {})
    return Dataset(spec, {"train": ArraySplit(spec, x, {"label": y} if labels else {})}, "made"), x, y


def pictures(binary: bool, count: int = 400) -> tuple[Dataset, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    y = generator.choice(3, count, p=CLASSES.frequencies)
    dark = generator.uniform(0.1, 0.9, size=(3, 1, 2, 3))
    x = (
        (generator.uniform(size=(count, 1, 2, 3)) < dark[y]) * 255
        if binary
        else generator.integers(0, 40, (count, 1, 2, 3))
    )
    spec = Spec(name="made", x=Image(channels=1, height=2, width=3, binary=binary), c={"label": CLASSES})
    return Dataset(spec, {"train": ArraySplit(spec, x.astype(np.uint8), {"label": y})}, "made"), x, y


def fitted(config, data: Dataset) -> Model:
    model = config.build(data.spec)
    assert list(model.fit(data, Budget()))
    return model


def class_log_prob(model, x: np.ndarray) -> torch.Tensor:
    """log p(y | x) by Bayes' rule."""
    shares = model.mixture.log_frequency if hasattr(model, "mixture") else model.log_frequency
    each = [model.log_prob(torch.from_numpy(x), {"label": torch.full((len(x),), k)}) + shares[k] for k in range(3)]
    return torch.stack(each, 1).log_softmax(1)


def test_shared_covariance_gives_the_linear_discriminant():
    data, x, y = rows()
    model = fitted(GDAConfig(covariance="shared", latent=4), data)
    oracle = LinearDiscriminantAnalysis(solver="lsqr").fit(x.astype(np.float64), y)
    expected = oracle.predict_log_proba(x.astype(np.float64))
    torch.testing.assert_close(class_log_prob(model, x).double(), torch.from_numpy(expected), atol=2e-3, rtol=1e-3)


def test_the_posterior_under_a_shared_covariance_is_logistic():
    """log p(a | x) - log p(b | x) is affine in x: its second differences along any line are zero."""
    model = fitted(GDAConfig(covariance="shared", latent=4), rows()[0])
    line = np.linspace(-1, 1, 21, dtype=np.float32)[:, None] * np.array([[1.0, -2.0, 0.5, 1.0]], np.float32)
    log = class_log_prob(model.double(), line.astype(np.float64))
    difference = log[:, 0] - log[:, 1]
    assert float(difference.diff().diff().abs().max()) < 1e-5
    assert float(difference.diff().abs().min()) > 1e-3


def test_full_covariances_give_the_quadratic_discriminant():
    data, x, y = rows()
    model = fitted(GDAConfig(shrinkage=0, latent=4), data)
    oracle = QuadraticDiscriminantAnalysis().fit(x.astype(np.float64), y)  # divides by n - 1
    expected = oracle.predict_log_proba(x.astype(np.float64))
    agree = (class_log_prob(model, x).argmax(1).numpy() == expected.argmax(1)).mean()
    assert agree > 0.995
    torch.testing.assert_close(class_log_prob(model, x).double(), torch.from_numpy(expected), atol=0.2, rtol=0.02)


def test_ppca_has_the_likelihood_of_scikit_learn_and_the_posterior_of_its_joint_normal():
    data, x, _ = rows(2000, 6, labels=False)
    model = fitted(PPCAConfig(latent=3), data).double()
    oracle = PCA(3).fit(x.astype(np.float64))
    expected = torch.from_numpy(oracle.score_samples(x.astype(np.float64)))
    torch.testing.assert_close(model.log_prob(torch.from_numpy(x).double(), {}), expected, atol=5e-3, rtol=1e-3)
    w = model.basis * model.gain
    precision = torch.eye(3) + w.T @ w / model.variance  # of z given x, by completing the square
    mean = torch.linalg.solve(precision, w.T / model.variance) @ (torch.from_numpy(x).double() - model.centre).T
    posterior = model.posterior(torch.from_numpy(x).double(), {})
    torch.testing.assert_close(posterior.mean, mean.T, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(posterior.variance[0], torch.linalg.inv(precision).diagonal(), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("config", [GDAConfig(latent=4), PPCAConfig(latent=2), KDEConfig()])
def test_samples_have_the_mean_and_covariance_of_the_data(config):
    data, x, _ = rows(3000)
    model = fitted(config, data)
    noise = Noise(0, range(20_000))
    drawn = model.sample(model.spec.conditions(noise), noise).double()
    torch.testing.assert_close(drawn.mean(0), torch.from_numpy(x).double().mean(0), atol=0.2, rtol=0)
    spread = torch.from_numpy(np.cov(x.T)).trace()
    assert abs(drawn.T.cov().trace() / spread - 1) < 0.1


def test_bernoulli_naive_bayes_equals_scikit_learn_and_its_masses_sum_to_one():
    data, x, y = pictures(binary=True)
    model = fitted(NaiveBayesConfig(), data)
    assert model.measure == "mass"
    oracle = BernoulliNB(alpha=1.0).fit(x.reshape(len(x), -1) > 0, y)
    seen = (data.spec.x.to_model(x.astype(np.uint8))).numpy()
    expected = oracle.predict_log_proba(x.reshape(len(x), -1) > 0)
    torch.testing.assert_close(class_log_prob(model, seen).double(), torch.from_numpy(expected), atol=1e-4, rtol=1e-4)
    every = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=6))).view(-1, 1, 2, 3)
    for y_asked in (0, 2, 3):  # the last is the null label
        total = model.log_prob(every, {"label": torch.full((64,), y_asked)}).logsumexp(0)
        assert abs(float(total)) < 1e-5


def test_categorical_naive_bayes_is_a_smoothed_histogram_and_draws_from_it():
    data, x, y = pictures(binary=False)
    model = fitted(NaiveBayesConfig(smoothing=0.5), data)
    assert model.config.observation == "categorical"
    assert torch.allclose(model.table.exp().sum(2), torch.ones(3, 6), atol=1e-4)
    share = ((x[y == 1, 0, 1, 2] == 7).sum() + 0.5) / ((y == 1).sum() + 128)
    assert math.isclose(float(model.table[1, 5, 7].exp()), share, rel_tol=1e-5)
    noise = Noise(0, range(20_000))
    drawn = model.spec.x.to_user(model.sample({"label": torch.full((20_000,), 1)}, noise))
    frequencies = np.bincount(drawn[:, 1, 2, 0], minlength=256) / 20_000
    assert np.abs(frequencies - model.table[1, 5].exp().numpy()).max() < 0.012


def test_masses_of_a_class_without_examples_sum_to_one_too():
    data, _, y = pictures(binary=False)
    train = data.train.x[y != 2], {"label": y[y != 2]}
    table = fitted(NaiveBayesConfig(), Dataset(data.spec, {"train": ArraySplit(data.spec, *train)}, "made")).table
    assert torch.allclose(table.exp().sum(2), torch.ones(3, 6))


def test_gaussian_naive_bayes_has_the_moments_of_each_class():
    data, x, y = rows()
    model = fitted(NaiveBayesConfig(smoothing=0), data)
    assert model.measure == "density"
    for group in range(3):
        own = torch.from_numpy(x[y == group])
        torch.testing.assert_close(model.table[group, :, 0], own.mean(0), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(model.table[group, :, 1], own.var(0, correction=0), atol=1e-4, rtol=1e-3)


def test_an_observation_that_does_not_fit_is_a_usage_error():
    with pytest.raises(UsageError, match="observation=bernoulli does not fit"):
        NaiveBayesConfig(observation="bernoulli").build(pictures(binary=False)[0].spec)


def test_the_kernel_density_of_a_given_bandwidth_equals_scikit_learn():
    data, x, y = rows(300)
    model = fitted(KDEConfig(bandwidth=0.4), data)
    own = {"label": torch.full((300,), 2)}
    oracle = KernelDensity(bandwidth=0.4).fit(x[y == 2].astype(np.float64))
    expected = torch.from_numpy(oracle.score_samples(x.astype(np.float64)))
    torch.testing.assert_close(model.log_prob(torch.from_numpy(x), own).double(), expected, atol=1e-3, rtol=1e-3)
    everything = KernelDensity(bandwidth=0.4).fit(x.astype(np.float64)).score_samples(x.astype(np.float64))
    null = model.log_prob(torch.from_numpy(x), {"label": torch.full((300,), 3)}).double()
    torch.testing.assert_close(null, torch.from_numpy(everything), atol=1e-3, rtol=1e-3)


def test_the_bandwidth_found_is_the_most_likely_of_a_scan():
    data, _, _ = rows(600, labels=False)
    model = fitted(KDEConfig(), data)
    found = float(model.variance.sqrt())
    order = np.asarray(model.examples[: model.kept])
    left, centres = order[:60].astype(np.float64), order[60:].astype(np.float64)
    scan = np.geomspace(found / 4, found * 4, 33)
    best = scan[np.argmax([KernelDensity(bandwidth=h).fit(centres).score(left) for h in scan])]
    assert abs(math.log(best / found)) < 0.1
