"""What is wrong with a run, from its log, its samples and its figures; and what cures it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from figment.core.alarms import SIGNS, Sign, from_log, not_finite, remedy
from figment.core.errors import DataError, FigmentError, UsageError
from figment.core.run import Run, RunFolder, read_json
from figment.use import load
from figment.workbench import build, preview

Steps = tuple[int, int]
HEAD = """# What goes wrong, how it shows, and what to do

While a run learns, figment looks for the signs below: each is a function of the lines of its log, `metrics.jsonl`,
and names the figures it read. A new sign is a warning beside the progress, with its cause and what to do; it is
written to the line of the log that first shows it (`signs`), told by `figment diagnose RUN` with the steps at which
it held and the settings that cure it, and by the report of `figment compare`. `figment train --remedy` starts such a
run anew with these settings, three times at most, says so, and writes them to `remedies.json`.

Figures whose names begin with `drawn.` are of what the model draws at each preview, from averaged weights and always
the same noise, beside held-out examples: `spread` (deviation over examples, relative to theirs), `noise` (0 as data,
1 as noise), `lattice` (power at a period of a few pixels), `copies` and `fresh` (share of samples that lie
suspiciously close to a training item by pixels, and the most that fresh data could show). A run without previews is
looked at when it is diagnosed.

`figment diagnose` without a run prints this table.

"""


def diagnose(run: str | Path | RunFolder) -> dict[str, Any]:
    """What goes or went wrong with a run: `findings`, each with its `name`, `cause`, `advice`, the `settings` that cure
    it, and the steps (`first`, `last`) at whose lines of the log it held, where it is the log that shows it.

    `remedies` are those the run was given already. Raises UsageError where nothing has been logged.
    """
    folder = run if isinstance(run, RunFolder) else RunFolder(run)
    own, status, lines = folder.read_run(), folder.read_status(), folder.read_metrics()
    value = own.model_dump(mode="json")
    stopped = list(_stopped(folder, status))
    if not lines and not stopped and status.get("state") != "done":
        raise UsageError(f"{folder.path} has logged nothing yet: wait for a line of its log, metrics.jsonl.")
    progress = 1.0 if status.get("state") == "done" else _progress(value, lines[-1]) if lines else 0.0
    found: dict[str, tuple[Sign, Steps | None]]
    found = {sign.name: (sign, steps) for sign, steps in held(_looked_at(folder, lines), progress)}
    for sign in (*stopped, *_measured(folder)):
        found.setdefault(sign.name, (sign, None))
    value = _fitted(folder, own) if found else value
    findings = [
        {"name": name, "cause": sign.cause, "advice": sign.advice, "settings": remedy(name, value)}
        | ({"first": steps[0], "last": steps[1]} if steps else {})
        for name, (sign, steps) in found.items()
    ]
    return {
        "run": str(folder.path),
        "model": value["model"]["kind"],
        "state": status.get("state"),
        "step": lines[-1]["step"] if lines else 0,
        "findings": findings,
        "remedies": folder.read_remedies(),
    }


def guide() -> list[dict[str, str]]:
    """Every sign that is looked for: its name, where it is, what shows it, what it comes of, and what to do."""
    return [
        {
            "sign": known.name,
            "in": known.families,
            "shown by": known.shown_by,
            "comes of": known.comes_of,
            "what to do": known.advice,
        }
        for known in SIGNS.values()
    ]


def page() -> str:
    """The same as a page of Markdown, which docs/diagnosis.md is."""
    signs = guide()
    rows = [list(signs[0]), ["---"] * len(signs[0]), *(list(sign.values()) for sign in signs)]
    return HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def held(lines: Sequence[Mapping[str, Any]], progress: float) -> Iterator[tuple[Sign, Steps]]:
    """Each sign in a log with the first and the last step at which it held; `progress` is that of its last line."""
    found: dict[str, tuple[Sign, int, int]] = {}
    for end in range(1, len(lines) + 1):
        step = lines[end - 1]["step"]
        for sign in from_log(lines[:end], progress * step / lines[-1]["step"]):
            found[sign.name] = (sign, found.get(sign.name, (sign, step))[1], step)
    for sign, first, last in found.values():
        yield sign, (first, last)


def _looked_at(folder: RunFolder, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The log; with figures of what the published model draws, where it drew nothing while it learned and its data is
    still there."""
    if not lines or not folder.model.exists() or any("drawn.spread" in line for line in lines):
        return lines
    try:
        dataset = folder.read_run().data.build()
    except (DataError, UsageError):
        return lines
    with TemporaryDirectory() as path:
        return [*lines[:-1], lines[-1] | preview(dataset, load(folder.path), Path(path) / "drawn.png")]


def _fitted(folder: RunFolder, run: Run) -> dict[str, Any]:
    """The run as plain values, its model's with the sizes and strengths that were found for the data: as published, or,
    where its data is still there, as it would be built."""
    if folder.model.exists():
        return {**run.model_dump(mode="json"), "model": read_json(folder.model / "config.json")["model"]}
    try:
        model = build(run, run.data.build()).config
    except FigmentError:
        model = run.model
    return run.model_copy(update={"model": model}).model_dump(mode="json")


def _progress(run: Mapping[str, Any], line: Mapping[str, Any]) -> float:
    steps, minutes = run["training"]["steps"], run["training"]["minutes"]
    return line["step"] / steps if steps else line["seconds"] / (60 * minutes)


def _stopped(folder: RunFolder, status: Mapping[str, Any]) -> Iterator[Sign]:
    path = folder.path / "diverged.json"
    if status.get("state") == "failed" and path.exists():
        yield not_finite(read_json(path)["error"])


def _measured(folder: RunFolder) -> Iterator[Sign]:
    """Of `evaluation.json`, where the run was evaluated."""
    row = read_json(folder.evaluation) if folder.evaluation.exists() else {}
    copies = row.get("memorisation") or {}
    if copies.get("copies"):
        yield SIGNS["memorisation"].seen(
            f"{copies['rate']:.1%} of samples lie as close to a training item as {copies['expected']:.0%} of new data"
        )
    for alarm in (row.get("likelihood") or {}).get("alarms", ()):
        yield SIGNS["impossible likelihood"].seen(alarm)
