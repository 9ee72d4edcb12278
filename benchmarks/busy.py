"""A training step alone, and beside a process that keeps one core busy."""

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
from figment.nn.unet import UNet

LONGEST = 300  # seconds, should this process be killed


def main() -> None:
    net = UNet(3, 3, WIDTH, MULTIPLIERS, 2, (2,), head_width=32)
    step = partial(training_step, net, net, True, torch.optim.AdamW(net.parameters(), 1e-4, fused=True))
    neighbour = subprocess.Popen(
        [sys.executable, "-c", f"import time\nwhile time.time() < {time.time() + LONGEST}: pass"]
    )

    def beside(running: bool) -> None:
        neighbour.send_signal(signal.SIGCONT if running else signal.SIGSTOP)
        time.sleep(0.05)
        step()

    try:
        candidates = {"alone": partial(beside, False), "beside a busy core": partial(beside, True)}
        timings = in_turn(candidates, rounds=5, warm_up=1)
    finally:
        neighbour.kill()
        neighbour.wait()
    policy, threads = os.environ.get("OMP_WAIT_POLICY"), torch.get_num_threads()
    record("busy", table(f"training step, {threads} threads, OMP_WAIT_POLICY={policy}", timings, "alone"))


if __name__ == "__main__":
    main()
