"""`figment translate`: parse, call one public function, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from figment.cli.commands import Device, Settings, app


@app.command()
def translate(
    run: Annotated[
        Path, typer.Argument(help="A run that makes pictures from pictures; with --strength, of diffusion.")
    ],
    given: Annotated[Path, typer.Argument(metavar="IN", help="A picture, or a folder or archive, of any sizes.")],
    out: Annotated[Path | None, typer.Option(help="A .png, or a folder (default: NAME-translated).")] = None,
    settings: Settings = None,
    direction: Annotated[str | None, typer.Option(help="cyclegan: A-to-B (unless asked otherwise) or B-to-A.")] = None,
    strength: Annotated[
        float | None, typer.Option(help="Diffusion: the share that noise hides and that is drawn again, up to 1.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="With --strength: draw as of this label.")] = None,
    prompt: Annotated[str | None, typer.Option(help="With --strength: draw as this text says.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="With --strength: the noise.")] = 0,
    device: Device = "cpu",
) -> None:
    """Make pictures into what a run translates them to; with --strength, into others like them."""
    from figment.cli.commands import _device
    from figment.cli.progress import announce, counting
    from figment.core.config import parse_assignments
    from figment.core.errors import UsageError
    from figment.samples import weights_of
    from figment.translations import count_of, holds_many, translate
    from figment.use import load
    from figment.variations import vary

    out = out or Path(f"{given.resolve().name.partition('.')[0]}-translated{'' if holds_many(given) else '.png'}")
    options = {key.removeprefix("sampling."): value for key, value in parse_assignments(settings or []).items()}
    if strength is None and (options or label or prompt):
        raise UsageError(f"{', '.join(options) or '--label and --prompt'}: only with --strength, which diffusion has.")
    if strength is not None and direction is not None:
        raise UsageError("--direction: not with --strength, which makes pictures into others of one kind.")
    model = load(run, _device(device))
    with counting("translating", count_of(given)) as progress:
        recipe = {"run": run.resolve().name, "weights": weights_of(run)}
        if strength is None:
            written = translate(model, given, out, recipe, progress, announce, direction)
        else:
            written = vary(
                model,
                given,
                out,
                strength,
                label=label,
                prompt=prompt,
                seed=seed,
                options=options,
                recipe=recipe,
                progress=progress,
                announce=announce,
            )
    typer.echo(written[0] if len(written) == 1 else out)
