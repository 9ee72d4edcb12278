"""What a model is worth as a codec: rate against distortion, beside as many principal components and beside JPEG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
import pydantic
import torch
from torch import Tensor

from figment.core.config import Config
from figment.core.errors import UsageError
from figment.explorer import lossless
from figment.explorer.scene import Found, Scene
from figment.latent.codes import Code, Codec
from figment.latent.compress import Axes, Point, Quantiser, distortion, frontier, jpeg
from figment.models.autoencoders.autoencoder import AutoencoderConfig
from figment.pictures import COLOURS, INK, drawing, panel, rendered, sheet

BITS = (1, 2, 3, 4, 5, 6, 8)
QUALITIES = (1, 3, 6, 10, 15, 25, 40, 60, 80, 92)
COMPONENTS = 64  # principal components shown at least, where the pictures have as many
LENGTHS = 20  # numbers kept, of which the curves are made
EXAMPLES = 8


class Options(Config):
    """How much is measured."""

    count: int = pydantic.Field(200, ge=8, le=10_000, description="held-out pictures that are stored")
    lossless: bool = pydantic.Field(
        False, description="compress without loss, by a model that gives pictures a probability: the true size of each"
    )
    rows: int = pydantic.Field(
        5000, ge=50, le=60_000, description="training pictures that axes and levels are fitted to"
    )


@dataclass(frozen=True)
class Way:
    """A way to keep k numbers of a picture: those of training and of held-out pictures, and the way back."""

    name: str
    training: Tensor
    held_out: Tensor
    decode: Callable[[Tensor], Tensor]

    @property
    def lengths(self) -> list[int]:
        """How many numbers are kept: from 1 to all, evenly in the logarithm."""
        return np.unique(np.geomspace(1, self.held_out.shape[1], LENGTHS).round().astype(int)).tolist()

    def points(self, x: Tensor) -> list[Point]:
        """Bytes and dB at several numbers of several bits each."""
        found = []
        for bits in BITS:
            quantiser = Quantiser.of(self.training, bits)
            rounded, lengths = quantiser.rounded(self.held_out), quantiser.bits(self.held_out)
            for k in self.lengths[::-3]:
                size = float(lengths[:, :k].sum(1).mean()) / 8
                found.append(Point(size, distortion(x, self.decode(rounded[:, :k])), k, bits))
        return frontier(found)


def explore(scene: Scene, words: Sequence[str], options: Options) -> Found:
    """Mean PSNR of held-out pictures by numbers kept and by bytes. Raises UsageError for a model without an encoder."""
    scene.require_pictures("compress")
    if options.lossless:
        return lossless.measured(scene, options.count)
    codec = scene.codec
    if codec.way != "encoder":
        raise UsageError("`compress` wants codes in one pass: take autoencoder, vae or with-prior.")
    rows = np.random.default_rng(0).permutation(len(scene.dataset.train))[: options.rows]
    training, held_out = scene.gather("train", np.sort(rows)), scene.held_out(options.count)
    x = held_out.x
    with torch.no_grad():
        ways = [_of_model(scene, codec.encode(training.x, training.c), codec.encode(x, held_out.c))]
        ways.append(_of_components(training.x, x, max(COMPONENTS, ways[0].held_out.shape[1])))
        by_numbers = {
            way.name: {k: distortion(x, way.decode(way.held_out[:, :k])) for k in way.lengths} for way in ways
        }
        by_bytes = {way.name: way.points(x) for way in ways}
    files = _files(scene, x) if scene.model.spec.x.channels in (1, 3) else {}
    figures = {
        "measured": len(x),
        "latent": ways[0].held_out.shape[1],
        "raw_bytes": scene.model.spec.x.dimensions,
        "psnr_by_numbers": by_numbers,
        "psnr_by_bytes": {
            name: {f"{p.bytes:.1f}": p.psnr for p in points} for name, points in (by_bytes | files).items()
        },
    }
    return Found(figures, _picture(scene, x, ways, by_numbers, by_bytes, files))


def _of_model(scene: Scene, training: Code, held_out: Code) -> Way:
    """The numbers of a code: as they come where they are ordered, else the scores on the principal axes of codes."""
    codec: Codec = scene.codec
    config, shape = scene.model.config, held_out.z.shape[1:]
    z, seen = held_out.z.flatten(1), training.z.flatten(1)
    if isinstance(config, AutoencoderConfig) and config.regulariser == "ordered":
        axes = Axes(torch.zeros_like(z[0]), torch.eye(z.shape[1], device=z.device))
    else:
        axes = Axes.of(seen, z.shape[1])

    def decode(scores: Tensor) -> Tensor:
        return codec.decode(Code(axes.rows(scores).view(-1, *shape), held_out.c))

    return Way(config.kind, axes.scores(seen), axes.scores(z), decode)


def _of_components(training: Tensor, x: Tensor, k: int) -> Way:
    axes = Axes.of(training.flatten(1), k)
    seen, held_out = (axes.scores(part.flatten(1)) for part in (training, x))
    return Way("pca", seen, held_out, lambda kept: axes.rows(kept).view(-1, *x.shape[1:]))


def _files(scene: Scene, x: Tensor) -> dict[str, list[Point]]:
    """JPEG at several qualities: whole files, and their scans alone."""
    form = scene.model.spec.x
    pixels, whole, scans = form.to_user(x), [], []
    for quality in QUALITIES:
        decoded, file, scan = jpeg(pixels, quality)
        ratio = distortion(x, form.to_model(decoded.transpose(0, 3, 1, 2)).to(x))
        whole.append(Point(file, ratio, quality=quality))
        scans.append(Point(scan, ratio, quality=quality))
    return {"jpeg": whole, "jpeg_scan": scans}


def _picture(
    scene: Scene,
    x: Tensor,
    ways: Sequence[Way],
    by_numbers: Mapping[str, Mapping[int, float]],
    by_bytes: Mapping[str, Sequence[Point]],
    files: Mapping[str, Sequence[Point]],
) -> PIL.Image.Image:
    """Two plots of rate against distortion over examples of what is left at one rate."""
    figure, axes = drawing(10.8, 7.6)
    axes.remove()
    places = figure.add_gridspec(2, 2, height_ratios=(1.35, 1))
    numbers, sizes, shown = panel(figure, places[0, 0]), panel(figure, places[0, 1]), panel(figure, places[1, :])
    for way, colour in zip(ways, COLOURS):
        numbers.plot(*zip(*by_numbers[way.name].items()), color=colour, marker="o", markersize=3, label=way.name)
        _curve(sizes, by_bytes[way.name], colour, f"{way.name}, rounded and entropy coded")
    for colour, (name, what) in zip(COLOURS[2:], (("jpeg", "JPEG files"), ("jpeg_scan", "JPEG without its tables"))):
        _curve(sizes, files.get(name, ()), colour, what)
    numbers.set(xscale="log", xlabel="numbers kept of a picture", ylabel="PSNR, dB (held out)")
    sizes.set(xscale="log", xlabel=f"bytes a picture (raw: {scene.model.spec.x.dimensions:,})")
    for plot in (numbers, sizes):
        plot.xaxis.set_major_formatter("{x:g}")
        plot.legend(frameon=False, fontsize=8, labelcolor=INK)
    shown.imshow(_examples(scene, x, ways, by_bytes, files))
    shown.set(xticks=[], yticks=[])
    shown.grid(visible=False)
    figure.suptitle(f"{scene.title}: rate and distortion on {len(x):,} held-out pictures", color=INK, fontsize=11)
    return rendered(figure)


def _curve(axes: Any, points: Sequence[Point], colour: str, label: str) -> None:
    if points:
        axes.plot(
            [p.bytes for p in points], [p.psnr for p in points], color=colour, marker="o", markersize=3, label=label
        )


def _examples(
    scene: Scene,
    x: Tensor,
    ways: Sequence[Way],
    by_bytes: Mapping[str, Sequence[Point]],
    files: Mapping[str, Sequence[Point]],
) -> PIL.Image.Image:
    """Pictures as they are, at the model's best, as components at the same bytes, and as the smallest JPEG."""
    form = scene.model.spec.x
    most = by_bytes[ways[0].name][-1].bytes
    rows, names = [form.to_user(x[:EXAMPLES])], [f"given: {form.dimensions:,} bytes"]
    for way in ways:
        point = max((p for p in by_bytes[way.name] if p.bytes <= most + 0.5), key=lambda p: p.psnr)
        rounded = Quantiser.of(way.training, point.bits or 8).rounded(way.held_out)[:, : point.numbers]
        rows.append(form.to_user(way.decode(rounded)[:EXAMPLES]))
        names.append(f"{way.name}: {point.bytes:.0f} bytes, {point.psnr:.1f} dB")
    if files:
        least = files["jpeg"][0]
        rows.append(jpeg(form.to_user(x[:EXAMPLES]), QUALITIES[0])[0])
        names.append(f"JPEG: {least.bytes:.0f} bytes, {least.psnr:.1f} dB")
    return sheet([list(row) for row in rows], names)
