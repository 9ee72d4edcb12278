"""`figment export`: parse, call one public function, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from figment.cli.commands import app


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    to: Annotated[
        Literal["diffusers", "onnx", "hub"],
        typer.Option(help="A pipeline of diffusers, graphs of ONNX, or the Hugging Face Hub."),
    ],
    out: Annotated[str | None, typer.Option(help="A folder (default: RUN-TO); for the Hub, owner/name.")] = None,
) -> None:
    """Write a model in the form of another library, or publish it."""
    from figment.core.errors import UsageError

    if to == "hub":
        from figment.interchange.hub import publish

        if out is None:
            raise UsageError("--to hub: say where, as --out owner/name.")
        typer.echo(publish(run, out))
        return
    from figment.use import load

    folder = Path(out or f"{run.resolve().name}-{to}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not empty: name another folder with --out.")
    if to == "onnx":
        from figment.interchange import onnx

        for graph in onnx.write(load(run), folder):
            typer.echo(graph)
        return
    from figment.interchange import diffusers

    typer.echo(diffusers.write(load(run), folder))
