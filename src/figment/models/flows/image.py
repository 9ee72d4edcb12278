"""Couplings of pictures from coarse to fine: each pixel is mapped once, by a curve that pixels around it choose."""

from __future__ import annotations

from collections.abc import Iterator

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
PHASES = ((3,), (1, 2))  # of each 2 x 2 pixels 0 1 / 2 3: which are mapped first, and which then; 0 is coarser


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


class Lattices(Transform):
    """u in [0, 1] -> u in [0, 1], `(B, C, H, W)`, by scales: pixels (odd, odd) given pixels (even, even), then (even,
    odd) and (odd, even) given both; then the pixels (even, even), a picture of half the size, in the same way; the last
    few one after the other. Each pixel leaves as soon as it is mapped.

    Any H and W: 2 x 2 blocks beyond an odd side are filled up for the networks alone. Dinh et al., "Density estimation
    using Real NVP" (2017), for multi-scale couplings; Reed et al., "Parallel multiscale autoregressive density
    estimation" (2017), for the order; Durkan et al., "Neural spline flows" (2019), for the curves.
    """

    def __init__(self, shape: tuple[int, int, int], spline: Spline, width: int, blocks: int, embedding: int):
        super().__init__()
        channels, height, wide = shape
        self.spline = spline
        scales = []
        while height * wide > COARSE:
            scales.append(
                nn.ModuleList(
                    PhaseNet(channels, len(phases), spline.count, width, blocks, embedding) for phases in PHASES
                )
            )
            height, wide = (height + 1) // 2, (wide + 1) // 2
        self.scales = nn.ModuleList(scales)
        order = torch.arange(channels * height * wide)
        self.coarsest = Autoregressive(order, spline, 4 * width, blocks, embedding)

    def forward(self, x: Tensor, e: Tensor | None) -> tuple[Tensor, Tensor]:
        total, scale, done = x.new_zeros(len(x)), x, []
        for nets in self.scales:
            assert isinstance(nets, nn.ModuleList)
            blocks, inside = blocked(scale)
            mapped = blocks
            for net, phases, known in steps(nets):
                pixels = blocks[..., phases, :]
                features = net.features(hidden(blocks, known), e)
                parts = [
                    self.spline.forward(pixels[..., c], net.theta(features, pixels[..., :c])) for c in range(len(x[0]))
                ]
                y, log_slope = (torch.stack(part, -1) for part in zip(*parts))
                mapped = mapped.index_copy(3, torch.tensor(phases, device=x.device), y)
                total = total + (log_slope * inside[..., phases, :]).flatten(1).sum(1)
            done.append(mapped)
            scale = scale[..., ::2, ::2]
        z, log_det = self.coarsest(scale.flatten(1), e)
        return self._joined(z.view_as(scale), done, x), total + log_det

    def _joined(self, z: Tensor, done: list[Tensor], like: Tensor) -> Tensor:
        """The picture `(B, C, H, W)` of its scales' blocks, finest first, and of its coarsest lattice z."""
        sizes = [like.shape[2:]]
        for _ in done:
            sizes.append(torch.Size((side + 1) // 2 for side in sizes[-1]))
        for blocks, size in zip(reversed(done), reversed(sizes[:-1])):
            z = unblocked(torch.cat([z.permute(0, 2, 3, 1)[:, :, :, None], blocks[..., 1:, :]], 3), size)
        return z

    def inverse(self, z: Tensor, e: Tensor | None) -> Tensor:
        codes = [z]
        for _ in self.scales:
            codes.append(codes[-1][..., ::2, ::2])
        x = self.coarsest.inverse(codes[-1].flatten(1), e).view_as(codes[-1])
        for nets, code in zip(reversed(self.scales), reversed(codes[:-1])):
            assert isinstance(nets, nn.ModuleList)
            blocks, inside = blocked(code)
            blocks = torch.cat([x.permute(0, 2, 3, 1)[:, :, :, None], blocks[..., 1:, :]], 3)
            for net, phases, known in steps(nets):
                features = net.features(hidden(blocks, known), e)
                found = blocks[..., phases, :0]
                for c in range(len(z[0])):
                    pixel = self.spline.inverse(blocks[..., phases, c], net.theta(features, found))
                    found = torch.cat([found, pixel[..., None]], -1)
                found = torch.where(inside[..., phases, :] > 0, found, 0.5)
                blocks = blocks.index_copy(3, torch.tensor(phases, device=z.device), found)
            x = unblocked(blocks, code.shape[2:])
        return x


def steps(nets: nn.ModuleList) -> Iterator[tuple[PhaseNet, list[int], int]]:
    """The network, the phases that it maps, and how many are known by then, as a mask of bits."""
    known = 1
    for net, phases in zip(nets, PHASES):
        assert isinstance(net, PhaseNet)
        yield net, list(phases), known
        known |= sum(1 << phase for phase in phases)


def hidden(blocks: Tensor, known: int) -> Tensor:
    """Blocks `(B, h, w, 4, C)` with the phases that are not known set to 1/2."""
    seen = torch.tensor([bool(known >> phase & 1) for phase in range(4)], device=blocks.device)
    return torch.where(seen[:, None], blocks, 0.5)


def blocked(x: Tensor) -> tuple[Tensor, Tensor]:
    """`(B, C, H, W)` -> its 2 x 2 blocks `(B, h, w, 4, C)`, filled up with 1/2, and which of their pixels it has."""
    height, width = x.shape[2:]
    pad = (0, width % 2, 0, height % 2)
    inside = F.pad(x.new_ones(1, 1, height, width), pad)
    return tuple(
        F.pixel_unshuffle(part, 2).unflatten(1, (-1, 4)).permute(0, 3, 4, 2, 1)
        for part in (F.pad(x, pad, value=0.5), inside)
    )


def unblocked(blocks: Tensor, size: tuple[int, ...]) -> Tensor:
    """The picture `(B, C, *size)` of blocks `(B, h, w, 4, C)`."""
    return F.pixel_shuffle(blocks.permute(0, 4, 3, 1, 2).flatten(1, 2), 2)[..., : size[0], : size[1]]
