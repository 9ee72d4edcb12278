"""One protocol of likelihood for every family: bits per dimension of pictures, nats of rows, and what they mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from figment.core.data import Dataset, Image, NoisySplit, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import EstimatesLogProb, HasBound, HasFlowLikelihood, HasImportance, HasLogProb, Model
from figment.core.processes import autocast, resolve_precision
from figment.core.progress import Watch, unwatched
from figment.core.run import DataConfig, RunFolder
from figment.evaluate import cache
from figment.evaluate.reference import rows_of

Kind = Literal["exact", "bound", "estimate"]
SIGNS: Mapping[str, str] = {"exact": "=", "bound": "<=", "estimate": "~"}
PICTURES, ROWS, CHUNK = 1000, 5000, 250  # held-out items measured at most, and at a time
DECODED = 8192  # codes decoded at a time


def likelihood_of_run(
    run: str | Path,
    data: str | DataConfig | None = None,
    n: int | None = None,
    draws: int | None = None,
    flow: int | None = None,
    watch: Watch = unwatched,
    settings: Mapping[str, Any] | None = None,
    marginal: bool = False,
) -> dict[str, Any]:
    """The likelihood of a run on the held-out split of its data, or of `data`, as one row of `figment likelihood`.

    `settings` change that data: `{"binarise": "dynamic"}`. `n` items at most, `draws` and `flow` as in `likelihood`.
    Raises UsageError where the data has another form than the run's or the model no importance weights or probability
    flow, and InvalidCheckpoint for a damaged run.
    """
    from figment.data import parse
    from figment.use import load

    folder = RunFolder(run)
    source = parse(data) if isinstance(data, str) else data or folder.read_run().data
    dataset, model = source.override(settings or {}).build(), load(folder.path)
    found = likelihood(model, dataset, n, draws=draws, flow=flow, watch=watch, marginal=marginal)
    row: dict[str, Any] = {"run": str(run), "model": model.config.kind, "data": dataset.spec.name}
    if found is None:
        return row | {"likelihood": None, "remarks": ["no density: its class has neither log_prob nor bound"]}
    unit = "bits_per_dim" if found["nats"] is None else "nats"
    # A bound on nats is a lower one, on bits/dim an upper one.
    sign = ">=" if unit == "nats" and found["kind"] == "bound" else SIGNS[found["kind"]]
    return row | {"likelihood": f"{sign} {found[unit]:.4g} {'nats' if unit == 'nats' else 'bits/dim'}"} | found


def likelihood(
    model: Model,
    dataset: Dataset,
    n: int | None = None,
    seed: int = 0,
    draws: int | None = None,
    flow: int | None = None,
    watch: Watch = unwatched,
    marginal: bool = False,
) -> dict[str, Any] | None:
    """How probable a model finds held-out items, `n` at most (None: 1000 pictures, 5000 rows); None for a model without
    a density.

    Pictures: `bits_per_dim` = -log2 P(8-bit x) / D. A mass is exact; a density is averaged over uniform dequantisation,
    log P(x) >= E_u log p(x + (u - 1/2) 2/255) + D log(2/255), u uniform in [0, 1)^D, and bounds it from above (Theis,
    van den Oord & Bethge, "A note on the evaluation of generative models", 2016). Rows: `nats` = mean log p(x) in user
    units, of standardised x less the sum of log scales; of black and white pictures `nats` = mean log P(x) too. Where
    the data's density is known, `kl` = KL(data || model) = mean log p_data(x) - log p(x), labels summed out. With
    `draws`, a bound is that of so many importance weights (see `importance`); with `flow`, an estimate by so many steps
    along the probability flow takes its place; `marginal`: of x alone, with labels summed out (a bound: under the null
    label). `alarms` are for the impossible only.
    """
    if not isinstance(model, HasLogProb | HasBound | EstimatesLogProb):
        return None
    check_form(model, dataset)
    if isinstance(model.spec.x, Image) and model.spec.x.binary and model.measure == "mass" and not _binary(dataset):
        raise UsageError(f"the model knows black and white pictures only; {dataset.spec.name} has others.")
    log_prob = _log_prob(model, seed)
    exact = partial(_marginal, log_prob, model.spec) if log_prob is not None else None
    bound = model.bound if isinstance(model, HasBound) else None
    if draws is not None:
        if not isinstance(model, HasImportance):
            raise UsageError(f"'{model.config.kind}' has no importance weights to draw: leave --draws out.")
        bound = partial(importance, model, draws)
    measure, x = model.measure, model.spec.x
    if flow is not None:
        if not isinstance(model, HasFlowLikelihood):
            raise UsageError(f"'{model.config.kind}' has no probability flow: leave --flow out.")
        exact, bound = None, partial(model.flow_log_likelihood, steps=flow)
    picture, known = isinstance(x, Image), set[str]() if marginal else given(model, dataset)
    evaluated = partial(
        _evaluated,
        model=model,
        dataset=dataset,
        rows=_rows(dataset, n),
        known=known,
        seed=seed,
        watch=watch,
        spread=picture and measure == "density",
        chunk=max(1, min(CHUNK, DECODED // (draws or 1))),
    )
    nats = evaluated(exact or bound)  # type: ignore[arg-type]
    kind: Kind = "exact" if exact and (measure == "mass" or not picture) else "bound"
    estimated = isinstance(model, EstimatesLogProb) or (isinstance(model, HasLogProb) and model.estimated)
    kind = "estimate" if estimated or flow else kind
    alarms = []
    lower = bound if exact else model.bound if draws and isinstance(model, HasBound) else None
    if lower:
        below = evaluated(lower)
        if _mean(below - nats) > 4 * _error(below - nats) + 1e-3:
            above = f"that of {draws} draws" if draws else "its log-probability"
            alarms.append(f"impossible: its bound, {_mean(below):.4g} nats, is above {above}, {_mean(nats):.4g}")
    figures: dict[str, Any] = {"bits_per_dim": None, "nats": None, "kind": kind, "n": len(nats)}
    figures |= {"draws": draws} if draws else {"flow": flow} if flow else {}
    figures |= {"split": _split(dataset), "given": sorted(known), "alarms": alarms, "remarks": []}
    if isinstance(x, Image):
        volume = x.dimensions * math.log(2 / 255) if measure == "density" else 0.0
        bits = -(nats + volume) / (x.dimensions * math.log(2))
        figures |= {"bits_per_dim": _mean(bits), "standard_error": _error(bits)}
        if _binary(dataset) and measure == "mass":
            figures |= {"nats": _mean(nats), "standard_error": _error(nats)}
        _judge_pictures(figures, nats + volume, dataset)
    else:
        assert isinstance(x, Vector)
        volume = float(np.log(x.scale).sum())
        figures |= {"nats": _mean(nats) - volume, "standard_error": _error(nats)}
        _judge_rows(figures, dataset)
        if exact and dataset.log_density is not None:
            _judge_divergence(figures, (evaluated(exact, known=set()) if figures["given"] else nats) - volume, dataset)
    return figures


def check_form(model: Model, dataset: Dataset) -> None:
    """Raises UsageError where the data has another shape than a model's own."""
    mine, theirs = model.spec.x, dataset.spec.x
    if mine.kind != theirs.kind or mine.shape != theirs.shape:
        raise UsageError(
            f"the model was trained on {mine.kind} data of shape {mine.shape}; {dataset.spec.name} has {theirs.kind} "
            f"data of shape {theirs.shape}: give data of the same form (data.size sets that of pictures)."
        )


def _binary(dataset: Dataset) -> bool:
    return isinstance(dataset.spec.x, Image) and dataset.spec.x.binary


def given(model: Model, dataset: Dataset) -> set[str]:
    """The conditions that the data supplies as the model knows them."""
    return model.spec.shared(dataset.spec)


def importance(model: HasImportance, draws: int, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
    """log 1/k sum_i p(x, z_i | c) / q(z_i | x, c), z_i ~ q, i = 1 ... k = `draws`, summed in float64: `(B,)` nats.

    In expectation a lower bound of log p(x | c) that rises with k, to log p(x | c) itself. Networks compute in bf16
    where that is fast: roundings of q and of p(x | z) leave both densities. Burda, Grosse & Salakhutdinov, "Importance
    weighted autoencoders" (2016).
    """
    at_once, precision = max(1, DECODED // len(x)), resolve_precision("auto", x.device, x.ndim == 4)
    with autocast(precision, x.device):
        parts = [model.log_weights(x, c, min(at_once, draws - done)).double() for done in range(0, draws, at_once)]
    return torch.logsumexp(torch.cat(parts), 0) - math.log(draws)


def _rows(dataset: Dataset, n: int | None) -> np.ndarray:
    """The held-out items that are measured."""
    n = n or (PICTURES if isinstance(dataset.spec.x, Image) else ROWS)
    return np.random.default_rng(0).permutation(len(dataset.held_out))[:n]


@torch.no_grad()
def _evaluated(
    log_density: Callable[[Tensor, Mapping[str, Tensor]], Tensor],
    model: Model,
    dataset: Dataset,
    rows: np.ndarray,
    known: set[str],
    seed: int,
    watch: Watch,
    spread: bool,
    chunk: int,
) -> Tensor:
    """log p of held-out rows in model range `(N,)` float64, given the conditions `known`; `spread` over the width of a
    grey level."""
    parts = []
    with torch.random.fork_rng(), watch("likelihood", len(rows)) as advance:
        torch.manual_seed(seed)
        for start in range(0, len(rows), chunk):
            batch = dataset.held_out.gather(rows[start : start + chunk])
            x = converted(batch.x, dataset.spec, model.spec)
            x = x + (torch.rand_like(x) - 0.5) * (2 / 255) if spread else x
            c = {key: batch.c[key].to(model.device) for key in known}
            parts.append(log_density(x.to(model.device), c).cpu().double())
            advance(len(batch))
    return torch.cat(parts)


def converted(x: Tensor, source: Spec, target: Spec) -> Tensor:
    """x in the model range of another spec of its form: rows may be standardised otherwise."""
    if isinstance(source.x, Vector) and isinstance(target.x, Vector) and source.x != target.x:
        return target.x.to_model(source.x.to_user(x))
    return x


def _log_prob(model: Model, seed: int) -> Callable[[Tensor, Mapping[str, Tensor]], Tensor] | None:
    """log p(x | c), exact or estimated, of a model that has one."""
    if isinstance(model, EstimatesLogProb):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return model.log_prob_estimator()
    return model.log_prob if isinstance(model, HasLogProb) else None


def _marginal(
    log_prob: Callable[[Tensor, Mapping[str, Tensor]], Tensor], spec: Spec, x: Tensor, c: Mapping[str, Tensor]
) -> Tensor:
    """log p(x | c); where the data has no labels, log sum_k p(k) p(x | k) with the training frequencies.

    Not for bounds: they hold in expectation, and noise within the exponentials would lift the sum.
    """
    label = spec.label
    if label is None or "label" in c:
        return log_prob(x, c)
    shares = torch.tensor(label.frequencies, device=x.device).log()
    each = [log_prob(x, {**c, "label": torch.full((len(x),), k, device=x.device)}) for k in range(label.count)]
    return torch.logsumexp(torch.stack(each, 1) + shares, 1)


def _judge_pictures(figures: dict[str, Any], nats: Tensor, dataset: Dataset) -> None:
    bits = figures["bits_per_dim"]
    if bits < 0:
        figures["alarms"].append(f"impossible: {bits:.4g} bits/dim, and no 8-bit picture has less than 0")
    if isinstance(dataset.held_out, NoisySplit):
        entropy = dataset.held_out.entropy(_rows(dataset, len(nats)))
        figures["entropy"] = _mean(entropy)
        if _mean(nats + entropy) > 4 * _error(nats + entropy) + 1e-3:
            figures["alarms"].append(
                f"impossible: {_mean(nats):.4g} nats, and the chance in these draws alone is {_mean(entropy):.4g}"
            )
    histograms = pixel_histograms(dataset)
    figures["independent_pixels"] = histograms
    if bits > histograms:
        figures["remarks"].append(f"worse than independent pixel histograms ({histograms:.3g} bits/dim)")


def _judge_rows(figures: dict[str, Any], dataset: Dataset) -> None:
    vector, held_out = dataset.spec.x, _held_out(dataset, figures["n"])
    assert isinstance(vector, Vector)
    normal = -0.5 * (held_out.double().square() + math.log(2 * math.pi)).sum(1) - float(np.log(vector.scale).sum())
    if figures["nats"] < _mean(normal):
        figures["remarks"].append(f"worse than independent normal columns ({_mean(normal):.3g} nats)")


def _judge_divergence(figures: dict[str, Any], nats: Tensor, dataset: Dataset) -> None:
    """KL(data || model) from log p(x) `(N,)` of held-out rows in user units. Rows that rounding put beyond an edge of
    the data's density are left out."""
    known = torch.as_tensor(dataset.log_density(dataset.spec.x.to_user(_held_out(dataset, len(nats))))).double()
    excess = (known - nats)[known.isfinite()]
    figures |= {"kl": _mean(excess), "kl_standard_error": _error(excess)}
    if _mean(excess) < -3 * _error(excess) - 1e-3:
        figures["alarms"].append(
            f"impossible: {-_mean(excess):.3g} nats (± {_error(excess):.1g}) above the density the data was drawn from"
        )


def _held_out(dataset: Dataset, count: int) -> Tensor:
    return torch.cat([x for x, _ in rows_of(dataset.held_out, count)])


def pixel_histograms(dataset: Dataset, smoothing: float = 0.05) -> float:
    """Bits/dim of held-out pictures under one histogram a pixel of the training split, `smoothing` added to each of its
    counts; cached with the data."""
    key = cache.key("pixel histograms", smoothing, dataset.content, dataset.spec.x.model_dump(), len(dataset.held_out))
    kept = cache.read(key)
    if kept is not None:
        return float(kept[1]["bits_per_dim"])
    dimensions = dataset.spec.x.dimensions
    counts, total = torch.zeros(dimensions * 256, dtype=torch.int64), 0
    for levels in _levels(dataset, "train"):
        counts.index_add_(0, levels.flatten(), torch.ones((), dtype=torch.int64).expand(levels.numel()))
        total += len(levels)
    nats = ((counts + smoothing) / (total + 256 * smoothing)).log()
    held_out = torch.cat([nats[levels].mean(1) for levels in _levels(dataset, _split(dataset))])
    bits = float(-held_out.double().mean() / math.log(2))
    cache.write(key, {}, {"bits_per_dim": bits})
    return bits


def _levels(dataset: Dataset, split: str) -> Any:
    """The pictures of a split as positions in a table of (pixel, grey level): int64 `(block, D)`."""
    offsets = torch.arange(dataset.spec.x.dimensions) * 256
    for x, _ in rows_of(dataset.splits[split], 60_000):
        yield (x.flatten(1) + 1).mul(127.5).round().long() + offsets


def _split(dataset: Dataset) -> str:
    return next(name for name, part in dataset.splits.items() if part is dataset.held_out)


def _mean(values: Tensor) -> float:
    return float(values.mean())


def _error(values: Tensor) -> float:
    """The standard error of a mean."""
    return float(values.std() / max(len(values), 1) ** 0.5) if len(values) > 1 else math.inf
