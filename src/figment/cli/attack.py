"""`figment attack`: parse, attack, write the picture, print the figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from figment.cli.commands import Device, Json, Seed, app


@app.command()
def attack(
    run: Annotated[Path, typer.Argument(help="A run of classifier.")],
    images: Annotated[
        list[str] | None, typer.Argument(metavar="[IMAGE]...", help="Pictures, held:N or train:N.")
    ] = None,
    method: Annotated[str, typer.Option(help="fgsm, iterative or pgd.")] = "pgd",
    norm: Annotated[str, typer.Option(help="linf bounds each pixel, l2 the length of the change.")] = "linf",
    eps: Annotated[float, typer.Option(help="The bound; black to white is 1.")] = 0.1,
    steps: Annotated[int, typer.Option(min=1, help="Of iterative and pgd.")] = 20,
    restarts: Annotated[int, typer.Option(min=1, help="Random places that pgd starts from.")] = 1,
    target: Annotated[str | None, typer.Option(help="Make it read this label (without: any other).")] = None,
    purify: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="A run of autoencoder, vae or diffusion that pictures pass first."),
    ] = None,
    level: Annotated[
        float, typer.Option(help="With --purify of diffusion: the time up to which noise is added.")
    ] = 0.5,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Held-out items to measure, at most.")] = 500,
    data: Annotated[str | None, typer.Option(help="Other data than the run's own.")] = None,
    out: Annotated[Path | None, typer.Option(help="The picture (default: RUN-attack.png).")] = None,
    seed: Seed = 0,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Change pictures a little so that a classifier misreads them: picture, change, verdicts, accuracies."""
    from figment.cli.commands import _device, _print_json
    from figment.cli.progress import counting
    from figment.cli.reports import show_figures
    from figment.core.config import parse
    from figment.explorer.attack import attack as attacked
    from figment.explorer.files import destination, save
    from figment.explorer.scene import Scene
    from figment.pixels.attacks import Attack
    from figment.pixels.purification import Purification

    settings = {"method": method, "norm": norm, "eps": eps, "steps": steps, "restarts": restarts}
    way, purification, out = (
        parse(Attack, settings),
        parse(Purification, {"level": level}),
        destination(run, "attack", out),
    )
    scene = Scene(run, data=data, seed=seed, device=_device(device), watch=counting)
    found = attacked(scene, images or (), way, target, n, purify, purification)
    if purify is not None:
        settings |= {"purify": str(purify), "level": level}
    written = save(found, run, out, {"action": "attack", **settings, "target": target, "n": n, "seed": seed})
    figures = {"action": "attack", **settings, **found.figures, "pictures": [str(path) for path in written]}
    if as_json:
        _print_json(figures)
        return
    shown = figures.pop("shown")
    show_figures(figures)
    for row in shown:
        name, *verdicts = row.values()
        typer.echo(f"{name:24} {' -> '.join(f'{verdict:14}' for verdict in verdicts).rstrip()}")
