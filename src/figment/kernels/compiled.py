"""C++ of this package, compiled at first use where there is a compiler, else not used; and how it is called."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

PLACE = Path(__file__).parent
SHARED = PLACE / "numbers.h"
FLAGS = ["-O3", "-march=native", "-std=c++17", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-shared", "-fPIC"]
SECONDS = 120  # a compiler may take, at most
NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
FOUND: dict[str, ctypes.CDLL | None] = {}  # what was asked for so far


def plain(x: Tensor) -> bool:
    """Whether a kernel may read x: on the CPU, not empty, and not while a graph is traced."""
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return type(x) is Tensor and x.device.type == "cpu" and x.dtype in NAMES and x.numel() > 0 and not traced


def library(name: str) -> ctypes.CDLL | None:
    """`name`.cpp, from the user's cache or compiled into it; None without a compiler, or where it fails.

    `FIGMENT_KERNEL=0` turns it off. It shares torch's threads, since both ask for the same OpenMP library.
    """
    if name not in FOUND:
        FOUND[name] = _opened(name)
    return FOUND[name]


def in_use() -> list[str]:
    """The kernels that this process has computed with."""
    return sorted(name for name, found in FOUND.items() if found is not None)


def _opened(name: str) -> ctypes.CDLL | None:
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if os.environ.get("FIGMENT_KERNEL") == "0" or not compiler:
        return None
    try:
        return ctypes.CDLL(str(_compiled(name, compiler)))
    except (OSError, subprocess.SubprocessError):
        return None


def _compiled(name: str, compiler: str) -> Path:
    import platformdirs

    source = PLACE / f"{name}.cpp"
    told = [source.read_text(), SHARED.read_text(), compiler, *FLAGS, _processor()]
    file = f"{name}-{hashlib.sha256(chr(0).join(told).encode()).hexdigest()[:16]}.so"
    path = Path(os.environ.get("FIGMENT_CACHE") or platformdirs.user_cache_dir("figment")) / "kernels" / file
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        command = [compiler, *FLAGS, str(source), "-o", str(draft)]
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


def called(name: str, function: str, sizes: tuple[int, ...], *arguments: Any) -> None:
    """Calls a function of `name`.cpp with its sizes, then the arguments, tensors as where their numbers begin, then the
    number of threads."""
    passed = [ctypes.c_void_p(a.data_ptr()) if isinstance(a, Tensor) else a for a in arguments]
    getattr(library(name), function)((ctypes.c_int64 * len(sizes))(*sizes), *passed, torch.get_num_threads())


def gradients(ctx: Any, formula: Callable[..., Tensor], inputs: tuple[Tensor, ...], dy: Tensor) -> Any:
    """Those of the first `inputs` of a function, to be differentiated again: of its formula in torch's own terms."""
    inputs = tuple(x.view_as(x) for x in inputs)  # one may be computed from another
    wanted = [x for x, needed in zip(inputs, ctx.needs_input_grad) if needed]
    found = iter(torch.autograd.grad(formula(*inputs), wanted, dy, create_graph=True))
    return tuple(next(found) if needed else None for needed in ctx.needs_input_grad[: len(inputs)])
