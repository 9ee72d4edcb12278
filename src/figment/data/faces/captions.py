"""What a face looks like, in words: the same facts in many phrasings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from figment.core.errors import UsageError
from figment.data.faces.factors import NAMES, PARTS, factors

HAIR = {"short": "short {} hair", "spiky": "spiky {} hair", "curly": "curly {} hair", "bun": "{} hair in a bun",
        "pigtails": "{} pigtails", "long": "long {} hair"}  # fmt: skip
GLASSES = {"none": "no glasses", "round": "round glasses", "square": "red square glasses"}
WEARING = {"none": "without glasses", "round": "with glasses", "square": "with glasses"}
SKIN = ((0.25, "fair"), (0.5, "light brown"), (0.75, "brown"), (2, "dark"))
SMILE = ((-0.5, "sad", "a frown"), (-0.15, "glum", "drooping lips"), (0.15, "calm", "level lips"),
         (0.5, "content", "a slight smile"), (2, "happy", "a broad smile"))  # fmt: skip
MOUTH = ((0.25, "closed"), (0.6, "parted"), (2, "wide open"))
EYES = ((0.25, "narrow"), (0.7, "open"), (2, "wide"))
TURN = ((-0.4, "to the left"), (0.4, "to the front"), (2, "to the right"))
WIDTH = ((0.33, "slim"), (0.67, "oval"), (2, "broad"))
TEMPLATES = (
    "a {mood} face with {hair}, {glasses} and a {shirt} shirt on a {background} background",
    "a drawing of someone with {hair} and {smile}, looking {turn}; {shirt} shirt, {glasses}, {background} background",
    "portrait of a {mood} person in a {shirt} shirt: {hair}, {skin} skin, {glasses}, {background} wall",
    "{hair}, {glasses}, {smile}, {skin} skin, {shirt} shirt, {background} background",
    "somebody with a {width} face and {skin} skin turns {turn}, {hair}, mouth {mouth}, before a {background} wall",
    "a cartoon person who looks {mood}, with {eyes} eyes, {hair} and {glasses}",
    "on {background}, a person wearing a {shirt} shirt and {glasses}, with {hair} and {smile}",
    "a {width} {mood} face, {skin} skin, {hair}",
    "{hair}",
    "{glasses}",
    "a {mood} face with {glasses}",
    "somebody with {hair} in a {shirt} shirt",
    "a person {wearing} before a {background} wall, looking {turn}",
    "{mood}, with {hair}, {wearing}",
)


def caption(seed: int, index: int, paraphrase: int = 0) -> str:
    """What face `index` of a seed looks like, in one of its phrasings. Raises UsageError."""
    return captions(factors(seed, [index]), paraphrase)[0]


def captions(values: np.ndarray, paraphrase: int = 0) -> list[str]:
    """What faces with given factors `(N, F)` look like, in one of their phrasings. Raises UsageError."""
    if not 0 <= paraphrase < len(TEMPLATES):
        raise UsageError(
            f"captions have {len(TEMPLATES)} phrasings, 0 to {len(TEMPLATES) - 1} (asked for: {paraphrase})."
        )
    return [TEMPLATES[paraphrase].format(**_words(row)) for row in values]


def _words(row: np.ndarray) -> dict[str, str]:
    value = dict(zip(NAMES, row.tolist()))
    level = {part.name: part.levels[int(value[part.name])] for part in PARTS if part.levels}
    _, mood, smile = _degree(SMILE, value["smile"])
    degrees = {"mouth": MOUTH, "eyes": EYES, "turn": TURN, "width": WIDTH, "skin": SKIN}
    return {
        "mood": mood,
        "smile": smile,
        "hair": HAIR[level["hair"]].format(level["colour"]),
        "glasses": GLASSES[level["glasses"]],
        "wearing": WEARING[level["glasses"]],
        "shirt": level["shirt"],
        "background": level["background"],
        **{name: _degree(scale, value[name])[1] for name, scale in degrees.items()},
    }


def _degree(scale: Sequence[tuple], value: float) -> tuple:
    """The first step of a scale that ends above a value."""
    return next(step for step in scale if value < step[0])
