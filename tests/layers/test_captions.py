"""Captions: read from a person's files, drawn anew each step, asked for by prompt through the spec alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from figment import data, registry
from figment.core.data import Spec
from figment.core.errors import DataError, UsageError
from figment.core.noise import Noise
from figment.core.stages import UNTRAINED, FirstStage
from figment.core.text import Bytes, Tokens, Words
from figment.data.check import check, render
from figment.data.digits import COLOURS, NAMES
from figment.latent.attention import word_changes, word_maps
from figment.models.diffusion.diffusion import DiffusionConfig
from figment.models.diffusion.distilled import DistilledConfig
from figment.nn.text import TextEncoder, summary

TEXTS = {f"{k:02d}.png": [f"a red {k}", f"{k}, in red!"] for k in range(20)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for name in TEXTS:
        PIL.Image.fromarray(generator.integers(0, 256, (12, 12, 3), np.uint8)).save(tmp_path / name)
    return tmp_path


def lines(texts: dict[str, list[str]]) -> str:
    return "\n".join(json.dumps({"file": name, "captions": said}) for name, said in texts.items())


def said(folder: Path, **settings: str) -> tuple[Tokens, dict[str, list[str]]]:
    """The form of the captions, and those of each training picture that has any."""
    dataset = data.parse(str(folder), settings).build()
    part = dataset.spec.text
    assert part is not None
    rows = dataset.train.c["text"]  # type: ignore[attr-defined]
    return part, {str(row): [part.text(torch.from_numpy(t.astype(int))) for t in row if t.any()] for row in rows}


def test_texts_become_numbers_and_texts_again() -> None:
    words = Words.of(["A red seven", "no blue, please"])
    assert words.decode(words.encode(["a RED seven, please"])[0]) == "a red seven, please"
    assert words.strangers("a green seven, oddly") == ["green", "oddly"]
    assert parse_again(words) == words
    assert Bytes().decode(Bytes().encode(["süß, 7"])[0]) == "süß, 7"


def parse_again(words: Words) -> Words:
    return Words.model_validate_json(words.model_dump_json())


@pytest.mark.parametrize("form", ["captions.jsonl", "captions.csv", "NAME.txt"])
def test_captions_lie_beside_pictures_in_three_forms(folder: Path, form: str) -> None:
    if form == "captions.jsonl":
        (folder / form).write_text(lines(TEXTS))
    elif form == "captions.csv":
        rows = [f'{name},"{text}"' for name, said in TEXTS.items() for text in said]
        (folder / form).write_text("\n".join(["file,text", *rows]))
    else:
        for name, own in TEXTS.items():
            (folder / name).with_suffix(".txt").write_text("\n".join(own))
    part, told = said(folder)
    assert part.tokenizer.kind == "words"
    assert {tuple(own) for own in told.values()} <= {tuple(own) for own in TEXTS.values()}
    assert len(told) >= 16
    assert all(text in {t for own in TEXTS.values() for t in own} for text in part.examples)
    report = check(data.parse(str(folder)))
    assert report["captions"] == {**report["captions"], "pictures": 20, "most": 2, "longest": 5}
    assert "captions    of 20 pictures, up to 2 each" in render(report)
    assert said(folder, tokenizer="bytes")[0].tokenizer.kind == "bytes"


def test_pictures_without_a_caption_have_the_empty_one(folder: Path) -> None:
    (folder / "captions.jsonl").write_text(lines({k: v for k, v in TEXTS.items() if k < "10.png"} | {"x.png": ["no"]}))
    dataset = data.parse(str(folder)).build()
    assert any("10 pictures have no caption" in note for note in dataset.notes)
    assert any("1 captions name no picture" in note for note in dataset.notes)
    assert "" not in dataset.spec.text.examples  # type: ignore[union-attr]
    (folder / "captions.jsonl").write_text('{"file": "00.png"}')
    with pytest.raises(DataError, match=r"captions.jsonl, line 1: a line such as"):
        data.parse(str(folder)).build()


def test_parquet_with_captions(tmp_path: Path, folder: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = {"image": [(folder / name).read_bytes() for name in TEXTS], "text": [own[0] for own in TEXTS.values()]}
    parquet.write_table(arrow.table(rows), tmp_path / "a.parquet")
    part = data.parse(str(tmp_path / "a.parquet")).build().spec.text
    assert part is not None
    assert set(part.examples) <= set(rows["text"])
    silent = arrow.table({**rows, "text": arrow.array([None] * len(TEXTS), arrow.string())})
    parquet.write_table(silent, tmp_path / "b.parquet")
    assert data.parse(str(tmp_path / "b.parquet")).build().spec.text is None


def test_one_of_several_captions_is_drawn_at_each_step(folder: Path) -> None:
    (folder / "captions.jsonl").write_text(lines(TEXTS))
    train = data.parse(str(folder)).build().train
    rows = np.arange(len(train))
    first = train.gather(rows).c["text"]
    assert torch.equal(first, train.gather(rows).c["text"])
    draws = torch.stack([train.gather(rows, seed).c["text"] for seed in range(12)])
    assert torch.equal(draws[3], train.gather(rows, 3).c["text"])
    assert 0.3 < (draws == first).all(2).float().mean() < 0.7


@pytest.fixture
def spec() -> Spec:
    faces = data.parse("faces", {"count": 32, "size": 8}).build().spec
    return faces.model_copy(update={"c": {key: faces.c[key] for key in ("label", "text")}})


def test_a_prompt_is_a_condition_of_each_sample(spec: Spec) -> None:
    given = spec.given(prompt="a happy face with round glasses")
    c = spec.conditions(Noise(0, range(3)), given)
    assert c["text"].shape == (3, spec.text.length)  # type: ignore[union-attr]
    assert spec.text.text(c["text"][2]) == "a happy face with round glasses"  # type: ignore[union-attr]
    drawn = spec.conditions(Noise(0, range(40)))["text"]
    assert {spec.text.text(row) for row in drawn} <= set(spec.text.examples)  # type: ignore[union-attr]
    nothing = spec.nulled(c, torch.tensor([True, False, True]))["text"]
    assert nothing.any(1).tolist() == [False, True, False]


def test_a_first_stage_and_what_stands_on_it_read_the_same_words(spec: Spec) -> None:
    """A word is a number: by another list of words a teacher would be told other captions than its student."""
    text = spec.text
    assert text is not None
    teacher = FirstStage(model=DiffusionConfig(size="tiny", condition="text"), spec=spec, weights=UNTRAINED)
    DistilledConfig(size="tiny", first=teacher).build(spec)
    for change in ({"tokenizer": Words.of(["other", *text.examples])}, {"length": text.length + 1}):
        other = spec.model_copy(update={"c": {**spec.c, "text": text.model_copy(update=change)}})
        assert spec.shared(other) == {"label"}
        with pytest.raises(UsageError, match="other words in its captions"):
            DistilledConfig(size="tiny", first=teacher).build(other)


def test_words_never_seen_are_named(spec: Spec) -> None:
    with pytest.warns(UserWarning, match="never seen the word 'glases'. Did you mean 'glasses'?"):
        spec.given(prompt="a happy face with glases")
    with pytest.raises(UsageError, match="knows none of these words"):
        spec.given(prompt="quantum zebra")
    with pytest.warns(UserWarning, match="is not read"):
        spec.given(prompt="a happy face " * 40)


@pytest.mark.parametrize("kind", ["diffusion", "cascade", "latent-diffusion", "vae"])
def test_what_a_model_was_not_told_is_named_with_what_would_tell_it(spec: Spec, kind: str) -> None:
    def built(**settings: Any) -> Spec:
        return registry.load("model", kind)(size="tiny", **settings).build(spec).spec

    plain = Spec(name="plain", x=spec.x, c={"label": spec.c["label"]})
    with pytest.raises(UsageError, match=r"was trained without captions .plain.. Give it a label"):
        registry.load("model", kind)(size="tiny").build(plain).spec.given(prompt="glasses")
    with pytest.raises(UsageError, match=r"not told the labels of faces. Leave it out, or train one that is"):
        built(conditional=False).given(label="bun")
    if kind == "latent-diffusion":  # told captions where there are some
        with pytest.raises(UsageError, match=r"not told the labels of faces. Give it a prompt: --prompt TEXT, or"):
            built().given(label="bun")
    else:
        with pytest.raises(UsageError, match=r"not told the captions of faces. Give it a label.*model.condition=text"):
            built().given(prompt="glasses")


@pytest.mark.parametrize("network", ["unet", "dit"])
@torch.no_grad()
def test_what_a_model_hears_of_texts(spec: Spec, network: str) -> None:
    torch.manual_seed(0)
    model = DiffusionConfig(size="tiny", condition="text", network=network).build(spec).eval()  # type: ignore[arg-type]
    for parameter in model.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    x, t = torch.randn(2, 3, 8, 8), torch.full((2,), 0.5)
    texts = [spec.given(prompt=text)["text"] for text in ("glasses", "a calm person with long blue hair, no glasses")]
    c = {"text": torch.stack(texts)}
    both = model.denoise(x, t, c).mean
    torch.testing.assert_close(model.denoise(x, t, model.prepared(c)).mean, both)
    alone = model.denoise(x[:1], t[:1], {"text": c["text"][:1]}).mean  # a longer neighbour changes nothing
    torch.testing.assert_close(alone, both[:1], atol=1e-5, rtol=1e-5)
    silent = {"text": torch.zeros_like(c["text"])}
    torch.testing.assert_close(model.denoise(x, t, silent).mean, model.denoise(x, t, {}).mean)
    assert (model.denoise(x, t, silent).mean - both).abs().max() > 1e-3
    sampler = model.with_sampling(model.Sampling(steps=2, guidance=3, negative="glasses"))
    noise = Noise(0, range(2))
    plain = model.with_sampling(model.Sampling(steps=2, guidance=3)).sample(c, noise)
    assert not torch.allclose(sampler.sample(c, Noise(0, range(2))), plain)
    with pytest.raises(UsageError, match="does nothing without guidance"):
        model.with_sampling(model.Sampling(negative="glasses"))


@pytest.mark.parametrize("network", ["unet", "dit"])
@torch.no_grad()
def test_where_attention_to_words_matters(spec: Spec, network: str) -> None:
    """The squared change of what is predicted where a word is hidden from attention; a summary of the text stays."""
    torch.manual_seed(0)
    model = DiffusionConfig(size="tiny", condition="text", network=network).build(spec).eval()  # type: ignore[arg-type]
    for parameter in model.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    spec = model.spec
    c, noise = spec.conditions(Noise(0, range(2)), spec.given(prompt="a calm face with glasses")), Noise(0, range(2))
    sampler = model.with_sampling(model.Sampling(steps=2, guidance=2))
    x, maps = word_maps(model, sampler, c, noise)
    torch.testing.assert_close(x, sampler.sample(c, noise))
    assert maps.shape == (2, spec.text.length, 8, 8)  # type: ignore[union-attr]
    assert (maps[:, :5].sum((2, 3)) > 0).all()
    assert (maps[:, 5:] == 0).all()  # where the text is over

    once = model.with_sampling(model.Sampling(steps=1))
    maps, start, t = word_maps(model, once, c, noise)[1], once.prior(c, noise), torch.ones(2)
    said, whole = model.prepared(c)["text"], model.predict(once.prior(c, noise), t, c)
    for k in range(5):
        deaf = torch.where(torch.arange(said.shape[1])[:, None] == k, 0.0, said)
        change = whole - model.network(start, t, summary(said), deaf)
        torch.testing.assert_close(maps[:, k], change.square().mean(1))


@torch.no_grad()
def test_what_a_word_changes_is_the_picture_without_it(spec: Spec) -> None:
    torch.manual_seed(0)
    model = DiffusionConfig(size="tiny", condition="text").build(spec).eval()
    for parameter in model.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    texts = [model.spec.given(prompt=prompt) for prompt in ("glasses, calm", ", calm")]
    c, without = (model.spec.conditions(Noise(0, range(2)), text) for text in texts)
    sampler = model.with_sampling(model.Sampling(steps=2))
    x, maps, words = word_changes(sampler, model.spec.text, c, Noise(0, range(2)))  # type: ignore[arg-type]
    assert words == ["glasses", ",", "calm"]
    torch.testing.assert_close(x, sampler.sample(c, Noise(0, range(2))))
    torch.testing.assert_close(maps[:, 0], (x - sampler.sample(without, Noise(0, range(2)))).abs().mean(1))
    assert maps.amax((2, 3)).min() > 0


def test_coloured_digits_come_with_what_is_said_of_them() -> None:
    dataset = data.parse("digits:coloured").build()
    batch, text = dataset.train.gather(np.arange(200)), dataset.spec.text
    assert text is not None
    for x, label, said in zip(batch.x, batch.c["label"].tolist(), batch.c["text"]):
        _, colour, digit = text.text(said).split()
        assert NAMES[label] == digit
        shade = torch.tensor(COLOURS[colour]).float()
        torch.testing.assert_close((x + 1).amax((1, 2)) / 2 * 255, shade, atol=16, rtol=0.1)
    assert dataset.spec.x.shape == (3, 8, 8)
    assert data.parse("digits").build().spec.text is None


def test_an_encoder_of_its_own_becomes_a_graph() -> None:
    """Which cannot look how long the texts of a batch are."""
    encoder = TextEncoder(9, 5, 8, 1).eval()
    given, other = torch.tensor([[2, 3, 0, 0, 0], [4, 0, 0, 0, 0]]), torch.tensor([[5, 0, 6, 0, 0], [0] * 5, [7] * 5])
    graph = torch.export.export(encoder, (given,), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    torch.testing.assert_close(graph(other), encoder(other))
