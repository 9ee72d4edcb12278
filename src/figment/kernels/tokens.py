"""The optional kernels of what a transformer does to tokens `(B, N, width)` between its matrix products, whose bias
they add: torch's own product writes it to memory first, and sums its gradient by itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from figment.kernels.compiled import NAMES, called, gradients, library, plain


def usable(h: Tensor) -> bool:
    """Whether the kernels can take tokens h."""
    return plain(h) and h.ndim == 3 and h.is_contiguous() and library("tokens") is not None


def modulated(h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """(1 + scale) (h - mean) / deviation + shift over the last dimension of h, scale and shift `(B, width)`."""
    if usable(h):
        return _Modulated.apply(h, scale.float().contiguous(), shift.float().contiguous())
    return _modulated(h, scale, shift)


def passed(h: Tensor, x: Tensor, layer: nn.Linear, gate: Tensor) -> Tensor:
    """h + gate (W x + b), W and b of `layer`, gate `(B, width)`."""
    if not (usable(h) and usable(x)):
        return torch.addcmul(h, gate[:, None].to(h.dtype), layer(x))
    product = F.linear(x, layer.weight).to(h.dtype)
    return _Passed.apply(h, product, layer.bias.float().contiguous(), gate.float().contiguous())


def gelu(x: Tensor, layer: nn.Linear) -> Tensor:
    """v (1 + tanh(sqrt(2 / pi) (v + 0.044715 v^3))) / 2 of v = W x + b, W and b of `layer`.

    Hendrycks & Gimpel, "Gaussian error linear units" (2016).
    """
    if not usable(x):
        return F.gelu(layer(x), approximate="tanh")
    return _Gelu.apply(F.linear(x, layer.weight), layer.bias.float().contiguous())


def _modulated(h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    with torch.autocast(h.device.type, enabled=False):
        y = F.layer_norm(h, h.shape[-1:])
    return torch.addcmul(shift[:, None].to(h.dtype), y, 1 + scale[:, None].to(h.dtype))


def _passed(h: Tensor, x: Tensor, bias: Tensor, gate: Tensor) -> Tensor:
    return torch.addcmul(h, gate[:, None].to(h.dtype), x + bias.to(x.dtype))


def _gelu(x: Tensor, bias: Tensor) -> Tensor:
    return F.gelu(x + bias.to(x.dtype), approximate="tanh")


class _Modulated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        y = torch.empty_like(h)
        mean, size = (h.new_empty(h.shape[:2], dtype=torch.float32) for _ in range(2))
        ctx.save_for_backward(h, scale, shift, mean, size)
        called("tokens", f"modulate_{NAMES[h.dtype]}", h.shape, h, scale, shift, y, mean, size)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        h, scale, shift, mean, size = ctx.saved_tensors
        if torch.is_grad_enabled():
            return gradients(ctx, _modulated, (h, scale, shift), dy)
        dy = dy.to(h.dtype).contiguous()
        found = torch.empty_like(h), torch.empty_like(scale), torch.empty_like(shift)
        called("tokens", f"modulate_back_{NAMES[h.dtype]}", h.shape, dy, h, scale, mean, size, *found)
        return found


class _Passed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, x: Tensor, bias: Tensor, gate: Tensor) -> Tensor:
        y = torch.empty_like(h)
        ctx.save_for_backward(h, x, bias, gate)
        called("tokens", f"pass_{NAMES[h.dtype]}", h.shape, h, x, bias, gate, y)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        h, x, bias, gate = ctx.saved_tensors
        if torch.is_grad_enabled():
            return gradients(ctx, _passed, (h, x, bias, gate), dy)
        dy = dy.to(x.dtype).contiguous()
        dx, dbias, dgate = torch.empty_like(x), torch.empty_like(gate), torch.empty_like(gate)
        called("tokens", f"pass_back_{NAMES[x.dtype]}", x.shape, dy, x, bias, gate, dx, dbias, dgate)
        return dy, dx, dbias.sum(0), dgate


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:
        y = torch.empty_like(x)
        ctx.save_for_backward(x, bias)
        called("tokens", f"gelu_{NAMES[x.dtype]}", x.shape, x, bias, y)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, bias = ctx.saved_tensors
        if torch.is_grad_enabled():
            return gradients(ctx, _gelu, (x, bias), dy)
        dx, dbias = torch.empty_like(x), bias.new_empty((len(x), len(bias)))
        called("tokens", f"gelu_back_{NAMES[x.dtype]}", x.shape, dy.to(x.dtype).contiguous(), x, bias, dx, dbias)
        return dx, dbias.sum(0)
