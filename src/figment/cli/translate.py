"""`figment translate`: parse, call one public function, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from figment.cli.commands import Device, app


@app.command()
def translate(
    run: Annotated[Path, typer.Argument(help="A run of pix2pix, cyclegan, super-resolution, colourise, segmenter.")],
    given: Annotated[Path, typer.Argument(metavar="IN", help="A picture, or a folder or archive, of any sizes.")],
    out: Annotated[Path | None, typer.Option(help="A .png, or a folder (default: NAME-translated).")] = None,
    direction: Annotated[str | None, typer.Option(help="cyclegan: A-to-B (unless asked otherwise) or B-to-A.")] = None,
    device: Device = "cpu",
) -> None:
    """Make pictures into what a run translates them to."""
    from figment.cli.commands import _device
    from figment.cli.progress import announce, counting
    from figment.samples import weights_of
    from figment.translations import count_of, holds_many, translate
    from figment.use import load

    out = out or Path(f"{given.name.partition('.')[0]}-translated{'' if holds_many(given) else '.png'}")
    model = load(run, _device(device))
    with counting("translating", count_of(given)) as progress:
        recipe = {"run": run.name, "weights": weights_of(run)}
        written = translate(model, given, out, recipe, progress, announce, direction)
    typer.echo(written[0] if len(written) == 1 else out)
