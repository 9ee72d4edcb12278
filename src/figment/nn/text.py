"""A text encoder, and attention of pictures to its words."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from figment.nn.attention import Pointwise, attention
from figment.nn.normalisation import GroupNorm


class TextEncoder(nn.Module):
    """Tokens int64 `(B, L)`, 0 where the text is over, -> `(B, L, width)`, 0 there: a transformer of `depth` layers.

    Vaswani et al., "Attention is all you need" (2017), normalised before each part.
    """

    def __init__(self, vocabulary: int, length: int, width: int, depth: int, head_width: int = 32):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.place_embed = nn.Parameter(0.1 * torch.randn(length, width))
        self.layers = nn.ModuleList(Layer(width, max(1, width // head_width)) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.embed.weight, std=0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        there = tokens != 0
        longest = tokens.shape[1] if torch.compiler.is_exporting() else _longest(there)
        h = self.embed(tokens[:, :longest]) + self.place_embed[:longest]
        heard = there[:, :longest].clone()
        heard[:, 0] |= ~there.any(1)  # a softmax over nothing would be no number
        for layer in self.layers:
            h = layer(h, heard)
        h = self.norm(h).float() * there[:, :longest, None]
        return F.pad(h, (0, 0, 0, tokens.shape[1] - longest))


def _longest(there: Tensor) -> int:
    """The length of the longest of some texts: what follows is empty in all."""
    said = there.any(0).nonzero()
    return int(said[-1]) + 1 if len(said) else 1


class Layer(nn.Module):
    """h + attention(norm(h)), then h + W2 gelu(W1 norm(h)): `(B, L, width)`."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.first, self.second = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, h: Tensor, heard: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm_1(h)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, L, d)
        y = attention(q.mT, k.mT, heard) @ v
        h = h + self.project(y.transpose(1, 2).flatten(2))
        return h + self.second(F.gelu(self.first(self.norm_2(h))))


def summary(words: Tensor) -> Tensor:
    """The mean of the vectors of a text `(B, L, E)`, those that are 0 left out: `(B, E)`; 0 for the empty text."""
    return words.sum(1) / there(words).sum(1, keepdim=True).clamp(min=1)


def there(words: Tensor) -> Tensor:
    """Which vectors of a text `(B, L, E)` belong to a word: `(B, L)`."""
    return (words != 0).any(2)


def with_silence(words: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors `(B, L + 1, E)` of a text and, last, one of 0 to attend to where no word matters; and the `(B, L + 1)` of
    them that may be attended to."""
    return F.pad(words, (0, 0, 0, 1)), F.pad(there(words), (0, 1), value=True)


class CrossAttention(nn.Module):
    """h + O V softmax(K' Q / sqrt(d)), Q of the positions of h `(B, C, H, W)`, K and V of the words `(B, L, E)` of a
    text and of silence, whose K and V are 0.

    Rombach et al., "High-resolution image synthesis with latent diffusion models" (2022), section 3.3.
    """

    def __init__(self, channels: int, width: int, head_width: int):
        super().__init__()
        self.heads = next(n for n in range(max(1, channels // head_width), 0, -1) if channels % n == 0)
        self.norm = GroupNorm(channels, activate=False)
        self.query = Pointwise(channels, channels)
        self.keys = nn.Linear(width, channels, bias=False)
        self.values = nn.Linear(width, channels, bias=False)
        self.project = Pointwise(channels, channels)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, h: Tensor, words: Tensor) -> Tensor:
        words, heard = with_silence(words)
        q = self.query(self.norm(h)).flatten(2).unflatten(1, (self.heads, -1))  # (B, heads, d, H W)
        k, v = (layer(words).mT.unflatten(1, (self.heads, -1)) for layer in (self.keys, self.values))
        y = (v @ attention(q, k, heard).mT).flatten(1, 2)  # (B, C, H W)
        return h + self.project(y.unflatten(2, h.shape[2:]))
