"""The denoiser of rows: a perceptron modulated by time and condition."""

from __future__ import annotations

from torch import Tensor, nn

from figment.nn.embeddings import TimeEmbedding
from figment.nn.mlp import MLP


class RowDenoiser(nn.Module):
    """x `(B, D)`, t `(B,)` in [0, 1], embedding `(B, E)` or None -> float32 `(B, outputs)`, zero at the start."""

    def __init__(self, dimensions: int, outputs: int, width: int, depth: int, embedding: int = 0):
        super().__init__()
        self.time_embed = TimeEmbedding(64, width)
        self.condition_embed = nn.Linear(embedding, width) if embedding else None
        self.body = MLP(dimensions, outputs, width, depth, embedding=width, zero=True)

    def forward(self, x: Tensor, t: Tensor, embedding: Tensor | None = None, words: None = None) -> Tensor:
        e = self.time_embed(t)
        if self.condition_embed is not None and embedding is not None:
            e = e + self.condition_embed(embedding)
        return self.body(x, nn.functional.silu(e))
