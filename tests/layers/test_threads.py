"""The number of threads follows what else the machine does."""

from __future__ import annotations

import pytest
import torch

from figment.core import threads as module
from figment.core.threads import PERIOD, RECENT, TRIAL, Threads


class Machine:
    """Two cores on which a step takes as long as it is told, by the number of threads in use."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float]):
        self.seconds, self.now, self.count = seconds, 0.0, 2
        monkeypatch.setattr(torch, "get_num_threads", lambda: self.count)
        monkeypatch.setattr(torch, "set_num_threads", lambda count: setattr(self, "count", count))
        monkeypatch.setattr(module.time, "perf_counter", lambda: self.now)

    def run(self, threads: Threads, steps: int) -> list[int]:
        used = []
        for _ in range(steps):
            with threads.chosen():
                used.append(self.count)
                self.now += self.seconds[self.count]
        return used


def test_the_faster_number_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {1: 1.0, 2: 0.6})
    used = machine.run(Threads(adaptive=True), 2 * TRIAL + PERIOD + 1)
    assert used == [1] * TRIAL + [2] * (TRIAL + PERIOD) + [1]  # and after the period it is tried anew


def test_a_neighbour_is_noticed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {1: 1.0, 2: 0.6})
    threads = Threads(adaptive=True)
    machine.run(threads, 2 * TRIAL + 10)
    machine.seconds = {1: 1.0, 2: 1.6}
    used = machine.run(threads, RECENT + 2 * TRIAL + 10)
    assert used.count(2) <= RECENT + TRIAL and used[-10:] == [1] * 10


def test_a_hopeless_number_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {1: 1.0, 2: 20.0})
    assert machine.run(Threads(adaptive=True), 50).count(2) == 1


def test_a_run_bounded_by_its_steps_keeps_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {1: 0.1, 2: 20.0})
    threads = Threads(adaptive=False)
    assert machine.run(threads, 20) == [2] * 20


def test_the_number_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {1: 0.1, 2: 20.0})
    threads = Threads(adaptive=True)
    machine.run(threads, 20)
    threads.restore()
    assert machine.count == 2
