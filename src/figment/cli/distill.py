"""`figment distill`: parse, call one public function, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from figment.cli.commands import Device, Json, Seed, Settings, app


@app.command()
def distill(
    run: Annotated[Path, typer.Argument(help="A finished run of diffusion: the teacher.")],
    settings: Settings = None,
    out: Annotated[Path | None, typer.Option(help="The student's folder (default: RUN-distilled).")] = None,
    evaluations: Annotated[int, typer.Option(min=1, help="Network evaluations the student is to draw in.")] = 4,
    minutes: Annotated[float | None, typer.Option(help="Training minutes (default: 5).")] = None,
    steps: Annotated[int | None, typer.Option(help="Stop after so many steps (reproducible).")] = None,
    n: Annotated[int | None, typer.Option("--n", "-n", help="Samples to measure.")] = None,
    features: Annotated[str | None, typer.Option(help="The feature network.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest valid checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete the student that is there first.")] = False,
    as_json: Json = False,
) -> None:
    """Make a student that draws in one to four evaluations, and measure it beside its teacher."""
    from figment.cli.commands import _device, _print_json
    from figment.cli.progress import announce, show_training, table
    from figment.core.config import parse_assignments
    from figment.core.errors import UsageError
    from figment.evaluate.distillation import distill as distilled

    if minutes is not None and steps is not None:
        raise UsageError("a run is bounded by --steps or by --minutes, not by both.")
    told = distilled(
        run,
        out,
        evaluations=evaluations,
        minutes=minutes,
        steps=steps,
        n=n,
        features=features,
        seed=seed,
        overrides=parse_assignments(settings or []),
        resume=resume,
        overwrite=overwrite,
        device=_device(device),
        watch=lambda events: show_training(events, "distilled"),
        announce=announce,
    )
    if as_json:
        _print_json(told)
        return
    table([_line(row, place == told["baseline"]) for place, row in enumerate(told["rows"])])
    typer.echo(told["student"])


def _line(row: dict[str, Any], baseline: bool) -> dict[str, str]:
    from figment.cli.progress import brief

    quality, diversity, speed = row["quality"], row["diversity"], row["speed"]
    return {
        "model": row["model"] + (" (baseline)" if baseline else ""),
        "evaluations": str(row["evaluations"]),
        "frechet": f"{quality['frechet']:.3g}",
        "x": f"{row['x_frechet']:.2f}",
        "precision": brief(quality["precision"]),
        "recall": brief(diversity["recall"]),
        "samples/s": f"{speed['samples_per_second']:.0f}",
        "x speed": f"{row['x_speed']:.1f}",
    }
