"""The optional kernel of group normalisation."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from figment.kernels.compiled import NAMES, called, gradients, library, plain

EPSILON = 1e-5
Formula = Callable[[Tensor, Tensor, Tensor], Tensor]


def usable(x: Tensor) -> bool:
    """Whether the kernel can take x."""
    return plain(x) and x.ndim == 4 and library("normalisation") is not None


def normalised(x: Tensor, gain: Tensor, offset: Tensor, groups: int, activate: bool, formula: Formula) -> Tensor:
    """phi(g (x - mean) / sqrt(var + 1e-5) + b) of x `(B, C, H, W)` in `groups`, g and b `(B, C)`, phi SiLU where
    `activate`. `formula`, the same in torch's own terms, stands in where a gradient is to be differentiated again."""
    x = x if x.is_contiguous() else x.contiguous(memory_format=torch.channels_last)
    return _Normalised.apply(x, gain.float().contiguous(), offset.float().contiguous(), groups, activate, formula)


class _Normalised(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gain: Tensor, offset: Tensor, groups: int, activate: bool, formula: Formula
    ) -> Tensor:
        y = torch.empty_like(x)
        mean, scale = (x.new_empty((len(x), groups), dtype=torch.float32) for _ in range(2))
        ctx.save_for_backward(x, gain, offset, mean, scale)
        ctx.last, ctx.formula = not x.is_contiguous(), formula
        ctx.told = (len(x), x.shape[1], x.shape[2] * x.shape[3], groups), int(ctx.last), int(activate)
        at = ctypes.c_float(EPSILON)
        called("normalisation", f"forward_{NAMES[x.dtype]}", *ctx.told, x, gain, offset, at, y, mean, scale)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, gain, offset, mean, scale = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *gradients(ctx, ctx.formula, (x, gain, offset), dy), None, None, None
        dy = dy.to(x.dtype).contiguous(memory_format=torch.channels_last if ctx.last else torch.contiguous_format)
        found = torch.empty_like(x), torch.empty_like(gain), torch.empty_like(offset)
        called("normalisation", f"backward_{NAMES[x.dtype]}", *ctx.told, dy, x, gain, offset, mean, scale, *found)
        return *found, None, None, None
