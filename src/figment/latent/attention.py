"""Where a picture listens to which word: the attention of its denoiser, averaged while it is drawn; and what each word
changes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from figment.core.model import CanSample
from figment.core.noise import Noise
from figment.core.text import Tokens, words
from figment.nn.dit import JointAttention
from figment.nn.text import CrossAttention


class Listener:
    """The mean of all attention to words `(B, L, H, W)` heard so far, over heads, layers, steps and places of a map.

    Hertz et al., "Prompt-to-prompt image editing with cross attention control" (2022); Tang et al., "What the DAAM:
    interpreting Stable Diffusion using cross attention" (2023).
    """

    def __init__(self, count: int, size: tuple[int, int]):
        self.count, self.size = count, size
        self.total, self.heard = torch.zeros(()), 0

    def __call__(self, layer: Any, given: tuple[Any, ...]) -> None:
        if any(part is None for part in given):
            return
        weights = layer.weights(*given)[: self.count, ..., :-1].float().mean(1).mT  # (B, L, places), without silence
        rows = round((weights.shape[2] * self.size[0] / self.size[1]) ** 0.5)
        maps = weights.unflatten(2, (rows, -1))
        self.total = self.total + F.interpolate(maps, self.size, mode="bilinear", align_corners=False)
        self.heard += 1

    @property
    def maps(self) -> Tensor:
        return self.total / max(self.heard, 1)


@torch.no_grad()
def word_maps(model: Any, sampler: Any, c: Mapping[str, Tensor], noise: Noise) -> tuple[Tensor, Tensor]:
    """Samples `(B, C, H, W)`, and how much each pixel of theirs attends to each word `(B, L', H, W)`, L' <= L."""
    listener = Listener(len(noise), model.spec.x.shape[1:])
    with ExitStack() as stack:
        for layer in model.modules():
            if isinstance(layer, CrossAttention | JointAttention):
                assert isinstance(layer, nn.Module)
                handle = layer.register_forward_pre_hook(listener)
                stack.callback(handle.remove)
        x = sampler.sample(c, noise)
    return x, listener.maps


@torch.no_grad()
def word_changes(
    sampler: CanSample, text: Tokens, c: Mapping[str, Tensor], noise: Noise
) -> tuple[Tensor, Tensor, list[str]]:
    """Samples `(B, C, H, W)` of one text, how much each pixel of theirs changes where a word of it is left out and the
    noise stays, the mean of |x - x'| over channels `(B, words, H, W)`, and the words.

    Unlike attention, which may rest anywhere, this is what a word does. Couairon et al., "DiffEdit: diffusion-based
    semantic image editing with mask guidance" (2023), there of single steps.
    """
    x, said = sampler.sample(c, noise), words(text.text(c["text"][0]))
    maps = []
    for k in range(len(said)):
        rest = torch.from_numpy(text.stored([" ".join(said[:k] + said[k + 1 :])]).astype(np.int64))
        other = sampler.sample({**c, "text": rest.to(x.device).expand_as(c["text"])}, noise)
        maps.append((x - other).abs().float().mean(1))
    return x, torch.stack(maps, 1) if maps else x.new_zeros(len(x), 0, *x.shape[2:]), said
