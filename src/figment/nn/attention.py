"""Self-attention over the pixels of a feature map."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from figment.nn.normalisation import GroupNorm


class SelfAttention(nn.Module):
    """h + O softmax(Q K' / sqrt(d)) V over the H W positions of h `(B, C, H, W)`, in heads of d channels.

    Vaswani et al., "Attention is all you need" (2017).
    """

    def __init__(self, channels: int, head_width: int):
        super().__init__()
        self.heads = max(1, channels // head_width)
        self.norm = GroupNorm(channels, activate=False)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, h: Tensor) -> Tensor:
        b, c, height, width = h.shape
        tokens = self.norm(h).flatten(2).mT  # (B, H W, C)
        qkv = self.qkv(tokens).view(b, -1, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        mixed = attend(*qkv.unbind(0))  # (B, heads, H W, d)
        return h + self.project(mixed.transpose(1, 2).flatten(2)).mT.view(b, c, height, width)


def attend(q: Tensor, k: Tensor, v: Tensor, few: int = 256) -> Tensor:
    """softmax(q k' / sqrt(d)) v, all `(B, heads, N, d)`. On a CPU few tokens go faster by the plain formula."""
    if q.is_cuda or q.shape[-2] > few:
        return F.scaled_dot_product_attention(q, k, v)
    return (q * q.shape[-1] ** -0.5 @ k.mT).softmax(dim=-1) @ v
