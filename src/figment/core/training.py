"""The one loop that trains every model, as a generator of events."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
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
from figment.core.signs import DRAWN
from figment.core.threads import Threads

Preview = Callable[[Model, Path], Mapping[str, float]]  # writes a picture; returns figures of it for the log
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
        self.lines: list[Mapping[str, Any]] = []
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
        session, t, remedies, moved = self.session, self.session.run.training, 0, False
        shown = int(session.progress(session.clock.seconds) * t.previews)
        if self.remedy and session.clock.step == 0:  # the folder may be ahead of a process: its step is not
            self.save()
        while True:
            seconds, stop, save = self._agree(caught)
            progress = session.progress(seconds)
            if moved:
                if progress >= 1 or int(progress * t.previews) > shown:
                    yield from self._look()
                yield from self._log(progress)
            shown, moved = int(progress * t.previews), False
            if stop:
                self.save()
                self.write_status("preempted")
                raise Stopped(stop, self._again)
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
                    self._give_up(error)
                    raise
                remedies += 1
                yield from self._go_back(error)
                continue
            moved = True
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

    def _log(self, progress: float) -> Iterator[Event]:
        """A step; where it ends a line of the log, the line with the signs that are new in it, and these. Raises Ailing
        where remedies are wanted and there is one."""
        session, clock = self.session, self.session.clock
        seconds, signs = clock.seconds, list[alarms.Sign]()
        steps, since = clock.step - self.begun[0], seconds - self.begun[1]
        rate = steps * session.run.training.batch / max(since, 1e-9)
        parts = {name: total / count for name, (total, count) in session.window.items()}
        if clock.step % session.run.training.log_every == 0 or progress >= 1:
            signs = self._write({"step": clock.step, **_pace(seconds, rate)}, parts, progress)
            session.window = {}
        event = Step(clock.step, progress, seconds, rate, session.seconds_left(progress, seconds), parts)
        if self.first and seconds - self.status_at >= 2:
            self.status_at = seconds
            self.write_status("running", eta=event.eta)
        yield event
        for sign in signs:
            yield Note(f"warning: {sign}")
            if self.cures and (cure := alarms.remedy(sign.name, session.fitted())):
                raise alarms.Ailing(sign, cure, clock.step, seconds)

    def _write(self, head: Mapping[str, float], parts: Mapping[str, float], progress: float) -> list[alarms.Sign]:
        """Adds a line to the log, with those signs that it is the first to show, which are returned."""
        self.lines.append(parts)
        signs = [sign for sign in alarms.from_log(self.lines, progress) if sign.name not in self.told]
        self.told |= {sign.name for sign in signs}
        if self.first:
            self.folder.append_metrics(
                {**head, **parts, **({"signs": [asdict(sign) for sign in signs]} if signs else {})}
            )
        return signs

    def _look(self) -> Iterator[Event]:
        """A picture from the same noise as always, whose figures go to the line of the log that is open, and the
        held-out figure where one is watched."""
        session = self.session
        if session.run.training.monitor is not None:
            yield Note(f"held-out loss {session.watch_held_out():.5g}")
        if self.preview is None or not session.run.training.previews:
            return
        figures: Mapping[str, float] = {}
        path = self.folder.samples / f"step-{session.clock.step:06d}.png"
        if self.first:
            path.parent.mkdir(exist_ok=True)
            with session.published() as model, torch.no_grad(), autocast(session.precision, session.processes.device):
                figures = self.preview(model, path)
        for name, value in zip(DRAWN, session.processes.sum([figures.get(name, -1.0) * self.first for name in DRAWN])):
            if value >= 0:
                session.window[name] = (value, 1)
        if self.first and path.exists():  # a classifier has nothing to show
            yield Note("picture written", path)

    def _fit(self, model: Fits, caught: list[int]) -> Iterator[Event]:
        """All at once. A line of the log waits for the next one: the last has the figures of what is drawn."""
        session, t = self.session, self.session.run.training
        self.begun = (0, session.clock.seconds)
        head: Mapping[str, float] = {}
        figures: Mapping[str, float] = {}
        if self.first:
            seconds = 60 * t.minutes if t.minutes else None
            torch.manual_seed(seed_of(session.run.seed, "fit"))
            for line in model.fit(session.dataset, Budget(t.fit_rows, seconds, session.run.seed)):
                if head:
                    self._write(head, figures, 0.0)
                session.clock.step += 1
                elapsed = session.clock.seconds
                rate = min(len(session.dataset.train), t.fit_rows) * session.clock.step / max(elapsed, 1e-9)
                head, figures = {"step": session.clock.step, **_pace(elapsed, rate)}, line
                yield Step(session.clock.step, 0.0, elapsed, rate, None, dict(figures))
                if caught:
                    self._write(head, figures, 0.0)
                    self.write_status("preempted")
                    raise Stopped(caught[0], self._again)
        session.processes.wait()
        yield from self._look()
        if self.first:
            drawn = {name: value for name, (value, _) in session.window.items()}
            for sign in self._write(head, {**figures, **drawn}, 1.0):
                yield Note(f"warning: {sign}")

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
        session.processes.wait()
        self.lines = [*self.folder.read_metrics()]
        self.told = {sign["name"] for line in self.lines for sign in line.get("signs", ())}
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

    def _give_up(self, error: Diverged) -> None:
        """Raises Ailing where remedies are wanted and there is one: going back was of no use."""
        if self.cures and (cure := alarms.remedy("NaN", self.session.fitted())):
            clock = self.session.clock
            raise alarms.Ailing(alarms.not_finite(str(error)), cure, clock.step, clock.seconds) from error

    def _dump(self, error: Diverged) -> None:
        if self.first:
            rows = getattr(error, "rows", [])
            write_json(self.folder.path / "diverged.json", {"error": str(error), "rows": rows})

    def write_status(self, state: State, **figures: Any) -> None:
        if self.first:
            clock = self.session.clock
            with suppress(OSError):
                self.folder.write_status(state, step=clock.step, seconds=round(clock.seconds, 2), **figures)


def _pace(seconds: float, rate: float) -> dict[str, float]:
    return {"seconds": round(seconds, 3), "examples_per_second": round(rate, 1)}
