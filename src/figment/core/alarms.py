"""Signs that a run is going wrong, each with its cause and its remedy: pure functions of the log's last lines and of a
batch of samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from torch import Tensor

from figment.core.errors import FigmentError

LINES = 20  # of the log, that a sign must hold for
SURE = 0.98  # of pairs that a discriminator tells apart
FAINT = 1e-2  # of a generator's gradient
NARROW = 0.45  # of real examples that have a drawn one near them, well into a run
EARLY = 0.4  # of a run, in which drawn examples need not be near real ones yet
INEXACT = 1e-2  # of the range of x (standard deviations of rows), that an inverse is off
FEW = 3.0  # symbols of a codebook, by perplexity
SILENT = 0.05  # nats of KL, of all latent dimensions together

Lines = Sequence[Mapping[str, float]]
Settings = Mapping[str, Any]  # dotted names -> values, or functions of the value that is there


@dataclass(frozen=True)
class Sign:
    """Something wrong: its name, what shows it, and what a person may do."""

    name: str
    cause: str
    advice: str

    def __str__(self) -> str:
        return f"{self.name}: {self.cause}. {self.advice}"


class Ailing(FigmentError):
    """A run shows a sign, at a step and after so many seconds, that dotted `settings` cure; raised where curing it was
    asked for."""

    def __init__(self, sign: Sign, settings: Mapping[str, Any], step: int, seconds: float):
        super().__init__(str(sign))
        self.sign, self.settings, self.step, self.seconds = sign, settings, step, seconds


def from_log(lines: Lines, progress: float = 1.0) -> list[Sign]:
    """What the last lines of the log say, oldest first; nothing before there are enough of them.

    `progress` is how much of the run is over at the last of them.
    """
    last = list(lines)[-LINES:]
    if len(last) < LINES:
        return []
    found = [sign(last) for sign in (standstill, vanishing_gradient, discriminator_wins)]
    found += [mode_collapse(last)] if progress >= EARLY else []
    found += [sign(last) for sign in (codebook_collapse, posterior_collapse, inexact_inverse)]
    return [sign for sign in found if sign is not None]


def standstill(lines: Lines) -> Sign | None:
    """A loss that is the same in all lines."""
    for name in (name for name in lines[-1] if name.split(".")[-1] == "loss"):
        values = [line.get(name, math.nan) for line in lines]
        if max(values) - min(values) <= 1e-6 * abs(values[-1]):
            return Sign(
                "standstill",
                f"{name} has not changed for {len(lines)} lines of the log: nothing is being learned",
                "Try a larger training.lr; check with `figment data check` that the data varies.",
            )
    return None


def discriminator_wins(lines: Lines) -> Sign | None:
    """A discriminator that tells nearly every pair apart."""
    accuracy = _mean(lines, "discriminator.accuracy")
    if accuracy is None or not _sure(lines):
        return None
    return Sign(
        "discriminator wins",
        f"for {len(lines)} lines of the log it tells {accuracy:.1%} of samples from the data, so the generator learns "
        "little",
        "Bound its slope, model.regulariser=r1+r2, more where that is done already, model.gamma=4; or let it learn "
        "more slowly, model.rate=0.25, or from noisy labels, model.flipped=0.1.",
    )


def vanishing_gradient(lines: Lines) -> Sign | None:
    """A discriminator that tells nearly every pair apart, and a generator that is told nothing by it."""
    accuracy, slope = _mean(lines, "discriminator.accuracy"), _mean(lines, "generator.gradient_norm")
    if accuracy is None or slope is None or slope > FAINT or not _sure(lines):
        return None
    return Sign(
        "vanishing gradient",
        f"the discriminator is sure of {accuracy:.1%} of samples and the generator's gradient is {slope:.1g}: its loss "
        "is flat where it loses",
        "Take an objective that is not, model.objective=non-saturating or relativistic, and bound the discriminator's "
        "slope, model.regulariser=r1+r2.",
    )


def mode_collapse(lines: Lines) -> Sign | None:
    """Real examples that have no drawn one near them, though the discriminator has not won."""
    coverage, accuracy = _mean(lines, "discriminator.coverage"), _mean(lines, "discriminator.accuracy")
    if coverage is None or coverage >= NARROW or accuracy is None or accuracy >= SURE:
        return None
    return Sign(
        "mode collapse",
        f"for {len(lines)} lines of the log only {coverage:.0%} of real examples have a sample near them, where nine "
        "in ten are usual: the generator has won by drawing a few things well",
        "Judge samples against real examples, model.objective=relativistic, and bound the discriminator's slope, "
        "model.regulariser=r1+r2; show it how much a batch varies, model.deviation=true; or take a smaller "
        "training.lr.",
    )


def codebook_collapse(lines: Lines) -> Sign | None:
    """A codebook of which few symbols are used."""
    perplexity = [line.get("autoencoder.perplexity", math.inf) for line in lines]
    if max(perplexity) >= FEW:
        return None
    return Sign(
        "codebook collapse",
        f"for {len(lines)} lines of the log {perplexity[-1]:.1f} symbols are used, so codes say little of the data",
        "Let unused vectors be put where the data is, model.revive=true; else pull the encoder to the codebook more, "
        "model.commitment=1, or take a smaller training.lr.",
    )


def posterior_collapse(lines: Lines) -> Sign | None:
    """Codes that say nothing of the data."""
    if "kl" not in lines[-1]:
        return None
    inactive = max(line.get("active", 1.0) for line in lines) == 0
    if max(line.get("kl", 1.0) for line in lines) > SILENT and not inactive:
        return None
    return Sign(
        "posterior collapse",
        f"for {len(lines)} lines of the log the codes say nothing of the data (KL {lines[-1]['kl']:.2g} nats), so all "
        "reconstructions are one",
        "Let the decoder's variance be learned, model.sigma=global, at model.beta=1: a mean squared error plus KL is "
        "sigma = sqrt(D / 2), far too large. Or let some KL cost nothing, model.free_bits=0.2; if only the start goes "
        "wrong, model.anneal=0.5.",
    )


def inexact_inverse(lines: Lines) -> Sign | None:
    """A flow whose codes do not lead back."""
    error = max(line.get("inverse_error", 0.0) for line in lines)
    if error <= INEXACT:
        return None
    return Sign(
        "inexact inverse",
        f"the flow does not invert: x comes back from its code with an error of {error:.2g}, so its densities and "
        "samples belong to different models",
        "Try a smaller training.lr; bound the scales of a model.transform=coupling more tightly, model.bound=1; give "
        "model.transform=continuous more model.steps.",
    )


def from_samples(x: Tensor) -> list[Sign]:
    """What samples `(B, ...)` from different noise say."""
    if len(x) > 1 and float(x.float().flatten(1).std(0).max()) < 1e-3:
        return [
            Sign(
                "all samples are equal",
                "the model has collapsed to one",
                "Train longer, or try another seed or family.",
            )
        ]
    return []


def _sure(lines: Lines) -> bool:
    """Whether the discriminator tells nearly every pair apart, in every line."""
    return min(line.get("discriminator.accuracy", 0.0) for line in lines) >= SURE


def _mean(lines: Lines, name: str) -> float | None:
    """The mean of a figure over the lines that have it."""
    values = [line[name] for line in lines if name in line]
    return fmean(values) if values else None


JUDGED_IN_PAIRS = {"model.objective": "relativistic", "model.regulariser": "r1+r2"}
REMEDIES: Mapping[str, Sequence[Settings]] = {
    "standstill": ({"training.lr": lambda lr: 3 * lr},),
    "vanishing gradient": (JUDGED_IN_PAIRS, {"model.rate": lambda rate: rate / 4}, {"model.flipped": 0.1}),
    "discriminator wins": (JUDGED_IN_PAIRS, {"model.rate": lambda rate: rate / 4}, {"model.flipped": 0.1}),
    "mode collapse": (JUDGED_IN_PAIRS, {"training.lr": lambda lr: lr / 3}),
    "codebook collapse": ({"model.revive": True}, {"model.commitment": 1.0}, {"training.lr": lambda lr: lr / 3}),
    "posterior collapse": ({"model.sigma": "global", "model.beta": 1.0}, {"model.free_bits": 0.2}),
    "inexact inverse": ({"training.lr": lambda lr: lr / 3},),
    "divergence": ({"training.lr": lambda lr: lr / 3},),
}


def remedy(name: str, run: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that cure a sign of this name in a run (as plain nested values): the first of its remedies whose
    settings the run has, with other values. Empty where there is none."""
    for settings in REMEDIES.get(name, ()):
        there = {key: value for key, value in _leaves(run) if key in settings}
        wanted = {k: f(there[k]) if isinstance(f := settings[k], Callable) else f for k in there}  # type: ignore[arg-type]
        if len(there) == len(settings) and wanted != there:
            return {key: value for key, value in wanted.items() if value != there[key]}
    return {}


def _leaves(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        yield f"{path}{key}", inner
        if isinstance(inner, Mapping):
            yield from _leaves(inner, f"{path}{key}.")
