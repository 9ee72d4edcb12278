"""`figment explore`: parse, look, write the picture, print the figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from figment.cli.commands import Device, Json, app
from figment.explorer import ACTIONS

LIST = "\n\n".join(f"{name} {what}" for name, what in ACTIONS.items())


@app.command(epilog=f"ACTION is one of:\n\n{LIST}")
def explore(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    name: Annotated[str, typer.Argument(metavar="ACTION", help="What to look at, see below.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[IMAGE | KEY=VALUE]...", help="Picture files, held:3, train:3, sample:3; settings."),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=2, help="interpolate, traverse: pictures in a row.")] = None,
    spherical: Annotated[bool, typer.Option("--spherical", help="interpolate: along the sphere of codes.")] = False,
    image: Annotated[str | None, typer.Option(help="traverse, attribute: the picture to start from.")] = None,
    positive: Annotated[Path | None, typer.Option(help="attribute: a folder of pictures that have it.")] = None,
    negative: Annotated[Path | None, typer.Option(help="attribute: a folder of pictures that have it not.")] = None,
    prompt: Annotated[str | None, typer.Option(help="attention: what to draw.")] = None,
    color: Annotated[str | None, typer.Option(help="map: what colours the codes, label or a factor.")] = None,
    clusters: Annotated[str | None, typer.Option(help="map: groups by k-means, or mean-shift.")] = None,
    corrupt: Annotated[str | None, typer.Option(help="reconstruct: damage the pictures first.")] = None,
    lossless: Annotated[bool, typer.Option("--lossless", help="compress: to the bit, by the model's masses.")] = False,
    data: Annotated[str | None, typer.Option(help="Other data than the run's own.")] = None,
    out: Annotated[Path | None, typer.Option(help="x.png, or x.webp for a film (default: RUN-ACTION.png).")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Which samples sample:N are; everything random.")] = 0,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Look inside a trained model: reconstruct, morph, walk its latent space, edit."""
    from figment.cli.commands import _device, _print_json
    from figment.cli.progress import counting
    from figment.cli.reports import show_figures
    from figment.explorer.files import destination, divide, save

    flags = {"steps": steps, "spherical": spherical or None, "image": image, "color": color, "corrupt": corrupt,
             "prompt": prompt}  # fmt: skip
    flags |= {
        "lossless": lossless or None,
        "clusters": int(clusters) if clusters and clusters.isdecimal() else clusters,
    }
    flags |= {key: str(path) for key, path in {"positive": positive, "negative": negative}.items() if path}
    settings, sampling, rest = divide(name, words or [], {k: v for k, v in flags.items() if v is not None})
    out = destination(run, name, out)
    from figment.explorer import scene

    found = scene.explore(
        scene.Scene(run, data=data, seed=seed, sampling=sampling, device=_device(device), watch=counting),
        name,
        rest,
        settings,
    )
    recipe = {"action": name, "words": rest, "settings": settings, "sampling": sampling, "seed": seed}
    written = save(found, run, out, recipe)
    figures = {"action": name, **found.figures, "pictures": [str(path) for path in written]}
    _print_json(figures) if as_json else show_figures(figures)
