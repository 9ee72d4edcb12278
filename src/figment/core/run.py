"""A run: one frozen value that says everything, and one folder where commands, studio and evaluation meet."""

from __future__ import annotations

import json
import math
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, ClassVar, Literal, Self

import pydantic

from figment.core.config import Config, Kinded
from figment.core.data import FORMAT, Dataset
from figment.core.errors import FigmentError, InvalidCheckpoint, UsageError
from figment.core.model import ModelConfig

Precision = Literal["auto", "fp32", "bf16", "fp16"]
State = Literal["running", "done", "failed", "preempted"]
Rate = Annotated[float, pydantic.Field(ge=0, lt=1)]


class DataConfig(Kinded):
    """Where the data is and how it is brought to one form."""

    group: ClassVar[str] = "data"
    pictures: ClassVar[bool] = True  # whether that is what it holds, not rows of numbers

    def build(self) -> Dataset:
        raise NotImplementedError  # pragma: no cover - every registered kind overrides this

    def resolved(self) -> Self:
        """With every choice made that would else depend on the machine: what a run writes down."""
        return self


class TrainingConfig(Config):
    """How long and how: the recipe that goes with a model. Schedules are functions of progress in [0, 1]."""

    steps: int | None = pydantic.Field(None, ge=1, description="stop after so many passes of the loop (reproducible)")
    minutes: float | None = pydantic.Field(None, gt=0, description="stop after so many wall minutes of the loop")
    batch: int = pydantic.Field(128, ge=1, description="examples a step, over all processes")
    accumulate: int = pydantic.Field(1, ge=1, description="micro-batches a step, to save memory")
    optimiser: Literal["adamw", "muon"] = pydantic.Field("adamw", description="muon: for hidden matrices, else adamw")
    lr: float = pydantic.Field(1e-3, gt=0, description="learning rate at its peak")
    betas: tuple[Rate, Rate] = pydantic.Field((0.9, 0.99), description="memory of AdamW's two running means")
    weight_decay: float = pydantic.Field(0.0, ge=0, description="pull of weights towards 0, relative to lr")
    warmup: float = pydantic.Field(0.02, ge=0, lt=1, description="share of the run over which lr rises from 0")
    decay: Literal["constant", "linear", "cosine"] = pydantic.Field("cosine", description="how lr falls from its peak")
    final: float = pydantic.Field(0.0, ge=0, le=1, description="lr at the end, relative to its peak")
    clip: float | None = pydantic.Field(1.0, gt=0, description="largest norm of a player's gradient")
    ema: float = pydantic.Field(0.05, ge=0, le=0.05, description="half-life of averaging, a share of examples seen")
    flip: bool = pydantic.Field(False, description="mirror pictures left to right at random")
    precision: Precision = pydantic.Field("auto", description="auto: bf16 where the machine is fast at it, else fp32")
    fit_rows: int = pydantic.Field(50_000, ge=1, description="rows a closed-form fit may use")
    checkpoint_seconds: float = pydantic.Field(60.0, ge=0, description="seconds between checkpoints")
    keep: int = pydantic.Field(2, ge=1, description="checkpoints kept")
    log_every: int = pydantic.Field(10, ge=1, description="steps whose mean figures make a line of the log")
    previews: int = pydantic.Field(10, ge=0, description="pictures written over a run")
    monitor: Literal["loss"] | None = pydantic.Field(None, description="publish the weights best at this, held out")

    def rate(self, progress: float) -> float:
        """The learning rate at a progress in [0, 1]."""
        if progress < self.warmup:
            return self.lr * max(progress / self.warmup, 1e-3)
        left = (1 - progress) / (1 - self.warmup)
        shape = {"constant": 1.0, "linear": left, "cosine": 0.5 - 0.5 * math.cos(math.pi * left)}[self.decay]
        return self.lr * (self.final + (1 - self.final) * shape)


def _resolved(base: type[Kinded]) -> pydantic.BeforeValidator:
    return pydantic.BeforeValidator(base.resolve)


class Run(Config):
    """Model + data + training + seed: the whole of what `run.json` holds."""

    model: Annotated[pydantic.SerializeAsAny[ModelConfig], _resolved(ModelConfig)]
    data: Annotated[pydantic.SerializeAsAny[DataConfig], _resolved(DataConfig)]
    training: TrainingConfig = TrainingConfig()
    seed: int = pydantic.Field(0, ge=0, lt=2**63)
    format: int = FORMAT


class RunFolder:
    """The files of a run; each is written whole or not at all."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)

    run = property(lambda self: self.path / "run.json")
    model = property(lambda self: self.path / "model")
    metrics = property(lambda self: self.path / "metrics.jsonl")
    samples = property(lambda self: self.path / "samples")
    checkpoints = property(lambda self: self.path / "checkpoints")
    evaluation = property(lambda self: self.path / "evaluation.json")
    status = property(lambda self: self.path / "status.json")
    remedies = property(lambda self: self.path / "remedies.json")

    def read_run(self) -> Run:
        """The value this folder was made with. Raises UsageError where there is no folder, InvalidCheckpoint where it
        holds no run or a damaged one."""
        from figment.core.config import parse

        if not self.path.exists():
            raise UsageError(f"there is no run at {self.path}.")
        return parse(Run, read_json(self.run))

    def exists(self) -> bool:
        return self.run.exists()

    def read_status(self) -> dict[str, Any]:
        return read_json(self.status) if self.status.exists() else {}

    def write_status(self, state: State, **figures: Any) -> None:
        write_json(self.status, {"state": state, "pid": os.getpid(), "updated": time.time(), **figures})

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        with self.metrics.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def append_remedy(self, settings: Mapping[str, Any], **why: Any) -> None:
        """Writes down dotted settings that a run was given while it ran, and what for."""
        write_json(self.remedies, [*self.read_remedies(), {**why, "settings": dict(settings)}])

    def read_remedies(self) -> list[dict[str, Any]]:
        """The settings a run was given while it ran, oldest first."""
        return read_json(self.remedies) if self.remedies.exists() else []

    def read_metrics(self) -> list[dict[str, Any]]:
        """The log's lines; a last line cut short by a kill is left out."""
        lines = []
        for text in self.metrics.read_text().splitlines() if self.metrics.exists() else ():
            try:
                lines.append(json.loads(text))
            except ValueError:
                break
        return lines

    def truncate_metrics(self, step: int) -> None:
        """Drops lines after a step: what a resumed run will write again."""
        kept = [line for line in self.read_metrics() if line["step"] <= step]
        write_text(self.metrics, "".join(json.dumps(line) + "\n" for line in kept))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds `run.lock` so that a second process is refused; the lock of a process that died is free."""
        import fcntl

        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / "run.lock").open("a+")
        except OSError as error:
            raise FigmentError(f"cannot write to {self.path}: {error.strerror}. Choose another --out.") from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                raise FigmentError(
                    f"{self.path} is in use by another process ({file.read().strip() or '?'})."
                ) from None
            file.seek(0)
            file.truncate()
            file.write(f"pid {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            yield


def check_name(path: Path) -> None:
    """Raises UsageError for names no system takes, or that hide where they lead."""
    text = str(path)
    reserved = {"con", "prn", "aux", "nul", *(f"{n}{i}" for n in ("com", "lpt") for i in range(1, 10))}
    if "\0" in text or any(len(part) > 200 for part in path.parts) or len(text) > 1000:
        raise UsageError(f"'{text[:80]!r}' cannot name a folder: it is too long or has a NUL in it.")
    if path.name.split(".")[0].lower() in reserved or not path.name:
        raise UsageError(f"'{text}' cannot name a run folder: choose a plain name, such as runs/mine.")
    if ".." in path.parts:
        raise UsageError(f"'{text}' climbs out of its folder with '..': write the path it leads to.")


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of `path` on disk when the block ends well; else nothing changes."""
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replaces a file atomically."""
    with replacing(path) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    write_text(path, to_json(value) + "\n")


def to_json(value: Any) -> str:
    """Strict JSON: a figure that is not finite becomes null."""
    return json.dumps(_finite(value), indent=1, default=str, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def read_json(path: Path) -> Any:
    """Raises InvalidCheckpoint naming the file where it is missing, damaged, or of a newer format."""
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        raise InvalidCheckpoint(f"{path} is missing: {path.parent} is no finished run.") from None
    except (ValueError, RecursionError, OSError) as error:
        raise InvalidCheckpoint(f"{path} cannot be read: {error}") from None
    if isinstance(value, dict) and isinstance(value.get("format"), int) and value["format"] > FORMAT:
        raise InvalidCheckpoint(f"{path} has format {value['format']}; this figment reads up to {FORMAT}: upgrade it.")
    return value
