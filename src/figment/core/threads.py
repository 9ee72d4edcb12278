"""How many threads a step runs on, measured while it runs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import torch

PERIOD, TRIAL = 200, 3  # every so many steps, so many of them are timed with each number of threads,
SLOWER, RECENT = 1.5, 5  # and at once when the last few took so many times as long as they did on trial
HOPELESS = 3.0  # times slower than the best: not tried again


class Threads:
    """All threads, or one where that is faster: beside other work, threads that wait for each other at the barriers
    within a convolution's backward pass can be twenty times slower than one alone.

    Timed on real steps, again and again, so it follows what else the machine does. The number of threads changes
    the order of sums and with it the last bits, so only runs bounded by the clock choose.
    """

    def __init__(self, adaptive: bool):
        self.most = torch.get_num_threads()
        self.choices = sorted({1, self.most}) if adaptive else []
        self.trials: list[int] = []
        self.times: dict[int, list[float]] = {}
        self.left, self.expected = 0, 0.0
        self.recent: deque[float] = deque(maxlen=RECENT)

    @contextmanager
    def chosen(self) -> Iterator[None]:
        """A step within runs on the number of threads chosen, or on trial."""
        if len(self.choices) < 2:
            yield
            return
        if not self.trials and (self.left == 0 or self._slowed()):
            self.trials = [count for count in self.choices for _ in range(TRIAL)]
            self.times = {count: [] for count in self.choices}
        if self.trials:
            torch.set_num_threads(self.trials[0])
        begun = time.perf_counter()
        yield
        seconds = time.perf_counter() - begun
        if self.trials:
            self._tried(self.trials.pop(0), seconds)
        else:
            self.left -= 1
            self.recent.append(seconds)

    def _slowed(self) -> bool:
        return len(self.recent) == RECENT and median(self.recent) > SLOWER * self.expected

    def _tried(self, count: int, seconds: float) -> None:
        self.times[count].append(seconds)
        middle = {count: median(times) for count, times in self.times.items() if times}
        best = min(middle, key=middle.__getitem__)
        if middle[count] > HOPELESS * middle[best]:
            self.trials = [other for other in self.trials if other != count]
        if not self.trials:
            torch.set_num_threads(best)
            self.left, self.expected = PERIOD, middle[best]
            self.recent.clear()

    def restore(self) -> None:
        """The number of threads as it was."""
        torch.set_num_threads(self.most)
