"""From the words of a command to an action's settings, and from what it found to files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from figment.core.config import parse_assignments
from figment.core.errors import UsageError
from figment.explorer import action
from figment.explorer.scene import Found
from figment.pictures import save_film, save_png
from figment.samples import weights_of


def divide(
    name: str, words: Sequence[str], flags: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """The action's settings, the sampling settings, and the other words, of the words and flags of a command.

    `KEY=VALUE` is a setting of the action where it has one of that name, else of sampling, as `sampling.KEY=VALUE`
    always is; the name of a file that is there is a picture, and words that an action takes as names (`NAMES` of them,
    first) are no settings of sampling: `attribute hair=red`. Raises UsageError for a flag that the action has not.
    """
    module = action(name)
    known, names = module.Options.model_fields, getattr(module, "NAMES", 0)
    for flag in flags:
        if flag not in known:
            raise UsageError(f"--{flag}: `{name}` has no such choice. Its own: {', '.join(known) or 'none'}.")
    assigned = [
        word
        for place, word in enumerate(words)
        if "=" in word
        and not Path(word).exists()
        and (place >= names or word.partition("=")[0] in known or word.startswith("sampling."))
    ]
    pairs = parse_assignments(assigned)
    settings = {key: value for key, value in pairs.items() if key in known}
    sampling = {key.removeprefix("sampling."): value for key, value in pairs.items() if key not in known}
    return {**settings, **flags}, sampling, [word for word in words if word not in assigned]


def destination(run: Path, name: str, out: Path | None, parts: bool = False) -> Path:
    """Where the picture goes: `out`, else RUN-ACTION.png here; with `parts`, a folder will do. Raises UsageError,
    before any work is done, where that can be no picture or where nothing can be written."""
    out = out or Path(f"{run.resolve().name}-{name}.png")
    folder = parts and not out.suffix
    if not folder and out.suffix not in (".png", ".webp"):
        raise UsageError(f"--out {out}: a picture goes into a .png, a film into a .webp.")
    if folder and out.is_file():
        raise UsageError(f"--out {out} is a file: name a folder, or a .png.")
    if not folder and out.is_dir():
        raise UsageError(f"--out {out} is a folder: name a file.")
    there = next(parent for parent in out.absolute().parents if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise UsageError(f"--out {out}: nothing can be written into {there}.")
    return out


def save(found: Found, run: Path, out: Path, recipe: Mapping[str, Any]) -> list[Path]:
    """Writes the picture to `out`, its film beside it, or its parts into the folder `out`; each carries its recipe.
    Raises UsageError."""
    if out.suffix == ".webp" and not found.frames:
        raise UsageError(f"--out {out}: nothing moves here, so it is no film. Use a .png.")
    recipe = {"run": run.name, "weights": weights_of(run), **recipe}
    if found.parts and not out.suffix:
        for name, part in found.parts.items():
            save_png(part, out / f"{name}.png", {**recipe, "part": name})
        return [out / f"{name}.png" for name in found.parts]
    still, film = out.with_suffix(".png"), out.with_suffix(".webp")
    save_png(found.picture, still, recipe)
    if not found.frames:
        return [still]
    save_film(found.frames, film, recipe)
    return [still, film]
