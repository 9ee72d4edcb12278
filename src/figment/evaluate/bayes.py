"""Bayes' rule: labels, and the right to refuse one, from a class-conditional density."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.core.data import Dataset, Split
from figment.core.errors import UsageError
from figment.core.model import HasBound, HasImportance, HasLogProb, Model
from figment.core.progress import Watch, unwatched
from figment.core.run import DataConfig, RunFolder
from figment.evaluate.likelihood import check_form, converted, importance
from figment.evaluate.memorisation import auroc
from figment.evaluate.outliers import Scores, scores_of, typicality

DRAWS = 32  # of codes, for a bound
CHUNK = 250
CALIBRATION = 5000  # held-out rows that thresholds are set by, at most


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
    """Rows as the model sees them: log p(y | x) `(N, K)`, outlier scores by name `(N,)`, labels `(N,)` (-1: none)."""

    posterior: Tensor
    scores: Scores
    label: Tensor

    @property
    def surest(self) -> Tensor:
        """log p(y | x) of the likeliest label `(N,)`."""
        return self.posterior.amax(1)

    def measured_from(self, normal: Tensor) -> Judged:
        """With the score that needs the likelihood scores of normal rows `(M,)`."""
        return replace(self, scores={**self.scores, "typicality": typicality(self.scores["likelihood"], normal)})


def judge(model: Model, dataset: Dataset, split: Split, rows: Sequence[int] | np.ndarray, watch: Watch) -> Judged:
    """The rows of a split, judged in parts."""
    parts: list[Judged] = []
    with torch.random.fork_rng(), watch("judging", len(rows)) as advance:
        torch.manual_seed(0)
        for start in range(0, len(rows), CHUNK):
            batch = split.gather(np.asarray(rows[start : start + CHUNK]))
            x = converted(batch.x, dataset.spec, model.spec).to(model.device)
            joint = log_joint(model, x).cpu()
            label = batch.c.get("label", torch.full((len(batch),), -1))
            parts.append(Judged(joint.log_softmax(1), scores_of(model, x, joint.logsumexp(1)), label))
            advance(len(batch))
    names = parts[0].scores
    return Judged(
        torch.cat([part.posterior for part in parts]),
        {name: torch.cat([part.scores[name] for part in parts]) for name in names},
        torch.cat([part.label for part in parts]),
    )


@dataclass(frozen=True)
class Limits:
    """What is refused: rows whose label is less sure than `surest`, or with a score above `highest`."""

    surest: float
    highest: dict[str, float]

    @classmethod
    def of(cls, normal: Judged, fraction: float) -> Limits:
        """Limits that refuse about `fraction` of normal rows: half of it as unsure, half as outliers by any score."""
        if fraction == 0:
            return cls(-np.inf, dict.fromkeys(normal.scores, np.inf))
        share = fraction / 2
        highest = {name: float(score.quantile(1 - share / len(normal.scores))) for name, score in normal.scores.items()}
        return cls(float(normal.surest.quantile(share)), highest)

    def reasons(self, judged: Judged) -> list[str | None]:
        """Why each row is refused: `unsure`, or the score it is an outlier by; None for those accepted."""
        found: list[str | None] = ["unsure" if value < self.surest else None for value in judged.surest.tolist()]
        for name, score in judged.scores.items():
            for row in torch.nonzero(score > self.highest[name]).flatten().tolist():
                found[row] = name
        return found


def classify(
    run: str | Path, data: str | DataConfig, reject: float = 0.0, n: int | None = None, watch: Watch = unwatched
) -> dict[str, Any]:
    """Labels of the items of `data` by p(y | x) = p(x | y) p(y) / p(x); the share `reject` of normal items is refused.

    `n` items at most (None: all). Limits are set on held-out items of the run's own data; where `data` is that data,
    on one half of them, and the other half is classified. Returns `items` (row, label, probability, why it was refused
    or None), `rejected`, and where the labels are known `accuracy` and `accuracy_of_accepted`; for other data than the
    run's own `auroc`, how well each outlier score tells it from the run's. Bishop, "Novelty detection and neural
    network validation" (1994). Raises UsageError, DataError.
    """
    from figment.data import parse
    from figment.workbench import load

    if not 0 <= reject < 1:
        raise UsageError(f"--reject {reject:g}: a share of normal items between 0 and 1 is wanted, such as 0.05.")
    folder = RunFolder(run)
    own, model = folder.read_run().data.build(), load(folder.path)
    asked = (parse(data) if isinstance(data, str) else data).build()
    check_form(model, asked)
    mixed = np.random.default_rng(0).permutation(len(own.held_out))
    same = asked.content == own.content
    calibration, rest = (mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]) if same else (mixed, mixed[:0])
    normal = judge(model, own, own.held_out, calibration[:CALIBRATION], watch)
    usual = normal.scores["likelihood"]
    normal = normal.measured_from(usual)
    limits = Limits.of(normal, reject)
    names = model.spec.label.names if model.spec.label else ()
    known = asked.spec.label is not None and asked.spec.label.names == names
    items, found = [], []
    for name, split, rows in _chosen(asked, rest if same else None, n):
        judged = judge(model, asked, split, rows, watch).measured_from(usual)
        found.append(judged)
        items += list(_items(judged, limits, names, name, rows, known))
    figures: dict[str, Any] = {"model": model.config.kind, "data": asked.spec.name, "n": len(items)}
    figures |= {"calibrated_on": len(normal.label), **_counts(items, known)}
    if not same:
        pooled = {k: torch.cat([judged.scores[k] for judged in found]) for k in normal.scores}
        figures["auroc"] = {name: auroc(normal.scores[name], score) for name, score in pooled.items()}
    return figures | {"items": items}


def _chosen(dataset: Dataset, rows: np.ndarray | None, n: int | None) -> Iterator[tuple[str, Split, np.ndarray]]:
    """What is classified: the given held-out rows, or all that other data holds."""
    if rows is not None:
        yield "held_out", dataset.held_out, rows[:n]
        return
    left = n if n is not None else sum(map(len, dataset.splits.values()))
    for name, split in dataset.splits.items():
        count = min(left, len(split))
        if count:
            yield name, split, np.arange(count)
            left -= count


def _items(
    judged: Judged, limits: Limits, names: Sequence[str], split: str, rows: np.ndarray, known: bool
) -> Iterator[dict[str, Any]]:
    probability = judged.surest.exp().tolist()
    for i, reason in enumerate(limits.reasons(judged)):
        item = {"split": split, "row": int(rows[i]), "label": names[int(judged.posterior[i].argmax())]}
        item |= {"probability": probability[i], "rejected": reason}
        if known:
            item["truth"] = names[int(judged.label[i])]
        yield item


def _counts(items: Sequence[dict[str, Any]], known: bool) -> dict[str, Any]:
    accepted = [item for item in items if item["rejected"] is None]
    reasons: dict[str, int] = {}
    for item in items:
        if item["rejected"] is not None:
            reasons[item["rejected"]] = reasons.get(item["rejected"], 0) + 1
    figures: dict[str, Any] = {"rejected": 1 - len(accepted) / max(len(items), 1), "reasons": reasons}
    if known:
        figures["accuracy"] = _share(items)
        figures["accuracy_of_accepted"] = _share(accepted)
    return figures


def _share(items: Sequence[dict[str, Any]]) -> float | None:
    return sum(item["label"] == item["truth"] for item in items) / len(items) if items else None
