"""Which encoder and decoder fit a shape: convolutions for pictures `(C, H, W)`, a residual MLP for rows `(D,)`."""

from __future__ import annotations

from torch import nn

from figment.nn.convolution import Decoder, Encoder
from figment.nn.mlp import MLP

CONVOLUTION = {"tiny": (16, 1), "small": (32, 1), "base": (64, 2), "large": (96, 3)}  # width, blocks a level
PERCEPTRON = {"tiny": (64, 2), "small": (128, 3), "base": (256, 4), "large": (512, 6)}  # width, blocks


def width_and_blocks(shape: tuple[int, ...], size: str) -> tuple[int, int]:
    """What a size stands for, for data of this shape."""
    return (CONVOLUTION if len(shape) == 3 else PERCEPTRON)[size]


def encoder_for(shape: tuple[int, ...], outputs: int, width: int, blocks: int, embedding: int = 0) -> nn.Module:
    """A network `(B, *shape)` -> `(B, outputs)`; called with `(x, embedding or None)`."""
    if len(shape) == 3:
        return Encoder(shape, outputs, width, blocks, embedding=embedding)
    return MLP(shape[0], outputs, width, blocks, embedding=embedding)


def decoder_for(inputs: int, shape: tuple[int, ...], width: int, blocks: int, embedding: int = 0) -> nn.Module:
    """A network `(B, inputs)` -> `(B, *shape)`; called with `(z, embedding or None)`."""
    if len(shape) == 3:
        return Decoder(inputs, shape, width, blocks, embedding=embedding)
    return MLP(inputs, shape[0], width, blocks, embedding=embedding)
