"""What reads captions: a transformer trained along, or the encoder of a local Hugging Face folder."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from figment.core.config import is_folder
from figment.core.errors import UsageError
from figment.core.text import Tokens
from figment.nn.text import TextEncoder

KEPT = 20_000  # texts whose vectors are kept


def reader(part: Tokens, folder: str | None, width: int, depth: int) -> Reader | BorrowedReader:
    """What turns texts int64 `(B, L)` into vectors `(B, L', width)`, L' the same for all. Raises UsageError where a
    folder is no encoder."""
    return Reader(part, width, depth) if folder is None else BorrowedReader(part, folder, width)


class Reader(TextEncoder):
    """The embedded encoder, trained along with what listens to it."""

    def __init__(self, part: Tokens, width: int, depth: int):
        super().__init__(part.tokenizer.size, part.length, width, depth)
        self.width = width


class BorrowedReader(nn.Module):
    """A frozen encoder of `transformers` (CLIP, T5, MiniLM, ...), read from its folder each time, and a learned map of
    its vectors. The folder stays where it is: its weights are not part of the model's.

    Radford et al., "Learning transferable visual models from natural language supervision" (2021); Raffel et al.,
    "Exploring the limits of transfer learning with a unified text-to-text transformer" (2020).
    """

    def __init__(self, part: Tokens, folder: str, width: int):
        super().__init__()
        self.part, self.width = part, width
        self.length = 2 * part.length + 2  # of its tokens: parts of words, and where a text begins and ends
        self._borrowed = [*_opened(folder)]  # in a list: a module assigned here would become part of this one
        self._kept: dict[str, Tensor] = {}
        numbers = self._vectors(["a"])["a"].shape[1]
        self.words_in = nn.Linear(numbers, width, bias=False)

    @torch.no_grad()
    def _vectors(self, texts: list[str]) -> dict[str, Tensor]:
        """The vectors `(l, E)` of each text, of its own tokens."""
        tokenizer, encoder = self._borrowed
        if len(self._kept) > KEPT:
            self._kept.clear()
        new = [text for text in dict.fromkeys(texts) if text and text not in self._kept]
        if new:
            said = tokenizer(new, padding=True, truncation=True, max_length=self.length, return_tensors="pt")
            found = encoder(input_ids=said["input_ids"], attention_mask=said["attention_mask"]).last_hidden_state
            for text, vectors, mask in zip(new, found.float(), said["attention_mask"].bool()):
                self._kept[text] = vectors[mask]
        return self._kept

    def forward(self, tokens: Tensor) -> Tensor:
        texts = [self.part.text(row) for row in tokens.cpu()]
        kept = self._vectors(texts)
        weight = self.words_in.weight
        vectors = torch.zeros(len(texts), self.length, weight.shape[1])
        for row, text in zip(vectors, texts):
            if text:
                row[: len(kept[text])] = kept[text]
        return self.words_in(vectors.to(weight.device)).float()


def _opened(folder: str) -> tuple[Any, Any]:
    """The tokenizer and the text encoder of a folder, frozen: no pickles, and no code of the folder's. Raises
    UsageError."""
    try:
        transformers = import_module("transformers")
    except ImportError:
        raise UsageError("model.encoder needs transformers: pip install 'figment[text]'") from None
    if not is_folder(folder):
        raise UsageError(
            f"model.encoder={folder}: there is no such folder. A model that was trained with it needs it to be there."
        )
    try:
        safely: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **safely)
        config = transformers.AutoConfig.from_pretrained(folder, **safely)
        kind = {"clip": "CLIPTextModel", "clip_text_model": "CLIPTextModel", "t5": "T5EncoderModel"}
        model = getattr(transformers, kind.get(config.model_type, "AutoModel"))
        encoder = model.from_pretrained(folder, use_safetensors=True, **safely)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"model.encoder={folder}: no Hugging Face text encoder can be read there: {reason}") from None
    return tokenizer, encoder.eval().requires_grad_(False)
