"""What in a log shows that a run goes wrong: each sign a function of its lines, oldest first, and of how much of the
run is over. It returns what is seen, in words and figures; None where nothing is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean, median

LINES = 20  # of the log, that a sign must hold for
BRIEF = 10  # lines, where the one that learns does so for a part of the run
SURE = 0.98  # of pairs that a discriminator tells apart
AHEAD = 0.97  # of them, beyond which it, and not the generator, is about to win
FAINT = 0.1  # of a gradient, where some 1 to 20 are usual
NARROW = 0.6  # of real examples that have a drawn one near them, well into a run
EARLY = 0.4  # of a run, in which what is drawn need not be like data yet
INEXACT = 1e-2  # of the range of x (standard deviations of rows), that an inverse is off
FEW = 5.0  # symbols of a codebook, by perplexity
UNUSED = 0.6  # of a codebook, however small
SILENT = 0.05  # nats of KL, of all latent dimensions together
MEMORY = 10 * LINES  # lines that a loss is remembered
LOST = 0.8  # of what a loss had fallen by
JUMP = 8.0  # times that a loss changes from line to line
STAYS = 3  # lines that a loss is high again, or a gradient steep
STEEP = 1e3  # of a gradient: losses are in nats a dimension
WILD = 3.0  # times the deviation of real examples, beyond which pictures say nothing but that
SIGNAL = 1e-3  # share of the signal's power that may be left at the end of a schedule
LATE = 0.6  # of a run, from which on what is drawn should be no noise
NOISY = 0.6  # of the way from the grain of data to that of noise
ALIKE = 0.1  # of the deviation of real examples
LATTICE = 8.0  # times the power beside it and that of data
DRAWN = tuple(f"drawn.{name}" for name in ("spread", "noise", "lattice", "copies", "fresh"))  # figures, all >= 0

Lines = Sequence[Mapping[str, float]]


def standstill(lines: Lines, progress: float) -> str | None:
    last = _last(lines)
    for name in (name for line in last[-1:] for name in line if name.split(".")[-1] == "loss"):
        values = [line.get(name, math.nan) for line in last]
        if max(values) - min(values) <= 1e-6 * abs(values[-1]):
            return f"{name} has not changed for {LINES} lines of the log: nothing is being learned"
    return None


def divergence(lines: Lines, progress: float) -> str | None:
    """Gradients that are steep beyond all reason in a few lines; or a loss that has lost most of what it had fallen by
    since the first line, for a few lines, and by far more than it changes from line to line: one of two players may."""
    for name in (name for name in lines[-1] if name.split(".")[-1] == "gradient_norm"):
        steep = [line[name] for line in lines[-LINES:] if line.get(name, 0.0) >= STEEP]
        if len(steep) >= STAYS:
            return f"{name} is {steep[-1]:.1g}, where about 1 is usual: weights were thrown far from where they began"
    values = [line["loss"] for line in (*lines[:1], *lines[1:][-MEMORY:]) if "loss" in line]
    if len(values) < LINES:
        return None
    low, now = min(values[:-STAYS]), min(values[-STAYS:])
    usual = median(abs(b - a) for a, b in pairwise(values))
    if min(now, values[0]) - low <= JUMP * usual or now - low < LOST * (values[0] - low):
        return None
    return f"the loss has risen to {now:.3g}, from {low:.3g} at its best and {values[0]:.3g} at first"


def vanishing_gradient(lines: Lines, progress: float) -> str | None:
    if not _sure(lines):
        return None
    accuracy, slope = _mean(lines, "discriminator.accuracy"), _mean(lines[-BRIEF:], "generator.gradient_norm")
    if accuracy is None or slope is None or slope > FAINT:
        return None
    return (
        f"the discriminator is sure of {accuracy:.1%} of samples and the generator's gradient is {slope:.1g}: its loss "
        "is flat where it loses"
    )


def discriminator_wins(lines: Lines, progress: float) -> str | None:
    """A discriminator that is sure, of what is not all over the data: a sure one may be right by a hair's breadth."""
    coverage = _mean(lines[-BRIEF:], "discriminator.coverage")
    if not _sure(lines) or (coverage is not None and coverage >= NARROW):
        return None
    return (
        f"for {LINES} lines of the log it tells {_mean(lines, 'discriminator.accuracy'):.1%} of samples from the data, "
        "so the generator learns little"
    )


def mode_collapse(lines: Lines, progress: float) -> str | None:
    """Real examples that have no drawn one near them, though the discriminator is not about to win."""
    coverage = _mean(lines[-BRIEF:], "discriminator.coverage")
    if progress < EARLY or len(lines) < LINES or coverage is None or coverage >= NARROW:
        return None
    ahead = (_mean(some, "discriminator.accuracy") or 0.0 for some in (lines, lines[-BRIEF:]))
    if max(ahead) >= AHEAD:
        return None
    return (
        f"for {BRIEF} lines of the log only {coverage:.0%} of real examples have a sample near them, where nine in ten "
        "are usual: the generator has won by drawing a few things well"
    )


def codebook_collapse(lines: Lines, progress: float) -> str | None:
    perplexity = [line.get("autoencoder.perplexity", math.inf) for line in lines[-BRIEF:]]
    if len(perplexity) < BRIEF or max(perplexity) >= FEW:
        return None
    if max(line.get("autoencoder.used", 0.0) for line in lines[-BRIEF:]) >= UNUSED:
        return None
    return f"for {BRIEF} lines of the log {perplexity[-1]:.1f} symbols are used, so codes say little of the data"


def posterior_collapse(lines: Lines, progress: float) -> str | None:
    last = _last(lines)
    if not last or "kl" not in last[-1]:
        return None
    inactive = max(line.get("active", 1.0) for line in last) == 0
    if max(line.get("kl", 1.0) for line in last) > SILENT and not inactive:
        return None
    return (
        f"for {LINES} lines of the log the codes say nothing of the data (KL {last[-1]['kl']:.2g} nats), so all "
        "reconstructions are one"
    )


def inexact_inverse(lines: Lines, progress: float) -> str | None:
    error = max((line.get("inverse_error", 0.0) for line in _last(lines)), default=0.0)
    if error <= INEXACT:
        return None
    return (
        f"the flow does not invert: x comes back from its code with an error of {error:.2g}, so its densities and "
        "samples belong to different models"
    )


def unfinished_schedule(lines: Lines, progress: float) -> str | None:
    left = next((line["signal_left"] for line in lines[:1] if "signal_left" in line), 0.0)
    if left <= SIGNAL:
        return None
    return (
        f"the schedule never reaches noise: a share of {left:.2g} of the signal's power is left at its end, so "
        "sampling from noise starts in the wrong place"
    )


def noise_only(lines: Lines, progress: float) -> str | None:
    """Noise that is drawn, not the last bits of a flat picture."""
    noise, spread = (lines[-1].get(f"drawn.{name}", 0.0) for name in ("noise", "spread"))
    if progress < LATE or noise < NOISY or not ALIKE <= spread <= WILD:
        return None
    return f"what is drawn is {noise:.0%} of the way from data to noise, after {progress:.0%} of the run"


def alike(lines: Lines, progress: float) -> str | None:
    spread = lines[-1].get("drawn.spread", 1.0)
    if progress < EARLY or spread >= ALIKE:
        return None
    return f"what is drawn varies {spread:.1%} as much as data does: nearly the same for every code"


def checkerboard(lines: Lines, progress: float) -> str | None:
    peak, spread = (lines[-1].get(f"drawn.{name}", 0.0) for name in ("lattice", "spread"))
    if progress < EARLY or peak < LATTICE or spread > WILD:
        return None
    return f"what is drawn has a lattice of a few pixels: {peak:.0f} times the power of data, and of what is beside it"


def memorisation(lines: Lines, progress: float) -> str | None:
    """Copies, well into a run: blobs of one that has just begun may lie near one item by chance."""
    copies = lines[-1].get("drawn.copies", 0.0)
    if progress < EARLY or copies <= lines[-1].get("drawn.fresh", 1.0):
        return None
    return (
        f"{copies:.0%} of samples lie closer to a training item than nearly all held-out items do; of fresh ones "
        f"{lines[-1]['drawn.fresh']:.0%} at most would"
    )


def _last(lines: Lines) -> Lines:
    """The last lines; none before there are enough of them."""
    return lines[-LINES:] if len(lines) >= LINES else ()


def _sure(lines: Lines) -> bool:
    """Whether the discriminator tells nearly every pair apart: a few lines may say less."""
    return len(lines) >= LINES and (_mean(lines, "discriminator.accuracy") or 0.0) >= SURE


def _mean(lines: Lines, name: str) -> float | None:
    """The mean of a figure over those of the last lines that have it."""
    values = [line[name] for line in lines[-LINES:] if name in line]
    return fmean(values) if values else None
