"""Bayes' rule: labels, and the right to refuse one, from a class-conditional density."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from figment.core.errors import UsageError
from figment.core.model import HasBound, HasImportance, HasLogProb, Model
from figment.core.progress import Watch, unwatched
from figment.core.run import DataConfig, RunFolder
from figment.data.items import Items, items
from figment.evaluate.likelihood import check_form, importance
from figment.evaluate.outliers import JUDGED, TRAINING, Measures, Normal, Observer, fooled, some_of

DRAWS = 32  # of codes, for a bound
CALIBRATION = 5000  # held-out items that limits are set by, at most
PART = {"only", "without", "rows", "size", "limit", "crop", "binarise", "stream"}  # of data: how much, in what form


@torch.no_grad()
def log_joint(model: Model, x: Tensor) -> Tensor:
    """log p(x | y) + log p(y) for every class: `(B, K)` nats; p(x | y) exact, or importance-weighted by 32 draws.

    Raises UsageError for a model without labels or without a density.
    """
    label = model.spec.label
    if label is None:
        raise UsageError(
            f"this '{model.config.kind}' knows no labels, so Bayes' rule has nothing to turn round: train it on "
            "labelled data (sub-folders are labels), with model.conditional=true."
        )
    columns = []
    for k in range(label.count):
        c = {"label": torch.full((len(x),), k, device=x.device)}
        if isinstance(model, HasLogProb):
            columns.append(model.log_prob(x, c).double())
        elif isinstance(model, HasImportance):
            columns.append(importance(model, DRAWS, x, c))
        elif isinstance(model, HasBound):
            columns.append(torch.stack([model.bound(x, c).double() for _ in range(DRAWS)]).mean(0))
        else:
            raise UsageError(
                f"'{model.config.kind}' has no density to turn round: take gda, naive-bayes, gaussian-mixture, kde, "
                "flow or vae."
            )
    return torch.stack(columns, 1) + torch.tensor(label.frequencies, device=x.device).double().log()


@dataclass(frozen=True)
class Judged:
    """log p(y | x) `(N, K)` of items, and what they measure."""

    posterior: Tensor
    measures: Measures

    @classmethod
    def of(cls, observer: Observer, x: Tensor) -> Judged:
        """Of items x in model range."""
        x = x.to(observer.model.device)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            joint = log_joint(observer.model, x)
        return cls(joint.log_softmax(1).cpu(), observer.see(x, joint.logsumexp(1)).measures)

    @classmethod
    def joined(cls, parts: Sequence[Judged]) -> Judged:
        measures = {name: torch.cat([part.measures[name] for part in parts]) for name in parts[0].measures}
        return cls(torch.cat([part.posterior for part in parts]), measures)

    @property
    def surest(self) -> Tensor:
        """log p(y | x) of the likeliest label `(N,)`."""
        return self.posterior.amax(1)


@dataclass(frozen=True)
class Limits:
    """What is refused: items whose label is less sure than `surest`, or that are stranger than `strangest`."""

    normal: Normal
    surest: float
    strangest: float

    @classmethod
    def of(cls, judged: Judged, fraction: float) -> Limits:
        """Limits that refuse about `fraction` of normal items: half of it as unsure, half as strange."""
        normal = Normal.of(judged.measures)
        surest = float(judged.surest.quantile(fraction / 2)) if fraction else -math.inf
        return cls(normal, surest, normal.limit(fraction / 2))

    def reasons(self, judged: Judged) -> list[str | None]:
        """Why each item is refused: `strange`, `unsure`, or None for those accepted."""
        strange = self.normal.score(judged.measures)[JUDGED] > self.strangest
        unsure = judged.surest < self.surest
        return ["strange" if a else "unsure" if b else None for a, b in zip(strange.tolist(), unsure.tolist())]


def classify(
    run: str | Path,
    data: str | DataConfig,
    reject: float = 0.0,
    n: int | None = None,
    split: str | None = None,
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """Labels of the items of `data` by p(y | x) = p(x | y) p(y) / p(x); the share `reject` of normal items is refused.

    `n` items at most (None: all), of one `split` or of all. Limits are set on held-out items of the run's own data;
    where `data` is that data or a part of it, on one half of them, and held-out items that are not among those are
    labelled. Returns `items` (name, label, probability, why it was refused or None), `rejected`, and where the labels
    are known `accuracy` and `accuracy_of_accepted`; for other data than the run's own `auroc`, how well each score
    tells it from the run's, and `remarks` on scores that are fooled. Bishop, "Novelty detection and neural network
    validation" (1994). Raises UsageError, DataError.
    """
    from figment.data import parse
    from figment.use import load

    if not 0 <= reject < 1:
        raise UsageError(f"--reject {reject:g}: a share of normal items between 0 and 1 is wanted, such as 0.05.")
    folder = RunFolder(run)
    source, model = folder.read_run().data, load(folder.path)
    asked = (parse(data) if isinstance(data, str) else data).resolved()
    own, same = source.build(), _place(asked) == _place(source)
    if same and split is not None:
        raise UsageError("--split: this is the data the run learned from, of which held-out items are labelled.")
    check_form(model, own)
    log_joint(model, torch.zeros(1, *model.spec.x.shape, device=model.device))  # tells at once of a model that cannot
    count = min(CALIBRATION, len(own.held_out) // 2 if same else len(own.held_out))
    usual = list(some_of(own.held_out, max(1, count)))
    observer = Observer.of(model, some_of(own.train, TRAINING))
    limits = Limits.of(Judged.joined([Judged.of(observer, x) for x in usual]), reject)
    if same:
        held = next(name for name, part in own.splits.items() if part is own.held_out)
        total, _, parts = items(_part_of(source, asked), model.spec, held)
    else:
        total, _, parts = items(asked, model.spec, split)
    used = {key for x in usual for key in _keys(x)} if same else set()
    label, listed, seen, skipped = model.spec.label, list[dict[str, Any]](), list[Judged](), dict[str, str]()
    names = label.names if label else ()
    with watch("judging", min(total, n or total)) as advance:
        for part in parts:
            skipped |= part.faults
            fresh = _without(part, used)
            if fresh.names:
                seen.append(Judged.of(observer, fresh.x))
                listed += _listed(seen[-1], limits, names, fresh)
            advance(len(part.names) + len(part.faults))
            if n is not None and len(listed) >= n:
                break
    listed = listed[:n]
    figures: dict[str, Any] = {"model": model.config.kind, "data": str(data), "n": len(listed), "skipped": skipped}
    figures |= {"calibrated_on": count, **_counts(listed, names)}
    if not same and seen:
        figures["auroc"] = limits.normal.auroc(Judged.joined(seen).measures)
        figures["remarks"] = fooled(figures["auroc"])
    return figures | {"items": listed}


def _place(config: DataConfig) -> dict[str, Any]:
    """What names the data, however its folder is written, whatever part of it is asked for and in what form."""
    named = config.model_dump(exclude=PART)
    return named | ({"path": str(Path(named["path"]).resolve())} if "path" in named else {})


def _part_of(source: DataConfig, asked: DataConfig) -> DataConfig:
    """The part that is asked for of a run's own data, in the form in which the run learned it."""
    part = {"only", "without"} & set(type(source).model_fields)
    return source.model_copy(update={name: getattr(asked, name) for name in part})


def _keys(x: Tensor) -> list[bytes]:
    """What tells items `(B, ...)` apart: their values, rounded."""
    return [row.tobytes() for row in (x * 1000).round().to(torch.int32).numpy()]


def _without(part: Items, used: set[bytes]) -> Items:
    """Items other than those that limits were set by."""
    kept = [i for i, key in enumerate(_keys(part.x)) if key not in used]
    names, splits, labels = ([values[i] for i in kept] for values in (part.names, part.splits, part.labels))
    return Items(part.x[kept], names, splits, labels, part.faults)  # type: ignore[arg-type]


def _listed(judged: Judged, limits: Limits, names: Sequence[str], part: Items) -> Iterator[dict[str, Any]]:
    probability, best = judged.surest.exp().tolist(), judged.posterior.argmax(1).tolist()
    for i, reason in enumerate(limits.reasons(judged)):
        item = {"item": part.names[i], "label": names[best[i]], "probability": probability[i], "rejected": reason}
        yield item | ({"truth": part.labels[i]} if part.labels[i] is not None else {})


def _counts(listed: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    accepted = [item for item in listed if item["rejected"] is None]
    reasons: dict[str, int] = {}
    for item in listed:
        if item["rejected"] is not None:
            reasons[item["rejected"]] = reasons.get(item["rejected"], 0) + 1
    figures: dict[str, Any] = {"rejected": 1 - len(accepted) / max(len(listed), 1), "reasons": reasons}
    if listed and all(item.get("truth") in names for item in listed):
        figures["accuracy"] = _share(listed)
        figures["accuracy_of_accepted"] = _share(accepted)
    return figures


def _share(listed: Sequence[dict[str, Any]]) -> float | None:
    return sum(item["label"] == item["truth"] for item in listed) / len(listed) if listed else None
