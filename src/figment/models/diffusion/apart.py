"""Prompts taken apart: what each of their words says, put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import numpy as np
import torch
from torch import Tensor

from figment.core.data import Spec, Tokens
from figment.core.model import CanDenoise, Denoised
from figment.core.text import words


@final
class Apart(CanDenoise):
    """E[x | x_t] + sum_k (E[x | x_t, w_k] - E[x | x_t]) over the words w_k of a text, its signs left out, each
    told alone: of p(x) prod_k p(w_k | x), as if words said nothing of one another. One pass, with a row for none and
    for each word.

    Texts that were turned into vectors stay whole. Liu et al., "Compositional visual generation with composable
    diffusion models" (2022).
    """

    def __init__(self, denoiser: CanDenoise, spec: Spec, text: Tokens):
        self.denoiser, self.spec, self.text = denoiser, spec, text
        self.schedule = denoiser.schedule
        self.known: dict[str, Tensor] = {}

    def denoise(self, x_t: Tensor, t: Tensor, c: Mapping[str, Tensor]) -> Denoised:
        if c["text"].is_floating_point():
            return self.denoiser.denoise(x_t, t, c)
        said = [[word for word in words(self.text.text(row)) if word.isalnum()] for row in c["text"].cpu()]
        rows = torch.tensor([k for k, own in enumerate(said) for _ in own], dtype=torch.long, device=x_t.device)
        told = torch.stack([self._read(word) for word in ["", *(word for own in said for word in own)]])
        alone = torch.cat([torch.zeros_like(told[:1]).expand(len(x_t), *told.shape[1:]), told[1:]])
        both = {key: torch.cat([v, v[rows]]) for key, v in c.items()} | {"text": alone}
        found = self.denoiser.denoise(torch.cat([x_t, x_t[rows]]), torch.cat([t, t[rows]]), both)
        without, each = found.mean.split([len(x_t), len(rows)])
        variance = None if found.variance is None else found.variance[: len(x_t)]
        return Denoised(without.index_add(0, rows, each - without[rows]), variance)

    def _read(self, text: str) -> Tensor:
        """The vectors of a text `(L, E)`, read once."""
        if text not in self.known:
            tokens = torch.from_numpy(self.text.stored([text]).astype(np.int64))
            with torch.no_grad():
                self.known[text] = self.denoiser.prepared({"text": tokens})["text"][0]
        return self.known[text]
