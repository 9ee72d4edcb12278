"""How many threads a step runs on, measured while it runs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

PERIOD, TRIAL = 200, 3  # every so many steps, so many of them are timed with each number of threads
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
        self.step = 0
        self.trials: list[int] = []
        self.times: dict[int, list[float]] = {}

    @contextmanager
    def chosen(self) -> Iterator[None]:
        """A step within runs on the number of threads chosen, or on trial."""
        if self.step % PERIOD == 0 and len(self.choices) > 1:
            self.trials = [count for count in self.choices for _ in range(TRIAL)]
            self.times = {count: [] for count in self.choices}
        self.step += 1
        if not self.trials:
            yield
            return
        count = self.trials.pop(0)
        torch.set_num_threads(count)
        begun = time.perf_counter()
        yield
        self.times[count].append(time.perf_counter() - begun)
        middle = {count: statistics.median(times) for count, times in self.times.items() if times}
        best = min(middle, key=middle.__getitem__)
        if middle[count] > HOPELESS * middle[best]:
            self.trials = [other for other in self.trials if other != count]
        if not self.trials:
            torch.set_num_threads(best)

    def restore(self) -> None:
        """The number of threads as it was."""
        torch.set_num_threads(self.most)
