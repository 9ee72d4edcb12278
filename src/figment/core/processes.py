"""The process this is among those that train together, and what they exchange."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor

from figment.core.errors import UsageError
from figment.core.memory import keep_freed_memory
from figment.core.run import Precision


def find_device(name: str) -> torch.device:
    """The device of a name; `auto` is the accelerator there is, else the CPU. Raises UsageError where it is absent."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: no CUDA device is visible here. Use --device cpu, or auto.")
    if name == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: this machine has no Metal device. Use --device cpu, or auto.")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    return torch.device(name)


class Processes:
    """Device, rank and world size as the launcher (`torchrun`, `accelerate launch`) set them; alone without one."""

    def __init__(self, device: str = "auto"):
        find_device(device)
        keep_freed_memory()
        self.state = PartialState(cpu=device == "cpu")
        self.device = self.state.device if device == "auto" else torch.device(device, self.state.device.index)
        self.rank, self.count = self.state.process_index, self.state.num_processes

    @property
    def first(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        if self.count > 1:
            self.state.wait_for_everyone()

    def sum(self, values: Sequence[float]) -> list[float]:
        """Each value added up over all processes, in float64."""
        if self.count == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def mean(self, value: Tensor) -> Tensor:
        """A tensor averaged over all processes."""
        if self.count > 1:
            value = value.detach().clone()
            dist.all_reduce(value)
            value /= self.count
        return value

    def gather(self, value: Tensor) -> Tensor:
        """The rows of a tensor `(B, ...)` of all processes, in order of rank."""
        if self.count > 1:
            parts = [torch.empty_like(value) for _ in range(self.count)]
            dist.all_gather(parts, value.detach().contiguous())
            value = torch.cat(parts)
        return value

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replaces tensors by their averages over all processes, in one flat all-reduce: the seam for sharding."""
        if self.count == 1 or not tensors:
            return
        flat = self.mean(torch.cat([t.float().reshape(-1) for t in tensors]))
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors])):
            tensor.copy_(part.view(tensor.shape))


def resolve_precision(precision: Precision, device: torch.device, pictures: bool) -> Precision:
    """`auto` is bf16 for pictures where the machine has instructions for it, else fp32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported()
    else:
        probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        fast = device.type == "cpu" and any(getattr(torch.cpu, probe, bool)() for probe in probes)
    return "bf16" if fast and pictures else "fp32"


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """The context in which networks compute at a resolved precision."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=precision != "fp32")
