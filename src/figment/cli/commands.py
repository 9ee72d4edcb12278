"""The commands. Each imports what it needs when it runs, so that `--help` stays fast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="One workbench for generative models: train, sample and measure every family on your own data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Look at data before training on it.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Settings = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings, such as model.latent=32 or training.lr=1e-3."),
]
Seed = Annotated[int, typer.Option(help="Everything random follows from it.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
PrecisionOption = Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")]


def _print_json(value: Any) -> None:
    from figment.core.run import to_json

    typer.echo(to_json(value))


def _choice(option: str, value: str, known: tuple[str, ...]) -> str:
    from figment.core.errors import UsageError, did_you_mean

    if value not in known:
        raise UsageError(f"{option} {value}: {did_you_mean(value, known)}")
    return value


def _device(value: str) -> str:
    return _choice("--device", value, ("auto", "cpu", "cuda", "mps"))


def _precision(value: str) -> Any:
    return _choice("--precision", value, ("auto", "fp32", "bf16", "fp16"))


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="models, datasets, samplers, metrics or presets")] = "models",
    as_json: Json = False,
) -> None:
    """What there is: models, datasets, samplers, metrics, presets."""
    from figment import listing
    from figment.cli.progress import table

    _choice("list", what, listing.TOPICS)
    rows = listing.rows(what)
    _print_json(rows) if as_json else table(rows)


@data_app.command("check")
def data_check(
    data: Annotated[str, typer.Argument(help="digits, toy:NAME, a folder, an archive, Parquet, hf:owner/name")],
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Count, sizes, channels, range, labels, splits, broken files, duplicates."""
    from figment.core.config import parse_assignments
    from figment.core.errors import DataError
    from figment.data import parse
    from figment.data.check import check, render

    config = parse(data)
    options = {key.removeprefix("data."): value for key, value in parse_assignments(settings or []).items()}
    report = check(config.override(options))
    _print_json(report) if as_json else typer.echo(render(report))
    if not report["usable"]:
        raise typer.Exit(DataError.exit_code)


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="A model kind or a preset: see `figment list models`.")],
    settings: Settings = None,
    data: Annotated[str | None, typer.Option(help="What to learn from: see `figment list datasets`.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder (default: runs/MODEL-DATA).")] = None,
    steps: Annotated[int | None, typer.Option(help="Stop after so many steps (reproducible).")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after so many minutes of training.")] = None,
    batch: Annotated[int | None, typer.Option(help="Examples a step.")] = None,
    seed: Annotated[int | None, typer.Option(help="Everything random follows from it (default: 0).")] = None,
    device: Device = "auto",
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16 or fp16.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest valid checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete the run that is there first.")] = False,
    init: Annotated[Path | None, typer.Option(help="Start from another run's weights.")] = None,
    remedy: Annotated[bool, typer.Option("--remedy", help="Mend what goes wrong, and say so.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Parameters, memory and time; writes nothing.")] = False,
    config: Annotated[Path | None, typer.Option(help="JSON or TOML with any of model, data, training, seed.")] = None,
    as_json: Json = False,
) -> None:
    """Train a model on data."""
    from figment import planning, workbench
    from figment.cli import progress
    from figment.core.config import parse_assignments
    from figment.core.errors import UsageError
    from figment.core.processes import Processes

    base = planning.read_config(config) if config else {}
    source = data or planning.data_of(base)
    if source is None:
        raise UsageError("what should it learn from? Add --data digits, --data toy:moons, or --data FOLDER.")
    overrides = parse_assignments(settings or [])
    given = {"steps": steps, "minutes": minutes, "batch": batch, "precision": precision}
    if precision is not None:
        _precision(precision)
    overrides |= {f"training.{key}": value for key, value in given.items() if value is not None}
    run = planning.plan(model, source, seed=seed, overrides=overrides, base=base)
    _device(device)
    first = Processes(device).first
    if dry_run:
        dataset = run.data.build()
        figures = {"run": run.model_dump(mode="json"), **workbench.estimate(run, dataset, device)}
        _print_json(figures) if as_json else _show_estimate(run, figures)
        return
    folder = workbench.execute(
        run,
        out,
        device=device,
        resume=resume,
        overwrite=overwrite,
        remedy=remedy,
        init=init,
        announce=progress.announce if first else None,
        watch=(lambda events: progress.show_training(events, run.model.kind)) if first else None,
    )
    if first:
        status = folder.read_status()
        if as_json:
            _print_json({"run": str(folder.path), **status})
        else:
            typer.echo(f"{folder.path}")
            progress.console().print(f"next: {_next(run.model, folder.path)}", highlight=False)


def _next(model: Any, run: Path) -> str:
    """What to type after training, by what the model is able to do."""
    from figment.core.model import CanClassify, CanSample, CanTranslate

    able = model.model_class()
    if issubclass(able, CanSample):
        return f"figment sample {run} -n 64 --out samples.png"
    if issubclass(able, CanTranslate):
        return f"figment translate {run} PICTURE --out translated.png"
    return f"figment attack {run}" if issubclass(able, CanClassify) else f"figment explore {run} reconstruct"


def _show_estimate(run: Any, figures: dict[str, Any]) -> None:
    typer.echo(f"{run.model.kind} on {run.data.kind}: {figures['parameters']:,} parameters")
    typer.echo(f"memory at its peak    {figures['peak_memory_bytes'] / 2**30:.2f} GiB")
    if "seconds_per_step" in figures:
        from figment.cli.progress import clock

        typer.echo(
            f"a step                {figures['seconds_per_step'] * 1000:.0f} ms of {run.training.batch} examples"
        )
        typer.echo(f"the run               {figures['steps']:,} steps, {clock(figures['seconds'])}")
    typer.echo("nothing was written")


@app.command()
def sample(
    run: Annotated[Path, typer.Argument(help="A run folder, or a model/ folder.")],
    settings: Settings = None,
    n: Annotated[int, typer.Option("-n", "--number", min=1, max=1_000_000, help="How many.")] = 16,
    start: Annotated[int, typer.Option(min=0, help="Draw samples I, I+1, ...")] = 0,
    out: Annotated[Path | None, typer.Option(help="x.png (a grid), x.npz (arrays), or a folder.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The noise the samples are made from.")] = 0,
    label: Annotated[str | None, typer.Option(help="Only this label.")] = None,
    prompt: Annotated[str | None, typer.Option(help="What they should show, of a model that learned captions.")] = None,
    negative: Annotated[str | None, typer.Option(help="With guidance, a prompt or label to push away from.")] = None,
    steps: Annotated[int | None, typer.Option(help="Diffusion: steps of the sampler.")] = None,
    sampler: Annotated[str | None, typer.Option(help="Diffusion: see `figment list samplers`.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Diffusion: 1 is none.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="Draw this saved picture again.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Samples at a time.")] = 256,
    precision: PrecisionOption = "auto",
    device: Device = "cpu",
) -> None:
    """Draw samples from a trained model."""
    from figment import samples
    from figment.cli.progress import counting
    from figment.core.config import parse_assignments

    out = out or Path(f"{run.name}-seed-{seed}.png")
    if recipe is not None:
        typer.echo(samples.redraw(run, recipe, out, _device(device)))
        return
    options = {key.removeprefix("sampling."): value for key, value in parse_assignments(settings or []).items()}
    flags = {"steps": steps, "sampler": sampler, "guidance": guidance, "negative": negative}
    options |= {key: value for key, value in flags.items() if value is not None}
    with counting("sampling", n) as progress:
        written = samples.save_samples(
            run,
            out,
            n,
            seed=seed,
            start=start,
            label=label,
            prompt=prompt,
            options=options,
            batch=batch,
            precision=_precision(precision),
            device=_device(device),
            progress=progress,
        )
    typer.echo(written[0] if len(written) == 1 else out)


@app.command()
def evaluate(
    run: Annotated[str, typer.Argument(help="A run, or the first of two folders of pictures.")],
    rest: Annotated[
        list[str] | None, typer.Argument(metavar="[B_DIR] [KEY=VALUE]...", help="The second folder; sampling settings.")
    ] = None,
    n: Annotated[int | None, typer.Option("--n", "-n", help="Samples to measure.")] = None,
    features: Annotated[str | None, typer.Option(help="The feature network: see `figment list metrics`.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Diffusion: 1 is none.")] = None,
    as_json: Json = False,
) -> None:
    """Quality, diversity, speed, likelihood and memorisation of a run; or compare two folders of pictures."""
    from figment.cli.progress import announce
    from figment.cli.reports import show_figures
    from figment.core.config import parse_assignments
    from figment.core.errors import UsageError
    from figment.evaluate import report

    others = [word for word in rest or [] if "=" not in word]
    options = parse_assignments(word for word in rest or [] if "=" in word)
    if guidance is not None:
        options["guidance"] = guidance
    if len(others) > 1 or (others and options):
        raise UsageError("evaluate takes a run (with sampling settings), or two folders.")
    if others:
        figures = report.evaluate_folders(run, others[0], n=n, features=features)
    else:
        figures = report.evaluate(run, n=n, features=features, options=options, progress=announce)
    _print_json(figures) if as_json else show_figures(figures)


@app.command()
def compare(
    what: Annotated[list[str], typer.Argument(help="Data, or several runs of the same data.")],
    models: Annotated[str | None, typer.Option(help="Which, separated by commas.")] = None,
    minutes: Annotated[float, typer.Option(help="Training minutes for each model.")] = 0.5,
    out: Annotated[Path | None, typer.Option(help="The folder of the report.")] = None,
    n: Annotated[int | None, typer.Option("--n", help="Samples to measure.")] = None,
    seed: Seed = 0,
    features: Annotated[str | None, typer.Option(help="The feature network.")] = None,
    goal: Annotated[
        str | None, typer.Option(help="Recommend a model: fast, faithful, diverse, likelihood, small-data.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train several families on the same data and measure them side by side."""
    from figment.cli.reports import run_compare

    if goal is not None:
        _choice("--goal", goal, ("fast", "faithful", "diverse", "likelihood", "small-data"))
    report, page = run_compare(what, models, minutes, out, n, seed, features, goal)
    if as_json:
        _print_json(report)
        return
    if goal is not None:
        typer.echo(report["recommendation"]["sentence"])
    typer.echo(page)


@app.command()
def likelihood(
    words: Annotated[
        list[str],
        typer.Argument(metavar="RUN... [KEY=VALUE]...", help="Runs; settings of data: data.binarise=dynamic."),
    ],
    data: Annotated[str | None, typer.Option(help="Other data than each run's own.")] = None,
    n: Annotated[int | None, typer.Option("--n", "-n", min=1, help="Held-out items at most (1000; 5000 rows).")] = None,
    draws: Annotated[int | None, typer.Option(min=1, help="VAE: importance weights an item, such as 500.")] = None,
    flow: Annotated[
        int | None, typer.Option(min=1, help="Diffusion: steps of its probability flow, such as 32.")
    ] = None,
    marginal: Annotated[bool, typer.Option("--marginal", help="Of x alone: labels are summed out.")] = False,
    as_json: Json = False,
) -> None:
    """Bits/dim or nats of each model: `=` exact, `<=` a bound, `~` an estimate, with the alarms."""
    from figment.cli.progress import table
    from figment.cli.reports import likelihood_rows

    rows = likelihood_rows(words, data, n, draws, flow, marginal, as_json)
    _print_json(rows) if as_json else table(rows)


@app.command()
def show(
    what: Annotated[Path, typer.Argument(help="A run folder, or a picture that figment drew.")], as_json: Json = False
) -> None:
    """What a run or a picture was made with."""
    from figment.cli.reports import describe, show_figures

    value = describe(what)
    _print_json(value) if as_json else show_figures(value)
