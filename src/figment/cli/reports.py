"""What the measuring commands print."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from figment.cli.progress import announce, brief, counting, flat, show_training
from figment.core.config import parse_assignments
from figment.core.errors import UsageError
from figment.core.run import RunFolder, read_json
from figment.pictures import read_recipe


def show_figures(figures: Mapping[str, Any]) -> None:
    """Nested figures, a line each."""
    for key, text in flat(figures):
        typer.echo(f"{key:32} {text}")


def run_compare(
    what: list[str],
    models: str | None,
    minutes: float,
    out: Path | None,
    n: int | None,
    seed: int,
    features: str | None,
    goal: Any,
) -> tuple[dict[str, Any], Path]:
    """Compares runs, where the words are run folders, else families on the one data set named."""
    from figment.evaluate.compare import compare

    runs = [word for word in what if (Path(word) / "run.json").exists()]
    if runs and len(runs) != len(what):
        raise UsageError(f"{what}: give either one data set, or run folders only.")
    if not runs and len(what) != 1:
        raise UsageError(f"{what}: families are compared on one data set at a time.")
    out = out or Path("compare") / (Path(what[0]).name.replace(":", "-") or "data")
    report = compare(
        None if runs else what[0],
        runs=runs or None,
        models=[m.strip() for m in models.split(",")] if models else None,
        minutes=minutes,
        out=out,
        n=n,
        seed=seed,
        features=features,
        goal=goal,
        watch=show_training,
        announce=announce,
    )
    return report, out / "report.html"


def likelihood_rows(
    words: list[str], data: str | None, n: int | None, draws: int | None, flow: int | None, marginal: bool, raw: bool
) -> list[dict[str, Any]]:
    """A row a run, on its data with settings `KEY=VALUE`; as text, the figure carries its sign."""
    from figment.evaluate.likelihood import likelihood_of_run

    settings = parse_assignments(word for word in words if "=" in word)
    settings = {key.removeprefix("data."): value for key, value in settings.items()}
    runs = [word for word in words if "=" not in word]
    if not runs:
        raise UsageError("which run? Name one or several: figment likelihood RUN...")
    rows = [likelihood_of_run(run, data, n, draws, flow, counting, settings, marginal) for run in runs]
    return rows if raw else [{k: brief(v) for k, v in row.items() if k != "kind"} for row in rows]


def describe(what: Path) -> dict[str, Any]:
    """A run's value, state and figures; a picture's recipe."""
    if what.is_file():
        return read_recipe(what)
    if not what.exists():
        raise UsageError(f"there is nothing at {what}.")
    folder = RunFolder(what)
    described: dict[str, Any] = {"run": folder.read_run().model_dump(mode="json"), "status": folder.read_status()}
    for name in ("env", "evaluation"):
        path = folder.path / f"{name}.json"
        if path.exists():
            described[name] = read_json(path)
    return described
