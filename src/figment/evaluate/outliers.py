"""Scores of how little an item is like the data a model has learnt: higher is stranger."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from figment.core.data import Image
from figment.core.model import CanDecode, CanEncode, Model

Scores = Mapping[str, Tensor]
FRAME = 57  # bytes of a PNG file's signature and header, and around its pixels
MEANING = {
    "likelihood": "-log p(x): fails where strange items are simpler than normal ones",
    "typicality": "distance of -log p(x) from its mean over normal items",
    "complexity": "-log p(x) less what a general compressor (PNG) needs: a likelihood ratio to it",
    "reconstruction": "squared error of x encoded and decoded",
}


@torch.no_grad()
def scores_of(model: Model, x: Tensor, log_prob: Tensor) -> Scores:
    """Scores of items x `(B, ...)` whose log p(x) `(B,)` is known, by name, float64 `(B,)`.

    A small -log p(x) does not make an item normal: a model of clothes finds digits likelier than clothes, since they
    are simpler (Nalisnick et al., "Do deep generative models know what they don't know?", 2019). Hence `complexity`
    (Serra et al., "Input complexity and out-of-distribution detection with likelihood-based generative models", 2020).
    """
    found = {"likelihood": -log_prob.double().cpu()}
    if isinstance(model.spec.x, Image):
        found["complexity"] = found["likelihood"] - math.log(2) * png_bits(model.spec.x.to_user(x))
    if isinstance(model, CanEncode) and isinstance(model, CanDecode):
        c: dict[str, Tensor] = {}
        if model.spec.label is not None:
            c["label"] = torch.full((len(x),), model.spec.label.count, device=x.device)
        error = (model.decode(model.encode(x, c), c).float() - x).square().flatten(1).mean(1)
        found["reconstruction"] = error.double().cpu()
    return found


def typicality(score: Tensor, normal: Tensor) -> Tensor:
    """|-log p(x) - mean of -log p over normal items|: `(B,)` and `(N,)` nats -> `(B,)`.

    Nalisnick et al., "Detecting out-of-distribution inputs to deep generative models using typicality" (2019).
    """
    return (score - normal.mean()).abs()


def png_bits(pixels: np.ndarray) -> Tensor:
    """Bits of each of the pictures uint8 `(B, H, W, C)` as a PNG file without its frame: float64 `(B,)`."""
    sizes = []
    for picture in pixels:
        planes = picture.transpose(2, 0, 1).reshape(-1, picture.shape[1])  # any number of channels, one below another
        image = PIL.Image.fromarray(picture if picture.shape[2] == 3 else planes)
        with io.BytesIO() as file:
            image.save(file, "PNG", optimize=True)
            sizes.append(8 * (file.tell() - FRAME))
    return torch.tensor(sizes, dtype=torch.float64)
