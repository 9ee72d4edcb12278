"""Captions read by encoders of Hugging Face folders, made here with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from figment.core.data import Image, Spec
from figment.core.errors import UsageError
from figment.core.text import Tokens, Words
from figment.models.diffusion.diffusion import Diffusion, DiffusionConfig

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")
TEXTS = ("a red seven", "a blue one, no red")
SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
KINDS: dict[str, Any] = {
    "MiniLM": lambda n: transformers.BertModel(transformers.BertConfig(vocab_size=n, **SIZES)),
    "T5": lambda n: transformers.T5EncoderModel(
        transformers.T5Config(vocab_size=n, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    ),
    "CLIP": lambda n: transformers.CLIPTextModel(transformers.CLIPTextConfig(vocab_size=n, **SIZES)),
}


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    words = ["[PAD]", "[UNK]", "a", "red", "seven", "blue", "one", ",", "no"]
    plain = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: k for k, word in enumerate(words)}, unk_token="[UNK]")
    )
    plain.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="[PAD]", unk_token="[UNK]")
    fast.save_pretrained(tmp_path)
    torch.manual_seed(0)
    KINDS[request.param](len(words)).save_pretrained(tmp_path)
    return tmp_path


def spec() -> Spec:
    text = Tokens(tokenizer=Words.of(TEXTS), length=6, examples=TEXTS)
    return Spec(name="made", x=Image(channels=1, height=8, width=8), c={"text": text})


def built(folder: Path | str) -> Diffusion:
    torch.manual_seed(0)
    return DiffusionConfig(size="tiny", encoder=str(folder)).build(spec()).eval()


@torch.no_grad()
def test_a_model_listens_to_a_borrowed_encoder(folder: Path) -> None:
    model, text = built(folder), spec().text
    assert text is not None
    c = {"text": torch.stack([text.read(one) for one in ("", *TEXTS)])}
    vectors = model.prepared(c)["text"]
    assert vectors.shape == (3, 14, 64)
    assert (vectors != 0).any(2).sum(1).tolist() == [0, 3, 6]  # the empty text is 0, and so is what follows a text
    torch.testing.assert_close(model.prepared({"text": c["text"][1:2]})["text"], vectors[1:2])
    x = torch.randn(3, 1, 8, 8)
    sampler = model.with_sampling(model.Sampling(steps=1, guidance=2, negative="red"))
    assert sampler.decode(x, c).isfinite().all()
    assert not [name for name in model.state_dict() if name.startswith("text.") and name != "text.words_in.weight"]
    again = built(folder)
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again.prepared(c)["text"], vectors)


def test_the_folder_is_found_from_everywhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    model = built(folder.name)
    monkeypatch.chdir("/")
    again = DiffusionConfig.model_validate(model.config.model_dump(mode="json")).build(spec()).eval()
    again.load_state_dict(model.state_dict())
    assert model.config.encoder == str(folder)
    folder.rename(folder.with_name(f"{folder.name}-elsewhere"))
    with pytest.raises(UsageError, match=f"{folder}: there is no such folder. A model that was trained with it"):
        model.config.build(spec())


def test_a_folder_without_an_encoder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no Hugging Face text encoder can be read there"):
        built(tmp_path)


def test_pickled_weights_are_not_read(folder: Path) -> None:
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(UsageError, match="no Hugging Face text encoder can be read there"):
        built(folder)
