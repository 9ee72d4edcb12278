"""What pictures take when a model compresses them without loss, beside PNG, and beside what the model says."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from figment.coding.ans import Stack
from figment.coding.lossless import LANES, compress, decompress
from figment.core.errors import FigmentError
from figment.core.model import HasBound, HasLogProb
from figment.evaluate.background import file_bits
from figment.explorer.scene import Found, Scene
from figment.pictures import COLOURS, INK, drawing, panel, rendered, sheet

BOUNDS = 16  # draws of the bound that the stated figure is the mean of
EXAMPLES = 10


def measured(scene: Scene, count: int) -> Found:
    """Compresses `count` held-out pictures, decodes them, and compares sizes. Raises UsageError for a density, and
    FigmentError where a picture comes back changed."""
    rows = np.random.default_rng(0).permutation(len(scene.dataset.held_out))[:count]
    batch = scene.gather("held", np.sort(rows))
    packed = compress(scene.model, batch.x, batch.c, watch=scene.watch).to_bytes()
    back = decompress(scene.model, Stack.from_bytes(packed, LANES), len(batch), batch.c, watch=scene.watch)
    if not torch.equal(back, batch.x.cpu()):
        raise FigmentError("a picture came back changed: the model computed otherwise than it did before.")
    dimensions = scene.model.spec.x.dimensions
    each = _stated_bits(scene, batch.x, batch.c)
    raw = dimensions / 8 if scene.model.spec.x.binary else dimensions
    png = file_bits(scene.model.spec.x.to_user(batch.x), "PNG", optimize=True)
    figures = {
        "measured": len(batch),
        "exact": True,
        "bytes": len(packed),
        "bits_per_dim": 8 * len(packed) / (len(batch) * dimensions),
        "stated_bits_per_dim": float(each.mean()) / dimensions,
        "ratio_to_stated": 8 * len(packed) / float(each.sum()),
        "raw_bytes": int(len(batch) * raw),
        "png_bytes": int(png.sum()) // 8,
        "known_to_both": sorted(batch.c),
    }
    return Found(figures, _picture(scene, batch.x, each / 8, png / 8, int(raw)))


@torch.no_grad()
def _stated_bits(scene: Scene, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
    """What the model says each picture takes, float64 `(B,)`."""
    model = scene.model
    if isinstance(model, HasLogProb):
        nats = -model.log_prob(x, c).double()
    else:
        assert isinstance(model, HasBound)
        nats = -torch.stack([model.bound(x, c).double() for _ in range(BOUNDS)]).mean(0)
    return nats.cpu() / math.log(2)


def _picture(scene: Scene, x: Tensor, ours: Tensor, png: Tensor, raw: int) -> PIL.Image.Image:
    """Pictures in the order of what they cost, over the costs of all."""
    figure, axes = drawing(10.8, 5.8)
    axes.remove()
    places = figure.add_gridspec(2, 1, height_ratios=(0.45, 1.5))
    shown, plot = panel(figure, places[0]), panel(figure, places[1])
    order = ours.argsort()
    chosen = order[torch.linspace(0, len(order) - 1, min(EXAMPLES, len(order))).round().long()]
    pixels = scene.model.spec.x.to_user(x[chosen])
    shown.imshow(sheet([list(pixels)], captions=[[f"{float(ours[i]):,.0f} bytes" for i in chosen]]))
    shown.axis("off")
    edges = np.linspace(float(torch.minimum(ours, png).min()), float(torch.maximum(ours, png).max()), 60)
    for values, colour, name in ((ours, COLOURS[0], scene.model.config.kind), (png, COLOURS[1], "PNG")):
        plot.hist(
            values.numpy(), bins=edges, color=colour, alpha=0.7, label=f"{name}: {float(values.mean()):,.0f} on average"
        )
    if edges[0] < raw < edges[-1]:
        plot.axvline(raw, color=INK, linewidth=1.2, linestyle=(0, (5, 3)))
    plot.xaxis.set_major_formatter("{x:,.0f}")
    plot.set(xlabel=f"bytes a picture (raw: {raw:,})", ylabel="pictures")
    figure.suptitle(f"{scene.title}: {len(x):,} held-out pictures without loss", color=INK, fontsize=11)
    plot.legend(frameon=False, labelcolor=INK)
    return rendered(figure)
