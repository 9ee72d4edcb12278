"""Bayes' rule: labels, and the right to refuse one, from a class-conditional density."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.core.data import Dataset
from figment.core.errors import UsageError
from figment.core.model import HasBound, HasImportance, HasLogProb, Model
from figment.core.progress import Watch, unwatched
from figment.core.run import DataConfig, RunFolder
from figment.data.items import Items, items
from figment.data.selection import SelectedConfig
from figment.evaluate.likelihood import check_form, importance
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
    """Items as the model sees them: log p(y | x) `(N, K)`, and outlier scores by name `(N,)`."""

    posterior: Tensor
    scores: Scores

    @classmethod
    def of(cls, model: Model, x: Tensor) -> Judged:
        """Of items x in model range."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            joint = log_joint(model, x.to(model.device)).cpu()
        return cls(joint.log_softmax(1), scores_of(model, x.to(model.device), joint.logsumexp(1)))

    @classmethod
    def joined(cls, parts: Sequence[Judged]) -> Judged:
        scores = {name: torch.cat([part.scores[name] for part in parts]) for name in parts[0].scores}
        return cls(torch.cat([part.posterior for part in parts]), scores)

    @property
    def surest(self) -> Tensor:
        """log p(y | x) of the likeliest label `(N,)`."""
        return self.posterior.amax(1)

    def measured_from(self, normal: Tensor) -> Judged:
        """With the score that needs the likelihood scores of normal rows `(M,)`."""
        return replace(self, scores={**self.scores, "typicality": typicality(self.scores["likelihood"], normal)})


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
    run: str | Path,
    data: str | DataConfig,
    reject: float = 0.0,
    n: int | None = None,
    split: str | None = None,
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """Labels of the items of `data` by p(y | x) = p(x | y) p(y) / p(x); the share `reject` of normal items is refused.

    `n` items at most (None: all), of one `split` or of all. Limits are set on held-out items of the run's own data;
    where `data` is that data, on one half of them, and the other half is classified. Returns `items` (name, label,
    probability, why it was refused or None), `rejected`, and where the labels are known `accuracy` and
    `accuracy_of_accepted`; for other data than the run's own `auroc`, how well each outlier score tells it from the
    run's. Bishop, "Novelty detection and neural network validation" (1994). Raises UsageError, DataError.
    """
    from figment.data import parse
    from figment.workbench import load

    if not 0 <= reject < 1:
        raise UsageError(f"--reject {reject:g}: a share of normal items between 0 and 1 is wanted, such as 0.05.")
    folder = RunFolder(run)
    source, model = folder.read_run().data, load(folder.path)
    asked = (parse(data) if isinstance(data, str) else data).resolved()
    own, same = source.build(), _place(asked) == _place(source)
    if same and split is not None:
        raise UsageError("--split: this is the data the run learned from, of which held-out items are labelled.")
    check_form(model, own)
    mixed = np.random.default_rng(0).permutation(len(own.held_out))
    apart, rest = np.array_split(mixed, 2) if same else (mixed, mixed[:0])
    normal = Judged.joined([Judged.of(model, part.x) for part in _gathered(own, apart[:CALIBRATION])])
    usual = normal.scores["likelihood"]
    limits = Limits.of(normal.measured_from(usual), reject)
    total, parts = (len(rest), _gathered(own, rest)) if same else items(asked, model.spec, split)
    names, listed, seen, skipped = model.spec.label.names, list[dict[str, Any]](), list[Judged](), dict[str, str]()  # type: ignore[union-attr]
    with watch("judging", min(total, n or total)) as advance:
        for part in parts:
            skipped |= part.faults
            if part.names:
                judged = Judged.of(model, part.x).measured_from(usual)
                seen.append(judged)
                listed += _listed(judged, limits, names, part)
            advance(len(part.names) + len(part.faults))
            if n is not None and len(listed) >= n:
                break
    listed = listed[:n]
    figures: dict[str, Any] = {"model": model.config.kind, "data": str(data), "n": len(listed), "skipped": skipped}
    figures |= {"calibrated_on": len(usual), **_counts(listed, names)}
    if not same and seen:
        strange, usual_too = Judged.joined(seen).scores, normal.measured_from(usual).scores
        figures["auroc"] = {name: auroc(usual_too[name], score) for name, score in strange.items()}
    return figures | {"items": listed}


def _place(config: DataConfig) -> DataConfig:
    """The data whose held-out items these are: however its folder is named, and however much of it was trained on."""
    plain = {"rows": None} if isinstance(config, SelectedConfig) else {}
    path = getattr(config, "path", None)
    return config.model_copy(update=plain | ({"path": str(Path(path).resolve())} if path else {}))


def _gathered(dataset: Dataset, rows: np.ndarray) -> Iterator[Items]:
    """Held-out rows as items."""
    label = dataset.spec.label
    for start in range(0, len(rows), CHUNK):
        batch = dataset.held_out.gather(rows[start : start + CHUNK])
        labels = [label.names[k] for k in batch.c["label"].tolist()] if label else [None] * len(batch)
        yield Items(batch.x, [f"held:{row}" for row in batch.rows], ["held_out"] * len(batch), labels, {})


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
