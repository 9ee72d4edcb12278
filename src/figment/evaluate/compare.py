"""Several models of the same data side by side: trains those that are not trained yet, measures all, reports."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from figment.core.data import Dataset, Image
from figment.core.errors import UsageError
from figment.core.model import CanEncode, CanSample, CanTranslate, density
from figment.core.run import DataConfig, Run, RunFolder, check_name, read_json, write_json, write_text
from figment.core.stages import TwoStageConfig
from figment.core.training import Stopped
from figment.evaluate import page, recommend, report, trilemma
from figment.evaluate.diagnosis import diagnose
from figment.pictures import picture, save_png
from figment.planning import differences, plan
from figment.samples import save_samples, weights_of
from figment.use import load, reconstruct
from figment.workbench import Watch, execute, preview

MODELS = ("gaussian-mixture", "autoencoder", "with-prior", "vae", "gan", "diffusion")
FIGURES = ("parameters", "train_seconds", "quality", "diversity", "speed", "likelihood", "memorisation")
PICTURES, POINTS = 36, 2000  # samples shown


@dataclass(frozen=True)
class Entry:
    """A model of the comparison: its name there, its run folder, and the run to carry out (None: it is finished)."""

    name: str
    folder: Path
    run: Run | None = None


def compare(
    data: str | DataConfig | None = None,
    runs: Sequence[str | Path] | None = None,
    models: Sequence[str] | None = None,
    *,
    minutes: float = 0.5,
    out: str | Path = "compare",
    n: int | None = None,
    seed: int = 0,
    features: str | None = None,
    goal: recommend.Goal | None = None,
    watch: Watch | None = None,
    announce: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Compares families on `data`, `minutes` of training each, or finished `runs` of the same data.

    Writes report.json, report.html, trilemma.png and samples-MODEL.png to `out`; models are trained in `out`/runs.
    What is there already is used: a call that was cut short is continued by the same call. A model that fails keeps
    its row, with the error. `goal` adds a recommendation. Raises UsageError, and the first model's error where every
    one failed.
    """
    out, say = Path(out), announce or (lambda line: None)
    check_name(out)
    if (data is None) == (not runs):
        raise UsageError("compare takes either one data set or run folders.")
    entries = _planned(data, models or MODELS, out, minutes, seed) if data is not None else _trained(runs or ())
    settings = {"minutes": minutes if data is not None else None, "seed": seed, "n": n, "features": features}
    source = (entries[0].run or RunFolder(entries[0].folder).read_run()).data
    dataset = source.build()
    for note in dataset.notes:
        say(note)
    out.mkdir(parents=True, exist_ok=True)
    told: dict[str, Any] = {
        "data": _describe(source, dataset),
        "settings": settings,
        "commands": _commands(data, entries, out, settings),
        "figment": version("figment"),
        "made": time.strftime("%Y-%m-%d"),
    }
    known = _known(out, settings)
    rows: list[dict[str, Any]] = []
    failures: list[Exception] = []
    for number, entry in enumerate(entries, 1):
        say(f"[{number}/{len(entries)}] {entry.name}")
        try:
            row = _row(entry, dataset, known, settings, out, watch, say)
        except Stopped as stop:
            raise Stopped(stop.number, "the same command.") from None
        except Exception as error:  # whatever befell one model, the others are still worth having
            failures.append(error)
            row = {"model": entry.name, "error": str(error) or type(error).__name__, **dict.fromkeys(FIGURES)}
            say(f"{entry.name}: {row['error']}")
        rows.append({**row, "run": Path(os.path.relpath(entry.folder, out)).as_posix()})
        write_json(out / "report.json", {**told, "rows": rows})  # what a call that is cut short leaves to the next
    told |= {"rows": rows, "front": [p.model for p in trilemma.front(trilemma.points(rows))]}
    if goal is not None:
        chosen = recommend.recommend(rows, goal)
        told["recommendation"] = {**(chosen or {"goal": goal}), "sentence": recommend.sentence(chosen, goal)}
    told["machine"] = _machine(entries)
    _write(told, dataset, out)
    if len(failures) == len(entries):
        raise failures[0]
    return told


# -- what is compared -------------------------------------------------------------------------------------------------


def _planned(data: str | DataConfig, models: Sequence[str], out: Path, minutes: float, seed: int) -> list[Entry]:
    """A run for each model; `with-prior` stands on the autoencoder trained before it, where there is one."""
    if len(set(models)) < len(models):
        raise UsageError(f"a model is named twice: {', '.join(models)}.")
    entries = []
    for i, name in enumerate(models):
        settings: dict[str, Any] = {"training.minutes": minutes}
        if name == "with-prior" and "autoencoder" in models[:i]:
            settings["model.first"] = str(out / "runs" / "autoencoder")
        run, folder = plan(name, data, seed=seed, overrides=settings), RunFolder(out / "runs" / name)
        if folder.exists():
            old = folder.read_run().model_dump(mode="json")
            if difference := differences(old, run.model_dump(mode="json")):
                raise UsageError(f"{folder.path} was made otherwise: {'; '.join(difference)}. Choose another --out.")
        entries.append(Entry(name, folder.path, run))
    return entries


def _trained(runs: Sequence[str | Path]) -> list[Entry]:
    """Finished runs, under the names of their families, or of their folders where a family is there twice."""
    folders = [RunFolder(path) for path in runs]
    values = [folder.read_run() for folder in folders]
    for folder, value in zip(folders, values):
        if difference := differences(values[0].data.model_dump(mode="json"), value.data.model_dump(mode="json")):
            raise UsageError(f"{folders[0].path} and {folder.path} learned other data: {'; '.join(difference)}.")
    kinds = [value.model.kind for value in values]
    names = [kind if kinds.count(kind) == 1 else folder.path.name for kind, folder in zip(kinds, folders)]
    if len(set(names)) < len(names):
        raise UsageError(f"two of the runs cannot be told apart by their names: {', '.join(names)}.")
    return [Entry(name, folder.path) for name, folder in zip(names, folders)]


def _known(out: Path, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Rows measured before with the same settings, by the sha256 of the weights."""
    path = out / "report.json"
    old = read_json(path) if path.exists() else {}
    same = old.get("settings") == settings and old.get("figment") == version("figment")
    return {row["weights"]: row for row in old["rows"] if row.get("weights")} if same else {}


# -- one model --------------------------------------------------------------------------------------------------------


def _row(
    entry: Entry,
    dataset: Dataset,
    known: dict[str, dict[str, Any]],
    settings: dict[str, Any],
    out: Path,
    watch: Watch | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Trains a model where it must be, measures it, and writes its samples."""
    if entry.run is not None:
        execute(entry.run, entry.folder, resume=True, watch=watch)
    weights, pictures = weights_of(entry.folder), out / f"samples-{entry.name}.png"
    if weights in known and pictures.exists():
        return {**known[weights], "model": entry.name}
    asked = {key: settings[key] for key in ("n", "seed", "features")}
    row = report.evaluate(entry.folder, **asked, progress=lambda line: say(f"{entry.name}: {line}"))
    row["diagnosis"] = diagnose(entry.folder)["findings"]
    model = load(entry.folder)
    if isinstance(model, CanSample):
        save_samples(entry.folder, pictures, _shown(dataset), seed=settings["seed"])
    elif isinstance(model, CanTranslate):
        preview(dataset, model, pictures)
    elif isinstance(model, CanEncode):
        batch = dataset.held_out.gather(_rows_shown(dataset))
        recipe = {"model": entry.name, "weights": weights, "reconstructions": len(batch)}
        save_png(picture(dataset.spec, reconstruct(model, batch.x, batch.c)), pictures, recipe)
    config = (entry.run or RunFolder(entry.folder).read_run()).model
    if isinstance(config, TwoStageConfig):  # what the first stage took is part of what the second one takes
        path = Path(config.first) if isinstance(config.first, str) else entry.folder / "first"
        row["first_stage_seconds"] = RunFolder(path.resolve()).read_status().get("seconds", 0.0)
        row["train_seconds"] += row["first_stage_seconds"]
    return {**row, "model": entry.name, "weights": weights, "density": density(model)}


def _shown(dataset: Dataset) -> int:
    return PICTURES if isinstance(dataset.spec.x, Image) else POINTS


def _rows_shown(dataset: Dataset) -> np.ndarray:
    """Held-out rows in one fixed random order."""
    return np.random.default_rng(0).permutation(len(dataset.held_out))[: _shown(dataset)]


# -- the report -------------------------------------------------------------------------------------------------------


def _describe(source: DataConfig, dataset: Dataset) -> dict[str, Any]:
    spec = dataset.spec
    return {
        "name": spec.name,
        "kind": spec.x.kind,
        "shape": spec.x.shape,
        "classes": spec.label.count if spec.label else 0,
        "train": len(dataset.train),
        "held_out": len(dataset.held_out),
        "notes": list(dataset.notes),
        "content": dataset.content,
        "config": source.model_dump(mode="json"),
    }


def _commands(
    data: str | DataConfig | None, entries: Sequence[Entry], out: Path, settings: dict[str, Any]
) -> list[str]:
    """What to type for this report again, and for more samples of the last model."""
    if data is None:
        words = [str(entry.folder) for entry in entries]
    else:
        text = data if isinstance(data, str) else str(getattr(data, "path", data.kind))
        words = [text, "--models", ",".join(entry.name for entry in entries), "--minutes", f"{settings['minutes']:g}"]
    given = {f"--{key}": settings[key] for key in ("seed", "n", "features") if settings[key] is not None}
    words += [str(word) for pair in given.items() for word in pair]
    sample = ["figment", "sample", str(entries[-1].folder), "-n", "64", "--out", "samples.png"]
    return [shlex.join(["figment", "compare", *words, "--out", str(out)]), shlex.join(sample)]


def _machine(entries: Sequence[Entry]) -> dict[str, Any]:
    """What the figures of speed depend on, as the first run that got that far wrote it down."""
    paths = [entry.folder / "env.json" for entry in entries]
    environment: dict[str, Any] = next((read_json(path) for path in paths if path.exists()), {})
    keys = ("processor", "cores", "threads", "device", "precision", "torch", "python", "system")
    return {key: environment.get(key) for key in keys}


def _write(told: dict[str, Any], dataset: Dataset, out: Path) -> None:
    batch = dataset.held_out.gather(_rows_shown(dataset))
    save_png(picture(dataset.spec, batch.x, batch.c), out / "real.png", {"data": told["data"]["config"]})
    drawn = trilemma.png(trilemma.chart(told["rows"]), f"{told['data']['name']}: quality, diversity, speed")
    save_png(drawn, out / "trilemma.png", {"front": told["front"], "made": told["made"]})
    write_json(out / "report.json", told)
    write_text(out / "report.html", page.render(told, out))
