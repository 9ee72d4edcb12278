"""`figment diagnose`: parse, call one public function, print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from figment.cli.commands import Json, app


@app.command()
def diagnose(
    run: Annotated[Path | None, typer.Argument(help="A run, finished or not.")] = None, as_json: Json = False
) -> None:
    """What is wrong with a run, and the remedy; without a run, the signs that are looked for."""
    from figment.cli.commands import _print_json
    from figment.evaluate import diagnosis

    if run is None:
        _print_json(diagnosis.guide()) if as_json else typer.echo(_guide(diagnosis.guide()))
        return
    report = diagnosis.diagnose(run)
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


def _guide(signs: Sequence[Mapping[str, str]]) -> str:
    """A paragraph a sign."""
    return "\n\n".join(
        f"{sign['sign']} ({sign['in']})\n"
        + "\n".join(f"  {key}: {sign[key]}" for key in ("shown by", "comes of", "what to do"))
        for sign in signs
    )
