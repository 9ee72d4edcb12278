"""The closed-form models against scikit-learn, autograd-free algebra and sums that must be one."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.naive_bayes import BernoulliNB
from sklearn.neighbors import KernelDensity
from torch.distributions import Bernoulli, Binomial, Categorical, Distribution, Normal

import figment
from figment.core.data import ArraySplit, Classes, Dataset, Image, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import Budget, Model
from figment.core.noise import Noise
from figment.evaluate.likelihood import likelihood_of_run
from figment.models.classical.gda import GDAConfig
from figment.models.classical.kde import KDEConfig
from figment.models.classical.naive_bayes import NaiveBayes, NaiveBayesConfig
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
    """log p(y | x) is that of softmax regression with weights S^-1 m_y; log p(a | x) - log p(b | x) is affine in x."""
    model = fitted(GDAConfig(covariance="shared", latent=4), rows()[0])
    line = np.linspace(-1, 1, 21, dtype=np.float32)[:, None] * np.array([[1.0, -2.0, 0.5, 1.0]], np.float32)
    log = class_log_prob(model.double(), line.astype(np.float64))
    mean, scale = model.mixture.mean[:, 0], model.mixture.scale[0, 0]
    weight = torch.cholesky_solve(mean.T, scale)  # S^-1 m_y
    offset = model.mixture.log_frequency - 0.5 * (mean.T * weight).sum(0)
    logistic = (model.encode(torch.from_numpy(line).double(), {}).double() @ weight + offset).log_softmax(1)
    torch.testing.assert_close(log, logistic, atol=1e-5, rtol=0)
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


# -- maximum likelihood of parametric distributions -------------------------------------------------------------------

DRAWS = 4000
LEVELS = np.linspace(0.02, 0.03, 256) / np.linspace(0.02, 0.03, 256).sum()
TRUTH: dict[str, Distribution] = {
    "bernoulli": Bernoulli(torch.tensor([0.1, 0.5, 0.93], dtype=torch.float64)),
    "binomial": Binomial(255, torch.tensor([0.02, 0.5, 0.8], dtype=torch.float64)),
    "categorical": Categorical(torch.from_numpy(LEVELS).expand(3, 256)),
    "gaussian": Normal(torch.tensor([-2.0, 0.0, 5.0]).double(), torch.tensor([0.1, 1.0, 3.0]).double()),
}


def parametric(observation: str) -> tuple[NaiveBayes, np.ndarray, Distribution]:
    """Our model, fitted by maximum likelihood to draws `(N, 3)` of a known distribution; torch's with what it found."""
    torch.manual_seed(0)
    drawn = TRUTH[observation].sample((DRAWS,)).numpy()
    if observation == "gaussian":
        spec = Spec(name="made", x=Vector(mean=(0.0,) * 3, scale=(1.0,) * 3))
        stored = drawn.astype(np.float32)
    else:
        spec = Spec(name="made", x=Image(channels=3, height=1, width=1, binary=observation == "bernoulli"))
        stored = (drawn * (255 if observation == "bernoulli" else 1)).astype(np.uint8).reshape(-1, 3, 1, 1)
    data = Dataset(spec, {"train": ArraySplit(spec, stored, {})}, "made")
    model = fitted(NaiveBayesConfig(observation=observation, smoothing=0), data).double()
    table = model.table[0]
    found = {
        "bernoulli": lambda: Bernoulli(table[:, 1].exp()),
        "binomial": lambda: Binomial(255, table[:, 1].exp()),
        "categorical": lambda: Categorical(table.exp()),
        "gaussian": lambda: Normal(table[:, 0], table[:, 1].sqrt()),
    }
    return model, drawn, found[observation]()


@pytest.mark.parametrize("observation", TRUTH)
def test_maximum_likelihood_finds_the_truth_within_three_standard_errors(observation: str) -> None:
    """The errors from the Fisher information of each parameter."""
    _, _, found = parametric(observation)
    truth = TRUTH[observation]
    if isinstance(truth, Normal) and isinstance(found, Normal):
        pairs = [(found.mean, truth.mean, truth.stddev / DRAWS**0.5)]
        pairs.append((found.stddev, truth.stddev, truth.stddev / (2 * DRAWS) ** 0.5))
    else:
        trials = 255 if observation == "binomial" else 1
        pairs = [(found.probs, truth.probs, (truth.probs * (1 - truth.probs) / (trials * DRAWS)).sqrt())]
    for estimate, known, error in pairs:
        away = ((estimate - known) / error).abs()
        if observation == "categorical":  # of 768 parameters, one in 370 is farther off
            assert (away < 3).double().mean() > 0.99
            assert away.max() < 4.5
        else:
            assert away.max() < 3


@pytest.mark.parametrize("observation", TRUTH)
def test_log_probabilities_are_those_of_torch_and_sum_to_one(observation: str) -> None:
    model, drawn, found = parametric(observation)
    levels = {"bernoulli": 1, "binomial": 255, "categorical": 255, "gaussian": 0}[observation]
    shown = torch.from_numpy(drawn[:500]).double()
    shown = shown * (2 / levels) - 1 if levels else shown
    expected = found.log_prob(torch.from_numpy(drawn[:500])).sum(1)
    torch.testing.assert_close(model.log_prob(shown.view(-1, *model.spec.x.shape), {}), expected, atol=1e-6, rtol=0)
    single = model.float().log_prob(shown.float().view(-1, *model.spec.x.shape), {}).double()
    torch.testing.assert_close(single, expected, atol=0, rtol=2e-6)
    if isinstance(found, Normal):
        axes = [torch.linspace(float(m - 8 * s), float(m + 8 * s), 4001) for m, s in zip(found.mean, found.stddev)]
        middle = found.mean.float().expand(4001, 3)
        for d, axis in enumerate(axes):  # across one dimension, the others at their means
            line = middle.clone()
            line[:, d] = axis
            others = (1 / (found.stddev * (2 * math.pi) ** 0.5)).prod() * found.stddev[d] * (2 * math.pi) ** 0.5
            area = torch.trapezoid(model.log_prob(line, {}).double().exp(), axis.double())
            assert float(area / others) == pytest.approx(1, abs=1e-3)
    else:
        assert torch.allclose(model.log_levels.exp().sum(2), torch.ones(1, 3), atol=1e-5)


def test_a_binomial_run_states_the_likelihood_of_its_pixels_and_draws_from_them(tmp_path: Path) -> None:
    """By public calls, from pictures in a folder: train, likelihood, sample."""
    generator = np.random.default_rng(0)
    shares = generator.uniform(0.2, 0.8, (4, 5))
    for i, picture in enumerate(generator.binomial(255, shares, (300, 4, 5))):
        (tmp_path / "in").mkdir(exist_ok=True)
        PIL.Image.fromarray(picture.astype(np.uint8)).save(tmp_path / "in" / f"{i}.png")
    run = figment.train("naive-bayes", str(tmp_path / "in"), tmp_path / "run", model__observation="binomial")
    row, model, data = likelihood_of_run(run.path), figment.load(run.path), run.read_run().data.build()
    held_out = data.held_out.gather(np.arange(len(data.held_out))).x
    p = model.table[0, :, 1].double().exp()
    nats = Binomial(255, p).log_prob(((held_out + 1) * 127.5).round().flatten(1).double()).sum(1).mean()
    assert row["kind"] == "exact"
    assert row["bits_per_dim"] == pytest.approx(float(-nats / 20 / math.log(2)), abs=1e-6)
    assert np.abs(p.numpy() - shares.ravel()).max() < 0.01
    drawn = figment.sample(model, 2000)[..., 0].astype(float)
    assert np.abs(drawn.mean(0) / 255 - shares).max() < 0.005
    assert np.abs(drawn.var(0) / (255 * shares * (1 - shares)) - 1).max() < 0.2


# -- naive Bayes ------------------------------------------------------------------------------------------------------


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
