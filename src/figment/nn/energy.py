"""A number for a picture whose gradient is a picture."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from figment.nn.convolution import Decoder, Encoder
from figment.nn.embeddings import LabelEmbedding, TimeEmbedding

EMBEDDING = 64


class Agreement(nn.Module):
    """x `(B, C, H, W)`, t `(B,)` in [0, 1], labels `(B,)` -> x . h(x, t, y) `(B,)` float32, h an autoencoder that keeps
    places. Its gradient in x, h + (dh/dx)^T x, is a picture at once, where that of an encoder's one number has all to
    learn.

    Salimans & Ho, "Should EBMs model the energy or the score?" (2021).
    """

    def __init__(self, shape: tuple[int, int, int], width: int, blocks: int, classes: int = 0):
        super().__init__()
        self.time_embed = TimeEmbedding(EMBEDDING, EMBEDDING)
        self.embed = LabelEmbedding(classes, EMBEDDING) if classes else None
        self.encoder = Encoder(shape, 4 * width, width, blocks, EMBEDDING, flat=False)
        self.decoder = Decoder(4 * width, shape, width, blocks, EMBEDDING, flat=False)
        nn.init.zeros_(self.decoder.project_out.weight)

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        e = self.time_embed(t) if self.embed is None else self.time_embed(t) + self.embed(label)
        e = F.silu(e)
        return (x.float() * self.decoder(self.encoder(x, e), e)).flatten(1).sum(1)
