"""Prompts taken apart: words that say something of different numbers combine to what both say, exactly."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from figment.core.data import Image, Spec
from figment.core.errors import UsageError
from figment.core.model import CanDenoise, Denoised
from figment.core.noise import Noise
from figment.core.text import Tokens, Words
from figment.models.diffusion.sampling import Sampling, sampler
from figment.models.diffusion.schedule import Straight

TEXT = Tokens(tokenizer=Words.of(["left, right"]), length=3)
SPEC = Spec(name="sides", x=Image(channels=1, height=1, width=2), c={"text": TEXT})
MEANS, SPREADS = {"left": (0.8, 0.0), "right": (0.0, -0.6)}, {"left": (0.3, 1.0), "right": (1.0, 0.4)}


def exact(x_t: Tensor, t: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
    """E[x | x_t] of x ~ N(mean, spread^2), number by number."""
    alpha, sigma = (1 - t).view(-1, 1, 1, 1), t.view(-1, 1, 1, 1)
    gain = alpha * spread**2 / (alpha**2 * spread**2 + sigma**2)
    return mean + gain * (x_t - alpha * mean)


class Literal(CanDenoise):
    """Knows what one word says of x ~ N(0, I), each of a number of its own; at two words it is at a loss."""

    schedule = Straight()

    def prepared(self, c: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {**c, "text": F.one_hot(c["text"], 5)[..., 3:].float()}

    def denoise(self, x_t: Tensor, t: Tensor, c: Mapping[str, Tensor]) -> Denoised:
        there = c["text"].sum(1)
        only = there * (there.sum(1, keepdim=True) == 1)
        mean = only @ torch.tensor([*MEANS.values()])
        spread = torch.where(only.sum(1, keepdim=True) > 0, only @ torch.tensor([*SPREADS.values()]), 1.0)
        return Denoised(exact(x_t, t, mean[:, None, None], spread[:, None, None]))


def told(texts: list[str]) -> dict[str, Tensor]:
    return {"text": torch.from_numpy(TEXT.stored(texts).astype(np.int64))}


def test_words_that_were_never_told_together_are_both_obeyed() -> None:
    """A prompt's words, in any number, drawn at once; together, they leave this model at a loss."""
    n = 500
    c = told(["left, right", "right", "", "right left"] * n)
    whole, apart = (sampler(Literal(), SPEC, Sampling(steps=24, apart=apart)) for apart in (False, True))
    x, lost = (way.sample(c, Noise(0, range(4 * n))).view(n, 4, 2) for way in (apart, whole))
    mean, spread = x.mean(0), x.std(0)
    both = torch.tensor([[0.8, -0.6], [0.0, -0.6], [0.0, 0.0], [0.8, -0.6]])
    width = torch.tensor([[0.3, 0.4], [1.0, 0.4], [1.0, 1.0], [0.3, 0.4]])
    assert ((mean - both).abs() < 4 * width / n**0.5 + 0.01).all()
    torch.testing.assert_close(spread, width, rtol=0.12, atol=0)
    torch.testing.assert_close(x[:, 1:3], lost[:, 1:3])  # one word, or none, is as ever
    torch.testing.assert_close(lost[:, 0].std(0), torch.ones(2), rtol=0.12, atol=0)


def test_guidance_pushes_all_words_and_away_from_all_of_a_negative_prompt() -> None:
    x, t = torch.randn(2, 1, 1, 2, generator=torch.Generator().manual_seed(0)), torch.full((2,), 0.6)
    none = exact(x, t, torch.zeros(2), torch.ones(2))
    left, right = (exact(x, t, torch.tensor(MEANS[word]), torch.tensor(SPREADS[word])) for word in ("left", "right"))
    chosen = {"guidance": 3.0, "apart": True}
    pushed = sampler(Literal(), SPEC, Sampling(**chosen)).denoiser.denoise(x, t, told(["left right", "right"])).mean
    expected = none + 3 * (torch.stack([left[0] + right[0], right[1] + none[1]]) - 2 * none)
    torch.testing.assert_close(pushed, expected)
    away = sampler(Literal(), SPEC, Sampling(**chosen, negative="left right")).denoiser.denoise(
        x, t, told(["left"] * 2)
    )
    torch.testing.assert_close(away.mean, (left + right - none).lerp(left, 3.0))


def test_a_model_without_words_says_so() -> None:
    with pytest.raises(UsageError, match=r"apart=true takes prompts apart, and plain has no captions"):
        sampler(Literal(), Spec(name="plain", x=SPEC.x, c={}), Sampling(apart=True))
