"""Continuous flows: x moves along a field dx/dt = v(x, t), and its density with the field's divergence."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from figment.models.flows.transform import Transform
from figment.nn.divergence import divergence, signs_for
from figment.nn.mlp import Plain
from figment.nn.runge_kutta import State, runge_kutta


class Field(nn.Module):
    """v(x, t, e) `(B, D)`, without normalisation: its divergence is differentiated too."""

    def __init__(self, dimensions: int, width: int, depth: int, embedding: int):
        super().__init__()
        self.network = Plain((dimensions + 1,), (dimensions,), width, 2 * depth, embedding)

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
        signs = signs_for(x)
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
