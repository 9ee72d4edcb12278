"""Candidates measured in turn in one process, and the table of their ratios."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Timing:
    """Seconds of each round: on the wall, and of this process's CPU."""

    wall: Sequence[float]
    cpu: Sequence[float]


def in_turn(candidates: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 2) -> dict[str, Timing]:
    """Calls each candidate once a round, after `warm_up` rounds: what else the machine does strikes all alike."""
    timings: dict[str, Timing] = {name: Timing([], []) for name in candidates}
    for number in range(-warm_up, rounds):
        for name, call in candidates.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            if number >= 0:
                timings[name].wall.append(time.perf_counter() - wall)  # type: ignore[attr-defined]
                timings[name].cpu.append(time.process_time() - cpu)  # type: ignore[attr-defined]
    return timings


def ratio(slower: Sequence[float], faster: Sequence[float]) -> float:
    """The median over rounds of how many times longer the first takes than the second."""
    return median(a / b for a, b in zip(slower, faster))


def milliseconds(seconds: Sequence[float]) -> str:
    """Their median: four digits, or all before the point."""
    value = 1e3 * median(seconds)
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def table(title: str, timings: Mapping[str, Timing], ours: str) -> str:
    """A row a candidate: medians, and how many times as long as `ours` it takes."""
    lines = [f"| {title} | wall, ms | CPU, ms | wall, relative | CPU, relative |", "| --- | --- | --- | --- | --- |"]
    for name, timing in timings.items():
        lines.append(
            f"| {name} | {milliseconds(timing.wall)} | {milliseconds(timing.cpu)} "
            f"| {ratio(timing.wall, timings[ours].wall):.2f} | {ratio(timing.cpu, timings[ours].cpu):.2f} |"
        )
    return "\n".join(lines)


def record(name: str, text: str) -> None:
    """Prints a result and puts it into the page's block of that name."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    module = sys.modules["__main__"].__spec__
    command = module.name if module else f"benchmarks.{Path(sys.argv[0]).stem}"
    stamp = f"{date.today()}, 2-core AVX-512 bf16 VM, load average {load}: `python -m {command}`"
    print(f"{text}\n\n{stamp}")
    block = f"<!-- {name} -->\n{text}\n\n{stamp}\n<!-- /{name} -->"
    page = PAGE.read_text() if PAGE.exists() else "# Benchmarks\n\n## Speed\n"
    marked = re.compile(f"<!-- {name} -->.*<!-- /{name} -->", re.DOTALL)
    page = marked.sub(lambda _: block, page) if marked.search(page) else f"{page.rstrip()}\n\n{block}\n"
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page)
