"""Whether drawn faces are what their prompts say: of captions whose facts are known, read back from the pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.core.data import ArraySplit, Dataset, Factors, Image
from figment.core.model import CanSample, HasSampling, Model, with_sampling
from figment.core.noise import Noise
from figment.core.processes import autocast, resolve_precision
from figment.data import faces
from figment.data.faces.captions import TEMPLATES
from figment.data.faces.factors import COLUMN

GUIDANCE = 2.0  # of prompts, where none is asked for
NEGATIVE, PUSH = "glasses", 6.0  # what is pushed away from, and how hard
SILENT = 7  # a phrasing that says nothing of glasses
BATCH = 250


def can_be_read(model: Model, dataset: Dataset) -> bool:
    """Whether a model draws faces from captions whose facts are known."""
    attributes, x, split = dataset.spec.c.get("attributes"), dataset.spec.x, dataset.held_out
    drawn = isinstance(attributes, Factors) and attributes.factors == faces.FACTORS
    told = isinstance(split, ArraySplit) and "text" in split.c and split.c["text"].shape[1] == len(TEMPLATES)
    square = isinstance(x, Image) and x.channels == 3 and x.height == x.width
    able = isinstance(model, CanSample) and isinstance(model, HasSampling) and model.spec.text == dataset.spec.text
    return drawn and told and square and able


@torch.no_grad()
def prompts(
    model: Any, dataset: Dataset, n: int = 1000, seed: int = 0, options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """How often pictures drawn from `n` held-out captions show what the caption says: `factors`, for each that some
    caption names, `right`, `base` (the same with the captions of other pictures) and `n`; and of captions that say
    nothing of glasses, how often there are some, `with` and `without` "glasses" as negative prompt, from equal noise.

    Unreadable is wrong. `options` are sampling choices; guidance is 2 (6 with the negative prompt) unless they say so,
    and a model that is guided by nothing, such as a distilled one, is measured as it draws, `negative` being None.
    """
    split = dataset.held_out
    assert isinstance(split, ArraySplit)
    rows = np.arange(min(n, len(split)))
    values, phrasing = split.c["attributes"][rows], rows % len(TEMPLATES)
    chosen = usual(model, options)
    readings = faces.read(drawn(model, _tokens(split.c["text"][rows, phrasing]), seed, chosen))
    hits, chance = _hits(values, readings, phrasing), _hits(values, np.roll(readings, len(TEMPLATES), 0), phrasing)
    factors = {name: {"right": _mean(hits[name]), "base": _mean(chance[name]), "n": len(hits[name])} for name in hits}
    silent = _tokens(split.c["text"][rows, SILENT])
    negative = None
    if "negative" in model.Sampling.model_fields:
        pushed = {**chosen, "guidance": PUSH, "negative": NEGATIVE}
        without, worn = (_wearing(faces.read(drawn(model, silent, seed, given))) for given in (chosen, pushed))
        negative = {"prompt": NEGATIVE, "guidance": PUSH, "without": without, "with": worn}
    return {
        "n": len(rows),
        "guidance": chosen.get("guidance"),
        "unreadable": float(np.isnan(readings).mean()),
        "factors": factors,
        "least": min(factor["right"] for factor in factors.values()),
        "negative": negative,
    }


def usual(model: Any, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Sampling choices with the usual guidance, where the model has a choice."""
    guidance = {"guidance": GUIDANCE} if "guidance" in model.Sampling.model_fields else {}
    return {**guidance, **(options or {})}


def _tokens(stored: np.ndarray) -> Tensor:
    return torch.from_numpy(stored.astype(np.int64))


def drawn(model: Any, texts: Tensor, seed: int, options: Mapping[str, Any]) -> np.ndarray:
    """A picture uint8 `(H, W, C)` for each text."""
    sampler, device = with_sampling(model, options), model.device
    parts = []
    for start in range(0, len(texts), BATCH):
        part = texts[start : start + BATCH]
        with autocast(resolve_precision("auto", device, True), device):
            x = sampler.sample({"text": part.to(device)}, Noise(seed, range(start, start + len(part)), device=device))
        parts.append(model.spec.x.to_user(x.float().cpu()))
    return np.concatenate(parts)


def _hits(values: np.ndarray, readings: np.ndarray, phrasing: np.ndarray) -> dict[str, np.ndarray]:
    """Which readings are as the captions say, factor by factor, over the captions that name it."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in faces.NAMES}
    for k in np.unique(phrasing).tolist():
        here = phrasing == k
        for name, right in faces.as_said(values[here], readings[here], k).items():
            found[name].append(right)
    return {name: np.concatenate(parts) for name, parts in found.items() if parts}


def _wearing(readings: np.ndarray) -> float:
    """The share that wears glasses; where that cannot be read, it counts as half."""
    worn = readings[:, COLUMN["glasses"]]
    return float(np.where(np.isnan(worn), 0.5, worn > 0).mean())


def _mean(hits: np.ndarray) -> float:
    return float(hits.mean())
