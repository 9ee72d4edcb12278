"""Samples against held-out data: quality, diversity and memorisation of an array of samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from figment.core.data import Dataset, Image, Vector
from figment.core.errors import FigmentError, UsageError
from figment.evaluate.features import FeatureNet, features_for
from figment.evaluate.frechet import frechet, interval
from figment.evaluate.memorisation import closeness, memorisation
from figment.evaluate.points import divergence, energy_distance, kolmogorov_smirnov, on_modes
from figment.evaluate.prdc import NEIGHBOURS, prdc
from figment.evaluate.reference import HELD_OUT_ROWS, Reference, reference, rows_of
from figment.evaluate.sharpness import sharpness
from figment.evaluate.yardsticks import yardsticks

SMALLEST = 50
Block = dict[str, Any]


def measure(
    samples: Tensor,
    dataset: Dataset,
    features: str | FeatureNet | None = None,
    labels: Tensor | None = None,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Block | None]:
    """`quality`, `diversity` and `memorisation` of samples `(n, ...)` in model range, as in `evaluation.json`.

    `labels` `(n,)` are those the samples were asked for. The Fréchet distance is to all held-out rows (10,000 at
    most); precision, recall, density and coverage are of as many samples as held-out rows, None where those are 5 or
    fewer. Raises UsageError below 50 samples and FigmentError where samples are not finite.
    """
    net = features if isinstance(features, FeatureNet) else features_for(dataset, features, progress)
    x = _delivered(samples, dataset)
    real, fake = reference(dataset, net), net(x)
    sticks = yardsticks(dataset, net, real, len(fake))
    equal = min(len(fake), len(real.held_out))
    shape = prdc(real.held_out[:equal], fake[:equal]) if equal > NEIGHBOURS else None
    quality: Block = {
        "frechet": frechet(fake, real.held_out),
        "interval": interval(fake, real.held_out),
        "floor": sticks.floor,
        "yardstick": sticks.blurred if sticks.one_class_missing is None else sticks.one_class_missing,
        "one_class_missing": sticks.one_class_missing,
        "blurred": sticks.blurred,
        "n": len(fake),
        "features": net.name,
        "features_accuracy": net.accuracy,
        "split": real.split,
        "held_out": len(real.held_out),
        "precision": shape and shape.precision,
        "notes": _notes(fake, real),
    }
    diversity: Block = {
        "recall": shape and shape.recall,
        "coverage": shape and shape.coverage,
        "density": shape and shape.density,
        "n": equal,
        "real": sticks.real,
    }
    quality |= _points(x, dataset, quality["notes"]) if isinstance(dataset.spec.x, Vector) else _sharpness(x, dataset)
    if net.head is not None:
        confidence, balance = _classes(net, fake, real, labels)
        quality |= confidence
        diversity |= balance
    copies = memorisation(closeness(real.train, fake), real.closeness).report() if real.independent else None
    return {"quality": quality, "diversity": diversity, "memorisation": copies}


def _delivered(samples: Tensor, dataset: Dataset) -> Tensor:
    """The samples as a user gets them: pictures in 8 bits."""
    if len(samples) < SMALLEST:
        raise UsageError(f"{len(samples)} samples are too few to measure: ask for n >= {SMALLEST}, better 1000.")
    x = samples.detach().float().cpu()
    broken = int((~x.flatten(1).isfinite().all(1)).sum())
    if broken:
        raise FigmentError(f"{broken} of {len(x)} samples are not finite numbers: the model has diverged.")
    return x.add(1).mul_(127.5).round_().clamp_(0, 255).div_(127.5).sub_(1) if isinstance(dataset.spec.x, Image) else x


def _notes(fake: Tensor, real: Reference) -> list[str]:
    notes = []
    fewest = min(len(fake), len(real.held_out))
    if fewest < 2 * fake.shape[1]:
        notes.append(f"{fewest} rows for {fake.shape[1]} features: compare with the floor only, not across n")
    if fewest <= NEIGHBOURS:
        notes.append(f"{fewest} held-out rows are too few for precision, recall, density and coverage")
    if not real.independent:
        notes.append("nothing is held out: real rows are training rows")
    return notes


def _points(x: Tensor, dataset: Dataset, notes: list[str]) -> Block:
    """Energy distance, Kolmogorov-Smirnov test, and KL(data || model) in nats where the density is known, from samples
    alone; in standardised coordinates. What cannot be is added to `notes`."""
    held_out = torch.cat([part for part, _ in rows_of(dataset.held_out, HELD_OUT_ROWS)])
    statistic, p = kolmogorov_smirnov(x, held_out)
    figures: Block = {"energy_distance": energy_distance(x, held_out), "kl": None}
    figures["kolmogorov_smirnov"] = {"statistic": statistic, "p": p}
    if (modes := dataset.modes) is not None:
        found, share = on_modes(
            torch.as_tensor(dataset.spec.x.to_user(x)), torch.as_tensor(modes.centres), modes.deviation
        )
        figures |= {"modes": len(modes.centres), "modes_found": found, "on_mode": share}
    if dataset.log_density is not None:
        fresh = torch.cat([part for part, _ in rows_of(dataset.train, len(x))])
        kl, error = divergence(held_out, x, fresh)
        figures |= {"kl": kl, "kl_standard_error": error, "kl_from": "samples"}
        if kl < -3 * error:
            notes.append(
                f"impossible: a KL of {kl:.2g} ± {error:.1g}; samples lie nearer to held-out rows than fresh data"
            )
    return figures


def _sharpness(x: Tensor, dataset: Dataset) -> Block:
    """The mean sharpness of samples, and of as many held-out pictures."""
    real = torch.cat([sharpness(part) for part, _ in rows_of(dataset.held_out, len(x))])
    return {"sharpness": float(sharpness(x).mean()), "sharpness_real": float(real.mean())}


def _classes(net: FeatureNet, fake: Tensor, real: Reference, labels: Tensor | None) -> tuple[Block, Block]:
    """Mean largest probability and label accuracy; total variation between label frequencies and the data's."""
    probabilities = net.read(fake).exp()
    read = probabilities.argmax(1)
    count = probabilities.shape[1]
    shares, wanted = (y.bincount(minlength=count).double() / len(y) for y in (read, net.read(real.held_out).argmax(1)))
    quality: Block = {"confidence": float(probabilities.amax(1).mean()), "label_accuracy": None}
    if labels is not None:
        quality["label_accuracy"] = float((read == labels.cpu()).double().mean())
    return quality, {"class_shares": shares.tolist(), "class_imbalance": float((shares - wanted).abs().sum() / 2)}
