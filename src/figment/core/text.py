"""Text as numbers: tokenizers that carry their vocabulary, so that nothing is ever downloaded."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Annotated, Literal, Self

import numpy as np
import pydantic
import torch
from torch import Tensor

from figment.core.config import Config
from figment.core.errors import UsageError
from figment.core.noise import Noise

EMPTY = 0  # the number of no token: what follows a text, and all there is of the empty one
UNKNOWN = 1
MOST_WORDS = 20_000
TokenizerName = Literal["words", "bytes"]


class Words(Config):
    """A token a word or sign, upper and lower case alike; words that are not in the vocabulary are all one token."""

    kind: Literal["words"] = "words"
    vocabulary: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Self:
        """The words of some texts, the most frequent 20,000, in alphabetical order."""
        counts = Counter(word for text in texts for word in words(text))
        return cls(vocabulary=tuple(sorted(word for word, _ in counts.most_common(MOST_WORDS))))

    @property
    def size(self) -> int:
        """Tokens there are, the empty one included."""
        return len(self.vocabulary) + 2

    def encode(self, texts: Iterable[str]) -> list[list[int]]:
        place = {word: k + 2 for k, word in enumerate(self.vocabulary)}
        return [[place.get(word, UNKNOWN) for word in words(text)] for text in texts]

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """Tokens as what each stands for."""
        return [self.vocabulary[k - 2] if k >= 2 else "?" for k in tokens if k != EMPTY]

    def decode(self, tokens: Sequence[int]) -> str:
        return re.sub(r" ([^\w\s])", r"\1", " ".join(self.pieces(tokens)))

    def strangers(self, text: str) -> list[str]:
        """The words of a text that are not in the vocabulary."""
        known = set(self.vocabulary)
        return list(dict.fromkeys(word for word in words(text) if word not in known))


class Bytes(Config):
    """A token a byte of UTF-8: every text can be written, and none is unknown."""

    kind: Literal["bytes"] = "bytes"

    @property
    def size(self) -> int:
        return 256

    def encode(self, texts: Iterable[str]) -> list[list[int]]:
        return [[byte for byte in text.encode() if byte != EMPTY] for text in texts]

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        return [bytes([k]).decode(errors="replace") for k in tokens if k != EMPTY]

    def decode(self, tokens: Sequence[int]) -> str:
        return bytes(k for k in tokens if k != EMPTY).decode(errors="replace")

    def strangers(self, text: str) -> list[str]:
        return []


Tokenizer = Annotated[Words | Bytes, pydantic.Field(discriminator="kind")]


class Tokens(Config):
    """A text, int64 `(B, L)` in the numbers of its tokenizer; stored are several for an item, uint16 `(N, K, L)`, of
    which one is taken. The null value, all 0, is the empty text. `examples` are texts of the training split.

    A model that reads text may turn it into vectors `(B, L, E)`, those of the empty text being 0.
    """

    kind: Literal["tokens"] = "tokens"
    tokenizer: Tokenizer
    length: int = pydantic.Field(ge=1)
    examples: tuple[str, ...] = ()

    def to_model(self, stored: np.ndarray, seed: int | None = None) -> Tensor:
        """uint16 `(B, K, L)` -> int64 `(B, L)`: the first text of each item, or with a seed any of its own."""
        there = stored.any(2).sum(1).clip(1)
        draw = np.random.default_rng(seed).random(len(stored)) if seed is not None else np.zeros(len(stored))
        return torch.from_numpy(stored[np.arange(len(stored)), (draw * there).astype(np.int64)].astype(np.int64))

    def null(self, like: Tensor) -> Tensor:
        return torch.zeros_like(like)

    def draw(self, noise: Noise) -> Tensor:
        """Texts of the training split, each as likely: int64 `(B, L)`."""
        table = torch.from_numpy(self.stored(self.examples or [""]).astype(np.int64))
        return table[(noise.uniform(()) * len(table)).long().clamp(max=len(table) - 1)]

    def read(self, text: str) -> Tensor:
        """A text as int64 `(L,)`. Warns of words that the model has never seen, and of what is too long."""
        strangers, (tokens,) = self.tokenizer.strangers(text), self.tokenizer.encode([text])
        if text.strip() and set(tokens) == {UNKNOWN} and strangers:
            raise UsageError(f"'{text}': the model knows none of these words. It was told, for example: {self._few()}.")
        for word in strangers:
            close = get_close_matches(word, self.tokenizer.vocabulary, n=1, cutoff=0.7)  # type: ignore[union-attr]
            hint = f" Did you mean '{close[0]}'?" if close else ""
            warnings.warn(f"the model has never seen the word '{word}'.{hint}", stacklevel=2)
        if len(tokens) > self.length:
            rest = self.tokenizer.decode(tokens[self.length :])
            warnings.warn(f"'{rest}' is not read: texts have {self.length} tokens at most.", stacklevel=2)
        return torch.from_numpy(padded([tokens], self.length)[0].astype(np.int64))

    def stored(self, texts: Sequence[str]) -> np.ndarray:
        """Texts as uint16 `(N, L)`."""
        return padded(self.tokenizer.encode(texts), self.length)

    def text(self, tokens: Tensor) -> str:
        """Tokens `(L,)` as text again."""
        return self.tokenizer.decode(tokens.tolist())

    def pieces(self, tokens: Tensor) -> list[str]:
        """What each token `(L,)` that is not empty stands for."""
        return self.tokenizer.pieces(tokens.tolist())

    def _few(self) -> str:
        return "; ".join(f"'{text}'" for text in self.examples[:3])


def words(text: str) -> list[str]:
    """Its words and signs in lower case."""
    return re.findall(r"\w+|[^\w\s]", text.lower())


def padded(tokens: Sequence[Sequence[int]], length: int) -> np.ndarray:
    """Tokens of texts as uint16 `(N, length)`: cut where they are longer, else followed by empty ones."""
    out = np.full((len(tokens), length), EMPTY, np.uint16)
    for row, text in zip(out, tokens):
        row[: len(text)] = text[:length]
    return out
