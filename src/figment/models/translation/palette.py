"""The colours a screen shows, a few hundred of them, so that which there may be at a place is a distribution."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from figment.core.model import Turn
from figment.pixels.colour import lab

REACH = 11  # squares from grey to the edge of the grid
SHADES = 33  # of red, green and blue, that what a screen shows is found by
UNSEEN = 1e-4  # share that a colour has before any is seen


class Palette(nn.Module):
    """K colours (a, b), a* and b* over 110: the corners of all squares, 10 a side, that hold a colour of a screen; and
    what share of colours is near each.

    Zhang, Isola & Efros, "Colorful image colorization" (2016).
    """

    colours: Tensor
    place: Tensor
    share: Tensor

    def __init__(self) -> None:
        super().__init__()
        line = torch.linspace(-1, 1, SHADES)
        shown = lab(torch.cartesian_prod(line, line, line).T[None, :, None])[0, 1:, 0]
        i, j = (shown / 10).floor().long() + REACH
        there = torch.zeros(2 * REACH + 1, 2 * REACH + 1, dtype=torch.bool)
        for di, dj in ((0, 0), (0, 1), (1, 0), (1, 1)):
            there[i + di, j + dj] = True
        self.register_buffer("colours", (there.nonzero() - REACH) / REACH, persistent=False)
        self.register_buffer("place", there.flatten().cumsum(0).sub(1).clamp(min=0), persistent=False)
        self.register_buffer("share", torch.zeros(len(self.colours)))

    def __len__(self) -> int:
        return len(self.colours)

    def corners(self, chroma: Tensor) -> tuple[Tensor, Tensor]:
        """Colours `(B, 2, H, W)` -> the four around each and their weights, `(B, 4, H, W)`, by which it is their
        mean."""
        low = (chroma * REACH).floor().clamp(-REACH, REACH - 1)
        (i, j), (a, b) = (low.long() + REACH).unbind(1), (chroma * REACH - low).unbind(1)
        first = (2 * REACH + 1) * i + j
        index = torch.stack([first, first + 1, first + 2 * REACH + 1, first + 2 * REACH + 2], 1)
        weight = torch.stack([(1 - a) * (1 - b), (1 - a) * b, a * (1 - b), a * b], 1)
        return self.place[index], weight

    def count(self, chroma: Tensor, turn: Turn) -> None:
        """Takes a batch's colours into the shares, which are means over all batches."""
        index, weight = self.corners(chroma)
        found = torch.zeros_like(self.share).index_add(0, index.flatten(), weight.flatten()) / weight.sum()
        self.share.lerp_(turn.mean(found), 1 / (turn.seen + 1))

    def surprise(self, logits: Tensor, chroma: Tensor) -> Tensor:
        """-E log p `()` of colours `(B, 2, H, W)`, each standing for the four around it, by logits `(B, K, H, W)`."""
        index, weight = self.corners(chroma)
        return -(weight * logits.log_softmax(1).gather(1, index)).sum(1).mean()

    def mean(self, logits: Tensor, temperature: float, rarity: float) -> Tensor:
        """The mean colour `(B, 2, H, W)` under (p / share^rarity)^(1 / temperature)."""
        usual = (self.share + UNSEEN).log()[:, None, None]
        p = ((logits - rarity * usual) / temperature).softmax(1)
        return torch.einsum("bkhw,kc->bchw", p, self.colours)
