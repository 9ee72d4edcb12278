"""The two optimisers: AdamW, and Muon for the hidden matrices with AdamW for the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

Name = Literal["adamw", "muon"]


class Muon:
    """Momentum, then the nearest (semi-)orthogonal matrix, as the update of each hidden weight.

    G <- mu G + g;  U = NS5(g + mu G), W <- W - lr (0.2 sqrt(max(rows, cols)) U + decay W). A convolution is the matrix
    `(out, in k k)`. NS5 is five steps of the quintic Newton-Schulz iteration, run on all matrices of one shape at
    once. Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024); the factor that matches
    AdamW's step size: Liu et al., "Muon is scalable for LLM training" (2025).
    """

    def __init__(self, parameters: Iterable[nn.Parameter], momentum: float, weight_decay: float):
        self.parameters = list(parameters)
        self.momentum, self.weight_decay = momentum, weight_decay
        self.buffers = [torch.zeros_like(p, memory_format=torch.preserve_format) for p in self.parameters]
        self.groups: dict[tuple[int, int], list[int]] = {}
        for i, p in enumerate(self.parameters):
            self.groups.setdefault((p.shape[0], p[0].numel()), []).append(i)

    @torch.no_grad()
    def step(self, lr: float) -> None:
        grads = [p.grad for p in self.parameters if p.grad is not None]
        weights: list[Tensor] = list(self.parameters)
        torch._foreach_mul_(self.buffers, self.momentum)
        torch._foreach_add_(self.buffers, grads)
        ahead = torch._foreach_add(grads, self.buffers, alpha=self.momentum)
        if self.weight_decay:
            torch._foreach_mul_(weights, 1 - lr * self.weight_decay)
        for (rows, columns), members in self.groups.items():
            stacked = torch.stack([ahead[i].reshape(rows, columns) for i in members])
            updates = orthogonalise(stacked)
            scale = lr * 0.2 * max(rows, columns) ** 0.5
            for i, update in zip(members, updates):
                self.parameters[i].sub_(update.view(self.parameters[i].shape), alpha=scale)


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices `(N, rows, columns)`, singular values within about [0.7, 1.2]."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.flatten(1).norm(dim=1).view(-1, 1, 1) + 1e-7)
    x = x.bfloat16() if _fast_bfloat16(x) else x
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).float()


def _fast_bfloat16(x: Tensor) -> bool:
    return x.is_cuda or (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


class Optimiser:
    """One player's optimiser: `muon` sends hidden weights (two dimensions or more, outside a module named `*_in`,
    `*_out` or an embedding) to Muon and the rest to AdamW; `adamw` sends all to AdamW.

    AdamW: Loshchilov & Hutter, "Decoupled weight decay regularization" (2019).
    """

    def __init__(
        self,
        named: Mapping[str, nn.Parameter],
        name: Name,
        betas: tuple[float, float],
        weight_decay: float,
        momentum: float = 0.95,
    ):
        hidden = {k: p for k, p in named.items() if name == "muon" and is_hidden(k, p)}
        rest = [p for k, p in named.items() if k not in hidden]
        self.parameters = [*hidden.values(), *rest]
        self.muon = Muon(hidden.values(), momentum, weight_decay) if hidden else None
        self.adamw = (
            torch.optim.AdamW(rest, lr=0.0, betas=betas, eps=1e-8, weight_decay=weight_decay, fused=True)
            if rest
            else None
        )

    def step(self, lr: float) -> None:
        """One update at learning rate `lr`, from the parameters' `.grad`."""
        if self.adamw is not None:
            for group in self.adamw.param_groups:
                group["lr"] = lr
            self.adamw.step()
        if self.muon is not None:
            self.muon.step(lr)

    def tensors(self) -> dict[str, Tensor]:
        """All state, by position."""
        out: dict[str, Tensor] = {}
        if self.muon is not None:
            out |= {f"muon.{i}": buffer for i, buffer in enumerate(self.muon.buffers)}
        if self.adamw is not None:
            for i, p in enumerate(self.adamw.param_groups[0]["params"]):
                out |= {f"adamw.{i}.{k}": v for k, v in self.adamw.state[p].items()}
        return out

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        if self.muon is not None:
            for i, buffer in enumerate(self.muon.buffers):
                buffer.copy_(tensors[f"muon.{i}"])
        if self.adamw is not None:
            self.adamw.state.clear()  # a checkpoint of step 0 has none
            for i, p in enumerate(self.adamw.param_groups[0]["params"]):
                state: dict[str, Any] = {}
                for key in ("step", "exp_avg", "exp_avg_sq"):
                    stored = tensors.get(f"adamw.{i}.{key}")
                    if stored is not None:
                        # The fused kernel reads raw memory: moments must have the parameter's own layout.
                        state[key] = stored.clone() if key == "step" else torch.empty_like(p).copy_(stored)
                if state:
                    self.adamw.state[p] = state


def is_hidden(name: str, parameter: nn.Parameter) -> bool:
    """Whether a weight maps hidden features to hidden features: not a bias, gain, embedding, first or last layer."""
    modules = name.split(".")
    edge = any(m.endswith(("_in", "_out")) or "embed" in m for m in modules)
    return parameter.ndim >= 2 and min(parameter.shape[0], parameter[0].numel()) > 1 and not edge
