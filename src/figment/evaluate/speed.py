"""How fast a model draws, and what that takes."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from figment.core.data import Image
from figment.core.model import Model, with_sampling
from figment.core.processes import resolve_precision
from figment.use import draw

BATCHES = (16, 64, 256, 1024)


def speed(model: Model, options: Mapping[str, Any] | None = None, seconds: float = 3.0) -> dict[str, Any]:
    """Samples a second at the batch that is best, within about `seconds` of trying.

    Noise and the copy to the CPU count, as for a user. `network_evaluations` is what one sample costs;
    `peak_memory_bytes` is the process's at that time, or the accelerator's where there is one.
    """
    draw(model, BATCHES[0], options=options, batch=BATCHES[0])  # first calls allocate and choose kernels
    best, rate, began = BATCHES[0], 0.0, time.perf_counter()
    _forget_peak(model.device)
    for batch in BATCHES:
        found = _rate(model, options, batch, seconds / 8)
        if found > rate:
            best, rate = batch, found
        left = seconds - (time.perf_counter() - began)
        if found < 0.8 * rate or 4 * batch / found > left:
            break
    return {
        "samples_per_second": rate,
        "network_evaluations": with_sampling(model, options or {}).evaluations,
        "batch": best,
        "peak_memory_bytes": _peak(model.device),
        "precision": resolve_precision("auto", model.device, isinstance(model.spec.x, Image)),
        "device": str(model.device),
        "threads": torch.get_num_threads(),
    }


def _rate(model: Model, options: Mapping[str, Any] | None, batch: int, seconds: float) -> float:
    """Samples a second at a batch, from as many as fit into `seconds` (one batch at least)."""
    drawn, began = 0, time.perf_counter()
    while not drawn or time.perf_counter() - began < seconds:
        draw(model, batch, start=drawn, options=options, batch=batch)
        drawn += batch
    return drawn / (time.perf_counter() - began)


def _forget_peak(device: torch.device) -> None:
    """Starts the count of peak memory anew, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
