"""Figures of what a model draws while it learns, beside real examples: what the signs of trouble are read from."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from figment.core.data import Dataset, NoisySplit
from figment.evaluate.memorisation import closeness, memorisation
from figment.evaluate.points import energy_distance

REAL = 1024  # held-out examples that drawn ones are compared with
VALUES = 1 << 24  # numbers of training examples that copies are looked for among
PERIODS = (2, 4, 8)  # of a lattice, in pixels


def symptoms(x: Tensor, dataset: Dataset, *, samples: bool = True) -> dict[str, float]:
    """What is unlike data in drawn examples `(B, ...)` in model range: `spread`, `noise`, of pictures `lattice`, and of
    `samples` the share of `copies` of training items, beside the most that `fresh` data would show."""
    real = dataset.held_out.gather(_rows(len(dataset.held_out), REAL)).x
    if x.ndim == 4:
        real = real[..., : x.shape[2], : x.shape[3]]  # a translation may be some pixels smaller
    figures = {"spread": spread(x, real)}
    if x.ndim == 4:
        figures |= {"noise": grain_above(x, real), "lattice": lattice(x, real)}
    else:
        figures["noise"] = likeness_to_noise(x, real)
    if samples and dataset.held_out is not dataset.train and not isinstance(dataset.train, NoisySplit):
        figures |= copying(x, real, dataset)
    return {f"drawn.{name}": value for name, value in figures.items()}


def spread(x: Tensor, real: Tensor) -> float:
    """The deviation of numbers over examples, relative to that of real ones; 0 where all examples are one."""
    drawn, given = (part.flatten(1).var(0, correction=0).mean().sqrt() for part in (x, real))
    return float(drawn / given.clamp_min(1e-6))


def grain(x: Tensor) -> float:
    """1 less the correlation of neighbouring pixels of pictures `(B, C, H, W)`: 0 for flat ones, 1 for white noise."""
    x = x.double() - x.double().mean()
    squares = [part.square().sum() / part.numel() for part in (x.diff(dim=3), x.diff(dim=2)) if part.numel()]
    return float(torch.stack(squares).mean() / (2 * x.square().mean()).clamp_min(1e-12)) if squares else 0.0


def grain_above(x: Tensor, real: Tensor) -> float:
    """How far pictures are from the grain of real ones to that of white noise: 0 as data, 1 as noise."""
    given = grain(real)
    return max(0.0, grain(x) - given) / max(1 - given, 1e-3)


def likeness_to_noise(x: Tensor, real: Tensor) -> float:
    """1 less the energy distance of rows from standard normal noise, relative to that of real ones: 0 as data or as
    anything else that is as far from noise, 1 as noise.

    0 for data that is hardly other than noise itself.
    """
    noise = torch.randn(REAL, real.shape[1], generator=torch.Generator().manual_seed(0))
    far = energy_distance(real, noise)
    return max(0.0, 1 - energy_distance(x, noise) / far) if far > 1e-2 else 0.0


def lattice(x: Tensor, real: Tensor) -> float:
    """How many times the power at a period of a few pixels exceeds both that beside it and that of real pictures, the
    larger of the axes and periods: about 1 for data, many for a checkerboard.

    Odena, Dumoulin & Olah, "Deconvolution and checkerboard artifacts" (2016).
    """
    peaks = [0.0]
    for axis in (2, 3):
        drawn, given = _power(x, axis), _power(real, axis)
        for size in (x.shape[axis] // period for period in PERIODS if x.shape[axis] % period == 0):
            if size < 2:
                continue
            own, usual = (float(power[size] / _beside(power, size)) for power in (drawn, given))
            peaks.append(min(own / max(usual, 1e-6), float(drawn[size] / given[size].clamp_min(1e-12))))
    return max(peaks)


def _power(x: Tensor, axis: int) -> Tensor:
    """The power of pictures along one axis, mean over the other and over pictures, by frequency 0 ... L / 2."""
    return torch.fft.rfft(x.double(), dim=axis).abs().square().transpose(axis, 3).flatten(0, 2).mean(0)


def _beside(power: Tensor, place: int) -> Tensor:
    """The mean power of the frequencies next to one."""
    return power[[i for i in (place - 1, place + 1) if i < len(power)]].mean().clamp_min(1e-12)


def copying(x: Tensor, real: Tensor, dataset: Dataset) -> dict[str, float]:
    """The share of `copies` among samples, items closer to a training item than nearly all held-out ones by the pixels
    alone, and the most that `fresh` data could show by chance."""
    count = min(len(dataset.train), max(1, VALUES // x[0].numel()))
    train = dataset.train.gather(_rows(len(dataset.train), count)).x.flatten(1)
    near, usual = (closeness(train, part.flatten(1).float()) for part in (x, real))
    found = memorisation(near, usual)
    return {"copies": found.rate, "fresh": found.limit}


def _rows(count: int, most: int) -> np.ndarray:
    """At most so many rows, always the same."""
    return np.random.default_rng(0).permutation(count)[:most]
