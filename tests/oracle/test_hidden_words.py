"""Captions with words left out in training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from figment.core.data import Batch, Image, Spec
from figment.core.model import Turn
from figment.core.text import Tokens, Words
from figment.models.diffusion.diffusion import DiffusionConfig
from figment.nn.text import TextEncoder


@torch.no_grad()
def test_a_text_with_holes_is_read_alike_in_any_company() -> None:
    torch.manual_seed(0)
    encoder = TextEncoder(9, 6, width=32, depth=2)
    late, whole = torch.tensor([0, 0, 0, 5, 0, 0]), torch.tensor([3, 4, 6, 7, 8, 2])
    alone = encoder(late[None])[0]
    torch.testing.assert_close(alone, encoder(torch.stack([late, whole]))[0])
    assert alone[3].abs().sum() > 0
    assert alone[[0, 1, 2, 4, 5]].abs().sum() == 0


def test_as_many_words_are_hidden_as_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ("one two three four five six", "six five four three two one")
    text = Tokens(tokenizer=Words.of(texts), length=6, examples=texts)
    spec = Spec(name="made", x=Image(channels=1, height=8, width=8), c={"text": text})
    model = DiffusionConfig(size="tiny", hidden=0.4, dropout=0).build(spec)
    said = torch.stack([text.read(one) for one in texts * 200])
    heard: list[Tensor] = []

    def predict(x_t: Tensor, t: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        heard.append(c["text"])
        return x_t

    monkeypatch.setattr(model, "predict", predict)
    model.loss(Batch(torch.zeros(400, 1, 8, 8), {"text": said}, np.arange(400)), Turn(0, 0.0))
    left = heard[0] != 0
    assert torch.equal(heard[0][left], said[left])
    assert abs(left.float().mean() - 0.6) < 0.03
