"""The Gaussian mixture is exact: it integrates to one, agrees with scikit-learn, and its samples have its moments."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from figment.core.data import ArraySplit, Classes, Dataset, Image, Spec, Vector
from figment.core.model import Budget, density
from figment.core.noise import Noise
from figment.models.classical.gaussian_mixture import GaussianMixture, GaussianMixtureConfig


def fitted(spec: Spec, x: np.ndarray, y: np.ndarray | None = None, **settings: int) -> GaussianMixture:
    split = ArraySplit(spec, x, {} if y is None else {"label": y})
    model = GaussianMixtureConfig(**settings).build(spec)
    assert list(model.fit(Dataset(spec, {"train": split}, "content"), Budget()))
    return model.eval()


def rows(count: int, dimensions: int, seed: int = 0) -> np.ndarray:
    """Two clusters with correlated spread, standardised only roughly."""
    generator = np.random.default_rng(seed)
    spread = 0.6 * np.eye(dimensions) + 0.2 * generator.normal(size=(2, dimensions, dimensions))
    which = generator.integers(0, 2, count)
    x = np.einsum("bij,bj->bi", spread[which], generator.normal(size=(count, dimensions)))
    return (x + 2.0 * which[:, None] - 1.0).astype(np.float32)


def vectors(dimensions: int, **c: Classes) -> Spec:
    return Spec(name="rows", x=Vector(mean=(0.0,) * dimensions, scale=(1.0,) * dimensions), c=c)


LABELS = Classes(names=("a", "b"), frequencies=(0.75, 0.25))


def integral(model: GaussianMixture, label: int | None) -> float:
    axis = torch.linspace(-8, 8, 241)
    grid = torch.cartesian_prod(axis, axis)
    c = {} if label is None else {"label": torch.full((len(grid),), label)}
    return float(model.log_prob(grid, c).double().exp().sum() * (axis[1] - axis[0]) ** 2)


def test_integrates_to_one_in_two_dimensions_for_each_label_and_for_none():
    x = rows(800, 2)
    y = (np.random.default_rng(1).random(800) < 0.25).astype(np.int64)
    assert integral(fitted(vectors(2), x, components=6), None) == pytest.approx(1, abs=1e-3)
    labelled = fitted(vectors(2, label=LABELS), x, y, components=6)
    for label in (0, 1, 2):  # 2 is the null label: the marginal
        assert integral(labelled, label) == pytest.approx(1, abs=1e-3)


def test_agrees_with_scikit_learn_where_the_plane_is_all_of_space():
    from sklearn.mixture import GaussianMixture as Reference

    x = rows(1000, 3)
    reference = Reference(1, reg_covar=1e-6).fit(x)
    log_prob = fitted(vectors(3), x, components=1).log_prob(torch.from_numpy(x), {})
    np.testing.assert_allclose(log_prob.numpy(), reference.score_samples(x), atol=2e-4)
    assert fitted(vectors(3), x, components=4).log_prob(torch.from_numpy(x), {}).mean() > log_prob.mean()


def test_off_the_plane_it_is_the_normal_of_probabilistic_pca():
    spec = Spec(name="pictures", x=Image(channels=1, height=3, width=4))
    generator = np.random.default_rng(0)
    x = generator.normal(size=(4000, 12)) * np.linspace(40, 5, 12) + 128
    stored = x.round().clip(0, 255).astype(np.uint8).reshape(-1, 1, 3, 4)
    model = fitted(spec, stored, latent=5, components=1)
    plane, scale = model.basis, model.mixture.scale[0, 0]
    covariance = plane @ scale @ scale.T @ plane.T + model.variance * (torch.eye(12) - plane @ plane.T)
    mean = model.centre + plane @ model.mixture.mean[0, 0]
    picture = spec.x.to_model(stored[:50])
    expected = torch.distributions.MultivariateNormal(mean, covariance).log_prob(picture.flatten(1))
    torch.testing.assert_close(model.log_prob(picture, {}), expected, atol=1e-3, rtol=1e-4)

    samples = model.sample({}, Noise(0, range(20_000))).flatten(1)
    standard_error = covariance.diagonal().sqrt() / 20_000**0.5
    assert ((samples.mean(0) - mean) / standard_error).abs().max() < 4.5
    assert (samples.T.cov() - covariance).norm() / covariance.norm() < 0.03


def test_the_null_label_is_the_marginal_and_samples_follow_the_label():
    y = (np.random.default_rng(1).random(1000) < 0.25).astype(np.int64)
    x = (np.random.default_rng(2).normal(size=(1000, 2)) * 0.3 + 4 * y[:, None]).astype(np.float32)
    model = fitted(vectors(2, label=LABELS), x, y, components=2)
    point, share = torch.tensor([[0.1, 0.2]]), float(np.mean(y))
    a, b, null = (model.log_prob(point, {"label": torch.tensor([label])}).exp() for label in (0, 1, 2))
    torch.testing.assert_close(null, (1 - share) * a + share * b)
    torch.testing.assert_close(model.log_prob(point, {}).exp(), null)  # no label says as much as the null label
    drawn = {label: model.sample({"label": torch.full((4000,), label)}, Noise(3, range(4000))) for label in (0, 1, 2)}
    assert drawn[0].mean() == pytest.approx(0, abs=0.05)
    assert drawn[1].mean() == pytest.approx(4, abs=0.05)
    assert (drawn[2][:, 0] > 2).float().mean() == pytest.approx(share, abs=0.03)


def test_a_sample_depends_on_its_own_noise_alone_and_loads_without_data():
    spec = vectors(4, label=LABELS)
    y = np.arange(600) % 2
    model = fitted(spec, rows(600, 4), y)
    label = torch.arange(8) % 2
    together = model.sample({"label": label}, Noise(5, range(8)))
    alone = torch.cat([model.sample({"label": label[i : i + 1]}, Noise(5, range(i, i + 1))) for i in range(8)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    loaded = model.config.build(spec)
    loaded.load_state_dict(model.state_dict())
    torch.testing.assert_close(loaded.sample({"label": label}, Noise(5, range(8))), together)
    assert density(model) == "tractable"


@pytest.mark.parametrize("count", [1, 3, 30])
def test_fits_fewer_rows_than_dimensions(count):
    spec = Spec(name="few", x=Image(channels=3, height=5, width=7))
    stored = np.random.default_rng(0).integers(0, 256, (count, 3, 5, 7)).astype(np.uint8)
    model = fitted(spec, stored)
    assert model.log_prob(spec.x.to_model(stored), {}).isfinite().all()
    assert model.sample({}, Noise(0, range(4))).isfinite().all()
