"""`figment data draw`: data that is drawn, as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from figment.cli.commands import Settings, data_app


@data_app.command("draw")
def data_draw(
    data: Annotated[str, typer.Argument(help="faces")],
    settings: Settings = None,
    out: Annotated[Path, typer.Option(help="The folder to make.")] = Path("faces"),
    n: Annotated[int, typer.Option("-n", "--number", min=1, max=1_000_000, help="How many.")] = 1000,
    start: Annotated[int, typer.Option(min=0, help="Draw faces I, I+1, ...")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Which faces are drawn.")] = 0,
    form: Annotated[str, typer.Option("--as", help="pictures; pairs (A/ outlines, B/ faces); masks.")] = "pictures",
) -> None:
    """Draw data into a folder, with what is known of each picture: size=64 label=none smile=1 hair=long ..."""
    from figment.cli.progress import counting
    from figment.core.config import parse_assignments
    from figment.core.errors import UsageError
    from figment.data.faces.folder import write

    if data != "faces":
        raise UsageError(f"'{data}' cannot be drawn. There is: faces.")
    options = {key.removeprefix("data."): value for key, value in parse_assignments(settings or []).items()}
    with counting("drawing", n) as progress:
        typer.echo(write(out, n, {"seed": seed, **options}, form=form, start=start, progress=progress))
