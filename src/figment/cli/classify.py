"""`figment classify`: parse, call one public function, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from figment.cli.commands import Json, app

SHOWN = 20  # items listed without --json


@app.command()
def classify(
    run: Annotated[Path, typer.Argument(help="A run of a density that knows labels: gda, naive-bayes, vae, ...")],
    data: Annotated[str, typer.Argument(help="What to label: see `figment list datasets`.")],
    reject: Annotated[float, typer.Option(help="Refuse this share of normal items: the unsure and the strange.")] = 0.0,
    split: Annotated[str | None, typer.Option(help="Label train, valid or test only.")] = None,
    n: Annotated[int | None, typer.Option("--n", "-n", min=1, help="So many items at most.")] = None,
    as_json: Json = False,
) -> None:
    """Labels by Bayes' rule from a class-conditional density, with the right to refuse."""
    from figment.cli.commands import _choice, _print_json
    from figment.cli.progress import counting, table
    from figment.cli.reports import show_figures
    from figment.evaluate.bayes import classify as judged

    if split is not None:
        _choice("--split", split, ("train", "valid", "test"))
    figures = judged(run, data, reject, n, split, counting)
    if as_json:
        _print_json(figures)
        return
    items = figures.pop("items")
    show_figures(figures)
    table(items[:SHOWN])
    if len(items) > SHOWN:
        typer.echo(f"... {len(items) - SHOWN:,} more: --json lists all")
