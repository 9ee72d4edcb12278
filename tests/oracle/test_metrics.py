"""Metrics against closed forms, brute force, and sets whose answer is known."""

from __future__ import annotations

import json
import math
import os
import sys

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch.distributions import Normal, Uniform

from figment.core.data import ArraySplit, Classes, Dataset, Image, Spec, Vector
from figment.core.errors import FigmentError, UsageError
from figment.core.model import CanDecode, CanEncode, CanSample, HasBound, HasLogProb, Model, ModelConfig
from figment.data.toys import toy
from figment.evaluate import cache, neighbours
from figment.evaluate.features import FeatureNet, features_for
from figment.evaluate.frechet import Moments, distance, frechet, interval
from figment.evaluate.likelihood import likelihood, pixel_histograms
from figment.evaluate.measure import measure
from figment.evaluate.memorisation import auroc, closeness, memorisation
from figment.evaluate.points import divergence, energy_distance, kolmogorov_smirnov
from figment.evaluate.prdc import prdc
from figment.evaluate.report import evaluate, evaluate_folders, figures
from figment.evaluate.yardsticks import blurred
from figment.workbench import train


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FIGMENT_CACHE", str(tmp_path))
    torch.manual_seed(0)


def normal(n: int, d: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) * scale + shift


# -- Fréchet distance -------------------------------------------------------------------------------------------------


def test_frechet_of_diagonal_gaussians_is_the_closed_form():
    mean, a, b = torch.tensor([1.0, -2.0, 0.5]).double(), torch.tensor([1.0, 4.0, 0.25]), torch.tensor([9.0, 1.0, 0.25])
    first = Moments(mean, torch.diag(a.double()))
    second = Moments(torch.zeros(3).double(), torch.diag(b.double()))
    expected = 1 + 4 + 0.25 + float((a.sqrt() - b.sqrt()).square().sum())
    assert distance(first, second) == pytest.approx(expected, rel=1e-12)


def test_frechet_agrees_with_the_matrix_square_root():
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(6, 6)) for _ in range(2))
    a, b, mean = a @ a.T, b @ b.T, rng.normal(size=6)
    expected = mean @ mean + np.trace(a + b - 2 * sqrtm(a @ b).real)
    got = distance(Moments(torch.tensor(mean), torch.tensor(a)), Moments(torch.zeros(6).double(), torch.tensor(b)))
    assert got == pytest.approx(expected, rel=1e-9)


def test_frechet_agrees_with_torchmetrics():
    image = pytest.importorskip("torchmetrics.image.fid")
    a, b = normal(300, 16, 0), normal(200, 16, 1, shift=0.3, scale=1.4)
    first, second = Moments.of(a), Moments.of(b)
    expected = image._compute_fid(first.mean, first.covariance, second.mean, second.covariance)
    assert frechet(a, b) == pytest.approx(float(expected), rel=1e-6)


def test_frechet_of_singular_covariances_is_finite_and_zero_for_equal_sets():
    few = normal(20, 64, 0)
    assert frechet(few, few) < 1e-9
    assert frechet(few, few + 1) == pytest.approx(64, rel=1e-6)


def test_interval_covers_the_distance_of_two_gaussians():
    truth, held = 8 * 0.5**2, 0
    for seed in range(20):
        low, high = interval(normal(2000, 8, 2 * seed), normal(2000, 8, 2 * seed + 1, shift=0.5))
        held += low <= truth <= high
        assert high - low < 0.8
    assert held >= 16


def test_interval_narrows_with_the_square_root_of_n():
    wide, narrow = (np.subtract(*interval(normal(n, 8, 0), normal(n, 8, 1, shift=0.5))[::-1]) for n in (500, 8000))
    assert 2.5 < wide / narrow < 6.5


# -- precision, recall, density, coverage -----------------------------------------------------------------------------


def brute_force_prdc(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[float, float, float, float]:
    def between(a, b):
        return np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))

    real_radius = np.sort(between(real, real), 1)[:, k]
    fake_radius = np.sort(between(fake, fake), 1)[:, k]
    across = between(real, fake)
    in_real = across <= real_radius[:, None]
    return (
        in_real.any(0).mean(),
        (across <= fake_radius[None]).any(1).mean(),
        in_real.sum(0).mean() / k,
        in_real.any(1).mean(),
    )


@pytest.mark.parametrize(("n", "m", "k"), [(60, 60, 5), (50, 90, 3), (70, 80, 5)])
def test_prdc_agrees_with_brute_force(n, m, k, monkeypatch):
    real, fake = normal(n, 4, 0), normal(m, 4, 1, shift=0.7, scale=0.8)
    monkeypatch.setattr(neighbours, "ENTRIES", 5000)  # several blocks, the last of them shorter
    got = prdc(real, fake, k)
    expected = brute_force_prdc(real.double().numpy(), fake.double().numpy(), k)
    assert (got.precision, got.recall, got.density, got.coverage) == pytest.approx(expected, abs=1e-12)


def test_prdc_tells_a_missing_mode_from_bad_samples():
    left, right = normal(200, 2, 0, shift=-10), normal(200, 2, 1, shift=10)
    real = torch.cat([left, right])
    missing = prdc(real, normal(400, 2, 2, shift=-10))
    assert missing.precision > 0.9
    assert missing.recall < 0.55
    assert missing.coverage < 0.55
    bad = prdc(real, torch.cat([normal(200, 2, 3, shift=-10), normal(200, 2, 4, shift=40)]))
    assert 0.4 < bad.precision < 0.52
    with pytest.raises(UsageError, match="more than 5"):
        prdc(real, real[:5])


# -- points -----------------------------------------------------------------------------------------------------------


def test_energy_distance_of_normals_is_the_closed_form():
    a, b = normal(4000, 1, 0), normal(4000, 1, 1, shift=1.0)
    across = 2 * (2 * math.exp(-1 / 4) / math.sqrt(math.pi) + math.erf(0.5))  # 2 E|N(1, 2)|
    expected = across - 2 * 2 / math.sqrt(math.pi)
    assert energy_distance(a, b) == pytest.approx(expected, abs=0.04)
    assert energy_distance(a, normal(4000, 1, 2)) == pytest.approx(0, abs=0.01)


def test_divergence_of_normals_is_the_closed_form():
    real, fresh, samples = normal(4000, 2, 0), normal(4000, 2, 1), normal(4000, 2, 2, shift=0.5, scale=1.5)
    expected = 2 * (math.log(1.5) + (1 + 0.25) / (2 * 2.25) - 0.5)
    found, error = divergence(real, samples, fresh)
    assert found == pytest.approx(expected, abs=0.02 + 3 * error)
    assert error < 0.05


def test_divergence_from_the_same_distribution_is_zero_within_its_error():
    """Of 25 narrow peaks too, where a density taken from 100 neighbours each is far too flat."""
    generator = np.random.default_rng(0)
    rows = [torch.from_numpy(toy("grid25").draw(2500, generator)[0]) for _ in range(3)]
    found, error = divergence(*rows)
    assert abs(found) < 3 * error < 0.1


def test_the_standard_error_of_a_divergence_is_the_spread_of_its_estimates():
    pairs = [divergence(*(normal(400, 2, 100 + 3 * i + j) for j in range(3))) for i in range(40)]
    found, errors = (torch.tensor(values) for values in zip(*pairs))
    assert float(errors.square().mean().sqrt()) == pytest.approx(float(found.std()), rel=0.35)
    assert abs(float(found.mean())) < 3 * float(found.std()) / 40**0.5


def test_columns_are_told_apart_by_their_distribution_functions():
    statistic, p = kolmogorov_smirnov(normal(4000, 2, 0), normal(4000, 2, 1) + torch.tensor([0.0, 1.0]))
    assert statistic == pytest.approx(math.erf(0.5 / math.sqrt(2)), abs=0.03)  # 2 Phi(1/2) - 1
    assert p < 1e-6
    assert kolmogorov_smirnov(normal(4000, 2, 0), normal(4000, 2, 1))[1] > 0.01


# -- memorisation -----------------------------------------------------------------------------------------------------


def test_memorisation_fires_for_copies_only():
    train, fresh = normal(2000, 16, 0), normal(500, 16, 2)
    held_out = closeness(train, normal(500, 16, 1))
    copies = memorisation(closeness(train, train[:500] + 0.02 * normal(500, 16, 3)), held_out)
    assert copies.copies
    assert copies.rate > 0.95
    assert copies.auroc > 0.99
    assert not memorisation(closeness(train, fresh), held_out).copies
    assert memorisation(closeness(train, fresh), held_out).auroc == pytest.approx(0.5, abs=0.06)
    assert memorisation(closeness(train, torch.cat([fresh[:400], train[:100]])), held_out).copies
    blurry = memorisation(closeness(train, 0.2 * fresh), held_out)
    assert not blurry.copies, "samples near the mean are near everything, and copy nothing"


def test_auroc_counts_pairs():
    low, high = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0])
    pairs = [1.0 if a < b else 0.5 if a == b else 0.0 for a in low.tolist() for b in high.tolist()]
    assert auroc(low, high) == pytest.approx(sum(pairs) / len(pairs))


# -- likelihood -------------------------------------------------------------------------------------------------------


class KnownConfig(ModelConfig):
    kind: str = "known"
    accepts = (Image, Vector)


class Known(Model, HasLogProb):
    """A model whose log-density is the same given distribution for each dimension."""

    def __init__(self, spec: Spec, each, measure: str = "density"):
        super().__init__(KnownConfig(), spec)
        self.each, self.measure = each, measure

    def log_prob(self, x, c):
        return self.each(x).flatten(1).sum(1)


class Loose(Known, HasBound):
    """The same with a bound that is off by `slack` nats."""

    slack = -1.0

    def bound(self, x, c):
        return self.log_prob(x, c) + self.slack


def pictures(n: int = 400, size: tuple[int, int, int] = (1, 6, 5), labels: bool = False, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (n, *size), dtype=np.uint8)
    y = rng.integers(0, 2, n)
    c = {"label": Classes(names=("a", "b"), frequencies=(0.5, 0.5))} if labels else {}
    spec = Spec(name="noise", x=Image(channels=size[0], height=size[1], width=size[2]), c=c)
    split = [slice(0, n * 3 // 4), slice(n * 3 // 4, n)]
    train, test = (ArraySplit(spec, x[part], {"label": y[part]} if labels else {}) for part in split)
    return Dataset(spec, {"train": train, "test": test}, f"noise-{n}-{size}-{labels}-{seed}")


def rows(n: int = 2000) -> Dataset:
    spec = Spec(name="rows", x=Vector(mean=(3.0, -1.0), scale=(2.0, 0.5)))
    x = np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32) * (2.0, 0.5) + (3.0, -1.0)
    train, test = (ArraySplit(spec, x[part].astype(np.float32), {}) for part in (slice(0, n // 2), slice(n // 2, n)))
    return Dataset(spec, {"train": train, "test": test}, "rows", log_density=truth)


def truth(x: np.ndarray) -> np.ndarray:
    each = Normal(torch.tensor([3.0, -1.0]), torch.tensor([2.0, 0.5]))
    return each.log_prob(torch.from_numpy(x)).sum(1).numpy()


def test_uniform_noise_is_eight_bits_a_dimension():
    data = pictures()
    edge = 1 + 1 / 255
    as_density = likelihood(Known(data.spec, Uniform(-edge, edge, validate_args=False).log_prob), data)
    as_mass = likelihood(Known(data.spec, lambda x: torch.full_like(x, -math.log(256)), measure="mass"), data)
    assert as_density["bits_per_dim"] == pytest.approx(8, abs=1e-4)
    assert as_density["kind"] == "bound"
    assert as_mass["bits_per_dim"] == pytest.approx(8, abs=1e-4)
    assert as_mass["kind"] == "exact"
    assert not as_mass["alarms"]


def test_impossible_likelihoods_raise_alarms():
    data = pictures()
    sharp = likelihood(Known(data.spec, lambda x: torch.full_like(x, 6.0)), data)
    assert any("no 8-bit picture" in alarm for alarm in sharp["alarms"])
    assert not likelihood(Loose(data.spec, Normal(0.0, 0.6).log_prob), data)["alarms"]
    too_high = Loose(data.spec, Normal(0.0, 0.6).log_prob)
    too_high.slack = 1.0
    assert any("above its log-probability" in alarm for alarm in likelihood(too_high, data)["alarms"])


def test_worse_than_pixel_histograms_is_a_remark():
    data = pictures(4000)
    found = likelihood(Known(data.spec, Normal(0.0, 0.1).log_prob), data)
    assert any("pixel histograms" in remark for remark in found["remarks"])
    assert not found["alarms"]


def test_pixel_histograms_find_constant_pixels():
    data = pictures(4000)
    data.train.x[:, :, :3] = 7
    data.held_out.x[:, :, :3] = 7
    assert pixel_histograms(data) == pytest.approx(4, abs=0.15)


def test_rows_are_measured_in_user_units():
    data = rows()
    found = likelihood(Known(data.spec, Normal(0.0, 1.0).log_prob), data)
    assert found["nats"] == pytest.approx(float(truth(data.held_out.x).mean()), abs=0.08)
    assert found["kind"] == "exact"
    assert not found["alarms"]
    boast = likelihood(Known(data.spec, lambda x: Normal(0.0, 1.0).log_prob(x) + 0.5), data)
    assert any("above the density" in alarm for alarm in boast["alarms"])
    assert found["kl"] == pytest.approx(0, abs=1e-5)
    assert boast["kl"] == pytest.approx(-1, abs=1e-5)


class ByColumn(Known):
    """Rows of one column: N(3, 1) where the label is 0, N(-3, 1) where it is 1."""

    def log_prob(self, x, c):
        return Normal(3.0 - 6.0 * c["label"], 1.0).log_prob(x[:, 0])


def test_divergence_by_a_density_sums_labels_out():
    """Given labels, the true model has ln 2 nats more than the density of the rows, and that is nothing impossible."""
    label = Classes(names=("a", "b"), frequencies=(0.5, 0.5))
    spec = Spec(name="rows", x=Vector(mean=(0.0,), scale=(1.0,)), c={"label": label})
    y = np.arange(2000) % 2
    x = (3.0 - 6.0 * y + np.random.default_rng(0).normal(size=2000)).astype(np.float32)[:, None]
    split = ArraySplit(spec, x, {"label": y})

    def density(rows):
        return Normal(torch.tensor([3.0, -3.0]), 1.0).log_prob(torch.from_numpy(rows)).exp().mean(1).log().numpy()

    found = likelihood(ByColumn(spec, None), Dataset(spec, {"train": split}, "rows", log_density=density))
    assert found["given"] == ["label"]
    assert found["nats"] - float(density(x).mean()) == pytest.approx(math.log(2), abs=0.01)
    assert found["kl"] == pytest.approx(0, abs=1e-5)
    assert not found["alarms"]


def test_a_model_of_labels_is_mixed_where_the_data_has_none():
    labelled, plain = pictures(labels=True), pictures(labels=False)

    class ByLabel(Known):
        def log_prob(self, x, c):
            return torch.where(c["label"] == 0, -10.0, -20.0)

    found = likelihood(ByLabel(labelled.spec, None, measure="mass"), plain)
    expected = -math.log(0.5 * math.exp(-10) + 0.5 * math.exp(-20)) / (30 * math.log(2))
    assert found["bits_per_dim"] == pytest.approx(expected, rel=1e-5)
    assert found["given"] == []
    assert likelihood(ByLabel(labelled.spec, None, measure="mass"), labelled)["given"] == ["label"]

    class Bounded(Model, HasBound):
        measure = "mass"

        def bound(self, x, c):
            assert "label" not in c, "noise in a bound would lift the mixture above it"
            return torch.full((len(x),), -30 * math.log(2)) + torch.randn(len(x))

    found = likelihood(Bounded(KnownConfig(), labelled.spec), plain)
    assert found["bits_per_dim"] == pytest.approx(1, abs=4 / 30 / len(plain.held_out) ** 0.5 / math.log(2))


# -- the whole --------------------------------------------------------------------------------------------------------


def flat(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1)


def test_measure_ranks_real_noisy_and_repeated_samples():
    data = pictures(2000, (1, 4, 3))
    net = FeatureNet("flat", "flat", flat)
    real = data.train.gather(np.arange(400)).x
    fresh = pictures(400, (1, 4, 3), seed=5).train.gather(np.arange(300)).x
    good, bad = (measure(x, data, net) for x in (fresh, fresh * 0.3))
    repeated = measure(real[:10].repeat(40, 1, 1, 1), data, net)
    assert good["quality"]["frechet"] < bad["quality"]["frechet"]
    assert good["quality"]["interval"][0] <= good["quality"]["frechet"] <= good["quality"]["interval"][1]
    assert repeated["diversity"]["coverage"] < 0.5 * good["diversity"]["coverage"]
    assert repeated["memorisation"]["copies"]
    assert not good["memorisation"]["copies"]
    assert good["quality"]["floor"] < good["quality"]["blurred"]
    assert good["quality"]["n"] == 300
    assert good["quality"]["split"] == "test"


def test_measure_of_rows_knows_energy_distance_and_divergence():
    data = rows()
    fresh, off = normal(1000, 2, 3), normal(1000, 2, 4, shift=1.0)
    good, bad = (measure(x, data)["quality"] for x in (fresh, off))
    assert good["kl"] == pytest.approx(0, abs=3 * good["kl_standard_error"])
    assert bad["kl"] == pytest.approx(1, abs=0.3)
    assert good["kolmogorov_smirnov"]["p"] > 0.01 > bad["kolmogorov_smirnov"]["p"]
    leaked = measure(data.held_out.gather(np.arange(1000)).x, data)["quality"]
    assert any("impossible" in note for note in leaked["notes"])
    assert not any("impossible" in note for note in good["notes"])
    assert good["energy_distance"] < 0.02 < bad["energy_distance"]


class Standard(Model, CanSample, CanEncode, CanDecode):
    """Standard normal rows in its own units, and codes that are the rows; it knows no conditions."""

    def sample(self, c, noise):
        return noise.normal(self.spec.x.shape)

    def encode(self, x, c):
        assert not c
        return x

    def decode(self, z, c):
        assert 0.8 < z.std() < 1.2
        return z


def test_rows_standardised_otherwise_are_measured_in_the_units_of_the_data():
    """The same distribution in user units, whatever the model's own mean and scale; labels it does not know are kept
    from it."""
    data = rows()
    label = {"label": Classes(names=("a", "b"), frequencies=(0.5, 0.5))}
    shifted = Spec(name="other", x=Vector(mean=(0.0, 0.0), scale=(20.0, 5.0)), c=label)
    zeros = {name: np.zeros(len(split), np.int64) for name, split in data.splits.items()}
    parts = {n: ArraySplit(shifted, split.x, {"label": zeros[n]}) for n, split in data.splits.items()}
    other = Dataset(shifted, parts, "rows as others standardise them", log_density=truth)
    row = figures(Standard(KnownConfig(), data.spec), other, n=500)
    assert row["quality"]["kl"] == pytest.approx(0, abs=0.15)
    assert row["quality"]["frechet"] < 0.002
    assert row["reconstruction"]["mse"] == 0
    with pytest.raises(UsageError, match="of the same form"):
        figures(Standard(KnownConfig(), data.spec), pictures())


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FIGMENT_CACHE", str(tmp_path / "file"))
    cache.write("key", {"x": torch.zeros(2)}, {})
    assert cache.read("key") is None


def test_measure_refuses_few_and_broken_samples():
    data = rows()
    with pytest.raises(UsageError, match="too few"):
        measure(normal(10, 2, 0), data)
    broken = normal(100, 2, 0)
    broken[3] = float("nan")
    with pytest.raises(FigmentError, match="1 of 100 samples are not finite"):
        measure(broken, data)


def test_features_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="Did you mean 'classifier'"):
        features_for(pictures(), "clasifier")
    with pytest.raises(UsageError, match="needs labels"):
        features_for(pictures(), "classifier")
    with pytest.raises(UsageError, match="do not fit vector"):
        features_for(rows(), "fixed")


def test_blur_keeps_the_mean_and_is_a_gaussian():
    spike = torch.zeros(1, 1, 15, 15)
    spike[0, 0, 7, 7] = 1
    soft = blurred(spike)
    assert float(soft.sum()) == pytest.approx(1, abs=1e-5)
    assert float(soft[0, 0, 7, 8] / soft[0, 0, 7, 7]) == pytest.approx(math.exp(-0.5), rel=1e-5)


@pytest.mark.parametrize("name", ["classifier", "classifier-residual"])
def test_classifier_reads_digits_and_is_cached(name):
    from figment.data import parse

    data = parse("digits").build()
    net = features_for(data, name)
    assert net.accuracy > 0.95
    batch = data.held_out.gather(np.arange(100))
    again = features_for(data, name, progress=lambda done: pytest.fail("trained again"))
    torch.testing.assert_close(net(batch.x), again(batch.x))
    assert float((net.classify(batch.x).argmax(1) == batch.c["label"]).double().mean()) > 0.9


def test_inception_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(UsageError, match=r"pip install 'figment\[fidelity\]'"):
        features_for(pictures(), "inception")


def test_folders_of_pictures_are_compared(tmp_path):
    from PIL import Image as Picture

    for name, tint in (("a", 0), ("b", 0), ("c", 120)):
        generator = np.random.default_rng(tint if name != "b" else 7)
        (tmp_path / name).mkdir()
        for i in range(60):
            pixels = generator.integers(0, 256 - tint, (20, 16, 3), dtype=np.uint8)
            Picture.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    near, far = (evaluate_folders(str(tmp_path / name), str(tmp_path / "b")) for name in "ac")
    assert near["quality"]["n"] == 60
    assert near["quality"]["features"] == "fixed"
    assert near["quality"]["frechet"] < 0.5 * far["quality"]["frechet"]
    assert near["diversity"]["coverage"] > far["diversity"]["coverage"]
    with pytest.raises(UsageError, match="too few"):
        evaluate_folders(str(tmp_path / "a"), str(tmp_path / "b"), n=20)


@pytest.mark.parametrize("size", [(1, 1, 1), (3, 9, 17), (4, 40, 25), (2, 33, 64)])
def test_fixed_features_take_any_picture(size):
    x = torch.rand(3, *size) * 2 - 1
    features = features_for(pictures(40, size), "fixed")(x)
    assert features.shape == (3, 128)
    assert features.isfinite().all()


def test_fixed_features_are_the_documented_ones():
    import hashlib
    from pathlib import Path

    from figment.nn.features import SHIPPED

    told = Path(__file__).parents[2] / "docs" / "features.md"
    weights = SHIPPED.read_bytes()
    assert hashlib.sha256(weights).hexdigest() in told.read_text()
    assert len(weights) <= 3 * 2**20


def test_a_run_becomes_a_row_of_the_report(tmp_path):
    run = train("gaussian-mixture", "toy:moons", tmp_path / "mixture", steps=20)
    row = evaluate(run, n=500)
    assert json.loads(run.evaluation.read_text())["quality"]["n"] == 500
    assert {"model", "parameters", "train_seconds", "quality", "diversity", "speed", "likelihood"} < row.keys()
    assert row["parameters"] > 0
    assert row["quality"]["frechet"] < row["quality"]["yardstick"]
    assert row["likelihood"]["kind"] == "exact"
    assert row["quality"]["kl_from"] == "density"
    assert row["quality"]["kl"] == row["likelihood"]["kl"] > 0
    assert row["speed"]["samples_per_second"] > 0
    assert row["speed"]["peak_memory_bytes"] > 2**20


def test_what_draws_no_samples_has_no_quality_of_them(tmp_path):
    run = train("autoencoder", "digits", tmp_path / "autoencoder", steps=2)
    row = evaluate(run)
    assert [row[key] for key in ("quality", "diversity", "speed", "likelihood", "memorisation")] == [None] * 5
    held_out = run.read_run().data.build().held_out
    assert row["reconstruction"]["mse"] > 0
    expected = 10 * math.log10(4 / row["reconstruction"]["mse"])
    assert row["reconstruction"]["psnr"] == pytest.approx(expected)
    assert row["reconstruction"]["n"] == len(held_out)


@pytest.mark.learn
@pytest.mark.parametrize("name", ["classifier", "classifier-residual"])
@pytest.mark.parametrize(("data", "accuracy"), [("fashion_mnist", 0.91), ("mnist", 0.99)])
def test_classifiers_are_accurate(name, data, accuracy):
    from figment.data import parse

    root = os.environ.get("FIGMENT_DATA")
    if not root:
        pytest.skip("FIGMENT_DATA names no folder with real data")
    assert features_for(parse(f"{root}/{data}").build(), name).accuracy >= accuracy
