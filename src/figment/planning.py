"""What a run is to be: a preset, data, a config file and settings, put together and checked before anything is done."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from figment import presets, registry
from figment.core.config import parse
from figment.core.errors import UsageError, did_you_mean
from figment.core.model import ModelConfig
from figment.core.run import DataConfig, Run

DEFAULT_MINUTES = 5.0
BOUNDS = ("training.steps", "training.minutes")
LONGEST_CONFIG = 1_000_000  # bytes


def plan(
    model: str | ModelConfig,
    data: str | DataConfig,
    *,
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    base: Mapping[str, Any] | None = None,
) -> Run:
    """The run that a preset or a kind, data, and dotted overrides describe.

    `base` is a whole or partial run (from `--config`) laid over the preset; overrides win over it. Raises UsageError.
    """
    from figment.data import parse as parse_data

    source = parse_data(data) if isinstance(data, str) else data
    preset = _preset(model if isinstance(model, str) else model.kind, source.pictures)
    if isinstance(model, ModelConfig):
        preset = {**preset, "model": model.model_dump(mode="json")}
    asked, found = preset["model"]["kind"], (base or {}).get("model")
    if isinstance(found, Mapping) and found.get("kind", asked) != asked and found["kind"] in registry.kinds("model"):
        raise UsageError(f"the config describes a '{found['kind']}', not the '{asked}' that was asked for.")
    tree = _merge({"training": {}, **preset}, base or {}) | {"data": source.resolved().model_dump(mode="json")}
    if seed is not None:
        tree["seed"] = seed
    overrides = overrides or {}
    if sum(overrides.get(bound) is not None for bound in BOUNDS) == 1:
        overrides = {**dict.fromkeys(BOUNDS), **overrides}
    run = parse(Run, tree).override(overrides)
    if run.training.steps is None and run.training.minutes is None:
        run = run.override({"training.minutes": DEFAULT_MINUTES})
    if run.training.steps is not None and run.training.minutes is not None:
        raise UsageError("a run is bounded by --steps or by --minutes, not by both.")
    return run


def read_config(path: Path) -> dict[str, Any]:
    """A JSON or TOML file with any of model, data, training, seed. Raises UsageError with the place of a fault."""
    try:
        if path.stat().st_size > LONGEST_CONFIG:
            raise UsageError(f"--config {path}: {path.stat().st_size:,} bytes are too many for a config.")
        text = path.read_text(encoding="utf-8")
        value = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except OSError as error:
        raise UsageError(f"--config {path}: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:  # both decoders' errors are ValueErrors, and so is bad UTF-8
        raise UsageError(f"--config {path} is not valid {path.suffix[1:] or 'JSON'}: {error}") from None
    if not isinstance(value, dict):
        raise UsageError(f"--config {path}: a table of model, data, training, seed is wanted.")
    return value


def data_of(base: Mapping[str, Any]) -> str | DataConfig | None:
    """The data a config file names, as a string or in full."""
    source = base.get("data")
    if source is not None and not isinstance(source, str | Mapping):
        raise UsageError(f"'data': text such as digits or a table with a kind is wanted (given: {source!r:.120}).")
    return DataConfig.resolve(source) if isinstance(source, Mapping) else source


def _preset(name: str, pictures: bool) -> dict[str, Any]:
    if name in presets.PRESETS:
        preset = presets.PRESETS[name]
        return {"model": preset["model"], "training": preset["training"] | ({} if pictures else preset.get("rows", {}))}
    if name in registry.kinds("model"):
        return {"model": {"kind": name}}
    known = {*presets.PRESETS, *registry.kinds("model")}
    raise UsageError(f"There is no model or preset '{name}'. {did_you_mean(name, known)}")


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def default_folder(run: Run, resume: bool, root: Path = Path("runs")) -> Path:
    """`runs/MODEL-DATA`, `-2`, ...: the first that does not exist; to resume, the last that does."""
    source = getattr(run.data, "name", None) or getattr(run.data, "path", None) or run.data.kind
    name = f"{run.model.kind}-{Path(str(source)).stem or run.data.kind}"
    last, path = None, root / name
    for number in count(2):
        if not path.exists():
            break
        last, path = path, root / f"{name}-{number}"
    return last if resume and last else path


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """`training.lr is 0.001 there, 0.01 here`, for every leaf that differs."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = dict.fromkeys([*old, *new])
        return [d for k in keys for d in differences(old.get(k), new.get(k), f"{path}.{k}" if path else k)]
    return [] if old == new else [f"{path} is {old!r} there, {new!r} here"]
