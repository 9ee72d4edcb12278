"""Where attention to a word matters to what is predicted while a picture is drawn; and what each word changes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from figment.core.errors import UsageError
from figment.core.model import CanSample
from figment.core.noise import Noise
from figment.core.text import Tokens, words
from figment.nn.dit import DiT
from figment.nn.text import there
from figment.nn.unet import UNet


class Listener:
    """How much what a network predicts changes where its attention may not go to a word, `(B, L, H, W)`: the mean of
    |v - v_k|^2 over channels and over all predictions v heard so far, the rest being as it was.

    Weights of attention themselves may rest anywhere, as may what is gained by them in any one layer; this is where all
    of it ends up. Geva et al., "Dissecting recall of factual associations in auto-regressive language models" (2023),
    knock attention out; Couairon et al., "DiffEdit: diffusion-based semantic image editing with mask guidance" (2023),
    compare predictions.
    """

    def __init__(self, count: int, size: tuple[int, int]):
        self.count, self.size = count, size
        self.total, self.heard = torch.zeros(()), 0

    def __call__(self, network: Any, given: tuple[Any, ...], predicted: Tensor) -> None:
        if given[-1] is None:
            return
        *seen, said = (part[: self.count] for part in given)
        maps = said.new_zeros(*said.shape[:2], *self.size)
        for k in there(said).any(0).nonzero()[:, 0].tolist():
            deaf = said.clone()
            deaf[:, k] = 0  # as where a text is over
            change = (predicted[: self.count] - network.forward(*seen, deaf)).square().mean(1, keepdim=True)
            maps[:, k] = F.interpolate(change, self.size, mode="bilinear", align_corners=False)[:, 0]
        self.total = self.total + maps
        self.heard += 1

    @property
    def maps(self) -> Tensor:
        return self.total / self.heard


@torch.no_grad()
def word_maps(model: Any, sampler: Any, c: Mapping[str, Tensor], noise: Noise) -> tuple[Tensor, Tensor]:
    """Samples `(B, C, H, W)`, and how much attention to each word matters to each pixel of theirs `(B, L', H, W)`,
    L' <= L. Raises UsageError for a model whose networks are not of figment."""
    listener = Listener(len(noise), model.spec.x.shape[1:])
    with ExitStack() as stack:
        for network in model.modules():
            if isinstance(network, UNet | DiT):
                stack.callback(network.register_forward_hook(listener).remove)
        x = sampler.sample(c, noise)
    if not listener.heard:
        raise UsageError(f"no attention of {model.spec.name} can be withheld from a word: ask for of=change.")
    return x, listener.maps


@torch.no_grad()
def word_changes(
    sampler: CanSample, text: Tokens, c: Mapping[str, Tensor], noise: Noise
) -> tuple[Tensor, Tensor, list[str]]:
    """Samples `(B, C, H, W)` of one text, how much each pixel of theirs changes where a word of it is left out and the
    noise stays, the mean of |x - x'| over channels `(B, words, H, W)`, and the words.

    Hertz et al., "Prompt-to-prompt image editing with cross attention control" (2022), compare such pictures.
    """
    x, said = sampler.sample(c, noise), words(text.text(c["text"][0]))
    maps = []
    for k in range(len(said)):
        rest = torch.from_numpy(text.stored([" ".join(said[:k] + said[k + 1 :])]).astype(np.int64))
        other = sampler.sample({**c, "text": rest.to(x.device).expand_as(c["text"])}, noise)
        maps.append((x - other).abs().float().mean(1))
    return x, torch.stack(maps, 1) if maps else x.new_zeros(len(x), 0, *x.shape[2:]), said
