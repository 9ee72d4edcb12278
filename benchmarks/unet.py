"""A training step and a sampling step of the U-Net beside diffusers' (same weights) and lucidrains' (its own net)."""

from __future__ import annotations

import sys
from unittest.mock import MagicMock

import torch
from torch import nn

from benchmarks.denoisers import Call, Candidates, compare, randomised
from figment.interchange.diffusers import peer as unet_of_diffusers
from figment.nn.unet import UNet

WIDTH, MULTIPLIERS = 32, (1, 2, 4)


def networks() -> Candidates:
    """Figment's, diffusers' and lucidrains'."""
    net = UNet(3, 3, WIDTH, MULTIPLIERS, 2, (2,), head_width=32)
    randomised(net)
    found: dict[str, tuple[nn.Module, Call, bool]] = {
        "figment bf16": (net, net, True),
        "figment fp32": (net, net, False),
    }
    try:
        peer = unet_of_diffusers(net, 3, attention=(2,))
        x, t = torch.randn(4, 3, 32, 32), torch.rand(4)
        with torch.no_grad():
            torch.testing.assert_close(net(x, t), peer(x, 1000 * t).sample, atol=1e-4, rtol=1e-4)
        call: Call = lambda x, t: peer(x, 1000 * t).sample  # noqa: E731
        found |= {"diffusers fp32": (peer, call, False), "diffusers bf16": (peer, call, True)}
    except ImportError:
        print("diffusers is not installed: left out", file=sys.stderr)
    try:
        for unused in ("torchvision", "pytorch_fid", "pytorch_fid.fid_score", "pytorch_fid.inception"):
            sys.modules.setdefault(unused, MagicMock())  # imported by its trainer only
        from denoising_diffusion_pytorch import Unet

        other = Unet(WIDTH, dim_mults=MULTIPLIERS, channels=3)
        found["lucidrains fp32 (its own net)"] = (other, lambda x, t: other(x, 1000 * t), False)
    except ImportError:
        print("denoising-diffusion-pytorch is not installed: left out", file=sys.stderr)
    return found


if __name__ == "__main__":
    compare("unet", "U-Net", "weights copied across, outputs agree to 1e-4 in fp32.", networks)
