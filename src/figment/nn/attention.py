"""Mixing across channels and across the pixels of a feature map."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from figment.kernels import attention as kernel
from figment.nn.normalisation import GroupNorm


class Pointwise(nn.Linear):
    """W h + b at every pixel: `(B, inputs, H, W)` -> `(B, outputs, H, W)`.

    A 1x1 convolution; for contiguous maps as one product a picture, which on a CPU is up to four times as fast.
    """

    def forward(self, h: Tensor) -> Tensor:
        if not h.is_contiguous():
            return F.conv2d(h, self.weight[..., None, None], self.bias)
        weight = self.weight.expand(h.shape[0], -1, -1)
        return torch.baddbmm(self.bias[:, None], weight, h.flatten(2)).unflatten(2, h.shape[2:])


class SelfAttention(nn.Module):
    """h + O V softmax(K' Q / sqrt(d)) over the H W positions of h `(B, C, H, W)`, in heads of d channels: the number
    nearest to `head_width`, from above, that divides C.

    Vaswani et al., "Attention is all you need" (2017).
    """

    def __init__(self, channels: int, head_width: int):
        super().__init__()
        self.heads = next(n for n in range(max(1, channels // head_width), 0, -1) if channels % n == 0)
        self.norm = GroupNorm(channels, activate=False)
        self.qkv = Pointwise(channels, 3 * channels)
        self.project = Pointwise(channels, channels)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, h: Tensor) -> Tensor:
        qkv = self.qkv(self.norm(h))
        tokens = qkv.permute(0, 2, 3, 1).flatten(1, 2)
        if not h.is_contiguous() and kernel.usable(tokens, self.heads):
            y = kernel.attended(tokens, self.heads, False, self._within)
        else:
            y = self._within(tokens)
        layout = torch.contiguous_format if h.is_contiguous() else torch.channels_last
        return self.project(y.mT.unflatten(2, h.shape[2:]).contiguous(memory_format=layout)).add_(h)

    def _within(self, tokens: Tensor) -> Tensor:
        """Of queries, keys and values `(B, H W, 3 C)`: `(B, H W, C)`."""
        q, k, v = tokens.mT.unflatten(1, (3, self.heads, -1)).unbind(1)  # (B, heads, d, H W)
        return attend(q, k, v).flatten(1, 2).mT


TOKENS = 1024  # up to so many, in bf16, a CPU takes less time over the plain formula than over the memory-saving one


def attend(q: Tensor, k: Tensor, v: Tensor, heard: Tensor | None = None) -> Tensor:
    """v softmax(k' q / sqrt(d)), q `(B, heads, d, N)`, k and v `(B, heads, d, M)`, of those k that are `heard`
    `(B, M)`."""
    if q.device.type != "cpu" or q.dtype == torch.float32 or k.shape[-1] > TOKENS:
        mask = None if heard is None else heard[:, None, None]
        return F.scaled_dot_product_attention(q.mT, k.mT, v.mT, attn_mask=mask).mT
    return v @ attention(q, k, heard).mT


def attention(q: Tensor, k: Tensor, heard: Tensor | None = None) -> Tensor:
    """softmax(q' k / sqrt(d)) `(B, heads, N, M)` of q `(B, heads, d, N)` and k `(B, heads, d, M)`, 0 for those k that
    are not `heard` `(B, M)`."""
    scores = torch.bmm(q.flatten(0, 1).mT, k.flatten(0, 1) * q.shape[2] ** -0.5).unflatten(0, q.shape[:2])
    if heard is not None:
        scores = scores.masked_fill(~heard[:, None, None], -torch.inf)
    return scores.softmax(dim=-1)
