"""Couplings of pictures from coarse to fine: each pixel is mapped once, by a curve that pixels around it choose."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from figment.models.flows.autoregressive import Autoregressive
from figment.models.flows.splines import Spline
from figment.models.flows.transform import Transform
from figment.nn.lattice import PhaseNet

COARSE = 64  # pixels of a lattice that is mapped one by one
COUNTED = 100  # updates whose grey levels are counted
FLOOR = 2e-3  # share of [0, 1] that is divided equally among grey levels
ORDER, BACK = [0, 3, 1, 2], [0, 2, 3, 1]  # the turn of the pixels 0 1 / 2 3 of a block, and from there back
TURNS = ((1, 2), (2, 4))  # which are mapped at once, after the first, which is of the coarser scale


class Levels(Transform):
    """x in [-1, 1] -> u in [0, 1], linear within a grey level; a level with a share p of pixels gets a part
    proportional to sqrt(p): where few levels hold most pixels, as black does in drawings, each is an interval with
    exact ends. The shares are counted over the first updates. x beyond black or white counts as black or white.
    """

    counts: Tensor

    def __init__(self, channels: int, levels: int):
        super().__init__()
        self.register_buffer("counts", torch.zeros(channels, levels))

    @torch.no_grad()
    def histogram(self, x: Tensor) -> Tensor:
        """How many pixels of each level there are in x `(B, C, H, W)`, a channel a row."""
        index, _ = self._levels(x)
        return index.flatten().bincount(minlength=self.counts.numel()).view_as(self.counts).to(self.counts)

    def _ends(self, like: Tensor) -> Tensor:
        """The ends of the levels' intervals `(C, levels + 1)`, from 0 to 1."""
        parts = (self.counts.to(like) + 0.5).sqrt()
        parts = FLOOR / parts.shape[1] + (1 - FLOOR) * parts / parts.sum(1, keepdim=True)
        return F.pad(parts.cumsum(1)[:, :-1], (1, 1)).index_fill(
            1, torch.tensor(parts.shape[1], device=like.device), 1.0
        )

    def _levels(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Position in the table of (channel, level), and where within the level, in [0, 1]."""
        channels, levels = self.counts.shape
        place = ((x + 1) * ((levels - 1) / 2) + 0.5).clamp(0, levels)
        level = place.detach().floor().clamp(max=levels - 1)
        return level.long() + levels * torch.arange(channels, device=x.device).view(-1, 1, 1), place - level

    def forward(self, x: Tensor, e: Tensor | None) -> tuple[Tensor, Tensor]:
        ends = self._ends(x)
        index, within = self._levels(x)
        part = ends.diff(dim=1).flatten()[index]
        u = (ends[:, :-1].flatten()[index] + within * part).clamp(0, 1)
        return u, (part * ((self.counts.shape[1] - 1) / 2)).log().flatten(1).sum(1)

    def inverse(self, z: Tensor, e: Tensor | None) -> Tensor:
        ends, levels = self._ends(z), self.counts.shape[1]
        rows = z.transpose(0, 1).flatten(1).contiguous()  # (C, B H W)
        level = (torch.searchsorted(ends, rows, right=True) - 1).clamp(0, levels - 1)
        left, right = ends.gather(1, level), ends.gather(1, level + 1)
        place = level + (rows - left) / (right - left)
        x = (place - 0.5) * (2 / (levels - 1)) - 1
        return x.view(z.shape[1], z.shape[0], *z.shape[2:]).transpose(0, 1)


class Scale(Transform):
    """u in [0, 1] -> z in [0, 1], `(B, C, H, W)`: the pixels (even, even), a picture of half the size, in the same way;
    those (odd, odd) by curves that the former choose; the rest by curves that all of those choose.

    A lattice of few pixels is mapped one by one. Any H and W: 2 x 2 blocks beyond an odd side are filled up with 1/2,
    for the networks alone. Dinh et al., "Density estimation using Real NVP" (2017), for couplings on several scales;
    Reed et al., "Parallel multiscale autoregressive density estimation" (2017), for the order.
    """

    def __init__(self, shape: tuple[int, int, int], spline: Spline, width: int, blocks: int, embedding: int):
        super().__init__()
        channels, *sides = shape
        size = (spline.count, width, blocks, embedding)
        self.spline = spline
        self.nets = nn.ModuleList(PhaseNet(channels, first, last - first, *size) for first, last in TURNS)
        height, wide = ((side + 1) // 2 for side in sides)
        self.coarser = pyramid((channels, height, wide), spline, width, blocks, embedding)

    def _turns(self) -> Iterator[tuple[PhaseNet, slice]]:
        for net, turn in zip(self.nets, TURNS):
            assert isinstance(net, PhaseNet)
            yield net, slice(*turn)

    def forward(self, x: Tensor, e: Tensor | None) -> tuple[Tensor, Tensor]:
        blocks, inside = blocked(x)
        z, total = self.coarser(x[..., ::2, ::2], e)
        mapped = [z.permute(0, 2, 3, 1).unsqueeze(3)]
        for net, now in self._turns():
            features, pixels = net.features(blocks[..., : now.start, :], e), blocks[..., now, :]
            curves = (net.theta(features, pixels[..., :c]) for c in range(x.shape[1]))
            pairs = [self.spline.forward(pixels[..., c], theta) for c, theta in enumerate(curves)]
            y, log_slope = (torch.stack(part, -1) for part in zip(*pairs))
            mapped.append(y)
            total = total + (log_slope * inside[..., now, :]).flatten(1).sum(1)
        return unblocked(torch.cat(mapped, 3), x.shape[2:]), total

    def inverse(self, z: Tensor, e: Tensor | None) -> Tensor:
        codes, inside = blocked(z)
        blocks = self.coarser.inverse(z[..., ::2, ::2], e).permute(0, 2, 3, 1).unsqueeze(3)
        for net, now in self._turns():
            features, code = net.features(blocks, e), codes[..., now, :]
            pixels = code[..., :0]
            for c in range(z.shape[1]):
                pixel = self.spline.inverse(code[..., c], net.theta(features, pixels))
                pixels = torch.cat([pixels, pixel.unsqueeze(-1)], -1)
            blocks = torch.cat([blocks, torch.where(inside[..., now, :] > 0, pixels, 0.5)], 3)
        return unblocked(blocks, z.shape[2:])


def pyramid(shape: tuple[int, int, int], spline: Spline, width: int, blocks: int, embedding: int) -> Transform:
    """A picture's scales, down to where its pixels are mapped one by one."""
    if shape[1] * shape[2] > COARSE:
        return Scale(shape, spline, width, blocks, embedding)
    return Autoregressive(torch.arange(math.prod(shape)), spline, 4 * width, blocks, embedding)


def blocked(x: Tensor) -> tuple[Tensor, Tensor]:
    """`(B, C, H, W)` -> the pixels of its 2 x 2 blocks in their turn `(B, h, w, 4, C)`, and 1 for each that it has."""
    height, width = x.shape[2:]
    pad = (0, width % 2, 0, height % 2)
    pixels, inside = (
        F.pixel_unshuffle(part, 2).unflatten(1, (-1, 4)).permute(0, 3, 4, 2, 1)[..., ORDER, :]
        for part in (F.pad(x, pad, value=0.5), F.pad(x.new_ones(1, 1, height, width), pad))
    )
    return pixels, inside


def unblocked(blocks: Tensor, size: Sequence[int]) -> Tensor:
    """The picture `(B, C, *size)` of blocks `(B, h, w, 4, C)`."""
    planes = blocks[..., BACK, :].permute(0, 4, 3, 1, 2).flatten(1, 2)
    return F.pixel_shuffle(planes, 2)[..., : size[0], : size[1]]
