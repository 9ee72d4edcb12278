"""One latent at a time: which of them matter, and what each does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from figment.core.data import Batch
from figment.core.model import HasPosterior
from figment.latent.codes import Code, Codec

ACTIVE = 0.01  # nats of KL from which a latent counts as used
Measure = Literal["kl", "variance", "effect", "share of variance"]


@dataclass(frozen=True)
class Axes:
    """Directions `(K, d)` of unit length in the space of codes, with the centre and spread `(K,)` of codes along each,
    and how much each is used `(K,)`, as `measure` says; the most used first."""

    directions: Tensor
    centre: Tensor
    spread: Tensor
    use: Tensor
    measure: Measure
    on_sphere: bool = False  # whether a walk keeps the length of the code

    def __len__(self) -> int:
        return len(self.use)

    def __getitem__(self, part: slice | Tensor) -> Axes:
        parts = {name: getattr(self, name)[part] for name in ("directions", "centre", "spread", "use")}
        return replace(self, **parts)

    def ordered(self) -> Axes:
        return self[self.use.argsort(descending=True)]

    @property
    def latents(self) -> list[int]:
        """The latent that each axis moves most."""
        return self.directions.abs().argmax(1).tolist()


def axes_of(codec: Codec, batch: Batch, base: Code) -> Axes:
    """The axes worth walking along, found from a batch of items.

    An encoder's own latents, by mean KL(q(z_j | x) || N(0, 1)) in nats where it has a posterior, else by the variance
    of codes. A searched code's latents, by the mean change |x(+1) - x(-1)| / 4 of pixels about several codes. The noise
    of an equation has no latents: its axes are those along which x moves by a principal component of the batch.
    """
    if codec.way == "equation":
        return _carried(codec, batch, base)
    d = base.z[0].numel()
    unit, zero, one = (make(d, device=base.z.device) for make in (torch.eye, torch.zeros, torch.ones))
    if codec.way == "search":
        return Axes(unit, zero, one, _effect(codec, base), "effect").ordered()
    if isinstance(codec.coder, HasPosterior):
        with torch.no_grad():
            q = codec.coder.posterior(batch.x, codec.conditions(batch.c, len(batch)))
        prior = Normal(torch.zeros_like(q.mean), torch.ones_like(q.mean))
        return Axes(unit, zero, one, kl_divergence(q, prior).mean(0), "kl").ordered()
    z = codec.encode(batch.x, batch.c).z.flatten(1)
    return Axes(unit, z.mean(0), z.std(0), z.var(0), "variance").ordered()


def _effect(codec: Codec, base: Code) -> Tensor:
    """The mean change of pixels, as a share of their range, from -1 to 1 along each latent `(d,)`."""
    seen = Code.joined([base, codec.prior(range(4))])
    changes = []
    for code in seen.split():
        ends = code.z.flatten(1) + torch.cat([torch.eye(code.z.numel()), -torch.eye(code.z.numel())]).to(code.z)
        up, down = codec.decode(code.at(ends.view(-1, *code.z.shape[1:]))).chunk(2)
        changes.append((up - down).abs().flatten(1).mean(1) / 2)
    return torch.stack(changes).mean(0)


def _carried(codec: Codec, batch: Batch, base: Code, count: int = 12) -> Axes:
    """(encode(x + s_k u_k) - encode(x - s_k u_k)) / 2, for the components u_k of a batch and their spreads s_k."""
    centred = (batch.x - batch.x.mean(0)).flatten(1)
    _, singular, components = torch.linalg.svd(centred, full_matrices=False)
    count = min(count, len(components) - 1)
    moves = (singular[:count, None] / len(centred) ** 0.5 * components[:count]).view(-1, *batch.x.shape[1:])
    x = codec.decode(base)
    around = base.at(torch.cat([x + moves, x - moves]))
    up, down = codec.encode(around.z, around.c).z.flatten(1).chunk(2)
    step = (up - down) / 2
    spread = step.norm(dim=1)
    directions = step / spread[:, None].clamp_min(1e-12)
    share = singular[:count].square() / singular.square().sum()
    return Axes(directions, directions @ base.z.flatten(), spread, share, "share of variance", on_sphere=True)


def walk(base: Code, axes: Axes, values: Sequence[float]) -> Code:
    """Codes that differ from one in a single coordinate, which is put at centre + value spread, for an axis after the
    other: `(K V, ...)`."""
    z = base.z.flatten(1)
    here = axes.directions @ z[0]
    v = torch.tensor(values, dtype=z.dtype, device=z.device)
    moved = axes.centre[:, None] + v * axes.spread[:, None] - here[:, None]  # (K, V)
    codes = z[:, None] + moved[..., None] * axes.directions[:, None]
    if axes.on_sphere:
        codes = codes * (z.norm() / codes.norm(dim=2, keepdim=True))
    return base.at(codes.view(-1, *base.z.shape[1:]))


def change(x: Tensor) -> Tensor:
    """The mean difference of pixels between the first and the last value of each axis, as a share of their range:
    `(K, V, ...)` -> `(K,)`."""
    return (x[:, -1] - x[:, 0]).abs().flatten(1).mean(1) / 2
