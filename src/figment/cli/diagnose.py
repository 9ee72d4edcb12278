"""`figment diagnose`: parse, call one public function, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from figment.cli.commands import Json, app


@app.command()
def diagnose(run: Annotated[Path, typer.Argument(help="A run, finished or not.")], as_json: Json = False) -> None:
    """What is wrong with a run, and the remedy."""
    from figment.cli.commands import _print_json
    from figment.evaluate.diagnosis import diagnose as diagnosed

    report = diagnosed(run)
    if as_json:
        _print_json(report)
        return
    for cure in report["remedies"]:
        changes = " ".join(f"{key}={value}" for key, value in cure["settings"].items())
        typer.echo(f"{cure['sign']} at step {cure['step']}, remedied with {changes}")
    for found in report["findings"]:
        when = f" (steps {found['first']} to {found['last']})" if "first" in found else ""
        typer.echo(f"{found['name']}{when}: {found['cause']}.\n  {found['advice']}")
        if found["settings"]:
            typer.echo("  remedy: " + " ".join(f"{key}={value}" for key, value in found["settings"].items())
                       + " (or train with --remedy)")  # fmt: skip
    if not report["findings"]:
        typer.echo(f"nothing wrong is seen in {report['step']} steps of {report['model']}")
