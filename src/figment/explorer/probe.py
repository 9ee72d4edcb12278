"""How much a few labels make of a model: read from its frozen codes, and trained on from its encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image
import pydantic
import torch
from torch import Tensor, nn

from figment.core.config import Config
from figment.core.data import Batch
from figment.core.errors import UsageError
from figment.core.model import ModelConfig
from figment.explorer.scene import Found, Scene
from figment.latent.codes import Codec
from figment.latent.compress import Axes
from figment.latent.operations import operations
from figment.latent.probe import LinearProbe, draw_labelled, trained_accuracy
from figment.pictures import COLOURS, INK, drawing, panel, rendered

COUNTS = (10, 30, 100, 300, 1000)
STEPS, FEWEST_STEPS = 150, 20
BATCH = 100
OPERATIONS = 2e13  # of floating point, that all training on may take where no steps are asked for: some two minutes
SHOWN = {"code": "code", "pca": "principal components", "raw": "the data itself"}


class Options(Config):
    """How often, and on how much."""

    seeds: int = pydantic.Field(5, ge=2, le=50, description="draws of the labelled items")
    labels: int = pydantic.Field(100, ge=2, le=10_000, description="labelled items that an encoder is trained on with")
    steps: int | None = pydantic.Field(
        None, ge=1, le=10_000, description="steps of that training (unset: 150; fewer, from 20, of large pictures)"
    )
    rows: int = pydantic.Field(5000, ge=100, le=60_000, description="training items that labelled ones are drawn from")
    held_out: int = pydantic.Field(2000, ge=50, le=60_000, description="held-out items that accuracy is measured on")


def explore(scene: Scene, words: Sequence[str], options: Options) -> Found:
    """Accuracy on held-out items by number of labels, mean and deviation over seeds; for codes, as many principal
    components and the data itself; and of the encoder trained on, from its weights and from random ones.

    Raises UsageError for data without labels and for a model without an encoder.
    """
    if scene.dataset.spec.label is None:
        raise UsageError(
            f"`probe` reads labels from codes, and {scene.dataset.spec.name} has none: "
            "name data with labels by --data (sub-folders are labels)."
        )
    if scene.codec.way != "encoder":
        raise UsageError("`probe` wants codes in one pass: take autoencoder, vae or with-prior.")
    rows = np.random.default_rng(0).permutation(len(scene.dataset.train))[: options.rows]
    training = scene.dataset.train.gather(np.sort(rows)).to(scene.model.device)
    held_out = scene.dataset.held_out.gather(np.arange(min(options.held_out, len(scene.dataset.held_out))))
    held_out = held_out.to(scene.model.device)
    steps = options.steps or _steps(scene, training.x[:1], options)
    curves = _curves(scene, training, held_out, options)
    starts = _starts(scene, training, held_out, options, steps)
    figures: dict[str, Any] = {
        "held_out": len(held_out),
        "seeds": options.seeds,
        "linear": {name: {n: _figures(values) for n, values in curve.items()} for name, curve in curves.items()},
        "trained_on": {name: _figures(values) for name, values in starts.items()} or None,
    }
    if starts:
        figures["trained_on"] |= {
            "labels": options.labels,
            "steps": steps,
            "gain": float(np.mean(starts["pretrained"]) - np.mean(starts["random"])),
        }
    return Found(figures, _picture(scene, curves, starts, options, steps))


def _figures(values: Sequence[float]) -> dict[str, float]:
    return {"accuracy": float(np.mean(values)), "deviation": float(np.std(values, ddof=1))}


def _encode(codec: Codec) -> Any:
    """Codes `(B, d)` with the label unknown: what a model was told in training must not tell here."""

    def encode(model: Any, x: Tensor) -> Tensor:
        return model.encode(x, codec.conditions({}, len(x))).flatten(1)

    return encode


def _curves(scene: Scene, training: Batch, held_out: Batch, options: Options) -> dict[str, dict[int, list[float]]]:
    """Accuracies of a linear reading by number of labels, a seed each."""
    parts, encode = (training.x, held_out.x), _encode(scene.codec)
    with torch.no_grad():
        codes = [torch.cat([encode(scene.model, x) for x in part.split(500)]) for part in parts]
    flat = [part.flatten(1) for part in parts]
    axes = Axes.of(flat[0], codes[0].shape[1])
    features = {"code": codes, "pca": [axes.scores(part) for part in flat], "raw": flat}
    y, truth = training.c["label"].cpu().numpy(), held_out.c["label"].cpu().numpy()
    counts = [n for n in COUNTS if len(np.unique(y)) <= n <= len(y)]
    curves: dict[str, dict[int, list[float]]] = {name: {n: [] for n in counts} for name in features}
    with scene.watch("reading labels", len(features) * len(counts) * options.seeds) as advance:
        for name, (z, held) in features.items():
            for n in counts:
                for seed in range(options.seeds):
                    chosen = draw_labelled(y, n, seed)
                    z_n, known = z[chosen].cpu().numpy(), y[chosen]
                    curves[name][n].append(LinearProbe.of(z_n, known).accuracy(held.cpu().numpy(), truth))
                    advance(1)
    return curves


def _starts(scene: Scene, training: Batch, held_out: Batch, options: Options, steps: int) -> dict[str, list[float]]:
    """Accuracies of the encoder trained on with a linear head, a seed each: from its weights, and from random ones."""
    y = training.c["label"]
    accuracies: dict[str, list[float]] = {"pretrained": [], "random": []}
    with scene.watch("training on", 2 * options.seeds) as advance:
        for seed in range(options.seeds):
            chosen = torch.from_numpy(draw_labelled(y.cpu().numpy(), options.labels, seed)).to(y.device)
            for name, model in (("pretrained", scene.model), ("random", _unlearned(scene.model, seed))):
                accuracy = trained_accuracy(
                    model, _encode(scene.codec), training.x[chosen], y[chosen], held_out.x, held_out.c["label"],
                    steps=steps, seed=seed, batch=BATCH,
                )  # fmt: skip
                if accuracy is None:
                    return {}
                accuracies[name].append(accuracy)
                advance(1)
    return accuracies


def _steps(scene: Scene, x: Tensor, options: Options) -> int:
    """As many steps as all training on, of two encoders for each seed, has operations for; x `(1, ...)` is one item."""
    once = operations(lambda: _encode(scene.codec)(scene.model, x))
    step = 3 * once * min(options.labels, BATCH)  # backward costs twice what forward does
    return int(min(STEPS, max(FEWEST_STEPS, OPERATIONS / max(1, 2 * options.seeds * step))))


def _unlearned(model: Any, seed: int) -> nn.Module:
    """The same networks with initial weights."""
    config: ModelConfig = model.config
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return config.build(model.spec).to(model.device)


def _picture(
    scene: Scene,
    curves: Mapping[str, Mapping[int, Sequence[float]]],
    starts: Mapping[str, Sequence[float]],
    options: Options,
    steps: int,
) -> PIL.Image.Image:
    """Accuracy by number of labels; and of the encoder trained on, a dot a seed."""
    figure, axes = drawing(9.6 if starts else 6.0, 4.2)
    if starts:
        axes.remove()
        places = figure.add_gridspec(1, 2, width_ratios=(1.7, 1))
        axes = panel(figure, places[0])
        _beginnings(panel(figure, places[1]), starts, f"{options.labels} labels, {steps} steps")
    for place, ((name, curve), colour) in enumerate(zip(curves.items(), COLOURS)):
        beside = [n * 1.05 ** (place - 1) for n in curve]  # so that bars do not hide each other
        means = [np.mean(values) for values in curve.values()]
        spread = [np.std(values, ddof=1) for values in curve.values()]
        axes.errorbar(beside, means, spread, color=colour, marker="o", markersize=4, capsize=3, label=SHOWN[name])
    axes.set(xscale="log", xlabel="labels", ylabel="accuracy on held-out data", xticks=list(curve))
    axes.set_xticks(list(curve), [f"{n:,}" for n in curve])
    axes.minorticks_off()
    axes.set_title("a linear reading of frozen numbers", fontsize=9, color=INK, loc="left")
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="lower right")
    figure.suptitle(f"{scene.title}: {options.seeds} draws of the labels", color=INK, fontsize=11)
    return rendered(figure)


def _beginnings(axes: Any, starts: Mapping[str, Sequence[float]], how: str) -> None:
    for place, (values, colour) in enumerate(zip(starts.values(), (COLOURS[0], COLOURS[7]))):
        axes.bar(place, np.mean(values), yerr=np.std(values, ddof=1), width=0.6, color=colour, alpha=0.8, capsize=4)
        axes.scatter(np.full(len(values), place), values, s=14, color=INK, zorder=3)
    low, high = min(map(min, starts.values())), max(map(max, starts.values()))
    axes.set(ylim=(max(0.0, low - 0.15), min(1.0, high + 0.15)), xticks=(0, 1))
    axes.set_xticks((0, 1), ("its own weights", "random weights"))
    axes.set_title(f"the encoder trained on: {how}", fontsize=9, color=INK, loc="left")
