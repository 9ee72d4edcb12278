"""Training steps alone, and beside a process that keeps one core busy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial

import torch

from benchmarks.measure import in_turn, record, table
from benchmarks.unet import MULTIPLIERS, WIDTH, training_step
from figment.core.threads import Threads
from figment.nn.unet import UNet

STEPS = 25  # a candidate and round: the loop's trials of the number of threads are among them
LONGEST = 600  # seconds, should this process be killed


def main() -> None:
    net = UNet(3, 3, WIDTH, MULTIPLIERS, 2, (2,), head_width=32)
    step = partial(training_step, net, net, True, torch.optim.AdamW(net.parameters(), 1e-4, fused=True))
    neighbour = subprocess.Popen(
        [sys.executable, "-c", f"import time\nwhile time.time() < {time.time() + LONGEST}: pass"]
    )

    def steps(busy: bool, adaptive: bool) -> None:
        neighbour.send_signal(signal.SIGCONT if busy else signal.SIGSTOP)
        threads = Threads(adaptive)
        for _ in range(STEPS):
            with threads.chosen():
                step()
        threads.restore()

    try:
        candidates = {
            "alone": partial(steps, False, True),
            "beside a busy core": partial(steps, True, True),
            "alone, all threads kept (a run bounded by its steps)": partial(steps, False, False),
            "beside a busy core, all threads kept": partial(steps, True, False),
        }
        timings = in_turn(candidates, rounds=3, warm_up=1)
    finally:
        neighbour.kill()
        neighbour.wait()
    spins, threads = os.environ.get("GOMP_SPINCOUNT"), torch.get_num_threads()
    record("busy", table(f"{STEPS} training steps, {threads} threads, spinning {spins} times", timings, "alone"))


if __name__ == "__main__":
    main()
