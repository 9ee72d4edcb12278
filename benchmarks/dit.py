"""A training step and a sampling step of the DiT beside diffusers', of the same width, depth, heads and patches."""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

from benchmarks.denoisers import Call, Candidates, compare, randomised
from figment.nn.dit import DiT

WIDTH, DEPTH, PATCH, HEAD = 192, 6, 2, 32


def networks() -> Candidates:
    """Figment's and diffusers', whose blocks embed time each by itself."""
    net = randomised(DiT(3, 3, WIDTH, DEPTH, PATCH, HEAD))
    found: dict[str, tuple[nn.Module, Call, bool]] = {
        "figment bf16": (net, net, True),
        "figment fp32": (net, net, False),
    }
    try:
        from diffusers import DiTTransformer2DModel
    except ImportError:
        print("diffusers is not installed: left out", file=sys.stderr)
        return found
    peer = DiTTransformer2DModel(
        num_attention_heads=WIDTH // HEAD,
        attention_head_dim=HEAD,
        in_channels=3,
        num_layers=DEPTH,
        sample_size=32,
        patch_size=PATCH,
    )
    peer = randomised(peer.eval())

    def call(x: Tensor, t: Tensor) -> Tensor:
        return peer(x, timestep=1000 * t, class_labels=torch.zeros(len(x), dtype=torch.int64)).sample

    return found | {"diffusers fp32": (peer, call, False), "diffusers bf16": (peer, call, True)}


if __name__ == "__main__":
    compare("dit", "DiT", "diffusers' of the same width, depth, heads and patches.", networks)
