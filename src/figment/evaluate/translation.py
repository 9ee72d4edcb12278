"""How near the pictures that a model makes from others come to the truth."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from figment.core.data import Dataset, Masks
from figment.core.model import CanSegment, HasPairs, Model
from figment.pixels.colour import lab
from figment.translations import translated

CHUNK = 64
COLOURED = 10.0  # chroma from which a colour has a hue
NEAR = math.radians(30)  # of hues
Pair = tuple[Tensor, Tensor, Tensor]


def translations(model: Model, dataset: Dataset, n: int = 1000) -> Iterator[Pair]:
    """Source, output in 8 bits, and truth of `n` held-out examples at most, in parts, in model range."""
    assert isinstance(model, HasPairs)
    rows = np.random.default_rng(0).permutation(len(dataset.held_out))[:n]
    for part in np.array_split(rows, math.ceil(len(rows) / CHUNK)):
        source, truth = model.pair(dataset.held_out.gather(part).suited(model.spec))
        made = translated(model, source).add(1).mul(127.5).round().div(127.5).sub(1)
        yield source, made, truth


def translation(pairs: list[Pair]) -> dict[str, Any]:
    """Figures of outputs, and the same of the sources themselves, brought to the size and colours of the truth (where
    they are smaller, by two interpolations): `l1` (black to white is 1), `psnr` in dB, `ssim`, `slope` beside that of
    the truth, and of colour pictures `hue` and `chroma_variance`."""
    source, made, truth = (torch.cat(parts) for parts in zip(*pairs))
    ways = ("bilinear", "bicubic") if source.shape[2:] != truth.shape[2:] else ("copied",)
    figures: dict[str, Any] = {"n": len(truth), **_figures(made, truth)}
    figures |= {"slope_real": float(slope(truth).mean())}
    figures |= {way: _figures(_brought(source, truth, way), truth) for way in ways}
    return figures | (_colours(made, truth) if truth.shape[1] == 3 else {})


def _figures(made: Tensor, truth: Tensor) -> dict[str, float]:
    mse = (made - truth).square().flatten(1).mean(1).clamp(min=1e-10)
    return {
        "l1": float((made - truth).abs().mean() / 2),
        "psnr": float((10 * (4 / mse).log10()).mean()),
        "ssim": float(ssim(made, truth).mean()),
        "slope": float(slope(made).mean()),
    }


def _brought(source: Tensor, truth: Tensor, way: str) -> Tensor:
    x = source if way == "copied" else F.interpolate(source, truth.shape[2:], mode=way, align_corners=False)
    x = x.mean(1, keepdim=True) if truth.shape[1] == 1 else x
    return x.clamp(-1, 1).expand(-1, truth.shape[1], -1, -1)


def slope(x: Tensor) -> Tensor:
    """The mean of |dx/dh| + |dx/dw| over pixels and channels, of pictures `(B, C, H, W)` in [-1, 1]: `(B,)`."""
    return sum(x.diff(dim=axis).abs().flatten(1).mean(1) for axis in (2, 3))  # type: ignore[return-value]


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity of pictures `(B, C, H, W)` in [-1, 1], `(B,)`: 1 where they are equal.

    ((2 mu_x mu_y + a)(2 s_xy + b)) / ((mu_x^2 + mu_y^2 + a)(s_x^2 + s_y^2 + b)), moments under Gaussian windows of
    deviation 1.5, a = .02^2, b = .06^2 for this range. Wang, Bovik, Sheikh & Simoncelli, "Image quality assessment:
    from error visibility to structural similarity" (2004).
    """
    side = min(11, x.shape[2] - 1 + x.shape[2] % 2, x.shape[3] - 1 + x.shape[3] % 2)
    line = torch.exp(-((torch.arange(side) - side // 2) ** 2) / (2 * 1.5**2)).to(x)
    window = (line[:, None] * line / line.sum() ** 2).expand(x.shape[1], 1, -1, -1)

    def mean(v: Tensor) -> Tensor:
        return F.conv2d(v, window, groups=v.shape[1])

    mx, my = mean(x), mean(y)
    vx, vy, vxy = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    a, b = 0.02**2, 0.06**2
    ratio = (2 * mx * my + a) * (2 * vxy + b) / ((mx * mx + my * my + a) * (vx + vy + b))
    return ratio.flatten(1).mean(1)


def _colours(made: Tensor, truth: Tensor) -> dict[str, float]:
    """`hue`: the share of coloured pixels whose hue (angle of a*, b*) is off by 30 degrees at most; the variance of a*
    and b*, and that of the truth."""
    mine, theirs = (lab(x)[:, 1:] for x in (made, truth))
    coloured = theirs.norm(dim=1) > COLOURED
    off = torch.atan2(mine[:, 1], mine[:, 0]) - torch.atan2(theirs[:, 1], theirs[:, 0])
    near = (torch.remainder(off + math.pi, 2 * math.pi) - math.pi).abs() <= NEAR
    near &= mine.norm(dim=1) > COLOURED / 2
    spread = {f"chroma_variance{name}": float(v.var((0, 2, 3)).sum()) for name, v in (("", mine), ("_real", theirs))}
    return {"hue": float(near[coloured].float().mean()), **spread}


@torch.no_grad()
def segmentation(model: Model, dataset: Dataset, n: int = 1000) -> dict[str, Any]:
    """Of the pixels of `n` held-out pictures at most: `accuracy`, and for each class and on average over those that
    occur `iou`, |A and B| / |A or B|, and `dice`, 2 |A and B| / (|A| + |B|)."""
    assert isinstance(model, CanSegment)
    mask = model.spec.c["mask"]
    assert isinstance(mask, Masks)
    rows = np.random.default_rng(0).permutation(len(dataset.held_out))[:n]
    counts = torch.zeros(mask.count, mask.count, dtype=torch.int64)  # truth, reading
    for part in np.array_split(rows, math.ceil(len(rows) / CHUNK)):
        batch = dataset.held_out.gather(part).to(model.device)
        read, truth = model.segment(batch.x).argmax(1), batch.c["mask"]
        counts += torch.bincount((truth * mask.count + read).flatten(), minlength=mask.count**2).view_as(counts).cpu()
    return {"n": len(rows), **overlaps(counts, mask.names)}


def overlaps(counts: Tensor, names: tuple[str, ...]) -> dict[str, Any]:
    """Figures of a table of pixels `(K, K)`, true class by class read."""
    both, true, read = counts.diagonal().double(), counts.sum(1).double(), counts.sum(0).double()
    iou, dice = both / (true + read - both), 2 * both / (true + read)
    there = true + read > 0
    figures = {"accuracy": float(both.sum() / counts.sum())}
    figures |= {"iou": float(iou[there].mean()), "dice": float(dice[there].mean())}
    named = zip(names, iou.tolist(), dice.tolist(), there.tolist())
    return {**figures, "classes": {name: {"iou": i, "dice": d} for name, i, d, is_there in named if is_there}}
