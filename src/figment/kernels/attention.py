"""The optional kernel of attention within heads, of tokens in bf16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from figment.kernels.compiled import called, gradients, library, plain

Formula = Callable[[Tensor], Tensor]


def usable(qkv: Tensor, heads: int) -> bool:
    """Whether the kernel can take tokens `(B, N, 3 heads d)`: d is even."""
    fits = plain(qkv) and qkv.dtype == torch.bfloat16 and qkv.is_contiguous() and qkv.shape[2] % (6 * heads) == 0
    return fits and library("attention") is not None


def attended(qkv: Tensor, heads: int, unit: bool, formula: Formula) -> Tensor:
    """v softmax(k' q / sqrt(d)) `(B, N, heads d)` of queries, keys and values `(B, N, 3 heads d)`, the first two scaled
    to unit root mean square where `unit`. `formula`, the same in torch's own terms, stands in where a gradient is to be
    differentiated again. Neither way keeps the weights of all tokens.

    Dao et al., "FlashAttention" (2022).
    """
    return _Attended.apply(qkv, heads, unit, formula)


class _Attended(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, heads: int, unit: bool, formula: Formula) -> Tensor:
        examples, tokens, width = qkv.shape
        y = qkv.new_empty((examples, tokens, width // 3))
        level = qkv.new_empty((examples, heads, tokens), dtype=torch.float32) if ctx.needs_input_grad[0] else None
        ctx.save_for_backward(qkv, y, level)
        ctx.told, ctx.formula = ((examples, tokens, heads, width // 3 // heads), int(unit)), formula
        called("attention", "forward", *ctx.told, qkv, y, level)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        qkv, y, level = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *gradients(ctx, ctx.formula, (qkv,), dy), None, None, None
        found = torch.empty_like(qkv)
        called("attention", "backward", *ctx.told, dy.to(qkv.dtype).contiguous(), qkv, y, level, found)
        return found, None, None, None
