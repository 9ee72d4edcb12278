"""What is wrong with a run, from its log, its samples and its figures; and what cures it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from figment.core.alarms import LINES, Sign, from_log, from_samples, remedy
from figment.core.errors import UsageError
from figment.core.model import CanSample
from figment.core.run import RunFolder, read_json
from figment.use import draw, load

DRAWN = 64  # samples that are looked at


def diagnose(run: str | Path | RunFolder) -> dict[str, Any]:
    """What goes or went wrong with a run: `findings`, each with its `name`, `cause`, `advice`, the `settings` that cure
    it, and the steps (`first`, `last`) at whose lines of the log it held, where it is the log that shows it.

    `remedies` are those the run was given already. Raises UsageError where nothing has been logged.
    """
    folder = run if isinstance(run, RunFolder) else RunFolder(run)
    value, status, lines = folder.read_run().model_dump(mode="json"), folder.read_status(), folder.read_metrics()
    if not lines:
        raise UsageError(f"{folder.path} has logged nothing yet: train for {LINES} lines of its log at least.")
    progress = 1.0 if status.get("state") == "done" else _progress(value, lines[-1])
    found: dict[str, tuple[Sign, tuple[int, int] | None]]
    found = {name: (sign, steps) for name, sign, steps in held(lines, progress)}
    for sign in (*_stopped(folder, status), *_drawn(folder), *_measured(folder)):
        found.setdefault(sign.name, (sign, None))
    findings = [
        {"name": name, "cause": sign.cause, "advice": sign.advice, "settings": remedy(name, value)}
        | ({"first": steps[0], "last": steps[1]} if steps else {})
        for name, (sign, steps) in found.items()
    ]
    return {
        "run": str(folder.path),
        "model": value["model"]["kind"],
        "state": status.get("state"),
        "step": lines[-1]["step"],
        "findings": findings,
        "remedies": folder.read_remedies(),
    }


def held(lines: Sequence[Mapping[str, Any]], progress: float) -> Iterator[tuple[str, Sign, tuple[int, int]]]:
    """Each sign in a log with the first and the last step at which it held; `progress` is that of its last line."""
    found: dict[str, tuple[Sign, int, int]] = {}
    for end in range(LINES, len(lines) + 1):
        step = lines[end - 1]["step"]
        for sign in from_log(lines[end - LINES : end], progress * step / lines[-1]["step"]):
            found[sign.name] = (sign, found.get(sign.name, (sign, step))[1], step)
    for name, (sign, first, last) in found.items():
        yield name, sign, (first, last)


def _progress(run: Mapping[str, Any], line: Mapping[str, Any]) -> float:
    steps, minutes = run["training"]["steps"], run["training"]["minutes"]
    return line["step"] / steps if steps else line["seconds"] / (60 * minutes)


def _stopped(folder: RunFolder, status: Mapping[str, Any]) -> Iterator[Sign]:
    path = folder.path / "diverged.json"
    if status.get("state") == "failed" and path.exists():
        yield Sign("divergence", read_json(path)["error"].split(" Try ")[0].rstrip("."),
                   "Take a smaller training.lr, or --precision fp32.")  # fmt: skip


def _drawn(folder: RunFolder) -> Sequence[Sign]:
    """Of the published model, where there is one that draws."""
    if not folder.model.exists():
        return []
    model = load(folder.path)
    return from_samples(draw(model, DRAWN)[0]) if isinstance(model, CanSample) else []


def _measured(folder: RunFolder) -> Iterator[Sign]:
    """Of `evaluation.json`, where the run was evaluated."""
    row = read_json(folder.evaluation) if folder.evaluation.exists() else {}
    copies = row.get("memorisation") or {}
    if copies.get("copies"):
        yield Sign("memorisation", f"{copies['rate']:.1%} of samples lie as close to a training item as "
                   f"{copies['expected']:.0%} of new data do", "Give it more data, train less long, or take a smaller "
                   "model.size; a gan of pictures may see them changed, model.augment=adaptive.")  # fmt: skip
    for alarm in (row.get("likelihood") or {}).get("alarms", ()):
        yield Sign("impossible likelihood", alarm, "Do not trust it: please report how it came about.")
