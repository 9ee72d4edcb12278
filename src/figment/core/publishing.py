"""`model/`: all that is needed to use a trained model, without its data and without its run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from figment import registry
from figment.core.checkpoint import load_model_tensors, model_tensors, read_tensors, verify, write_folder
from figment.core.config import parse
from figment.core.data import FORMAT, Image, Spec
from figment.core.errors import InvalidCheckpoint, UsageError
from figment.core.model import Model, abilities, density, size_of
from figment.core.run import Run, read_json


def publish(path: Path, model: Model, run: Run, tensors: Mapping[str, Tensor] | None = None) -> None:
    """Writes config.json, spec.json, model.safetensors, README.md and a manifest; `tensors` replace the model's own."""
    own = {**model_tensors(model), **(tensors or {})}
    kept = {name: t for name, t in own.items() if not (model.training_only and name.startswith(model.training_only))}
    config = {"format": FORMAT, "model": model.config.model_dump(mode="json")}
    write_folder(
        path,
        {
            "config.json": json.dumps(config, indent=1),
            "spec.json": model.spec.model_dump_json(indent=1),
            "model.safetensors": kept,
            "README.md": _card(model, run),
        },
    )


def load_model(path: Path) -> Model:
    """The model of a run folder or of a `model/` folder, in evaluation mode on the CPU.

    Raises UsageError where there is no such folder, InvalidCheckpoint where it is unfinished or damaged.
    """
    if not path.exists():
        raise UsageError(f"there is no run at {path}. `figment train MODEL --data DATA --out {path}` would make one.")
    folder = path / "model" if (path / "model").is_dir() else path
    if not (folder / "config.json").exists():
        hint = "it is not finished: go on with --resume" if (path / "run.json").exists() else "it is not a run folder"
        raise InvalidCheckpoint(f"{path} holds no model; {hint}.")
    verify(folder)
    stored = read_json(folder / "config.json")
    try:
        spec = parse(Spec, read_json(folder / "spec.json"))
        config = parse(registry.load("model", stored["model"]["kind"]), stored["model"])
    except (UsageError, KeyError, TypeError) as error:
        raise InvalidCheckpoint(f"{folder}: {error}") from None
    with torch.random.fork_rng([]):  # initial weights, all replaced below
        model = config.build(spec)
    load_model_tensors(model, read_tensors(folder / "model.safetensors"), optional=model.training_only)
    return model.shed().eval()


def _card(model: Model, run: Run) -> str:
    spec = model.spec
    shape = " x ".join(map(str, spec.x.shape))
    labels = f"\nConditional on {spec.label.count} labels." if spec.label else ""
    what = "pictures" if isinstance(spec.x, Image) else "rows"
    return f"""---
library_name: figment
tags: [generative-model, {run.model.kind}]
---
# {run.model.kind} on {spec.name}

Learned from {what} of {shape} with {size_of(model):,} parameters; density: {density(model) or "none"};
abilities: {", ".join(abilities(model))}.{labels}

    figment sample FOLDER -n 16 --out samples.png

The samples resemble the training data and carry its biases; figures are in the run's `evaluation.json`.
"""
