"""Prompts obeyed: coloured digits drawn from captions in a latent space (F10), one colour left out (F11), and drawn
small, then larger (F14)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

import figment
from figment import data
from figment.core.data import Image
from figment.core.model import with_sampling
from figment.core.noise import Noise
from figment.core.run import RunFolder
from figment.evaluate.features import features_for
from figment.latent.attention import word_changes, word_maps
from real import source

pytestmark = [pytest.mark.learn, pytest.mark.timeout(3600)]
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLOURS = {"red": (255, 60, 60), "green": (60, 220, 80), "blue": (70, 90, 255), "yellow": (245, 225, 50),
           "purple": (200, 70, 230)}  # fmt: skip
TABLE = torch.nn.functional.normalize(torch.tensor(list(COLOURS.values())).float(), dim=1)
COUNT, STEPS = 6000, 800


def coloured(folder: Path) -> Path:
    """MNIST digits in five colours on black, with captions that say both, one, or neither."""
    train = data.parse(source("mnist"), {"rows": COUNT}).build().train
    generator, lines = np.random.default_rng(0), []
    batch = train.gather(np.arange(len(train)))
    grey = ((batch.x + 1) * 127.5).round().numpy().astype(np.float32)[:, 0, :, :, None] / 255
    for k, (x, label) in enumerate(zip(grey, batch.c["label"].tolist())):
        colour = str(generator.choice(list(COLOURS)))
        PIL.Image.fromarray((x * COLOURS[colour]).astype(np.uint8)).save(folder / f"{k:05d}.png")
        digit = DIGITS[label]
        said = [f"a {colour} {digit}", f"{digit} in {colour}", f"a colourful {digit}", colour, "a colourful digit"]
        lines.append(json.dumps({"file": f"{k:05d}.png", "captions": said}))
    (folder / "captions.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = coloured(tmp_path_factory.mktemp("coloured"))
    return figment.train("latent-diffusion", str(folder), folder.parent / "run", steps=STEPS)


@cache
def reader() -> Any:
    """A classifier of MNIST digits, of grey pictures."""
    return features_for(data.parse(source("mnist"), {"rows": 12_000}).build(), "classifier")


def digits(x: torch.Tensor) -> torch.Tensor:
    """The digit that each picture `(N, 3, H, W)` shows, by its brightest channel at 28x28."""
    grey = torch.nn.functional.interpolate(x.amax(1, keepdim=True), (28, 28), mode="bilinear", antialias=True)
    return reader().classify(grey).argmax(1)


def hues(x: torch.Tensor) -> torch.Tensor:
    """The colour of each picture: that nearest in direction to the mean of its pixels."""
    mean = torch.nn.functional.normalize(((x.clamp(-1, 1) + 1) / 2).mean((2, 3)), dim=1)
    return (mean @ TABLE.T).argmax(1)


def drawn(model: Any, texts: list[str], start: int = 0, **options: Any) -> torch.Tensor:
    c = {"text": torch.stack([model.spec.given(prompt=text)["text"] for text in texts])}
    return with_sampling(model, options).sample(c, Noise(0, range(start, start + len(texts)))).float()


def obeyed(model: Any) -> tuple[float, float]:
    """How often digit and colour are those of the prompt."""
    wanted = [(k, name) for _ in range(6) for k in range(10) for name in COLOURS]
    pictures = drawn(model, [f"a {name} {DIGITS[k]}" for k, name in wanted], guidance=3)
    digit = (digits(pictures) == torch.tensor([k for k, _ in wanted])).float().mean()
    colour = (hues(pictures) == torch.tensor([list(COLOURS).index(name) for _, name in wanted])).float().mean()
    print(f"digit {digit:.3f} (chance .1), colour {colour:.3f} (chance .2)")
    return float(digit), float(colour)


def test_digit_and_colour_are_as_the_prompt_says(run: RunFolder) -> None:
    model: Any = figment.load(run.path)
    x = model.spec.x
    assert isinstance(x, Image)
    assert 8 * model.denoiser.spec.x.dimensions <= x.dimensions  # numbers of a code, of a picture
    digit, colour = obeyed(model)
    assert digit >= 0.85
    assert colour >= 0.9


def test_a_cascade_keeps_digit_and_colour(tmp_path: Path) -> None:
    """16x16, then 32x32, told the same caption."""
    (tmp_path / "coloured").mkdir()
    folder = coloured(tmp_path / "coloured")
    run = figment.train("cascade", str(folder), tmp_path / "run", steps=STEPS, model__size="tiny", data__size=32)
    digit, colour = obeyed(figment.load(run.path))
    assert digit >= 0.85
    assert colour >= 0.9


def test_a_negative_prompt_leaves_a_colour_out(run: RunFolder) -> None:
    model: Any = figment.load(run.path)
    blue = list(COLOURS).index("blue")
    texts = ["a colourful digit"] * 300
    free, without = (hues(drawn(model, texts, guidance=3, **negative)) for negative in ({}, {"negative": "blue"}))
    shares = [float((seen == blue).float().mean()) for seen in (free, without)]
    print(f"blue {shares[0]:.3f} without, {shares[1]:.3f} with the negative prompt, the same noise")
    assert shares[0] >= 0.15
    assert shares[1] <= 0.05


@pytest.mark.parametrize("of", ["attention", "change"])
def test_words_act_where_the_digit_is(run: RunFolder, of: str) -> None:
    """Attention to the words matters, and what they change lies, on the digit: twice as much as its area would have."""
    model: Any = figment.load(run.path)
    noise, times = Noise(0, range(32)), {}
    for digit in ("seven", "three"):
        c = model.spec.conditions(noise, model.spec.given(prompt=f"a red {digit}"))
        sampler = with_sampling(model, {})
        if of == "attention":
            x, maps = word_maps(model, sampler, c, noise)
        else:
            x, maps, _ = word_changes(sampler, model.spec.text, c, noise)
        ink = (x.amax(1) > -0.5).float()
        shares = ((maps * ink[:, None]).sum((2, 3)) / maps.sum((2, 3))).mean(0) / ink.mean()
        times |= {("red", digit): float(shares[1]), (digit, digit): float(shares[2])}
    print(f"{of}: times as much on the digit as its area would have: {times}")
    assert min(times.values()) > 1.7
    assert times["seven", "seven"] > 2
