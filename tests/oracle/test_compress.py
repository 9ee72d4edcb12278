"""Rate and distortion, and linear probes, against what is known of them exactly."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor, nn

from figment.latent.compress import Axes, Point, Quantiser, distortion, frontier, jpeg
from figment.latent.probe import LinearProbe, draw_labelled, trained_accuracy


def test_axes_are_the_principal_ones_and_cut_short_from_the_front() -> None:
    rows = torch.randn(400, 7) @ torch.randn(7, 7)
    axes, fitted = Axes.of(rows, 5), PCA(3).fit(rows.numpy())
    rebuilt = axes.rows(axes.scores(rows)[:, :3])
    expected = fitted.inverse_transform(fitted.transform(rows.numpy()))
    torch.testing.assert_close(rebuilt, torch.from_numpy(expected).float(), atol=1e-3, rtol=0)


def test_the_rate_is_the_entropy_of_what_is_stored() -> None:
    """Numbers on 4 levels of frequencies 1/2, 1/4, 1/8, 1/8 cost 1.75 bits each; fewer levels lose, more do not."""
    codes = torch.tensor([0.0, 1.0, 2.0, 3.0]).repeat_interleave(torch.tensor([4000, 2000, 1000, 1000]))[:, None]
    exact = Quantiser.of(codes, 2)
    torch.testing.assert_close(exact.rounded(codes), codes)
    assert float(exact.bits(codes).mean()) == pytest.approx(1.75, abs=0.01)
    assert float((Quantiser.of(codes, 1).rounded(codes) - codes).abs().mean()) > 0.2


def test_each_bit_more_is_worth_six_decibels() -> None:
    """Uniform rounding errors have the variance step^2 / 12: 6.02 dB a bit."""
    codes = torch.rand(20_000, 3) * 2 - 1
    ratios = [distortion(codes, Quantiser.of(codes, bits).rounded(codes)) for bits in (5, 6)]
    assert ratios[1] - ratios[0] == pytest.approx(20 * np.log10(63 / 31), abs=0.3)
    assert distortion(torch.zeros(4, 5), torch.full((4, 5), 0.2)) == pytest.approx(20)


def test_the_frontier_keeps_what_nothing_beats() -> None:
    points = [Point(9, 20), Point(2, 12), Point(3, 11), Point(2, 10), Point(5, 20)]
    assert [(point.bytes, point.psnr) for point in frontier(points)] == [(2, 12), (5, 20)]


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_counts_the_bytes_of_files_and_of_their_scans(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (3, 16, 24, channels), dtype=np.uint8)
    decoded, whole, scan = jpeg(pixels, 90)
    sizes = []
    for picture in pixels:
        with io.BytesIO() as file:
            PIL.Image.fromarray(picture.squeeze()).save(file, "JPEG", quality=90, optimize=True)
            sizes.append(file.tell())
    assert whole == np.mean(sizes)
    assert 0.3 * whole < scan < whole - 100
    assert jpeg(pixels, 5)[2] < scan
    assert np.abs(decoded.astype(int) - pixels).mean() < np.abs(jpeg(pixels, 5)[0].astype(int) - pixels).mean()


def test_labelled_items_are_drawn_evenly_and_differ_by_seed() -> None:
    labels = np.repeat(np.arange(5), [500, 20, 300, 90, 90])
    for count in (5, 13, 90):
        drawn = draw_labelled(labels, count, 0)
        counts = np.bincount(labels[drawn], minlength=5)
        assert len(np.unique(drawn)) == count
        assert counts.max() - counts.min() <= 1
    assert not np.array_equal(np.sort(draw_labelled(labels, 13, 0)), np.sort(draw_labelled(labels, 13, 1)))


@pytest.mark.parametrize("classes", [2, 3])
def test_a_probe_reads_what_is_linear_whatever_its_units(classes: int) -> None:
    generator = np.random.default_rng(0)
    y = generator.integers(classes, size=400) + 4
    z = (generator.normal(size=(400, 3)) + 6 * np.eye(5)[y - 4][:, :3]) * (1, 1000, 1e-3) + 7
    probe = LinearProbe.of(z[:200], y[:200])
    assert probe.accuracy(z[200:], y[200:]) > 0.98
    assert probe.accuracy(z[200:], generator.permutation(y[200:])) < 0.8


def test_an_encoder_is_trained_on_in_a_copy() -> None:
    """Labels that no linear head can read from the first weights are learnt; the model itself stays."""
    torch.manual_seed(0)
    x = torch.randn(400, 2)
    y = (x.prod(1) > 0).long()
    model = nn.Sequential(nn.Linear(2, 16), nn.SiLU(), nn.Linear(16, 2))
    before = [parameter.clone() for parameter in model.parameters()]

    def encode(network: nn.Module, rows: Tensor) -> Tensor:
        return network(rows)

    start, end = (
        trained_accuracy(model, encode, x[:200], y[:200], x[200:], y[200:], steps=steps, seed=0, rate=0.03) or 0
        for steps in (0, 200)
    )
    assert start < 0.75 < 0.85 < end
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters()))
    assert trained_accuracy(nn.Identity(), encode, x[:50], y[:50], x, y, steps=1, seed=0) is None
