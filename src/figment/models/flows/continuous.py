"""Continuous flows: x moves along a field dx/dt = v(x, t), and its density with the field's divergence."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from figment.models.flows.transform import Transform
from figment.nn.mlp import MLP

EXACT = 8  # dimensions up to which the divergence is summed term by term
State = tuple[Tensor, ...]
Slope = Callable[[float, State], State]


class Field(nn.Module):
    """v(x, t, e) `(B, D)`, zero at the start."""

    def __init__(self, dimensions: int, width: int, depth: int, embedding: int):
        super().__init__()
        self.network = MLP(dimensions + 1, dimensions, width, depth, embedding, zero=True)

    def forward(self, x: Tensor, t: float, e: Tensor | None) -> Tensor:
        return self.network(torch.cat([x, x.new_full((len(x), 1), t)], 1), e).to(x.dtype)


class Continuous(Transform):
    """z = x(1) where dx/dt = v(x, t), x(0) = x, and log |det dz/dx| = int_0^1 div v dt: both by `steps` fixed steps of
    the classical Runge-Kutta method, so that no example's path depends on what else is in its batch.

    The divergence is exact in up to 8 dimensions, else Hutchinson's estimate n^T (dv/dx) n at one draw n of signs for
    each path. Chen et al., "Neural ordinary differential equations" (2018); Grathwohl et al., "FFJORD" (2019).
    """

    def __init__(self, dimensions: int, steps: int, width: int, depth: int, embedding: int):
        super().__init__()
        self.steps, self.field = steps, Field(dimensions, width, depth, embedding)

    def forward(self, x: Tensor, e: Tensor | None) -> tuple[Tensor, Tensor]:
        signs = torch.randint(0, 2, x.shape, device=x.device).to(x.dtype) * 2 - 1 if x.shape[1] > EXACT else None
        graph = torch.is_grad_enabled()

        def slope(t: float, state: State) -> State:
            with torch.enable_grad():
                at = state[0] if graph and state[0].requires_grad else state[0].detach().requires_grad_()
                v = self.field(at, t, e)
                change = divergence(v, at, signs, graph)
            return (v, change) if graph else (v.detach(), change.detach())

        with torch.autocast(x.device.type, enabled=False):
            z, log_det = runge_kutta(slope, (x, x.new_zeros(len(x))), 0.0, 1.0, self.steps)
        return z, log_det

    def inverse(self, z: Tensor, e: Tensor | None) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            (x,) = runge_kutta(lambda t, state: (self.field(state[0], t, e),), (z,), 1.0, 0.0, self.steps)
        return x


def divergence(v: Tensor, x: Tensor, signs: Tensor | None, graph: bool) -> Tensor:
    """sum_i dv_i/dx_i `(B,)`, or its estimate along `signs` `(B, D)`."""
    if signs is not None:
        (along,) = torch.autograd.grad(v, x, signs, create_graph=graph, retain_graph=True)
        return (along * signs).sum(1)
    rows = (torch.autograd.grad(v[:, i].sum(), x, create_graph=graph, retain_graph=True)[0] for i in range(v.shape[1]))
    return torch.stack([row[:, i] for i, row in enumerate(rows)]).sum(0)


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
