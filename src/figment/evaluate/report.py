"""All figures of one model, as a row of `report.json`; and of two folders of pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from figment.core.data import Dataset, Image, Spec
from figment.core.errors import UsageError
from figment.core.model import (
    CanClassify,
    CanDecode,
    CanEncode,
    CanSample,
    CanSegment,
    HasDirections,
    HasPairs,
    Model,
    size_of,
)
from figment.core.run import DataConfig, RunFolder, write_json
from figment.evaluate.features import NAMES, FeatureNet, features_for, layers
from figment.evaluate.frechet import frechet, interval
from figment.evaluate.latent_space import latent_space
from figment.evaluate.likelihood import check_form, converted, given, likelihood
from figment.evaluate.measure import SMALLEST, measure
from figment.evaluate.prdc import prdc
from figment.evaluate.prompts import can_be_read, prompts
from figment.evaluate.reference import rows_of
from figment.evaluate.retrieval import can_retrieve, retrieval
from figment.evaluate.robustness import classification
from figment.evaluate.sharpness import sharpness
from figment.evaluate.speed import speed
from figment.evaluate.translation import segmentation, translation, translations
from figment.evaluate.unpaired import unpaired

Progress = Callable[[str], None]
METRICS = {
    "frechet": "distance between the features of samples and of held-out data; with floor, yardsticks and interval",
    "precision": "share of samples that lie among real items",
    "density": "how many real neighbourhoods a sample lies in, on average over k",
    "recall": "share of real items that lie among samples",
    "coverage": "share of real items that have a sample in their neighbourhood",
    "confidence": "how surely a classifier of the data's labels reads samples",
    "label_accuracy": "share of samples read as the label they were asked for",
    "class_imbalance": "total variation between the label frequencies of samples and of data",
    "energy_distance": "distance of distributions of rows, from distances between rows",
    "kl": "KL(data || model) in nats, of rows whose density is known: by the model's density, else from samples",
    "kolmogorov_smirnov": "largest difference of a column's distribution functions, and how likely chance makes it",
    "modes_found": "how many of a toy's peaks have a tenth of their share of samples at least, of `modes` there are",
    "on_mode": "share of samples within three deviations of a peak, of toys that consist of them",
    "memorisation": "share of samples closer to a training item than held-out data is",
    "bits_per_dim": "-log2 P(8-bit picture) / dimensions, on held-out data: =, <= or ~",
    "nats": "log p(row) on held-out data, in user units: =, >= or ~",
    "prompts": "faces drawn from captions: how often each fact that is named shows; glasses as a negative prompt",
    "retrieval": "of pictures drawn from two words never said together: how often these are found among ten such pairs",
    "sharpness": "variance of the Laplacian of pictures that are drawn or rebuilt, beside that of data",
    "reconstruction": "error of held-out items encoded and decoded",
    "active_units": "latent dimensions that carry information, of a model with a posterior",
    "aggregate": "KL(q(z) || p(z)) in nats: codes of all data against the prior, between two bounds",
    "mig": "mutual information gap: whether each known factor of the data has a latent dimension of its own",
    "neighbour_accuracy": "labels of held-out items read from the five nearest training codes",
    "decoded": "draws from the posterior and from the prior, decoded, against data",
    "l1, psnr, ssim": "of translated held-out pictures against the truth, beside those of what they were made from",
    "slope": "mean difference of neighbouring pixels of translated pictures, beside that of the truth",
    "cycle": "L1 of pictures translated there and back, of a model that goes both ways",
    "label_kept": "share of translated pictures that a classifier of the other kind reads as the label they had",
    "switched, kept": "of drawn faces: factors that tell the two kinds apart, and all others, as an oracle reads them",
    "hue": "share of coloured pixels whose hue is right; with the variance of colours",
    "iou, dice": "overlap of the pixels read as a class with those that are of it",
    "samples_per_second": "at the batch that is best, with network evaluations and peak memory",
    **{f"--features {name}": what for name, what in NAMES.items()},
}


def evaluate(
    run: str | Path | RunFolder,
    n: int | None = None,
    features: str | None = None,
    data: str | DataConfig | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measures a finished run and writes its `evaluation.json`: model, parameters, train_seconds, quality, diversity,
    speed, likelihood, memorisation, reconstruction, latent. A block is None where the model lacks the ability.

    `n` samples (None: as many as are held out, between 1000 and 5000); `features` as in `features_for`; `data` instead
    of the run's own; `options` are sampling choices. Raises UsageError, DataError, InvalidCheckpoint.
    """
    from figment.data import parse
    from figment.use import load

    folder = run if isinstance(run, RunFolder) else RunFolder(run)
    value, status = folder.read_run(), folder.read_status()
    dataset = (parse(data) if isinstance(data, str) else data or value.data).build()
    model = load(folder.path, "cuda" if torch.cuda.is_available() else "cpu")
    row = {
        "model": value.model.kind,
        "parameters": size_of(model),
        "train_seconds": status.get("seconds"),
        "train_cpu_seconds": status.get("cpu_seconds"),
        "seed": seed,
        "sampling": dict(options or {}),
        **figures(model, dataset, n, features, seed, options, progress),
    }
    write_json(folder.evaluation, row)
    return row


def figures(
    model: Model,
    dataset: Dataset,
    n: int | None = None,
    features: str | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The blocks of `evaluate` for a model and a dataset at hand. Raises UsageError where their forms differ."""
    from figment.use import draw

    check_form(model, dataset)
    say = progress or (lambda line: None)
    row: dict[str, Any] = dict.fromkeys(("quality", "diversity", "speed", "likelihood", "memorisation"))
    samples, net = None, None
    if isinstance(model, CanSample):
        say("speed")
        row["speed"] = speed(model, options)
        count = n or min(max(len(dataset.held_out), 1000), 5000)
        say(f"drawing {count} samples")
        x, c = draw(model, count, seed=seed, options=options, batch=row["speed"]["batch"])
        say("quality")
        labels = c["label"] if "label" in given(model, dataset) else None
        samples, net = converted(x, model.spec, dataset.spec), features_for(dataset, features, _told(say))
        row |= measure(samples, dataset, net, labels)
    if can_be_read(model, dataset):
        say("prompts")
        row["prompts"] = prompts(model, dataset, min(n or 1000, 1000), seed, options)
    if can_retrieve(model, dataset):
        say("prompts of words that were never said together")
        row["retrieval"] = retrieval(model, dataset, layers(), min(n or 300, 1000), seed, options)
    if isinstance(model, CanClassify):
        row["classification"] = classification(model, dataset)
    if isinstance(model, CanSegment):
        say("segmenting")
        row["segmentation"] = segmentation(model, dataset, n or 1000)
    elif isinstance(model, HasDirections):
        say("translating both ways")
        row["translation"] = unpaired(model, dataset, n or 1000, features, _told(say))
    elif isinstance(model, HasPairs):
        say("translating")
        pairs = list(translations(model, dataset, n or 1000))
        row["translation"] = translation(pairs)
        samples = torch.cat([made for _, made, _ in pairs])
        if len(samples) >= SMALLEST and samples.shape[1:] == dataset.spec.x.shape:
            row |= measure(samples, dataset, features_for(dataset, features, _told(say)))
    say("likelihood")
    row["likelihood"] = likelihood(model, dataset, seed=seed)
    if row["quality"] and (row["likelihood"] or {}).get("kl") is not None:
        row["quality"] |= {key: row["likelihood"][key] for key in ("kl", "kl_standard_error")} | {"kl_from": "density"}
    row["reconstruction"] = reconstruction(model, dataset)
    row["latent"] = latent_space(model, dataset, samples, net, seed)
    return row


def _told(say: Progress) -> Callable[[float], None]:
    """Progress of a feature network's training, in tenths."""
    shown = 0

    def progress(done: float) -> None:
        nonlocal shown
        if done * 10 >= shown:
            say(f"training the feature network (once for this data): {done:.0%}")
            shown = int(done * 10) + 1

    return progress


@torch.no_grad()
def reconstruction(model: Model, dataset: Dataset, n: int = 1000) -> dict[str, float] | None:
    """`mse` a dimension of held-out rows encoded and decoded, in model range, `psnr` in dB of a range of 2, and of
    pictures their mean `sharpness` and that of the given ones; None for a model that does not encode and decode."""
    if not (isinstance(model, CanEncode) and isinstance(model, CanDecode)):
        return None
    rows = np.random.default_rng(0).permutation(len(dataset.held_out))[:n]
    total, sharp = 0.0, torch.zeros(2, dtype=torch.float64)
    for part in np.array_split(rows, math.ceil(len(rows) / 250)):
        batch = dataset.held_out.gather(part).to(model.device)
        x = converted(batch.x, dataset.spec, model.spec).to(model.device)
        c = {key: batch.c[key] for key in given(model, dataset)}
        decoded = model.decode(model.encode(x, c), c)
        total += float((decoded.float() - x).square().flatten(1).mean(1).double().sum())
        if isinstance(dataset.spec.x, Image):
            sharp += torch.stack([sharpness(pictures).double().sum().cpu() for pictures in (decoded, x)])
    mse = total / len(rows)
    figures = {"mse": mse, "psnr": 10 * math.log10(4 / max(mse, 1e-12)), "n": len(rows)}
    if isinstance(dataset.spec.x, Image):
        figures |= dict(zip(("sharpness", "sharpness_real"), (sharp / len(rows)).tolist()))
    return figures


def evaluate_folders(a: str, b: str, n: int | None = None, features: str | None = None) -> dict[str, Any]:
    """Measures the pictures (or rows) of DATA `a` against those of DATA `b`: Fréchet distance with its interval and
    floor, precision, recall, density and coverage.

    `n` rows of each at most. The floor is one half of `b` against the other. Raises UsageError below 50 of each.
    """
    from figment.data import parse

    measured, real = parse(a).build(), parse(b).build()
    if measured.spec.x.kind != real.spec.x.kind:
        raise UsageError(f"{a} holds {measured.spec.x.kind} data, {b} {real.spec.x.kind} data: give two of a kind.")
    net = features_for(real, features or ("fixed" if real.spec.x.kind == "image" else None))
    fake_rows, real_rows = (_all_features(dataset, real.spec, net, n or 10_000) for dataset in (measured, real))
    equal = min(len(fake_rows), len(real_rows))
    if equal < SMALLEST:
        raise UsageError(f"{equal} items are too few to measure: {SMALLEST} of each are needed, 1000 are better.")
    shape = asdict(prdc(real_rows[:equal], fake_rows[:equal]))
    quality = {
        "frechet": frechet(fake_rows, real_rows),
        "interval": interval(fake_rows, real_rows),
        "floor": frechet(real_rows[::2], real_rows[1::2]),
        "n": len(fake_rows),
        "held_out": len(real_rows),
        "features": net.name,
        "features_accuracy": net.accuracy,
        "precision": shape.pop("precision"),
    }
    return {"model": a, "data": b, "quality": quality, "diversity": shape}


def _all_features(dataset: Dataset, spec: Spec, net: FeatureNet, count: int) -> torch.Tensor:
    """Features `(N, F)` of `count` rows at most of all splits together, in the units of `spec`, in random order."""
    parts = (x for split in dataset.splits.values() for x, _ in rows_of(split, count))
    found = torch.cat([net(converted(x, dataset.spec, spec)) for x in parts])

    return found[torch.randperm(len(found), generator=torch.Generator().manual_seed(0))][:count]
