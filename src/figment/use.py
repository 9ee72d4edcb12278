"""A trained model in use: loaded, sampled from, encoded and decoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.core.data import Image, Spec
from figment.core.memory import keep_freed_memory
from figment.core.model import Model, with_sampling
from figment.core.noise import Noise
from figment.core.processes import autocast, find_device, resolve_precision
from figment.core.publishing import load_model
from figment.core.run import Precision
from figment.interchange import is_pipeline


def reconstruct(model: Any, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
    """decode(encode(x)), in model range."""
    return model.decode(model.encode(x, c), c)


def load(path: str | Path, device: str = "cpu") -> Model:
    """A trained model of a run, a `model/` folder or an exported pipeline, ready to use; its data need not be there.

    Raises UsageError, InvalidCheckpoint.
    """
    keep_freed_memory()
    if is_pipeline(path):
        from figment.interchange.diffusers import read

        return read(path).to(find_device(device))
    return load_model(Path(path)).to(find_device(device))


@torch.no_grad()
def draw(
    model: Any,
    n: int,
    *,
    seed: int = 0,
    start: int = 0,
    given: Mapping[str, Tensor] | None = None,
    options: Mapping[str, Any] | None = None,
    batch: int = 256,
    precision: Precision | None = "auto",
    progress: Callable[[int], None] | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Samples start ... start + n - 1: x in model range on the CPU, and their conditions.

    `given` fixes conditions, `options` are the family's sampling choices. Sample i is the same at any batch size.
    `precision=None` leaves the caller's autocast as it is.
    """
    spec: Spec = model.spec
    sampler = with_sampling(model, options or {})
    xs, cs = [], []
    for first in range(start, start + n, batch):
        noise = Noise(seed, range(first, min(first + batch, start + n)), device=model.device)
        c = spec.conditions(noise.to("cpu"), given)
        on_device = {k: v.to(model.device) for k, v in c.items()}
        if precision is None:
            x = sampler.sample(on_device, noise)
        else:
            resolved = resolve_precision(precision, model.device, isinstance(spec.x, Image))
            with autocast(resolved, model.device):
                x = sampler.sample(on_device, noise)
        xs.append(x.float().cpu())
        cs.append(c)
        if progress is not None:
            progress(len(xs[-1]))
    return torch.cat(xs), {k: torch.cat([c[k] for c in cs]) for k in cs[0]}


def sample(
    model: Any,
    n: int = 16,
    seed: int = 0,
    *,
    label: str | int | None = None,
    prompt: str | None = None,
    **options: Any,
) -> np.ndarray:
    """n samples in the user's own form: uint8 `(n, H, W, C)` pictures, float32 `(n, D)` rows."""
    given = model.spec.given(None if label is None else str(label), prompt)
    x, _ = draw(model, n, seed=seed, given=given, options=options)
    return model.spec.x.to_user(x)
