"""What a person sees while something runs: a live bar on a terminal, a line now and then elsewhere; on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from figment.core.training import Event, Note, Step

QUIET_SECONDS = 10.0
LONG, SHOWN = 24, 12  # measures by one name that are too many to read, and how many are shown then


def console() -> Console:
    return Console(stderr=True, highlight=False, markup=False, emoji=False)  # names of files are no markup


def announce(line: str) -> None:
    """A line on what is being done."""
    console().print(line, soft_wrap=True)


def clock(seconds: float | None) -> str:
    """`1:05`, `2:03:07`, or `-` where it is not known."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def describe(event: Step) -> str:
    """The figures of a step in one line."""
    parts = "  ".join(f"{name} {value:.4g}" for name, value in list(event.parts.items())[:6])
    return f"step {event.step}  {event.examples_per_second:,.0f} examples/s  left {clock(event.eta)}  {parts}"


def show_training(events: Iterator[Event], label: str = "training") -> None:
    """Follows a run to its end."""
    follow = _live if sys.stderr.isatty() else _plain
    follow(events, label)


def _live(events: Iterator[Event], label: str) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(30), TextColumn("{task.percentage:3.0f}%"))
    with Progress(*columns, TextColumn("{task.fields[figures]}"), console=console(), transient=True) as bar:
        task = bar.add_task(label, total=1.0, figures="")
        shown = 0.0
        for event in events:
            if isinstance(event, Note):
                if event.path is None:
                    bar.console.print(event.text)
            elif time.monotonic() - shown > 0.1:
                shown = time.monotonic()
                bar.update(task, completed=event.progress, figures=describe(event))


def _plain(events: Iterator[Event], label: str) -> None:
    out, shown, last = console(), time.monotonic() - QUIET_SECONDS + 2, None
    for event in events:
        if isinstance(event, Note):
            if event.path is None:
                out.print(f"{label}: {event.text}", soft_wrap=True)
            continue
        last = event
        if time.monotonic() - shown >= QUIET_SECONDS:
            shown = time.monotonic()
            out.print(f"{label}: {event.progress:4.0%}  {describe(event)}", soft_wrap=True)
    if last is not None:
        out.print(f"{label}: done  {describe(last)}", soft_wrap=True)


@contextmanager
def counting(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar that is moved on by calling it with a number done; off a terminal, a line now and then."""
    if sys.stderr.isatty():
        with Progress(console=console(), transient=True) as bar:
            task = bar.add_task(label, total=total)
            yield lambda done: bar.advance(task, done)
        return
    begun = shown = time.monotonic()
    so_far = 0

    def advance(done: int) -> None:
        nonlocal shown, so_far
        now, so_far = time.monotonic(), so_far + done
        if now - shown >= QUIET_SECONDS:
            shown = now
            announce(f"{label}: {so_far / total:4.0%}  left {clock((now - begun) * (total / so_far - 1))}")

    yield advance


def table(rows: Sequence[Mapping[str, object]]) -> None:
    """Rows as a table on stdout; plain text where it is piped."""
    if not rows:
        return
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [["" if row.get(name) is None else str(row[name]) for name in names] for row in rows]
    if not sys.stdout.isatty():
        widths = [max(len(name), *(len(line[i]) for line in cells)) for i, name in enumerate(names)]
        for line in [names, *cells]:
            print("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip())
        return
    from rich.table import Table

    view = Table(*names, box=None, header_style="bold")
    for line in cells:
        view.add_row(*line)
    Console(markup=False, emoji=False).print(view)


def flat(value: Mapping[str, object], path: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of nested figures, as dotted names and short text; of a long table of measures its beginning."""
    long = bool(path) and len(value) > LONG and all(isinstance(inner, float) for inner in value.values())
    for place, (key, inner) in enumerate(value.items()):
        if long and place == SHOWN:
            yield f"{path}. ...", f"{len(value) - place} more: --json lists all"
            return
        name = f"{path}.{key}" if path else key
        if isinstance(inner, Mapping):
            yield from flat(inner, name)
        else:
            yield name, brief(inner)


def brief(value: object) -> str:
    """A figure, or several, in few characters: `0.1234`, `16.5, 17.11`; `-` where there is none."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(brief, value)) or "-"
    return "-" if value is None else str(value)
