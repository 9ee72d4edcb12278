"""What a person wants to know of data before training on it: `figment data check`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from figment.core.data import ArraySplit, Dataset, Factors, Split
from figment.core.errors import DataError
from figment.core.run import DataConfig
from figment.data.pictures import PictureConfig, Source, Survey
from figment.data.unpaired import UnpairedConfig, UnpairedSplit

LISTED = 20


def check(config: DataConfig) -> dict[str, Any]:
    """Counts, sizes, channels, range, labels, splits, broken files and duplicates, as one JSON-ready dict.

    `usable` says whether training would start, `reason` why not. Raises DataError where there is nothing to look at.
    """
    if isinstance(config, PictureConfig):
        return _pictures(config)
    if isinstance(config, UnpairedConfig):
        a, b = (_pictures(source) for source in config.sources())
        return {**b, "usable": a["usable"] and b["usable"], "reason": a["reason"] or b["reason"], "other": a}
    data = (config.override({"binarise": "none"}) if "binarise" in type(config).model_fields else config).build()
    rows = [split.x for split in _stored(data) if isinstance(split, ArraySplit)]
    values = np.concatenate(rows)
    vector = data.spec.x.kind == "vector"
    return {
        "data": data.spec.name,
        "kind": data.spec.x.kind,
        "files": len(values),
        "count": len(values),
        "shape": list(data.spec.x.shape),
        "channels": None if vector else data.spec.x.shape[0],
        "sizes": {} if vector else {f"{values.shape[3]}x{values.shape[2]}": len(values)},
        "modes": {},
        "range": [float(values.min()), float(values.max())],
        "broken": [],
        "duplicates": _duplicates(values.reshape(len(values), -1)),
        "duplicate_files": [],
        "across_splits": 0,
        **_trained(data),
    }


def render(report: dict[str, Any]) -> str:
    """A report as text for a person; of data that comes beside other pictures, first of these."""
    if "other" in report:
        own = {key: value for key, value in report.items() if key != "other"}
        return f"A\n{render(report['other'])}\n\nB\n{render(own)}"
    lines = [
        f"data        {report['data']} ({report['kind']})",
        f"count       {report['count']:,} usable of {report['files']:,}",
        f"sizes       {_counts(report['sizes']) or 'x'.join(map(str, report['shape']))}",
        f"channels    {report['channels'] or '-'}"
        + (f" (modes: {_counts(report['modes'])})" if report["modes"] else ""),
        f"range       {report['range'][0]:g} to {report['range'][1]:g}",
        f"labels      {_counts(report['labels']) or 'none'}",
        *([f"attributes  {', '.join(map(_factor, report['attributes'].items()))}"] if report["attributes"] else []),
        *(_said(report["captions"]) if report["captions"] else []),
        f"splits      {_counts(report['splits']) or 'none'}",
        f"duplicates  {report['duplicates']:,}"
        + (f", {report['across_splits']:,} of them both trained on and held out" if report["across_splits"] else ""),
        *(f"            {' = '.join(group)}" for group in report["duplicate_files"]),
        f"broken      {len(report['broken']):,}",
        *(f"            {fault['file']}: {fault['reason']}" for fault in report["broken"]),
        *(f"note        {note}" for note in report["notes"]),
        "usable      " + ("yes" if report["usable"] else f"no: {report['reason']}"),
    ]
    return "\n".join(lines)


def _stored(data: Dataset) -> Iterator[Split]:
    for split in data.splits.values():
        yield from (split.a, split.b) if isinstance(split, UnpairedSplit) else (split,)


def _told(data: Dataset) -> Iterator[Mapping[str, np.ndarray]]:
    """What is stored of the examples of each split, beside x."""
    for split in data.splits.values():
        yield (split.b if isinstance(split, UnpairedSplit) else split).c  # type: ignore[attr-defined]


def _pictures(config: PictureConfig) -> dict[str, Any]:
    source = config.source()
    survey = config.survey(source)
    try:
        trained = _trained(config.dataset(source, survey))
    except DataError as error:
        trained = {
            "labels": {},
            "attributes": {},
            "captions": None,
            "splits": {},
            "notes": list(source.notes),
            "usable": False,
            "reason": str(error),
        }
    return {
        "data": source.title,
        "kind": "image",
        "files": survey.count,
        "count": len(survey.items),
        "shape": list(survey.shape),
        "channels": survey.shape[0],
        "sizes": survey.sizes,
        "modes": survey.modes,
        "range": list(survey.range),
        "broken": [{"file": source.describe(item), "reason": why} for item, why in survey.faults.items()],
        "duplicates": _duplicates(survey.digest),
        "duplicate_files": _groups(source, survey),
        "across_splits": _across(source, survey),
        **trained,
    }


def _trained(data: Dataset) -> dict[str, Any]:
    """What training would make of it."""
    label, factors = data.spec.label, data.spec.c.get("attributes")
    counts = np.zeros(label.count if label else 0, np.int64)
    for told in _told(data):
        counts += np.bincount(told["label"], minlength=len(counts)) if label else 0
    return {
        "labels": dict(zip(label.names, counts.tolist())) if label else {},
        "attributes": {f.name: list(f.levels) for f in factors.factors} if isinstance(factors, Factors) else {},
        "captions": _captions(data),
        "splits": {name: len(split) for name, split in data.splits.items()},
        "notes": list(data.notes),
        "usable": True,
        "reason": None,
    }


def _captions(data: Dataset) -> dict[str, Any] | None:
    """What there is of captions: how many pictures have one, how many at most, and what they are made of."""
    part = data.spec.text
    if part is None:
        return None
    there = np.concatenate([told["text"].any(2).sum(1) for told in _told(data)])
    return {
        "pictures": int((there > 0).sum()),
        "most": int(there.max()),
        "tokenizer": part.tokenizer.kind,
        "vocabulary": part.tokenizer.size,
        "longest": part.length,
        "examples": list(part.examples[:3]),
    }


def _said(told: dict[str, Any]) -> list[str]:
    kinds = f"{told['vocabulary']:,} different words" if told["tokenizer"] == "words" else "bytes"
    most = f", up to {told['most']} each" if told["most"] > 1 else ""
    lines = [f"captions    of {told['pictures']:,} pictures{most}, {kinds}, {told['longest']} in the longest"]
    return lines + [f"            {example}" for example in told["examples"]]


def _duplicates(rows: np.ndarray) -> int:
    """How many rows repeat an earlier one."""
    return len(rows) - len(np.unique(rows, axis=0))


def _groups(source: Source, survey: Survey) -> list[list[str]]:
    """The names of equal pictures, for the first groups of them."""
    order = np.argsort(survey.digest, kind="stable")
    runs = np.split(survey.items[order], np.flatnonzero(np.diff(survey.digest[order])) + 1)
    return [[source.describe(int(item)) for item in run[:LISTED]] for run in runs if len(run) > 1][:LISTED]


def _across(source: Source, survey: Survey) -> int:
    """How many held-out pictures (by folder or shard) are also trained on."""
    given = source.split[survey.items]
    held = (given == "valid") | (given == "test")
    return int(np.isin(survey.digest[held], survey.digest[~held]).sum())


def _factor(named: tuple[str, list[str]]) -> str:
    name, levels = named
    return f"{name} ({len(levels)} levels)" if levels else name


def _counts(counts: dict[str, int]) -> str:
    shown = [f"{name}: {count:,}" for name, count in list(counts.items())[:LISTED]]
    return ", ".join(shown + (["..."] if len(counts) > LISTED else []))
