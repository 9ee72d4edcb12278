"""Which encoder and decoder fit a shape: convolutions for pictures `(C, H, W)`, a residual MLP for rows `(D,)`."""

from __future__ import annotations

from torch import nn

from figment.nn.convolution import Decoder, Encoder
from figment.nn.mlp import MLP

CONVOLUTION = {"tiny": (16, 1), "small": (32, 1), "base": (64, 2), "large": (96, 3)}  # width, blocks a level
PERCEPTRON = {"tiny": (64, 2), "small": (128, 3), "base": (256, 4), "large": (512, 6)}  # width, blocks


def encoder_for(shape: tuple[int, ...], outputs: int, size: str, embedding: int = 0) -> nn.Module:
    """A network `(B, *shape)` -> `(B, outputs)`; called with `(x, embedding or None)`."""
    if len(shape) == 3:
        return Encoder(shape, outputs, *CONVOLUTION[size], embedding=embedding)
    return MLP(shape[0], outputs, *PERCEPTRON[size], embedding=embedding)


def decoder_for(inputs: int, shape: tuple[int, ...], size: str, embedding: int = 0) -> nn.Module:
    """A network `(B, inputs)` -> `(B, *shape)`; called with `(z, embedding or None)`."""
    if len(shape) == 3:
        return Decoder(inputs, shape, *CONVOLUTION[size], embedding=embedding)
    return MLP(inputs, shape[0], *PERCEPTRON[size], embedding=embedding)
