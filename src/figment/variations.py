"""Pictures like those of files: hidden in noise for part of the way, and drawn again from there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import PIL.Image
import torch

from figment.core.data import Image
from figment.core.errors import UsageError
from figment.core.model import CanVary, Model, with_sampling
from figment.core.noise import Noise
from figment.core.processes import autocast, resolve_precision
from figment.data.decode import picture
from figment.pictures import grid
from figment.translations import Progress, each


def vary(
    model: Model,
    given: str | Path,
    out: str | Path,
    strength: float,
    *,
    label: str | None = None,
    prompt: str | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    recipe: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    announce: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Draws a picture, or each of a folder or an archive, again from noise that hides a share `strength` of it, as of a
    label or as a text says; at the model's size. `options` are sampling choices. Files as `translate` has them.

    Raises UsageError where a model cannot, or strength is not in (0, 1], and DataError where nothing can be read.
    """
    ways: Any = with_sampling(model, options or {})
    form: Any = model.spec.x
    if not isinstance(ways, CanVary) or not isinstance(form, Image):
        raise UsageError(f"--strength: '{model.config.kind}' hides nothing in noise. diffusion of pictures does.")
    if not 0 < strength <= 1:
        raise UsageError(f"--strength {strength}: from 0, which changes nothing, to 1, which keeps nothing.")
    c = {key: value.to(model.device) for key, value in model.spec.told(model.spec.given(label, prompt), 1).items()}
    said = {"strength": strength, "label": label, "prompt": prompt, "seed": seed, "sampling": dict(options or {})}

    def redrawn(data: bytes | None) -> PIL.Image.Image:
        x = form.to_model(picture(data, form.shape)[None].copy()).to(model.device)
        with autocast(resolve_precision("auto", model.device, pictures=True), model.device), torch.no_grad():
            y = ways.vary(x, strength, c, Noise(seed, range(1), device=model.device))
        return grid(form.to_user(y.float()), scale=1)

    return each(given, out, redrawn, {**(recipe or {}), "model": model.config.kind, **said}, progress, announce)
