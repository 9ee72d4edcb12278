"""Which model to take for a goal: the best measured one, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

Row = Mapping[str, Any]
Goal = Literal["fast", "faithful", "diverse", "likelihood", "small-data"]
LEVEL = 0.95  # of the intervals of Fréchet distances
# What a figure varies by when the same model is trained and measured again with another seed, as a standard deviation:
# of log Fréchet distance and of (recall + coverage) / 2 over three seeds of three families on Fashion-MNIST
# (docs/benchmarks.md); relative, of bits/dim; nats; and of log samples/s over three comparisons on one machine.
AGAIN = {"frechet": 0.2, "diversity": 0.025, "bits_per_dim": 0.01, "nats": 0.02, "speed": 0.25}
SURE, LIKELY = 0.95, 0.8


@dataclass(frozen=True)
class Utility:
    """How good a row is for a goal, more is better, with its standard error, and the figure in words."""

    value: float
    error: float
    said: str


def recommend(rows: Sequence[Row], goal: Goal) -> dict[str, Any] | None:
    """The row of greatest utility for a goal; None where no row has the figures for it.

    `sure` is the probability that it is better than the `runner_up` when both are trained and measured again, from the
    standard errors d1, d2 of their utilities u1, u2, the spread over seeds among them:
    Phi((u1 - u2) / sqrt(d1^2 + d2^2)).
    """
    utility = UTILITIES[goal]
    found = sorted(
        ((row["model"], judged) for row in rows if (judged := utility(row, rows)) is not None),
        key=lambda pair: -pair[1].value,
    )
    if not found:
        return None
    (model, best), rest = found[0], found[1:]
    told: dict[str, Any] = {"goal": goal, "model": model, "why": best.said, "runner_up": None, "sure": None}
    if rest:
        second = rest[0][1]
        sure = _above(best.value - second.value, math.hypot(best.error, second.error))
        told |= {"runner_up": rest[0][0], "runner_up_why": second.said, "sure": sure}
    return told


def sentence(told: Mapping[str, Any] | None, goal: Goal) -> str:
    """A recommendation in words."""
    if told is None:
        return f"For '{goal}' no model here has the figures: {NEEDS[goal]}."
    if told["runner_up"] is None:
        return f"For '{goal}' take {told['model']} ({told['why']}): no other model here has the figures for it."
    beside = f"{told['model']} ({told['why']}) before {told['runner_up']} ({told['runner_up_why']})"
    if told["sure"] >= SURE:
        return f"For '{goal}' take {beside}; {told['sure']:.0%} sure of this order."
    if told["sure"] >= LIKELY:
        return f"For '{goal}' probably take {beside}; only {told['sure']:.0%} sure of this order."
    return f"For '{goal}' it is a toss-up: {beside}, {told['sure']:.0%} sure. Train longer, or measure more with --n."


def _above(difference: float, error: float) -> float:
    return NormalDist().cdf(difference / error) if error > 0 else 1.0 if difference > 0 else 0.5


def _frechet(row: Row) -> Utility | None:
    quality = row.get("quality") or {}
    value, interval = quality.get("frechet"), quality.get("interval")
    if value is None:
        return None
    spread = NormalDist().inv_cdf((1 + LEVEL) / 2)
    low, high = (math.log(max(edge, 1e-9)) for edge in interval) if interval else (0.0, 0.0)
    error = math.hypot((high - low) / (2 * spread), AGAIN["frechet"])
    return Utility(-math.log(max(value, 1e-9)), error, f"Fréchet distance {value:.3g}")


def _faithful(row: Row, rows: Sequence[Row]) -> Utility | None:
    return _frechet(row)


def _diverse(row: Row, rows: Sequence[Row]) -> Utility | None:
    """(recall + coverage) / 2."""
    diversity = row.get("diversity") or {}
    shares = [float(diversity[key]) for key in ("recall", "coverage") if diversity.get(key) is not None]
    if len(shares) < 2:
        return None
    n = diversity.get("n") or 1000
    error = math.hypot(math.sqrt(sum(share * (1 - share) for share in shares) / n) / 2, AGAIN["diversity"])
    return Utility(sum(shares) / 2, error, f"recall {shares[0]:.2f}, coverage {shares[1]:.2f}")


def _fast(row: Row, rows: Sequence[Row]) -> Utility | None:
    """log samples/s, of models whose distance is at most twice the best, or that of real data without one class."""
    own, speed = _frechet(row), (row.get("speed") or {}).get("samples_per_second")
    if own is None or not speed:
        return None
    best = max(found.value for other in rows if (found := _frechet(other)) is not None)
    yardstick = (row["quality"] or {}).get("one_class_missing")
    limit = min(best - math.log(2), -math.log(yardstick) if yardstick else math.inf)
    if own.value < limit:
        return None
    return Utility(math.log(speed), AGAIN["speed"], f"{speed:,.0f} samples/s at {own.said}")


def _likelihood(row: Row, rows: Sequence[Row]) -> Utility | None:
    found = row.get("likelihood") or {}
    bits, nats, error = found.get("bits_per_dim"), found.get("nats"), found.get("standard_error") or 0.0
    if found.get("alarms"):
        return None
    if bits is not None:
        return Utility(-bits, math.hypot(error, AGAIN["bits_per_dim"] * bits), f"{bits:.3g} bits/dim")
    return None if nats is None else Utility(nats, math.hypot(error, AGAIN["nats"]), f"{nats:.3g} nats")


def _small_data(row: Row, rows: Sequence[Row]) -> Utility | None:
    """The distance, of models that do not copy what they were trained on."""
    return None if (row.get("memorisation") or {}).get("copies") else _frechet(row)


UTILITIES: Mapping[Goal, Callable[[Row, Sequence[Row]], Utility | None]] = {
    "fast": _fast,
    "faithful": _faithful,
    "diverse": _diverse,
    "likelihood": _likelihood,
    "small-data": _small_data,
}
NEEDS: Mapping[Goal, str] = {
    "fast": "a sampler of fair quality is needed",
    "faithful": "a model that draws samples is needed",
    "diverse": "a model that draws samples is needed",
    "likelihood": "a model with a density or a bound is needed",
    "small-data": "a model is needed whose samples are no copies of the training data",
}
