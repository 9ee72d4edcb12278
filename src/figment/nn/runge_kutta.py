"""Ordinary differential equations, in steps that do not depend on what else is in a batch."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

State = tuple[Tensor, ...]
Slope = Callable[[float, State], State]


def runge_kutta(slope: Slope, state: State, start: float, stop: float, steps: int) -> State:
    """The solution at `stop` of ds/dt = slope(t, s), s(start) = state: of fourth order, in equal steps."""
    h = (stop - start) / steps
    for i in range(steps):
        t = start + i * h
        k1 = slope(t, state)
        k2 = slope(t + h / 2, _moved(state, k1, h / 2))
        k3 = slope(t + h / 2, _moved(state, k2, h / 2))
        k4 = slope(t + h, _moved(state, k3, h))
        mean = tuple((a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(k1, k2, k3, k4))
        state = _moved(state, mean, h)
    return state


def _moved(state: State, rate: State, time: float) -> State:
    return tuple(s + time * r for s, r in zip(state, rate))
