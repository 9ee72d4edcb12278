"""Train: what the commands and the library both call."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from figment import translations
from figment.core.alarms import Ailing
from figment.core.data import Dataset, Image
from figment.core.errors import UsageError
from figment.core.model import (
    CanDecode,
    CanEncode,
    CanSample,
    CanSegment,
    CanTranslate,
    Learns,
    Model,
    ModelConfig,
    size_of,
)
from figment.core.processes import Processes, resolve_precision
from figment.core.publishing import load_model
from figment.core.run import DataConfig, Run, RunFolder, check_name, read_json, write_json
from figment.core.session import Session
from figment.core.stages import TwoStageConfig
from figment.core.training import Event, training
from figment.evaluate.symptoms import symptoms
from figment.kernels import compiled
from figment.pictures import picture, save_png
from figment.planning import default_folder, differences, plan
from figment.use import draw, load, reconstruct

Watch = Callable[[Iterator[Event]], None]
CURES = 3  # times that a run starts anew with other settings


def train(
    model: str | ModelConfig,
    data: str | DataConfig,
    out: str | Path | None = None,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    remedy: bool = False,
    watch: Watch | None = None,
    **overrides: Any,
) -> RunFolder:
    """Trains a model on data, by the recipe of its preset, and returns its finished run folder.

    `overrides` are dotted settings, written with a double underscore: `training__lr=1e-3`. `watch` receives the
    events (None: nothing is shown). Raises UsageError, DataError, Diverged, InvalidCheckpoint.
    """
    settings = {key.replace("__", "."): value for key, value in overrides.items()}
    settings |= {f"training.{k}": v for k, v in {"steps": steps, "minutes": minutes}.items() if v is not None}
    run = plan(model, data, seed=seed, overrides=settings)
    return execute(run, out, device=device, resume=resume, overwrite=overwrite, remedy=remedy, watch=watch)


def execute(
    run: Run,
    out: str | Path | None = None,
    *,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    remedy: bool = False,
    init: str | Path | None = None,
    watch: Watch | None = None,
    announce: Callable[[str], None] | None = None,
) -> RunFolder:
    """Carries out a run in its folder; `resume` goes on from the newest valid checkpoint.

    `remedy`: a run that shows a sign of going wrong, for which there are settings, starts anew with them, three times
    at most; they are written to its run.json and, with the reason, to remedies.json. `announce` receives a line on
    what is about to be done, and what was done to the data.
    """
    processes = Processes(device)
    folder = RunFolder(out if out is not None else default_folder(run, resume))
    processes.wait()  # all have chosen the same folder before one makes it
    if resume:
        for cure in folder.read_remedies():
            run = run.override(cure["settings"])
    if processes.first:
        claim(folder, run, resume=resume, overwrite=overwrite)
    processes.wait()
    if resume and folder.read_status().get("state") == "done" and folder.model.exists():
        if announce:
            announce(f"{folder.path} is finished already: nothing to do.")
        return folder
    with folder.locked() if processes.first else nullcontext():
        begun, cpu = time.perf_counter(), time.process_time()
        dataset = run.data.build()
        if announce:
            for note in dataset.notes:
                announce(note)
        run.model.check(dataset.spec)
        say = announce or (lambda line: None)
        while (ailing := _attempt(run, folder, dataset, processes, device, remedy, init, watch, say)) is not None:
            run = _cured(run, folder, ailing, processes)
        if processes.first:
            times = {"wall_seconds": time.perf_counter() - begun, "cpu_seconds": time.process_time() - cpu}
            write_json(folder.status, {**folder.read_status(), **times})
    return folder


def _attempt(
    run: Run,
    folder: RunFolder,
    dataset: Dataset,
    processes: Processes,
    device: str,
    remedy: bool,
    init: str | Path | None,
    watch: Watch | None,
    say: Callable[[str], None],
) -> Ailing | None:
    """Trains to the end; or, with `remedy`, until a sign that other settings cure, which is returned."""
    staged = _staged(run, folder, device=device, remedy=remedy, watch=watch)
    model, run = build(staged, dataset), run.model_copy(update={"training": staged.training})
    surroundings = folder.path / "env.json"
    if processes.first:  # from here on it has begun, and its name is taken
        if surroundings.exists() and read_json(surroundings).get("data") != dataset.content:
            say("warning: the data has changed since this run began; it goes on with what there is now.")
        write_json(surroundings, environment(processes, run, dataset))
    if init is not None:
        _initialise(model, Path(init))
    say(_summary(run, dataset, model, folder))
    look, cures = partial(preview, dataset), remedy and len(folder.read_remedies()) < CURES
    try:
        with training(run, folder, dataset, model, device=device, preview=look, remedy=remedy, cures=cures) as events:
            (watch or drain)(events)
    except Ailing as ailing:
        changes = " ".join(f"{key}={value}" for key, value in ailing.settings.items())
        say(f"remedy: {ailing.sign.name}: starting anew with {changes}")
        return ailing
    if processes.first:  # now it is known what it computed with
        write_json(surroundings, environment(processes, run, dataset))
    return None


def _cured(run: Run, folder: RunFolder, ailing: Ailing, processes: Processes) -> Run:
    """The run with the settings that cure it, in what is left of its minutes; its folder is as if it had not begun."""
    settings, minutes = dict(ailing.settings), run.training.minutes
    if minutes is not None:
        settings["training.minutes"] = max(minutes - ailing.seconds / 60, minutes / 10)
    run = run.override(settings)
    processes.wait()
    if processes.first:
        for path in (folder.checkpoints, folder.samples):
            shutil.rmtree(path, ignore_errors=True)
        folder.metrics.unlink(missing_ok=True)
        folder.append_remedy(settings, sign=ailing.sign.name, cause=ailing.sign.cause, step=ailing.step)
        write_json(folder.run, run.model_dump(mode="json"))
    processes.wait()
    return folder.read_run()  # that of the first process, whose clock counts for all


def build(run: Run, dataset: Dataset) -> Model:
    """The model of a run with its initial weights, which are a function of the seed; on its first stage, where that is
    a run."""
    config = run.model
    with torch.random.fork_rng([]):
        torch.manual_seed(run.seed)
        if isinstance(config, TwoStageConfig) and not isinstance(config.first, ModelConfig):
            return config.with_first(load(str(config.first)), dataset.spec)
        return config.build(dataset.spec)


def _staged(run: Run, folder: RunFolder, **stages: Any) -> Run:
    """The run with its first stage trained, in RUN/first/ and within the same budget, where there is one to train."""
    config = run.model
    if not (isinstance(config, TwoStageConfig) and isinstance(config.first, ModelConfig)):
        return run
    minutes, rest = config.shares(run.training.minutes)
    same = {"training.steps": run.training.steps, "training.precision": run.training.precision}
    first = plan(config.first, run.data, seed=run.seed).override({**same, "training.minutes": minutes})
    trained = execute(first, folder.path / "first", resume=True, **stages)
    model = config.model_copy(update={"first": str(trained.path)})
    return run.model_copy(update={"model": model, "training": run.training.model_copy(update={"minutes": rest})})


def _summary(run: Run, dataset: Dataset, model: Model, folder: RunFolder) -> str:
    t, parameters = run.training, size_of(model)
    length = f"{t.steps:,} steps" if t.steps else f"{t.minutes:g} min"
    size = " x ".join(map(str, dataset.spec.x.shape))
    return (
        f"{run.model.kind} ({parameters:,} parameters) on {len(dataset.train):,} of {dataset.spec.name} ({size}), "
        f"{length}, seed {run.seed}, into {folder.path}"
    )


def claim(folder: RunFolder, run: Run, *, resume: bool, overwrite: bool) -> None:
    """Makes the folder this run's, or raises UsageError: no name for one, it exists, or it is another run's."""
    check_name(folder.path)
    if folder.path.exists() and not folder.path.is_dir():
        raise UsageError(f"{folder.path} is a file: choose another --out.")
    unstarted = {"run.json", "run.lock"}  # all there is of a run whose data or settings were refused
    if folder.path.exists() and {file.name for file in folder.path.iterdir()} - unstarted:
        if overwrite:
            if not folder.exists():
                raise UsageError(f"{folder.path} is no run folder; --overwrite would delete it. Choose another --out.")
            with folder.locked():
                shutil.rmtree(folder.path)
        elif not resume:
            raise UsageError(
                f"{folder.path} exists. Go on with --resume, start anew with --overwrite, or change --out."
            )
        elif folder.exists():
            difference = differences(folder.read_run().model_dump(mode="json"), run.model_dump(mode="json"))
            if difference:
                raise UsageError(f"{folder.path} was made with another config: {'; '.join(difference)}.")
            return
    with folder.locked():
        write_json(folder.run, run.model_dump(mode="json"))


def _initialise(model: Model, path: Path) -> None:
    """Starts from another run's weights, wherever name and shape agree."""
    theirs = dict(load_model(path).named_parameters())
    with torch.no_grad():
        fits = [(p, theirs[n]) for n, p in model.named_parameters() if n in theirs and theirs[n].shape == p.shape]
        if not fits:
            raise UsageError(f"--init {path}: no weight there fits this model.")
        for mine, other in fits:
            mine.copy_(other)


def drain(events: Iterator[Event]) -> None:
    """Runs to the end without a word."""
    for _ in events:
        pass


def environment(processes: Processes, run: Run, dataset: Dataset) -> dict[str, Any]:
    """What the figures of a run depend on beside its config; nothing private."""
    import platform
    from importlib.metadata import version

    pictures = isinstance(dataset.spec.x, Image)
    return {
        "figment": version("figment"),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "kernels": compiled.in_use(),
        "device": str(processes.device),
        "processes": processes.count,
        "precision": resolve_precision(run.training.precision, processes.device, pictures),
        "data": dataset.content,
        "rows": {name: len(split) for name, split in dataset.splits.items()},
    }


def preview(dataset: Dataset, model: Model, path: Path) -> dict[str, float]:
    """Samples from the same noise as always; without samples, held-out data, each beside its reconstruction or between
    what it is made from and what it should be. Returns figures of what is drawn, as `symptoms` has them."""
    n = 64 if isinstance(model.spec.x, Image) else 1024
    if isinstance(model, CanSample):
        x, c = draw(model, n, seed=0, precision=None)
        save_png(picture(model.spec, x, c), path, {"model": model.config.kind, "seed": 0, "start": 0, "n": n})
        return symptoms(x, dataset)
    if isinstance(model, CanTranslate):
        made = translations.preview(dataset, model, path)
        return {} if isinstance(model, CanSegment) else symptoms(made, dataset, samples=False)
    if isinstance(model, CanEncode) and isinstance(model, CanDecode):
        rows = np.arange(min(n // 2, len(dataset.held_out)))
        batch = dataset.held_out.gather(rows).suited(model.spec).to(model.device)
        made = reconstruct(model, batch.x, batch.c)
        pairs = torch.stack([batch.x, made], 1).flatten(0, 1)
        save_png(picture(model.spec, pairs), path, {"model": model.config.kind, "reconstructions": len(batch)})
        return symptoms(made.float().cpu(), dataset, samples=False)
    return {}


def estimate(run: Run, dataset: Dataset, device: str = "auto") -> dict[str, Any]:
    """What a run would take, from one measured step after a first: nothing is written.

    Returns parameters, peak_memory_bytes, seconds_per_step, steps and seconds.
    """
    run.model.check(dataset.spec)
    processes, model = Processes(device), build(run, dataset)
    figures: dict[str, Any] = {"parameters": size_of(model)}
    if isinstance(model, Learns):
        session = Session(run, dataset, model, processes)
        session.take_step(0.0)
        begun = time.perf_counter()
        session.take_step(0.0)
        seconds, t = time.perf_counter() - begun, run.training
        steps = t.steps or int(60 * (t.minutes or 0) / seconds)
        total = seconds * t.steps if t.steps else 60 * (t.minutes or 0)
        figures |= {"precision": session.precision, "seconds_per_step": seconds, "steps": steps, "seconds": total}
        figures["examples_per_second"] = t.batch / seconds
    unit = 1 if sys.platform == "darwin" else 1024
    figures["peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    if processes.device.type == "cuda":
        figures["peak_memory_bytes"] = torch.cuda.max_memory_allocated()
    return figures
