"""`figment complete`: parse, fill, write the picture, print the figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from figment.cli.commands import Device, Json, app


@app.command()
def complete(
    run: Annotated[Path, typer.Argument(help="A run of diffusion.")],
    words: Annotated[list[str], typer.Argument(metavar="IMAGE... [KEY=VALUE]...", help="Files, held:3; settings.")],
    mask: Annotated[Path | None, typer.Option(help="A picture that is white where pixels are missing.")] = None,
    erase: Annotated[
        str | None, typer.Option(help="What is missing: left, right, top, bottom, centre, colour, detail.")
    ] = None,
    factor: Annotated[int | None, typer.Option(help="--erase detail: pixels a side of what is one colour (2).")] = None,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="Fillings of each picture (6).")] = None,
    label: Annotated[str | None, typer.Option(help="Fill as of this label.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Fill as this text says.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="x.png (default: RUN-complete.png), or a folder: a file each.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The noise the fillings are made from.")] = 0,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Fill what is missing of pictures: transparent parts, or what --mask or --erase says (colours and detail too)."""
    from figment.cli.commands import _device, _print_json
    from figment.cli.progress import counting
    from figment.cli.reports import show_figures
    from figment.core.config import parse, parse_assignments
    from figment.explorer import completion
    from figment.explorer.files import destination, save
    from figment.explorer.scene import Scene

    given = [word for word in words if "=" not in word or Path(word).is_file()]
    sampling = {
        key.removeprefix("sampling."): value
        for key, value in parse_assignments([word for word in words if word not in given]).items()
    }
    flags = {"mask": mask, "erase": erase, "factor": factor, "count": count, "label": label, "prompt": prompt}
    settings = {key: str(value) if key == "mask" else value for key, value in flags.items() if value is not None}
    out = destination(run, "complete", out, parts=True)
    scene = Scene(run, seed=seed, sampling=sampling, device=_device(device), watch=counting)
    found = completion.complete(scene, given, parse(completion.Options, settings))
    recipe = {"action": "complete", "words": given, "settings": settings, "sampling": sampling, "seed": seed}
    written = save(found, run, out, recipe)
    figures = {**found.figures, "pictures": [str(path) for path in written]}
    _print_json(figures) if as_json else show_figures(figures)
