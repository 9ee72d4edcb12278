"""The one loop that trains every model, as a generator of events."""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from figment.core import alarms
from figment.core.checkpoint import Checkpoints, read_state
from figment.core.data import Dataset
from figment.core.errors import Diverged, FigmentError, InvalidCheckpoint
from figment.core.model import Budget, Fits, Model
from figment.core.processes import Processes, autocast
from figment.core.publishing import publish
from figment.core.run import Run, RunFolder, State, write_json
from figment.core.session import Session, seed_of
from figment.core.stages import TwoStageConfig
from figment.core.threads import Threads

Preview = Callable[[Model, Path], Sequence[alarms.Sign]]  # writes a picture; returns what is wrong with it
REMEDIES = 3


@dataclass(frozen=True)
class Step:
    """A step was taken (or a closed-form fit went on): `parts` are its figures, `eta` the seconds left (or None)."""

    step: int
    progress: float
    seconds: float
    examples_per_second: float
    eta: float | None
    parts: Mapping[str, float]


@dataclass(frozen=True)
class Note:
    """Something worth a line: a picture written, a checkpoint saved, a remedy applied."""

    text: str
    path: Path | None = None


Event = Step | Note


@contextmanager
def signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM so that the loop can save; a second SIGINT stops at once."""
    caught: list[int] = []

    def handle(number: int, _frame: Any) -> None:
        if caught and number == signal.SIGINT:
            raise KeyboardInterrupt
        caught.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Stopped(FigmentError):
    """A signal asked the run to stop; everything is saved. `again` is what goes on from there."""

    def __init__(self, number: int, again: str):
        super().__init__(f"stopped by {signal.Signals(number).name}; saved. Go on with {again}")
        self.number, self.exit_code = number, 128 + number


@contextmanager
def training(
    run: Run,
    folder: RunFolder,
    dataset: Dataset,
    model: Model,
    *,
    device: str = "auto",
    preview: Preview | None = None,
    remedy: bool = False,
    cures: bool = False,
) -> Iterator[Iterator[Event]]:
    """Trains `model` as `run` says, from the newest valid checkpoint in `folder` if there is one.

        with training(run, folder, dataset, model) as events:
            for event in events: ...

    Leaving the block early saves and stops. Raises Diverged (nothing updated), Stopped (after saving),
    InvalidCheckpoint (none of the checkpoints is sound); with `cures` Ailing, at a sign that other settings cure.
    """
    session = Session(run, dataset, model, Processes(device))
    loop = Loop(session, folder, preview, remedy, cures)
    with signals() as caught:
        events = loop.events(caught)
        try:
            yield events
        except BaseException as error:
            events.close()
            if not isinstance(error, Stopped):
                state: State = "failed" if isinstance(error, Exception) else "preempted"
                loop.write_status(state, error=str(error) or type(error).__name__)
            raise
        if not loop.finished:
            events.close()
            if session.seats:
                loop.save()
            loop.write_status("preempted")


class Loop:
    """The visible loop around a session: time, log, pictures, checkpoints, signals."""

    def __init__(self, session: Session, folder: RunFolder, preview: Preview | None, remedy: bool, cures: bool):
        self.session, self.folder, self.preview, self.remedy, self.cures = session, folder, preview, remedy, cures
        self.checkpoints = Checkpoints(folder.checkpoints, session.run.training.keep)
        self.first = session.processes.first
        alone = session.processes.count == 1 and session.processes.device.type == "cpu"
        self.threads = Threads(alone and session.run.training.steps is None)
        self.finished = False
        self.saved_at = self.status_at = 0.0
        self.lines: deque[Mapping[str, float]] = deque(maxlen=alarms.LINES)
        self.told: set[str] = set()
        self.begun = (0, 0.0)

    def events(self, caught: list[int]) -> Generator[Event]:
        yield from self._restore()
        if isinstance(self.session.model, Fits):
            yield from self._fit(self.session.model, caught)
        else:
            try:
                yield from self._steps(caught)
            finally:
                self.threads.restore()
        yield from self._publish()
        self.finished = True

    def _steps(self, caught: list[int]) -> Iterator[Event]:
        session, t, remedies = self.session, self.session.run.training, 0
        shown = int(session.progress(session.clock.seconds) * t.previews)
        if self.remedy and session.clock.step == 0:  # the folder may be ahead of a process: its step is not
            self.save()
        while True:
            seconds, stop, save = self._agree(caught)
            progress = session.progress(seconds)
            if stop:
                self.save()
                self.write_status("preempted")
                raise Stopped(stop, self._again)
            due = int(progress * t.previews)
            if session.clock.step and (progress >= 1 or due > shown):
                yield from self._look()
            shown = due
            if progress >= 1:
                break
            if save:
                yield Note("checkpoint saved", self.save())
            try:
                with self.threads.chosen():
                    session.take_step(progress)
            except Diverged as error:
                self._dump(error)
                if not self.remedy or remedies == REMEDIES:
                    raise
                remedies += 1
                yield from self._go_back(error)
                continue
            yield self._log(progress)
            if session.clock.step % t.log_every == 0:
                yield from self._warn(alarms.from_log(self.lines, progress))
        yield Note("checkpoint saved", self.save())

    def _agree(self, caught: list[int]) -> tuple[float, signal.Signals | None, bool]:
        """The first process's clock and anybody's wish to stop, known to all; whether it is time to save."""
        session = self.session
        mine = session.clock.seconds if self.first else 0.0
        due = self.first and mine - self.saved_at >= session.run.training.checkpoint_seconds and session.clock.step > 0
        flags = [float(number in caught) for number in (signal.SIGINT, signal.SIGTERM)]
        seconds, save, interrupt, terminate = session.processes.sum([mine, float(due), *flags])
        stop = signal.SIGINT if interrupt else signal.SIGTERM if terminate else None
        return seconds, stop, bool(save)

    def _log(self, progress: float) -> Step:
        session, clock = self.session, self.session.clock
        seconds = clock.seconds
        steps, since = clock.step - self.begun[0], seconds - self.begun[1]
        rate = steps * session.run.training.batch / max(since, 1e-9)
        parts = {name: total / count for name, (total, count) in session.window.items()}
        progress = session.progress(seconds)
        if clock.step % session.run.training.log_every == 0 or progress >= 1:
            line = {"step": clock.step, "seconds": round(seconds, 3), "examples_per_second": round(rate, 1), **parts}
            if self.first:
                self.folder.append_metrics(line)
            self.lines.append(parts)
            session.window = {}
        event = Step(clock.step, progress, seconds, rate, session.seconds_left(progress, seconds), parts)
        if self.first and seconds - self.status_at >= 2:
            self.status_at = seconds
            self.write_status("running", eta=event.eta)
        return event

    def _look(self) -> Iterator[Event]:
        """A picture from the same noise as always, and the held-out figure where one is watched."""
        session = self.session
        if session.run.training.monitor is not None:
            yield Note(f"held-out loss {session.watch_held_out():.5g}")
        if self.preview is not None and self.first and session.run.training.previews:
            path = self.folder.samples / f"step-{session.clock.step:06d}.png"
            path.parent.mkdir(exist_ok=True)
            with session.published() as model, torch.no_grad(), autocast(session.precision, session.processes.device):
                wrong = self.preview(model, path)
            if path.exists():  # a classifier has nothing to show
                yield Note("picture written", path)
            yield from self._warn(wrong)

    def _warn(self, signs: Iterable[alarms.Sign]) -> Iterator[Event]:
        """Each sign once, at the moment it first holds. Raises Ailing where remedies are wanted and there is one."""
        for sign in signs:
            if sign.name not in self.told:
                self.told.add(sign.name)
                yield Note(f"warning: {sign}")
                if self.cures and (cure := alarms.remedy(sign.name, self.session.run.model_dump(mode="json"))):
                    raise alarms.Ailing(sign, cure, self.session.clock.step, self.session.clock.seconds)

    def _fit(self, model: Fits, caught: list[int]) -> Iterator[Event]:
        session, t = self.session, self.session.run.training
        self.begun = (0, session.clock.seconds)
        if self.first:
            config = session.run.model
            minutes = config.shares(t.minutes)[1] if isinstance(config, TwoStageConfig) else t.minutes
            seconds = 60 * minutes if minutes else None
            torch.manual_seed(seed_of(session.run.seed, "fit"))
            for figures in model.fit(session.dataset, Budget(t.fit_rows, seconds, session.run.seed)):
                session.clock.step += 1
                elapsed = session.clock.seconds
                rate = min(len(session.dataset.train), t.fit_rows) * session.clock.step / max(elapsed, 1e-9)
                line = {"step": session.clock.step, "seconds": round(elapsed, 3), "examples_per_second": round(rate, 1)}
                self.folder.append_metrics({**line, **figures})
                yield Step(session.clock.step, 0.0, elapsed, rate, None, dict(figures))
                if caught:
                    self.write_status("preempted")
                    raise Stopped(caught[0], self._again)
            yield from self._look()
        session.processes.wait()

    def _publish(self) -> Iterator[Event]:
        if self.first:
            best = self.session.best[1] if self.session.best else None
            with self.session.published() as model:
                publish(self.folder.model, model, self.session.run, best)
            self.write_status("done")
            yield Note("model written", self.folder.model)
        self.session.processes.wait()

    @property
    def _again(self) -> str:
        return f"--resume --out {self.folder.path}"

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def save(self) -> Path:
        session = self.session
        self.saved_at = session.clock.seconds
        path = self.checkpoints.folder(session.clock.step)
        if self.first:
            path = self.checkpoints.save(session.clock.step, session.tensors(), session.state())
        session.processes.wait()
        return path

    def _restore(self) -> Iterator[Event]:
        """From the newest sound checkpoint; says which were not."""
        session = self.session
        if self.first:
            self.checkpoints.sweep()
        session.processes.wait()
        bad: list[Exception] = []
        for path, error in self.checkpoints.newest_valid():
            if error is not None:
                bad.append(error)
                yield Note(f"warning: {error} Trying the one before.")
                continue
            files, state = read_state(path)
            session.restore(files, state)
            if state["processes"] != session.processes.count:
                yield Note(f"warning: saved by {state['processes']} processes, resumed by {session.processes.count}: "
                           "the same batches, other random numbers.")  # fmt: skip
            yield Note(f"resumed at step {session.clock.step}")
            break
        else:
            if bad:
                raise InvalidCheckpoint(f"no checkpoint in {self.checkpoints.path} is sound. {bad[0]} Start again "
                                        "with --overwrite.")  # fmt: skip
        if self.first:
            self.folder.truncate_metrics(session.clock.step)
        self.saved_at = session.clock.seconds
        self.begun = (session.clock.step, session.clock.seconds)

    def _go_back(self, error: Diverged) -> Iterator[Event]:
        session, damping = self.session, self.session.damping / 2
        if not self.checkpoints.steps():
            raise error
        yield Note(f"remedy: {error}")
        yield from self._restore()
        session.damping = damping
        yield Note(f"remedy: learning rate x {damping:g} from step {session.clock.step}")

    def _dump(self, error: Diverged) -> None:
        if self.first:
            rows = getattr(error, "rows", [])
            write_json(self.folder.path / "diverged.json", {"error": str(error), "rows": rows})

    def write_status(self, state: State, **figures: Any) -> None:
        if self.first:
            clock = self.session.clock
            with suppress(OSError):
                self.folder.write_status(state, step=clock.step, seconds=round(clock.seconds, 2), **figures)
