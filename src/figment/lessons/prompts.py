"""Text to picture: a prompt, a negative prompt, and where attention to a word matters."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.core.errors import UsageError
from figment.core.model import with_sampling
from figment.data.digits import COLOURS, NAMES
from figment.explorer.scene import Scene
from figment.latent.attention import word_changes, word_maps
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import bars, pictures, plate

STEPS, GUIDANCE = 600, 3.0
EACH = 6  # pictures of each digit in each colour
MANY = 300  # pictures of any colour
LEFT_OUT = "blue"


def drawn(scene: Scene, stage: Stage, texts: list[str], **options: Any) -> Tensor:
    """A picture for each text, from the same noise whatever the texts."""
    text = torch.stack([scene.model.spec.given(prompt=text)["text"] for text in texts])
    return with_sampling(scene.model, options).sample({"text": text}, stage.noise(len(texts))).float()


def colours(x: Tensor) -> Tensor:
    """The colour of each picture: that nearest in direction to the mean of its pixels."""
    table = torch.nn.functional.normalize(torch.tensor(list(COLOURS.values())).float(), dim=1)
    return (light(x).mean((2, 3)) @ table.T).argmax(1)


def light(x: Tensor) -> Tensor:
    return (x.clamp(-1, 1) + 1) / 2


def digits(stage: Stage, x: Tensor) -> Tensor:
    """The digit of each picture: that of the training scan nearest in brightness."""
    known, asked = (light(v).amax(1).flatten(1) for v in (stage.training.x, x))
    known, asked = (torch.nn.functional.normalize(v, dim=1) for v in (known, asked))
    return stage.training.c["label"][(asked @ known.T).argmax(1)]


def make(stage: Stage) -> Told:
    if stage.dataset.spec.name != LESSON.data:
        raise UsageError(f"the words of lesson {LESSON.name} are those of {LESSON.data}: leave --data out.")
    settings = {"model__conditional": True, "model__condition": "text", "model__size": "tiny", "training__lr": 5e-3}
    scene = stage.scene("prompts", "diffusion", STEPS, **settings)
    names = list(COLOURS)
    wanted = [(k, name) for _ in range(EACH) for k in range(10) for name in names]
    x = drawn(scene, stage, [f"a {name} {NAMES[k]}" for k, name in wanted], guidance=GUIDANCE)
    digit = float((digits(stage, x) == torch.tensor([k for k, _ in wanted])).float().mean())
    colour = float((colours(x) == torch.tensor([names.index(name) for _, name in wanted])).float().mean())

    anything = ["a colourful digit"] * MANY
    free = drawn(scene, stage, anything, guidance=GUIDANCE)
    pushed = drawn(scene, stage, anything, guidance=GUIDANCE, negative=LEFT_OUT)
    before, after = (float((colours(v) == names.index(LEFT_OUT)).float().mean()) for v in (free, pushed))

    text = scene.model.spec.given(prompt="a red seven")["text"]
    sampler, told, noise = with_sampling(scene.model, {}), {"text": text.expand(MANY, -1)}, stage.noise(MANY)
    sevens, changes, words = word_changes(sampler, scene.model.spec.text, told, noise)
    heard, changed = (
        maps[:, words.index("seven")] for maps in (word_maps(scene.model, sampler, told, noise)[1], changes)
    )
    ink = light(sevens).amax(1) > 0.25
    listening, changing = (float(((part * ink).sum((1, 2)) / part.sum((1, 2))).mean()) for part in (heard, changed))
    area = float(ink.float().mean())

    figures = {
        "digit": digit, "colour": colour, f"{LEFT_OUT}_without": before, f"{LEFT_OUT}_with_negative": after,
        "attention_on_the_digit": listening, "change_on_the_digit": changing, "area_of_the_digit": area,
    }  # fmt: skip
    claims = [
        Claim("A prompt's digit and colour are drawn", f"{digit:.0%} (chance 10 %) and {colour:.0%} (chance 20 %)",
              digit >= 0.85 and colour >= 0.9),
        Claim(f"The negative prompt '{LEFT_OUT}' leaves it out",
              f"{before:.0%} of colourful digits are {LEFT_OUT}, with it {after:.0%}, from the same noise",
              before >= 0.15 and after <= 0.05),
    ]  # fmt: skip
    user = stage.dataset.spec.x.to_user
    dimmed = [
        (user(sevens[:8]) * (part[:8] / part[:8].amax((1, 2), keepdim=True)).sqrt()[..., None].numpy()).astype(np.uint8)
        for part in (heard, changed)
    ]
    panels = [
        [
            pictures(
                "A prompt for every picture: 'a red zero', 'a green zero', ...",
                user(x[:50].view(10, 5, *x.shape[1:]).transpose(0, 1).flatten(0, 1)),
                10,
                f"Guidance {GUIDANCE:g}, a row a colour.",
                names=names,
                margin=0.9,
            )
        ],
        [
            pictures("'a colourful digit'", user(free[:24]), 8, f"{before:.0%} are {LEFT_OUT}."),
            pictures(f"the same, not '{LEFT_OUT}'", user(pushed[:24]), 8, f"Equal noise: {after:.0%} are."),
        ],
        [
            pictures(
                "'a red seven'",
                np.concatenate([user(sevens[:8]), *dimmed]),
                8,
                "Below: where attention to 'seven' matters; what it changes.",
            ),
            bars(
                "Of all colourful digits, which share is blue?",
                {"no negative": before, "not 'blue'": after},
                form="{:.0%}",
            ),
        ],
    ]
    text = TEXT.format(
        digit=digit, colour=colour, before=before, after=after, listening=listening, changing=changing, area=area
    )
    return Told(plate(LESSON.title, LESSON.teaches, panels), text, figures, claims)


TEXT = """
A caption is read word by word by a small transformer that is trained along with the denoiser; every part of the picture
attends to the words it needs. The prompt then draws the digit it names in {digit:.0%} of the pictures, and the colour
in {colour:.0%}. Guidance moves each step from what is likely without the prompt towards what is likely with it; a
negative prompt takes the place of "without": from the same noise, {before:.0%} of the pictures of 'a colourful digit'
are blue, and {after:.0%} where 'blue' is pushed away from. The digit covers {area:.0%} of the picture. On it lies
{listening:.0%} of what moves in each step's guess where its attention is kept from 'seven', and {changing:.0%} of what
changes where 'seven' is left out of the prompt and the noise stays. The weights of attention themselves say less: they
may rest anywhere.
"""

LESSON = Lesson(
    name="prompts",
    title="Prompts, and what not to draw",
    source="Decks 000 and 001, 'Stable Diffusion', 'Negative prompt'. R. Rombach et al., 'High-resolution image "
    "synthesis with latent diffusion models' (2022); J. Ho and T. Salimans, 'Classifier-free diffusion guidance' "
    "(2021)",
    teaches="Pictures listen to words where they need them; a negative prompt is what guidance moves away from.",
    make=make,
    data="digits:coloured",
    needs=("pictures", "labels"),
)
