"""Which encoder and decoder fit a shape: convolutions for pictures `(C, H, W)`, a residual MLP for rows `(D,)`; or, for
either, dense layers and nothing else."""

from __future__ import annotations

from torch import nn

from figment.nn.convolution import Decoder, Encoder
from figment.nn.mlp import MLP, Plain

CONVOLUTION = {"tiny": (16, 1), "small": (32, 1), "base": (64, 2), "large": (96, 3)}  # width, blocks a level
PERCEPTRON = {"tiny": (64, 2), "small": (128, 3), "base": (256, 4), "large": (512, 6)}  # width, blocks
PLAIN = {"tiny": (128, 2), "small": (512, 2), "base": (1024, 2), "large": (2048, 3)}  # width, layers


def width_and_blocks(shape: tuple[int, ...], size: str, plain: bool = False) -> tuple[int, int]:
    """What a size stands for, for data of this shape."""
    return (PLAIN if plain else CONVOLUTION if len(shape) == 3 else PERCEPTRON)[size]


def encoder_for(
    shape: tuple[int, ...], outputs: int, width: int, blocks: int, embedding: int = 0, plain: bool = False
) -> nn.Module:
    """A network `(B, *shape)` -> `(B, outputs)`; called with `(x, embedding or None)`."""
    if plain:
        return Plain(shape, (outputs,), width, blocks, embedding)
    if len(shape) == 3:
        return Encoder(shape, outputs, width, blocks, embedding=embedding)
    return MLP(shape[0], outputs, width, blocks, embedding=embedding)


def decoder_for(
    inputs: int, shape: tuple[int, ...], width: int, blocks: int, embedding: int = 0, plain: bool = False
) -> nn.Module:
    """A network `(B, inputs)` -> `(B, *shape)`; called with `(z, embedding or None)`."""
    if plain:
        return Plain((inputs,), shape, width, blocks, embedding)
    if len(shape) == 3:
        return Decoder(inputs, shape, width, blocks, embedding=embedding)
    return MLP(inputs, shape[0], width, blocks, embedding=embedding)
