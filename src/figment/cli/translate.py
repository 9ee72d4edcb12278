"""`figment translate`: parse, call one public function, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from figment.cli.commands import Device, app


@app.command()
def translate(
    run: Annotated[Path, typer.Argument(help="A run of pix2pix, super-resolution, colourise, segmenter, ...")],
    given: Annotated[Path, typer.Argument(metavar="IN", help="A picture, or a folder of pictures, of any size.")],
    out: Annotated[Path | None, typer.Option(help="A .png, or a folder (default: NAME-translated).")] = None,
    device: Device = "cpu",
) -> None:
    """Make pictures into what a run translates them to."""
    from figment.cli.commands import _device
    from figment.cli.progress import announce, counting
    from figment.samples import weights_of
    from figment.translations import count_of, translate
    from figment.use import load

    out = out or Path(f"{given.stem}-translated{'' if given.is_dir() else '.png'}")
    model = load(run, _device(device))
    with counting("translating", count_of(given)) as progress:
        recipe = {"run": run.name, "weights": weights_of(run)}
        written = translate(model, given, out, recipe, progress, announce)
    typer.echo(written[0] if len(written) == 1 else out)
