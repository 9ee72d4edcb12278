"""Plain sentences about figures: each follows from numbers in the rows, none from what a family is known for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any

from figment.evaluate.trilemma import Point, figure, front, points, yardsticks

Row = Mapping[str, Any]
TERMS = {
    "Fréchet distance": "How far the samples lie from held-out data in the space of features, both taken for "
    "Gaussians: 0 is the same mean and covariance. It depends on n and on the features: compare it within this page "
    "only. The bar on a disc is a 95 % bootstrap interval.",
    "Floor": "The Fréchet distance of fresh real data, n = {n}: {floor}.",
    "Yardsticks": "The Fréchet distance of real data made worse on purpose, with {worse}.",
    "Energy distance": "Of the points themselves, 0 only for the same distribution; that of the first model is "
    "{energy}. KL, where the density of the data is known, compares it with the model's own density or, where there is "
    "none, with one estimated from the samples; behind it stands its standard error, within which it may be below 0.",
    "Precision, recall, coverage": "Precision: the share of samples that lie among real items. Recall: the share of "
    "real items that lie among samples. Coverage: the share of real items that have a sample in their own "
    "neighbourhood; one outlier among the samples cannot raise it, as it can recall.",
    "Speed": "Samples a second at the batch size that is best on this machine, noise and copying included. Cost: "
    "passes through a network that one sample takes.",
    "Bits per dimension": "What a held-out item costs to store by the model, for each of its 8-bit numbers; histograms "
    "of each pixel by itself take {histograms}. = is exact, ≤ an upper bound (the truth is no worse), ~ an estimate. "
    "Good likelihood and good samples are different things.",
    "Nats": "The mean log-density of held-out rows, {nats} for the first model that has one: = is exact, ≥ a lower "
    "bound, ~ an estimate. Good likelihood and good samples are different things.",
    "Copies": "The share of samples that lie suspiciously close to one training item; of fresh data it is {expected}.",
}


def listing(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def verdict(rows: Sequence[Row]) -> str:
    """Who came closest to the data, who covers most of it, who is fastest."""
    found = points(rows)
    if not found:
        return "No model could be measured on quality, diversity and speed together."
    near, wide, fast = (max(found, key=key) for key in (lambda p: -p.frechet, lambda p: p.coverage, lambda p: p.speed))
    return (
        f"Closest to the data: {near.model}, at a Fréchet distance of {figure(near.frechet)}. "
        f"Most diverse: {wide.model}; {wide.coverage:.0%} of held-out items have one of its samples near them. "
        f"Fastest: {fast.model}, {figure(fast.speed)} samples a second."
    )


def trade_offs(rows: Sequence[Row]) -> list[str]:
    """The Pareto front in words: what each model on it is there for, and who beats the others."""
    found = points(rows)
    best = front(found)
    measures = {"quality": lambda p: -p.frechet, "diversity": lambda p: p.coverage, "speed": lambda p: p.speed}
    wins = {p: [name for name, of in measures.items() if of(p) == max(map(of, found))] for p in best}
    out = [f"On the front: {p.model}, best in {listing(names)}." for p, names in wins.items() if names]
    between = [p.model for p, names in wins.items() if not names]
    if between:
        out.append(f"Also on the front: {listing(between)}, best in nothing, yet nothing is better in everything.")
    beaten: dict[tuple[str, ...], list[str]] = {}
    for point in found:
        if better := tuple(other.model for other in best if other.beats(point)):
            beaten.setdefault(better, []).append(point.model)
    for better, names in beaten.items():
        verb = "does" if len(better) == 1 else "do"
        out.append(f"Not on it: {listing(names)}; {listing(better)} {verb} at least as well on all three.")
    return out


def remarks(row: Row, rows: Sequence[Row]) -> list[str]:
    """What the figures of one model say, read against the yardsticks and the other models."""
    if row.get("error"):
        return [f"Not measured. {row['error']}"]
    ailing = [f"{sign['name'].capitalize()}: {sign['cause']}. {sign['advice']}" for sign in row.get("diagnosis") or ()]
    if not row.get("quality"):
        told = ["It draws no samples: nothing says which of its latents are likely. Shown are reconstructions."]
        error = row.get("reconstruction")
        rebuilt = [f"Reconstruction of held-out items: {error['psnr']:.1f} dB."] if error else []
        return [*ailing, *told, *rebuilt]
    found = points(rows)
    point = next((p for p in found if p.model == row["model"]), None)
    out = [*_quality(row["quality"], yardsticks(rows)), *_balance(row), *(_speed(point, found, row) if point else ())]
    if row.get("first_stage_seconds"):
        out.append(f"Its seconds of training include {figure(row['first_stage_seconds'])} s of its first stage.")
    named = {sign["name"] for sign in row.get("diagnosis") or ()}
    copies = [] if "memorisation" in named else _copies(row.get("memorisation"))
    return [*ailing, *out, *_likelihood(row, rows), *copies]


def _quality(quality: Row, sticks: Mapping[str, float]) -> list[str]:
    value, floor = quality.get("frechet"), sticks.get("floor")
    if value is None:
        return []
    if floor and value <= 1.2 * floor:
        return [f"At n = {quality.get('n', 0):,} its samples are about as close to held-out data as real data is."]
    worse = {name: stick for name, stick in sticks.items() if name != "floor"}
    beaten = [name for name, stick in worse.items() if value < stick]
    if len(beaten) == len(worse) and worse:
        above = f", {figure(value / floor)} times the floor" if floor else ""
        return [f"Closer to the data than real data with {' or '.join(beaten)}{above}."]
    name, stick = min(worse.items(), key=lambda item: abs(item[1] - value)) if worse else ("", 0.0)
    if not stick:
        return []
    where = "closer to the data" if value < stick else "further from the data"
    return [f"{value / stick:.2g} times the distance of real data with {name}: {where} than that."]


def _balance(row: Row) -> list[str]:
    precision, coverage = row["quality"].get("precision"), (row.get("diversity") or {}).get("coverage")
    if precision is None or coverage is None:
        return []
    told = f"{precision:.0%} of its samples lie among real items; {coverage:.0%} of real items have a sample near them"
    if precision > 0.7 and precision - coverage > 0.25:
        return [told + ": good pictures, but too few kinds."]
    if coverage < 0.3:
        return [told + ": much of the data is left out."]
    return [told + "."]


def _speed(point: Point, found: Sequence[Point], row: Row) -> list[str]:
    fastest = max(found, key=lambda p: p.speed)
    cost = row["speed"].get("network_evaluations")
    passes = "" if cost is None else f", {cost} network evaluation{'s' if cost != 1 else ''} each"
    told = f"{figure(point.speed)} samples a second{passes}"
    if fastest is point or point.speed <= 0:
        return [told + ": the fastest here." if fastest is point else told + "."]
    return [f"{told}: {figure(fastest.speed / point.speed)} times slower than {fastest.model}."]


def _likelihood(row: Row, rows: Sequence[Row]) -> list[str]:
    likelihood = row.get("likelihood")
    if not likelihood:
        return ["It assigns no probability to an item: there is no likelihood to compare."]
    said = [*likelihood.get("alarms", ()), *likelihood.get("remarks", ())]
    out = [f"Likelihood: {remark}." for remark in said]
    key = "bits_per_dim" if likelihood.get("bits_per_dim") is not None else "nats"
    others = [r["likelihood"][key] for r in rows if (r.get("likelihood") or {}).get(key) is not None]
    best = min(others, default=None) if key == "bits_per_dim" else max(others, default=None)
    if len(others) > 1 and likelihood.get(key) == best:
        out.append("The best likelihood here.")
    return out


def _copies(memorisation: Row | None) -> list[str]:
    if not memorisation or memorisation.get("rate") is None:
        return []
    rate, expected = memorisation["rate"], memorisation["expected"]
    if memorisation.get("copies"):
        return [
            f"It copies training items: {rate:.1%} of samples lie as close to one as {expected:.0%} of new data do."
        ]
    return []


def glossary(rows: Sequence[Row]) -> dict[str, str]:
    """The terms of a report with the figures they have in it; a term whose figures are not there is left out."""
    sticks = yardsticks(rows)
    quality, likelihood, memorisation = (_first(rows, name) for name in ("quality", "likelihood", "memorisation"))
    known = {
        "n": quality.get("n"),
        "floor": sticks.pop("floor", None),
        "worse": ", ".join(f"{name}: {figure(value)}" for name, value in sticks.items()) or None,
        "energy": quality.get("energy_distance"),
        "histograms": likelihood.get("independent_pixels"),
        "nats": likelihood.get("nats"),
        "expected": memorisation.get("expected"),
    }
    figures = {k: v if isinstance(v, str) else figure(v) for k, v in known.items() if v is not None}
    needed = {name: {field for _, field, _, _ in Formatter().parse(text) if field} for name, text in TERMS.items()}
    return {name: text.format(**figures) for name, text in TERMS.items() if needed[name] <= figures.keys()}


def _first(rows: Sequence[Row], block: str) -> Row:
    return next((row[block] for row in rows if row.get(block)), {})
