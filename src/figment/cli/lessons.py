"""`figment lesson`: the figures of lectures, drawn anew from models trained on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from figment.cli.commands import Json, Seed, _print_json, app


@app.command()
def lesson(
    name: Annotated[str | None, typer.Argument(help="Which one; without a name, the list.")] = None,
    data: Annotated[str | None, typer.Option(help="Your own data instead of the lesson's.")] = None,
    out: Annotated[Path, typer.Option(help="The folder of pictures, texts and figures.")] = Path("lessons"),
    seed: Seed = 0,
    effort: Annotated[float, typer.Option(help="Multiplies all training steps.")] = 1.0,
    as_json: Json = False,
) -> None:
    """A lesson in one picture and a short text, with the figures of this very run."""
    from figment import lessons
    from figment.cli.progress import announce, show_training, table

    if name is None:
        rows = lessons.catalogue()
        _print_json(rows) if as_json else table([{"lesson": row["name"], "teaches": row["teaches"]} for row in rows])
        return
    told = lessons.teach(
        name,
        out,
        data,
        seed=seed,
        effort=effort,
        watch=lambda model: lambda events: show_training(events, model),
        announce=announce,
    )
    if as_json:
        _print_json(told)
        return
    typer.echo(Path(told["files"]["md"]).read_text())
    typer.echo("\n".join(told["files"].values()))
