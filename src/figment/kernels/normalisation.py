"""The optional kernel of group normalisation: compiled at first use where there is a compiler, else not used."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SOURCE = Path(__file__).with_name("normalisation.cpp")
FLAGS = ["-O3", "-march=native", "-std=c++17", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-shared", "-fPIC"]
SECONDS = 120  # a compiler may take, at most
EPSILON = 1e-5
NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


def usable(x: Tensor) -> bool:
    """Whether the kernel can take x: on the CPU, and not while a graph is traced."""
    plain = type(x) is Tensor and x.device.type == "cpu" and x.dtype in NAMES
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return plain and x.ndim == 4 and x.numel() > 0 and not traced and library() is not None


@cache
def library() -> ctypes.CDLL | None:
    """The kernel, from the user's cache or compiled into it; None without a compiler, or where it fails.

    `FIGMENT_KERNEL=0` turns it off. It shares torch's threads, since both ask for the same OpenMP library.
    """
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if os.environ.get("FIGMENT_KERNEL") == "0" or not compiler:
        return None
    try:
        return ctypes.CDLL(str(_compiled(compiler)))
    except (OSError, subprocess.SubprocessError):
        return None


def _compiled(compiler: str) -> Path:
    import platformdirs

    told = [SOURCE.read_text(), compiler, *FLAGS, _processor()]
    name = f"normalisation-{hashlib.sha256(chr(0).join(told).encode()).hexdigest()[:16]}.so"
    path = Path(os.environ.get("FIGMENT_CACHE") or platformdirs.user_cache_dir("figment")) / "kernels" / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        command = [compiler, *FLAGS, str(SOURCE), "-o", str(draft)]
        subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)
        os.replace(draft, path)
    return path


def _processor() -> str:
    """What `-march=native` stands for: a cache may be shared by machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = [torch.backends.cpu.get_cpu_capability()]
    return "\n".join(next(([line] for line in lines if line.startswith(("flags", "Features"))), lines[:1]))


Formula = Callable[[Tensor, Tensor, Tensor], Tensor]


def normalised(x: Tensor, gain: Tensor, offset: Tensor, groups: int, activate: bool, formula: Formula) -> Tensor:
    """phi(g (x - mean) / sqrt(var + 1e-5) + b) of x `(B, C, H, W)` in `groups`, g and b `(B, C)`, phi SiLU where
    `activate`. `formula`, the same in torch's own terms, stands in where a gradient is to be differentiated again."""
    x = x if x.is_contiguous() else x.contiguous(memory_format=torch.channels_last)
    return _Normalised.apply(x, gain.float().contiguous(), offset.float().contiguous(), groups, activate, formula)


class _Normalised(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gain: Tensor, offset: Tensor, groups: int, activate: bool, formula: Formula
    ) -> Tensor:
        last = not x.is_contiguous()
        y = torch.empty_like(x)
        mean, scale = (x.new_empty((len(x), groups), dtype=torch.float32) for _ in range(2))
        ctx.save_for_backward(x, gain, offset, mean, scale)
        ctx.told, ctx.formula = (_shape(x, groups), int(last), int(activate)), formula
        at = ctypes.c_float(EPSILON)
        _called("forward", x, *ctx.told, *_places(x, gain, offset), at, *_places(y, mean, scale))
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, gain, offset, mean, scale = ctx.saved_tensors
        if torch.is_grad_enabled():
            inputs = [v for v, needed in zip((x, gain, offset), ctx.needs_input_grad) if needed]
            found = iter(torch.autograd.grad(ctx.formula(x, gain, offset), inputs, dy, create_graph=True))
            return *(next(found) if needed else None for needed in ctx.needs_input_grad[:3]), None, None, None
        dy = dy.to(x.dtype).contiguous(memory_format=torch.channels_last if ctx.told[1] else torch.contiguous_format)
        dx, dgain, doffset = torch.empty_like(x), torch.empty_like(gain), torch.empty_like(offset)
        places = _places(dy, x, gain, offset, mean, scale, dx, dgain, doffset)
        _called("backward", x, *ctx.told, *places)
        return dx, dgain, doffset, None, None, None


def _shape(x: Tensor, groups: int) -> Any:
    examples, channels, height, width = x.shape
    return (ctypes.c_int64 * 4)(examples, channels, height * width, groups)


def _places(*tensors: Tensor) -> list[ctypes.c_void_p]:
    return [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]


def _called(way: str, x: Tensor, *arguments: Any) -> None:
    getattr(library(), f"{way}_{NAMES[x.dtype]}")(*arguments, torch.get_num_threads())
