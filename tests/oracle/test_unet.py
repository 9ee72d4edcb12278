"""The U-Net against diffusers' and against plain formulations of its layers."""

import pytest
import torch
from torch.nn import functional as F

from figment.nn.attention import Pointwise, attend
from figment.nn.normalisation import GroupNorm
from figment.nn.resample import UpConv
from figment.nn.unet import UNet


def randomised(net: torch.nn.Module) -> torch.nn.Module:
    """Zero-initialised layers would hide faults."""
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        noise = torch.randn(parameter.shape, generator=generator) * parameter[0].numel() ** -0.5
        parameter.data.copy_(noise if parameter.ndim > 1 else parameter.data + 0.1 * noise)
    return net


@pytest.mark.parametrize("attention", [(), (1,), (0, 1)])
def test_same_function_as_diffusers(attention):
    pytest.importorskip("diffusers", reason="the mapping onto diffusers needs diffusers")
    from figment.interchange.diffusers import peer as unet_of_diffusers

    net = randomised(UNet(3, 6, 32, (1, 2), 2, attention, head_width=32)).eval()
    peer = unet_of_diffusers(net, 3, 6, attention=attention).eval()
    x, t = torch.randn(2, 3, 12, 8), torch.rand(2)
    with torch.no_grad():
        torch.testing.assert_close(net(x, t), peer(x, 1000 * t).sample, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (28, 28), (9, 16)])
@pytest.mark.parametrize("patch", [1, 2])
def test_any_size_width_and_condition(size, patch):
    net = randomised(UNet(1, 2, 9, (1, 2, 2), 1, (2,), head_width=4, patch=patch, embedding=5))
    x, t, e = torch.randn(2, 1, *size), torch.rand(2), torch.randn(2, 5)
    y = net(x, t, e)
    assert y.shape == (2, 2, *size)
    assert y.dtype == torch.float32
    assert not torch.allclose(y, net(x, t), atol=1e-4)
    assert not torch.allclose(y, net(x, t / 2, e), atol=1e-4)


def test_upsampling_is_repetition_then_convolution():
    layer, h = UpConv(6, 6), torch.randn(2, 6, 5, 3)
    plain = F.conv2d(F.interpolate(h, scale_factor=2.0, mode="nearest"), layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(h), plain, atol=1e-5, rtol=1e-5)


def test_starts_at_zero_and_every_weight_learns():
    net = UNet(3, 3, 16, (1, 2), 1, (1,), head_width=16, embedding=4)
    assert not net(torch.randn(2, 3, 8, 8), torch.rand(2), torch.randn(2, 4)).any()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(4):
        net(torch.randn(2, 3, 8, 8), torch.rand(2), torch.randn(2, 4)).sub(1).square().mean().backward()
        optimiser.step()
    assert [name for name, p in net.named_parameters() if torch.equal(p, before[name])] == []


@pytest.mark.parametrize(
    ("size", "dtype", "tolerance"),
    [((1, 1), torch.float32, 1e-5), ((7, 5), torch.bfloat16, 3e-2), ((36, 30), torch.bfloat16, 3e-2)],
)
def test_the_layout_of_sampling_changes_no_result(size, dtype, tolerance):
    torch.manual_seed(0)
    net = randomised(UNet(1, 2, 32, (1, 2), 1, (1,), head_width=16)).eval()
    x, t = torch.randn(3, 1, *size), torch.rand(3)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        trained = net(x, t).detach()
        with torch.no_grad():
            sampled = net(x, t)
    assert (sampled - trained).norm() <= tolerance * trained.norm()


@pytest.mark.parametrize("offset", [0.0, 20.0])
@pytest.mark.parametrize("spread", [0.0, 1.0])
@pytest.mark.parametrize("side", [8, 32])
def test_channels_last_norm_does_not_cancel_in_bf16(offset, spread, side):
    norm, modulation = randomised(GroupNorm(32)), torch.randn(3, 64)
    x = (spread * torch.randn(3, 32, side, side) + offset).bfloat16()
    with torch.no_grad():
        expected, actual = norm(x, modulation), norm(x.to(memory_format=torch.channels_last), modulation)
    assert (actual - expected).norm() <= 1e-2 * expected.norm()


def plain_norm(layer: GroupNorm, x: torch.Tensor, modulation: torch.Tensor) -> torch.Tensor:
    b, c, h, w = x.shape
    groups = x.view(b, layer.groups, -1)
    variance, mean = torch.var_mean(groups, dim=2, unbiased=False, keepdim=True)
    y = ((groups - mean) / (variance + 1e-5).sqrt()).view(b, c, h, w)
    scale, shift = modulation.view(b, 2, c, 1, 1).unbind(1)
    y = (y * layer.weight[:, None, None] + layer.bias[:, None, None]) * (1 + scale) + shift
    return y * y.sigmoid()


def plain_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    weights = torch.einsum("bhdi,bhdj->bhij", q, k) / q.shape[2] ** 0.5
    return torch.einsum("bhij,bhdj->bhdi", weights.softmax(3), v)


def pairs() -> dict[str, tuple]:
    """Fast formulation, plain one, inputs."""
    torch.manual_seed(0)
    norm, pointwise = randomised(GroupNorm(32)), randomised(Pointwise(6, 10))
    convolution = lambda h: F.conv2d(h, pointwise.weight[..., None, None], pointwise.bias)  # noqa: E731
    qkv = [torch.randn(2, 2, 4, 9) for _ in range(3)]
    return {
        "norm": (norm, lambda *x: plain_norm(norm, *x), [torch.randn(3, 32, 5, 4) + 1, torch.randn(3, 64)]),
        "pointwise": (pointwise, convolution, [torch.randn(3, 6, 5, 4)]),
        "attention": (attend, plain_attention, qkv),
    }


@pytest.mark.parametrize("name", ["norm", "pointwise", "attention"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_fast_layers_and_their_gradients_are_the_plain_ones(name, dtype, tolerance):
    fast, plain, inputs = pairs()[name]
    weights = list(fast.parameters()) if isinstance(fast, torch.nn.Module) else []
    inputs = [x.requires_grad_() for x in inputs]
    expected = plain(*inputs)
    cotangent = torch.randn_like(expected)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        actual = fast(*(x.to(dtype) for x in inputs))
    wanted = [expected, *torch.autograd.grad(expected, [*inputs, *weights], cotangent)]
    given = [actual, *torch.autograd.grad(actual, [*inputs, *weights], cotangent.to(actual.dtype))]
    for w, g in zip(wanted, given):
        assert (w - g).norm() <= tolerance * w.norm()
