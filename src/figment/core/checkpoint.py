"""Folders of safetensors and JSON that are written whole or not at all, and verified before they are read."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from figment.core.data import FORMAT
from figment.core.errors import FigmentError, InvalidCheckpoint
from figment.core.run import read_json

MANIFEST = "manifest.json"
OLD = ".old-"


def write_folder(path: Path, files: Mapping[str, Mapping[str, Tensor] | str]) -> None:
    """Writes a folder of `NAME.safetensors` (tensors) and text files under a temporary name, syncs it to disk with a
    manifest of sha256 (of all but a card, which people edit), and renames it into place. Raises FigmentError, leaving
    what was there, where it cannot.
    """
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    size = sum(
        len(content) if isinstance(content, str) else sum(t.numel() * t.element_size() for t in content.values())
        for content in files.values()
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        for name, content in files.items():
            if isinstance(content, str):
                (temporary / name).write_text(content)
            else:
                save_file({k: v.detach().cpu().contiguous() for k, v in content.items()}, temporary / name)
        digests = {name: _digest(temporary / name) for name in files if not name.endswith(".md")}
        (temporary / MANIFEST).write_text(json.dumps({"format": FORMAT, "sha256": digests}, indent=1))
        for name in [*files, MANIFEST, ""]:
            _sync(temporary / name)
        _replace(temporary, path)
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        reason = "the disk is full" if full else str(error)
        raise FigmentError(
            f"cannot write {path} ({size:,} bytes): {reason}. What was saved before is intact."
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace(temporary: Path, path: Path) -> None:
    old = path.with_name(f"{OLD}{path.name}")
    shutil.rmtree(old, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, old)
    os.rename(temporary, path)
    shutil.rmtree(old, ignore_errors=True)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path) -> None:
    """Raises InvalidCheckpoint naming the file that is missing, unexpected, or not the one that was written."""
    manifest = read_json(path / MANIFEST)
    digests = manifest.get("sha256") if isinstance(manifest, dict) else None
    if not isinstance(digests, dict):
        raise InvalidCheckpoint(f"{path / MANIFEST} is damaged: it lists no files.")
    for name, digest in digests.items():
        if not (path / name).is_file():
            raise InvalidCheckpoint(f"{path / name} is missing.")
        if _digest(path / name) != digest:
            raise InvalidCheckpoint(f"{path / name} is damaged: its content is not what was written.")
    for file in path.iterdir():
        if file.suffix in (".safetensors", ".json") and file.name not in (*digests, MANIFEST):
            raise InvalidCheckpoint(f"{file} is not among the files that were written.")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises InvalidCheckpoint; never unpickles anything."""
    try:
        return load_file(path)
    except FileNotFoundError:
        raise InvalidCheckpoint(f"{path} is missing.") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise InvalidCheckpoint(f"{path} is not a valid safetensors file: {error}") from None


class Checkpoints:
    """The checkpoints of a run, `step-0000000500/` and so on; the newest `keep` stay."""

    def __init__(self, path: Path, keep: int = 2):
        self.path, self.keep = path, keep

    def steps(self) -> list[int]:
        """The steps saved, oldest first."""
        folders = self.path.glob("step-*") if self.path.is_dir() else ()
        return sorted(int(f.name[5:]) for f in folders if f.name[5:].isdecimal())

    def folder(self, step: int) -> Path:
        return self.path / f"step-{step:010d}"

    def save(self, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]) -> Path:
        """Writes a checkpoint, then removes those beyond `keep`, and later ones, which a run that went back has left
        behind; a removal that fails harms nothing."""
        files: dict[str, Mapping[str, Tensor] | str] = {f"{k}.safetensors": v for k, v in tensors.items()}
        files["state.json"] = json.dumps({"format": FORMAT, **state})
        write_folder(self.folder(step), files)
        steps = self.steps()
        until = steps.index(step) + 1
        for stale in [*steps[until:], *steps[:until][: -self.keep]]:
            shutil.rmtree(self.folder(stale), ignore_errors=True)
        return self.folder(step)

    def newest_valid(self) -> Iterator[tuple[Path, InvalidCheckpoint | None]]:
        """Newest first: each folder with what is wrong with it; ends at the first that is sound."""
        for step in reversed(self.steps()):
            try:
                verify(self.folder(step))
            except InvalidCheckpoint as error:
                yield self.folder(step), error
            else:
                yield self.folder(step), None
                return

    def sweep(self) -> None:
        """Removes what killed writers left behind; what one had moved aside and not yet replaced comes back."""
        for parent in (self.path.parent, self.path):
            for old in parent.glob(f"{OLD}*"):
                whole = old.with_name(old.name.removeprefix(OLD))
                shutil.rmtree(old, ignore_errors=True) if whole.exists() else old.rename(whole)
            for left in parent.glob(".tmp-*"):
                with contextlib.suppress(OSError):
                    shutil.rmtree(left) if left.is_dir() else left.unlink()


def read_state(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """All tensors of a checkpoint by file, and its state."""
    return {f.stem: read_tensors(f) for f in path.glob("*.safetensors")}, read_json(path / "state.json")


def model_tensors(model: torch.nn.Module) -> dict[str, Tensor]:
    """Every parameter and persistent buffer once, by its first name (tied weights are one tensor)."""
    kept = set(model.state_dict(keep_vars=True))
    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: tensor for name, tensor in named.items() if name in kept}


@torch.no_grad()
def load_model_tensors(model: torch.nn.Module, tensors: Mapping[str, Tensor], optional: tuple[str, ...] = ()) -> None:
    """Copies tensors into a model; buffers take the stored shape. Raises InvalidCheckpoint where names or shapes
    differ, save for names that start with one of `optional`.
    """
    own = model_tensors(model)
    missing = [name for name in own if name not in tensors and not name.startswith(optional or ("\0",))]
    surplus = [name for name in tensors if name not in own]
    if missing or surplus:
        raise InvalidCheckpoint(
            f"the weights do not fit the model: missing {missing[:3]}, not expected {surplus[:3]}. They are of another "
            "model, or from another version of figment: use that version, or train again."
        )
    for name, stored in tensors.items():
        target = own[name]
        if target.shape == stored.shape:
            target.copy_(stored)
        elif isinstance(target, torch.nn.Parameter):
            raise InvalidCheckpoint(f"'{name}' has shape {list(stored.shape)}; the model wants {list(target.shape)}.")
        else:
            owner, _, leaf = name.rpartition(".")
            model.get_submodule(owner).register_buffer(leaf, stored.to(target.device, target.dtype))
