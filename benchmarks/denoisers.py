"""A training step and a sampling step of a denoiser, of several candidates in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.measure import in_turn, record, table
from figment.core.memory import keep_freed_memory

BATCH = 64
Call = Callable[[Tensor, Tensor], Tensor]
Candidates = Mapping[
    str, tuple[nn.Module, Call, bool]
]  # network, how to call it with (x, t), under bf16 autocast or not


def randomised(net: nn.Module) -> nn.Module:
    """Layers that start at zero would make the outputs agree whatever the rest computes."""
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return net


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


def compare(name: str, title: str, note: str, candidates: Callable[[], Candidates]) -> None:
    """Measures all and records two tables, relative to `figment bf16`."""
    keep_freed_memory()  # as all of figment's commands do: it serves every candidate
    torch.manual_seed(0)
    found = candidates()
    sampling = {name: partial(sampling_step, call, bf16) for name, (_, call, bf16) in found.items()}
    first = in_turn(sampling, rounds=9)
    optimisers = {net: torch.optim.AdamW(net.parameters(), 1e-4, fused=True) for net, _, _ in found.values()}
    steps = {name: partial(training_step, *entry, optimisers[entry[0]]) for name, entry in found.items()}
    parameters = sum(p.numel() for p in found["figment bf16"][0].parameters()) / 1e6
    setting = f"{title} of {parameters:.2f} M parameters, 3x32x32, batch {BATCH}, {torch.get_num_threads()} threads"
    record(
        f"{name}-{torch.get_num_threads()}-threads",
        f"{setting}; {note}\n\n"
        + table("training step", in_turn(steps, rounds=7), "figment bf16")
        + "\n\n"
        + table("sampling step (one evaluation)", first, "figment bf16"),
    )
