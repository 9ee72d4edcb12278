"""A training step and a sampling step of the U-Net beside diffusers' (same weights) and lucidrains' (its own net)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from unittest.mock import MagicMock

import torch
from torch import Tensor, nn

from benchmarks.measure import in_turn, record, table
from figment.core.memory import keep_freed_memory
from figment.interchange.diffusers import peer as unet_of_diffusers
from figment.nn.unet import UNet

BATCH, WIDTH, MULTIPLIERS = 64, 32, (1, 2, 4)
Call = Callable[[Tensor, Tensor], Tensor]


def randomised(net: UNet) -> UNet:
    """Layers that start at zero would make the outputs agree whatever the rest computes."""
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return net


def networks() -> dict[str, tuple[nn.Module, Call, bool]]:
    """Name -> network, how to call it with (x, t), and whether under bf16 autocast."""
    net = randomised(UNet(3, 3, WIDTH, MULTIPLIERS, 2, (2,), head_width=32))
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


def training_step(net: nn.Module, call: Call, bf16: bool, optimiser: torch.optim.Optimizer) -> None:
    x, t = torch.randn(BATCH, 3, 32, 32), torch.rand(BATCH)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        y = call(x, t)
    (y.float() - x).square().mean().backward()
    optimiser.step()
    optimiser.zero_grad()


@torch.no_grad()
def sampling_step(call: Call, bf16: bool) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        call(torch.randn(BATCH, 3, 32, 32), torch.rand(BATCH))


def main() -> None:
    keep_freed_memory()  # as all of figment's commands do: it serves every candidate
    torch.manual_seed(0)
    found = networks()
    sampling = {name: partial(sampling_step, call, bf16) for name, (_, call, bf16) in found.items()}
    first = in_turn(sampling, rounds=9)
    optimisers = {net: torch.optim.AdamW(net.parameters(), 1e-4, fused=True) for net, _, _ in found.values()}
    steps = {name: partial(training_step, *entry, optimisers[entry[0]]) for name, entry in found.items()}
    parameters = sum(p.numel() for p in found["figment bf16"][0].parameters()) / 1e6
    setting = f"U-Net of {parameters:.2f} M parameters, 3x32x32, batch {BATCH}, {torch.get_num_threads()} threads"
    record(
        f"unet-{torch.get_num_threads()}-threads",
        f"{setting}; weights copied across, outputs agree to 1e-4 in fp32.\n\n"
        + table("training step", in_turn(steps, rounds=7), "figment bf16")
        + "\n\n"
        + table("sampling step (one evaluation)", first, "figment bf16"),
    )


if __name__ == "__main__":
    main()
