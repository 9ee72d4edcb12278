"""The U-Net against diffusers' and against plain formulations of its layers."""

import pytest
import torch
from torch.nn import functional as F

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
    from benchmarks.peers import diffusers_unet

    net = randomised(UNet(3, 6, 32, (1, 2), 2, attention, head_width=32)).eval()
    peer = diffusers_unet(net, (3, 6), attention, 32).eval()
    x, t = torch.randn(2, 3, 12, 8), torch.rand(2)
    with torch.no_grad():
        torch.testing.assert_close(net(x, t), peer(x, 1000 * t).sample, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (28, 28), (9, 16)])
@pytest.mark.parametrize("patch", [1, 2])
def test_any_size_and_condition(size, patch):
    net = randomised(UNet(1, 2, 16, (1, 2, 2), 1, (2,), patch=patch, embedding=5))
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
