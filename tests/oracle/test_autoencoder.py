"""The regularisers of the autoencoder against what is known of them exactly."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA
from torch import Tensor

import figment
from figment.core.data import Batch, Image, Spec
from figment.core.errors import UsageError
from figment.core.model import Turn
from figment.core.noise import Noise
from figment.models.autoencoders.autoencoder import Autoencoder, AutoencoderConfig, prefixes
from figment.models.autoencoders.contraction import jacobian_norm_estimate
from figment.models.autoencoders.corruption import corrupted

SPEC = Spec(name="pictures", x=Image(channels=2, height=5, width=6))


def autoencoder(**settings: object) -> Autoencoder:
    torch.manual_seed(0)
    return AutoencoderConfig.model_validate({"size": "tiny", "latent": 4, **settings}).build(SPEC)


def exact_norms(model: Autoencoder, x: Tensor) -> Tensor:
    """||dz/dx||_F^2 of each item, by autograd, one output at a time."""
    x = x.clone().requires_grad_()
    z = model.encode(x, {})
    rows = [torch.autograd.grad(z[:, j].sum(), x, retain_graph=True)[0] for j in range(z.shape[1])]
    return torch.stack(rows).square().sum((0, 2, 3, 4))


@pytest.mark.parametrize("network", ["shallow", "linear"])
def test_the_jacobian_of_one_layer_is_exact(network: str) -> None:
    model, x = autoencoder(network=network, regulariser="contractive"), torch.randn(7, *SPEC.x.shape)
    torch.testing.assert_close(model._contracted(x, Turn(0, 0))[1], exact_norms(model, x).mean(), rtol=1e-5, atol=0)


def test_the_estimated_jacobian_is_unbiased() -> None:
    model, x = autoencoder(), torch.randn(3, *SPEC.x.shape)
    many = x.repeat_interleave(4000, 0).requires_grad_()
    estimates = jacobian_norm_estimate(model.encode(many, {}), many).detach().view(3, -1)
    error = estimates.std(1) / math.sqrt(estimates.shape[1])
    assert ((estimates.mean(1) - exact_norms(model, x)).abs() < 4 * error).all()


def test_a_smaller_code_is_no_contraction() -> None:
    """Codes of a deep network have a mean variance of 1 whatever its weights, and the norm is that of these codes."""
    model, x = autoencoder(regulariser="contractive"), torch.randn(4000, *SPEC.x.shape)
    for size in (1.0, 0.01):
        with torch.no_grad():
            model.encoder.project_out.weight.mul_(size)
            model.encoder.project_out.bias.mul_(size)
        z, norm = model._contracted(x, Turn(0, 0))
        assert float(z.detach().var(0).mean()) == pytest.approx(1, rel=1e-3)
        assert float(norm) == pytest.approx(float(exact_norms(model, x).mean()), rel=0.05)


def test_corruption_is_measured_in_shades_from_black_to_white() -> None:
    grey = torch.zeros(200, 3, 16, 16)
    spoilt = corrupted(grey, "gaussian", 0.1, Noise(0, range(200)))
    assert float(spoilt.std() / 2) == pytest.approx(0.1, rel=0.01)
    salted = corrupted(grey, "salt-and-pepper", 0.3, Noise(0, range(200)))
    assert [float((salted == value).float().mean()) for value in (-1, 1)] == pytest.approx([0.15, 0.15], abs=0.01)
    assert (salted == salted[:, :1]).all()  # a pixel turns black or white, not one of its channels
    masked = corrupted(grey, "masking", 0.3, Noise(0, range(200)))
    assert float((masked == -1).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert corrupted(torch.ones(9, 1, 4, 4), "gaussian", 4).abs().max() == 1


@pytest.mark.parametrize("corruption", ["gaussian", "salt-and-pepper", "masking"])
def test_an_item_is_spoilt_alike_in_any_batch(corruption: str) -> None:
    x = torch.randn(6, *SPEC.x.shape).clamp(-1, 1)
    together = corrupted(x, corruption, 0.4, Noise(3, range(6)))  # type: ignore[arg-type]
    torch.testing.assert_close(together[4:5], corrupted(x[4:5], corruption, 0.4, Noise(3, [4])))  # type: ignore[arg-type]


def test_the_linear_autoencoder_spans_the_principal_subspace(tmp_path: Path) -> None:
    recipe = {"training__optimiser": "adamw", "training__lr": 0.03, "training__precision": "fp32"}
    settings = {"model__network": "linear", "model__latent": 6, "training__previews": 0, **recipe}
    run = figment.train("autoencoder", "digits", tmp_path / "run", steps=2000, **settings)
    rows = run.read_run().data.build().train
    x = rows.gather(np.arange(len(rows))).x.flatten(1).numpy()
    model = figment.load(run.path)
    assert isinstance(model, Autoencoder) and model.layer is not None
    angles = subspace_angles(model.layer.forth.weight.detach().numpy().T, PCA(6).fit(x).components_.T)
    assert np.rad2deg(angles).max() < 5


def test_sparse_codes_keep_their_largest_numbers() -> None:
    model, x = autoencoder(regulariser="sparse", latent=8, active=3), torch.randn(20, *SPEC.x.shape)
    z, dense = model.encode(x, {}), model.encoder(x)
    assert ((z != 0).sum(1) == 3).all()
    torch.testing.assert_close(z.sum(1), dense.topk(3).values.sum(1))
    assert [model._active(progress) for progress in (0, 0.25, 0.5, 1)] == [8, 6, 3, 3]
    with pytest.raises(UsageError, match="active=9 of 8"):
        autoencoder(regulariser="sparse", latent=8, active=9)


def test_ordered_codes_are_cut_at_every_length_alike_in_the_logarithm() -> None:
    torch.manual_seed(0)
    lengths = prefixes(torch.zeros(40_000, 8)).sum(1).long()
    shares = torch.bincount(lengths, minlength=9)[1:] / len(lengths)
    expected = torch.tensor([math.log((k + 1) / k) / math.log(9) for k in range(1, 9)])
    torch.testing.assert_close(shares, expected, atol=0.01, rtol=0)


@pytest.mark.parametrize("network", ["deep", "plain", "shallow", "linear"])
@pytest.mark.parametrize("regulariser", ["none", "denoising", "contractive", "sparse", "ordered"])
def test_every_network_learns_with_every_regulariser(network: str, regulariser: str) -> None:
    model, x = autoencoder(network=network, regulariser=regulariser), torch.randn(16, *SPEC.x.shape)
    loss = model.loss(Batch(x, {}, np.arange(16)), Turn(0, 0.1))
    loss.value.backward()
    assert all(p.grad is not None for p in model.parameters())
    with torch.no_grad():  # as held-out rows are watched
        assert model.loss(Batch(x, {}, np.arange(16)), Turn(0, 0.1)).value.isfinite()
