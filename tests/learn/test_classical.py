"""Classical models on MNIST, by public calls: the figures that simple means reach, and what they are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score

import figment
from figment import lessons
from figment.core.run import RunFolder
from figment.evaluate.bayes import classify
from figment.evaluate.likelihood import likelihood_of_run
from figment.models.classical.clusters import k_means, lloyd
from real import source

pytestmark = [pytest.mark.learn, pytest.mark.timeout(3600)]
ALL = 60_000
PCA = {1: 0.0607, 2: 0.0557, 5: 0.0445, 10: 0.0341, 16: 0.0269, 32: 0.0168, 64: 0.0091, 128: 0.0042}  # MSE, white = 1


@pytest.fixture(scope="module")
def mnist() -> str:
    return source("mnist")


@pytest.fixture(scope="module")
def fitted(mnist: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(kind, settings) -> a run on all of MNIST."""

    def fit(kind: str, **settings: Any) -> RunFolder:
        return figment.train(kind, mnist, tmp_path_factory.mktemp("runs") / "run", training__fit_rows=ALL, **settings)

    return fit


@pytest.fixture(scope="module")
def naive_bayes(fitted: Any) -> RunFolder:
    return fitted("naive-bayes", data__binarise="threshold")


@pytest.fixture(scope="module")
def quadratic(fitted: Any) -> RunFolder:
    return fitted("gda", model__latent=50)


def test_naive_bayes_reads_digits(naive_bayes: RunFolder) -> None:
    assert classify(naive_bayes.path, naive_bayes.read_run().data)["accuracy"] >= 0.835


def test_naive_bayes_is_a_density_of_digits(naive_bayes: RunFolder) -> None:
    row = likelihood_of_run(naive_bayes.path, n=10_000, marginal=True)
    assert row["given"] == []
    assert row["kind"] == "exact"
    assert -row["nats"] <= 170
    given = likelihood_of_run(naive_bayes.path, n=10_000)
    assert given["given"] == ["label"]
    assert row["nats"] >= given["nats"] - np.log(10)  # log p(x) >= log p(x | y) + log p(y), ten labels about alike


def test_naive_bayes_draws_each_label(naive_bayes: RunFolder) -> None:
    """The mean of 200 draws is that of the pictures of the label, and each draw is nearest to the mean of its own."""
    data = naive_bayes.read_run().data.build()
    batch = data.train.gather(np.arange(10_000))
    means = torch.stack([batch.x[batch.c["label"] == y].mean(0).flatten() for y in range(10)])
    model, hits = figment.load(naive_bayes.path), 0.0
    for y in range(10):
        drawn = torch.from_numpy(figment.sample(model, 200, label=str(y))).float().flatten(1) / 127.5 - 1
        assert (drawn.mean(0) - means[y]).abs().mean() < 0.04
        hits += float((torch.cdist(drawn, means).argmin(1) == y).float().mean()) / 10
    assert hits >= 0.95


def test_a_covariance_for_each_label_reads_digits_better_than_one_for_all(fitted: Any, quadratic: RunFolder) -> None:
    shared = fitted("gda", model__latent=50, model__covariance="shared")
    linear, curved = (classify(run.path, run.read_run().data)["accuracy"] for run in (shared, quadratic))
    assert curved >= 0.955
    assert 0.85 <= linear < curved - 0.05


def test_k_means_finds_digits_without_labels(quadratic: RunFolder) -> None:
    """On 50 principal components: the inertia never rises, far starts end lower, and labels are met in part."""
    model, data = figment.load(quadratic.path), quadratic.read_run().data.build()
    batch = data.train.gather(np.arange(5000))
    codes = model.encode(batch.x, batch.c).double().numpy()
    path = np.array([found.inertia for found in lloyd(codes, codes[:10])])
    assert (np.diff(path) <= 1e-9 * path[0]).all()
    for seed in range(3):
        found = k_means(codes, 10, seed)
        assert normalized_mutual_info_score(batch.c["label"].numpy(), found.assigned) >= 0.45
        assert found.inertia / codes.shape[0] / 784 / 4 == pytest.approx(0.0383, rel=0.03)  # white = 1
    apart, anywhere = (
        np.mean([k_means(codes, 10, seed, plus, starts=1).inertia for seed in range(10)]) for plus in (True, False)
    )
    assert apart < anywhere


def test_principal_components_leave_what_they_are_known_to_leave(fitted: Any) -> None:
    """Mean squared error a pixel of test digits on the first k of them, to 1e-4."""
    run = fitted("ppca", model__latent=max(PCA))
    model, test = figment.load(run.path), run.read_run().data.build().held_out
    u, off = model.project(test.gather(np.arange(len(test))).x)
    for k, known in PCA.items():
        error = float((off + u[:, k:].square().sum(1)).double().mean()) / 784 / 4
        assert error == pytest.approx(known, abs=1e-4)


def test_naive_bayes_is_level_with_few_digits_and_behind_softmax_with_all(mnist: str, tmp_path: Path) -> None:
    """Where it is clearly ahead with few, and the curves cross, is on smaller scans: the lesson as written."""
    told = lessons.teach("generative-or-discriminative", tmp_path, mnist, effort=ALL / 2000)
    figures = told["figures"]
    naive, softmax = (np.array(figures["black_and_white"][name]) for name in ("naive Bayes", "softmax"))
    assert figures["examples"][2] < 150
    assert figures["examples"][-1] == ALL
    assert np.abs(naive - softmax)[:3].max() < 0.02
    assert softmax[-1] == pytest.approx(0.917, abs=0.012)
    assert naive[-1] == pytest.approx(0.843, abs=0.012)
    assert figures["grey"]["quadratic"][-1] > figures["grey"]["softmax"][-1]
