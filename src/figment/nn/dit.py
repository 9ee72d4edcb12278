"""A transformer of patches: pictures in, pictures of the same size out, modulated by time and a condition."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from figment.kernels import attention as kernel
from figment.kernels.tokens import gelu, modulated, passed
from figment.nn.attention import attend
from figment.nn.embeddings import TimeEmbedding, sinusoids
from figment.nn.text import with_silence


class DiT(nn.Module):
    """`(B, channels_in, H, W)`, t `(B,)`, embedding `(B, E)`, words `(B, L, words)` -> float32
    `(B, channels_out, H, W)`, zero at the start.

    `depth` blocks over patches of patch x patch pixels; any H and W: padded to a multiple of it, then cropped. Time and
    embedding shift, scale and gate each block (adaLN-zero); patches attend to each other and to words at once. Peebles
    & Xie, "Scalable diffusion models with transformers" (2023); Esser et al., "Scaling rectified flow transformers for
    high-resolution image synthesis" (2024).
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        width: int,
        depth: int,
        patch: int = 2,
        head_width: int = 32,
        embedding: int = 0,
        words: int = 0,
    ):
        super().__init__()
        self.width, self.multiple = width, patch
        self.time_embed = TimeEmbedding(width, width)
        self.condition_embed = nn.Linear(embedding, width) if embedding else None
        self.patches_in = nn.Linear(channels_in * patch**2, width)
        self.words_in = nn.Linear(words, width, bias=False) if words else None
        self.blocks = nn.ModuleList(Block(width, max(1, width // head_width)) for _ in range(depth))
        self.modulation = nn.Linear(width, 2 * width)
        self.patches_out = nn.Linear(width, channels_out * patch**2)
        for layer in (self.modulation, self.patches_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, t: Tensor, embedding: Tensor | None = None, words: Tensor | None = None) -> Tensor:
        height, width = x.shape[2:]
        e, patches = self._modulation(t, embedding), self._patches(x)
        (h,) = deque(self._states(patches, e, words), maxlen=1)
        scale, shift = self.modulation(e).chunk(2, dim=1)
        h = self.patches_out(modulated(h, scale, shift))
        y = F.pixel_shuffle(h.mT.unflatten(2, patches.shape[2:]), self.multiple)
        return y[:, :, :height, :width].float()

    def maps(self, x: Tensor, t: Tensor, embedding: Tensor | None = None, words: Tensor | None = None) -> list[Tensor]:
        """What a quarter and half of the blocks make of the patches of x: `(B, width, rows, columns)` each."""
        patches, half = self._patches(x), (len(self.blocks) + 1) // 2
        states = list(islice(self._states(patches, self._modulation(t, embedding), words), half))
        return [h.mT.unflatten(2, patches.shape[2:]) for h in states[(half - 1) // 2 :: max(1, half // 2)]]

    def _modulation(self, t: Tensor, embedding: Tensor | None) -> Tensor:
        e = self.time_embed(t)
        if self.condition_embed is not None and embedding is not None:
            e = e + self.condition_embed(embedding)
        return F.silu(e)

    def _patches(self, x: Tensor) -> Tensor:
        """`(B, C patch^2, rows, columns)`."""
        height, width = x.shape[2:]
        x = F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")
        return F.pixel_unshuffle(x, self.multiple)

    def _states(self, patches: Tensor, e: Tensor, words: Tensor | None) -> Iterator[Tensor]:
        """What each block makes of the patches: `(B, N, width)`."""
        rows, columns = patches.shape[2:]
        h = self.patches_in(patches.flatten(2).mT)
        h = h + places(rows, columns, self.width, patches.device).to(h.dtype)
        text = heard = None
        if self.words_in is not None and words is not None:
            text, heard = with_silence(words)
            text = self.words_in(text)
        for block in self.blocks:
            h = block(h, e, text, heard)
            yield h


class Block(nn.Module):
    """h + g attention(m(h)), then h + g' W2 gelu(W1 m'(h)), m a modulated normalisation, the gates g = 0 at first."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attention = JointAttention(width, heads)
        self.first, self.second = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, h: Tensor, e: Tensor, text: Tensor | None, heard: Tensor | None) -> Tensor:
        scale_1, shift_1, gate_1, scale_2, shift_2, gate_2 = self.modulation(e).chunk(6, dim=1)
        read = self.attention(modulated(h, scale_1, shift_1), text, heard)
        h = passed(h, read, self.attention.project, gate_1)
        return passed(h, gelu(modulated(h, scale_2, shift_2), self.first), self.second, gate_2)


class JointAttention(nn.Module):
    """Patches `(B, N, width)` attend to each other and, in the same softmax, to words `(B, L + 1, width)` of which
    `heard` `(B, L + 1)` may be attended to; queries and keys have unit root mean square. What they read is for the
    caller to `project`."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.words = nn.Linear(width, 2 * width, bias=False)
        self.project = nn.Linear(width, width)

    def _parts(self, qkv: Tensor, text: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, `(B, heads, d, tokens)`."""
        q, k, v = qkv.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = unit(q), unit(k)
        if text is not None:
            more, told = self.words(text).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
            k, v = torch.cat([k, unit(more)], 2), torch.cat([v, told], 2)
        return q.mT, k.mT, v.mT

    def _heard(self, h: Tensor, heard: Tensor | None) -> Tensor | None:
        return None if heard is None else F.pad(heard, (h.shape[1], 0), value=True)

    def forward(self, h: Tensor, text: Tensor | None = None, heard: Tensor | None = None) -> Tensor:
        qkv = self.qkv(h)
        if text is None and kernel.usable(qkv, self.heads):
            return kernel.attended(qkv, self.heads, True, self._patches_alone)
        return attend(*self._parts(qkv, text), self._heard(h, heard)).flatten(1, 2).mT

    def _patches_alone(self, qkv: Tensor) -> Tensor:
        return attend(*self._parts(qkv)).flatten(1, 2).mT


def unit(x: Tensor) -> Tensor:
    """x / sqrt(mean of squares over the last dimension)."""
    return F.rms_norm(x, x.shape[-1:])


def places(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """Sinusoids of the row and of the column of each place: `(height width, channels)`."""
    half = channels // 2 + channels // 2 % 2
    row, column = (sinusoids(torch.arange(n, device=device) / 1000, half) for n in (height, width))
    both = torch.cat([row[:, None].expand(-1, width, -1), column.expand(height, -1, -1)], 2)
    return both.flatten(0, 1)[:, :channels]
