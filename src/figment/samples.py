"""Samples as files: one grid, an array, or a folder of pictures, each with the recipe that draws it again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pydantic
import torch
from torch import Tensor

from figment.core.config import Config, parse
from figment.core.data import Image, Spec
from figment.core.errors import FigmentError, UsageError
from figment.core.processes import resolve_precision
from figment.core.run import Precision, read_json, replacing
from figment.interchange import is_pipeline
from figment.pictures import grid, picture, read_recipe, save_png
from figment.use import draw, load

MOST = 1_000_000  # samples in one file or folder


class Recipe(Config):
    """All that fixes a picture beside the weights: samples start ... start + n - 1 of a seed; `index` picks one."""

    weights: str
    model: str
    n: int = pydantic.Field(ge=1, le=MOST)
    seed: int
    start: int = pydantic.Field(ge=0)
    batch: int = pydantic.Field(ge=1)
    precision: Precision
    label: str | None = None
    prompt: str | None = None
    sampling: dict[str, Any] = {}
    index: int | None = pydantic.Field(None, ge=0)
    threads: int
    torch: str


def save_samples(
    run: str | Path,
    out: str | Path,
    n: int = 16,
    *,
    seed: int = 0,
    start: int = 0,
    label: str | None = None,
    prompt: str | None = None,
    options: Mapping[str, Any] | None = None,
    batch: int = 256,
    precision: Precision = "auto",
    device: str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> list[Path]:
    """Draws samples start ... start + n - 1 into `x.png` (one grid), `x.npz` (arrays) or a folder (one file each).

    Returns the files written. Raises UsageError for a number, label, prompt or option that cannot be.
    """
    model, out = load(run, device), Path(out)
    if out.suffix not in ("", ".png", ".npz"):
        raise UsageError(f"--out {out}: samples go into a .png, a .npz, or a folder.")
    values = {
        "weights": weights_of(run),
        "model": model.config.kind,
        "n": n,
        "seed": seed,
        "start": start,
        "batch": batch,
        "precision": resolve_precision(precision, model.device, isinstance(model.spec.x, Image)),
        "label": label,
        "prompt": prompt,
        "sampling": dict(options or {}),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }
    recipe = parse(Recipe, values)
    x, c = follow(model, recipe, progress)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".npz":
        return [_save_arrays(model, recipe, x, c, out)]
    if out.suffix == ".png":
        save_png(picture(model.spec, x, c), out, recipe.model_dump())
        return [out]
    out.mkdir(exist_ok=True)
    return [_save_one(model, recipe, x, c, i, out) for i in range(n)]


def follow(
    model: Any, recipe: Recipe, progress: Callable[[int], None] | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The samples of a recipe."""
    return draw(
        model,
        recipe.n,
        seed=recipe.seed,
        start=recipe.start,
        given=model.spec.given(recipe.label, recipe.prompt),
        options=recipe.sampling,
        batch=recipe.batch,
        precision=recipe.precision,
        progress=progress,
    )


def redraw(run: str | Path, source: str | Path, out: str | Path, device: str = "cpu") -> Path:
    """Draws a saved picture again from the recipe it carries. Raises UsageError where other weights made it."""
    if Path(out).suffix != ".png":
        raise UsageError(f"--out {out}: a picture is drawn again into a .png.")
    recipe, model = parse(Recipe, read_recipe(source)), load(run, device)
    if recipe.weights != weights_of(run):
        raise UsageError(f"{source} was drawn by other weights ({recipe.model}) than those of {run}.")
    if recipe.index is not None and recipe.index >= recipe.n:
        raise UsageError(f"the recipe in {source} is damaged: it names sample {recipe.index} of {recipe.n}.")
    x, c = follow(model, recipe)
    chosen = slice(None) if recipe.index is None else slice(recipe.index, recipe.index + 1)
    image = render(model.spec, x[chosen], {k: v[chosen] for k, v in c.items()}, alone=recipe.index is not None)
    save_png(image, out, recipe.model_dump())
    return Path(out)


def render(spec: Spec, x: Tensor, c: Mapping[str, Tensor], alone: bool) -> PIL.Image.Image:
    """Samples together on one sheet, or one alone, pixel by pixel."""
    return grid(spec.x.to_user(x), scale=1) if alone and isinstance(spec.x, Image) else picture(spec, x, c)


def weights_of(run: str | Path) -> str:
    """The sha256 of the published weights of a run or of a pipeline."""
    if is_pipeline(run):
        from figment.interchange import diffusers

        return diffusers.weights_of(Path(run))
    folder = Path(run) / "model" if (Path(run) / "model").is_dir() else Path(run)
    if not folder.exists():
        raise UsageError(f"there is no run at {run}.")
    return read_json(folder / "manifest.json")["sha256"]["model.safetensors"]


def _save_arrays(model: Any, recipe: Recipe, x: Tensor, c: Mapping[str, Tensor], out: Path) -> Path:
    arrays = {"samples": model.spec.x.to_user(x), "recipe": np.array(json.dumps(recipe.model_dump()))}
    if "label" in c:
        arrays["labels"] = c["label"].numpy().astype(np.int64)
    try:
        with replacing(out) as file:
            np.savez_compressed(file, **arrays)
    except OSError as error:
        raise FigmentError(f"cannot write {out}: {error.strerror}.") from None
    return out


def _save_one(model: Any, recipe: Recipe, x: Tensor, c: Mapping[str, Tensor], i: int, folder: Path) -> Path:
    """One sample's own file; its recipe is the batch it was drawn in and its place there, so the bytes come again."""
    first = i - i % recipe.batch
    batch = {"start": recipe.start + first, "n": min(recipe.batch, len(x) - first), "index": i - first}
    one = recipe.model_copy(update=batch)
    path = folder / f"{recipe.start + i:06d}.png"
    here = slice(i, i + 1)
    save_png(render(model.spec, x[here], {k: v[here] for k, v in c.items()}, alone=True), path, one.model_dump())
    return path
