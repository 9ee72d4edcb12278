"""`figment anomaly`: parse, judge, write the picture, print the scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from figment.cli.commands import Device, Json, Settings, app

SHOWN = 20  # items listed without --json


@app.command()
def anomaly(
    run: Annotated[
        Path, typer.Argument(help="A run, trained on normal items, of a family with a density or an encoder.")
    ],
    data: Annotated[str, typer.Argument(help="What to judge: see `figment list datasets`.")],
    settings: Settings = None,
    normal: Annotated[list[str] | None, typer.Option(help="A label of DATA that is normal; again for more.")] = None,
    split: Annotated[str | None, typer.Option(help="Judge train, valid or test only.")] = None,
    out: Annotated[Path | None, typer.Option(help="The picture (default: RUN-anomaly.png).")] = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """A score and a heat map for each item, calibrated on the run's held-out data."""
    from figment.cli.commands import _choice, _device, _print_json
    from figment.cli.progress import counting, table
    from figment.cli.reports import show_figures
    from figment.core.config import parse_assignments
    from figment.data import parse
    from figment.evaluate.outliers import MEANING
    from figment.explorer.anomaly import anomaly as judge
    from figment.explorer.files import destination, save
    from figment.explorer.scene import Scene

    if split is not None:
        _choice("--split", split, ("train", "valid", "test"))
    options = {key.removeprefix("data."): value for key, value in parse_assignments(settings or []).items()}
    out = destination(run, "anomaly", out)
    scene = Scene(run, device=_device(device), watch=counting)
    found = judge(scene, parse(data, options), normal=normal or (), split=split)
    written = save(found, run, out, {"action": "anomaly", "data": data, "settings": options, "split": split})
    figures = {"action": "anomaly", **found.figures, "pictures": [str(path) for path in written]}
    if as_json:
        _print_json(figures)
        return
    scores, by_score = figures.pop("scores"), figures.pop("by_score")
    show_figures(figures)
    figure = "{:.3f}".format
    table(
        [
            {"score": name, **{key: value if value is None else figure(value) for key, value in row.items()}}
            | {"what it is": MEANING[name]}
            for name, row in by_score.items()
        ]
    )
    for row in scores[:SHOWN]:
        del row["by"]
    table([{**row, "score": f"{row['score']:.2f}", "percentile": f"{row['percentile']:.1f}"} for row in scores[:SHOWN]])
    if len(scores) > SHOWN:
        typer.echo(f"... {len(scores) - SHOWN:,} more: --json lists all")
