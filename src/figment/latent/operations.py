"""What computing takes, counted instead of timed, so that defaults that depend on it are the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


@torch.no_grad()
def operations(call: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix products, convolutions and attention in a call; a core of the year 2024
    does about 1e11 a second."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()
