"""What a face looks like, in words: the same facts in many phrasings."""

from __future__ import annotations

from collections.abc import Sequence
from string import Formatter

import numpy as np

from figment.core.errors import UsageError
from figment.data.faces.factors import COLUMN, NAMES, PARTS, TOLERANCE, factors

HAIR = {"short": "short {} hair", "spiky": "spiky {} hair", "curly": "curly {} hair", "bun": "{} hair in a bun",
        "pigtails": "{} pigtails", "long": "long {} hair"}  # fmt: skip
GLASSES = {"none": "no glasses", "round": "round glasses", "square": "red square glasses"}
WEARING = {"none": "without glasses", "round": "with glasses", "square": "with glasses"}
EYEWEAR = {"none": "no glasses", "round": "glasses", "square": "glasses"}
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
    "a face with {eyewear}",
    "{eyewear}",
)
SCALES = {"smile": SMILE, "mouth": MOUTH, "eyes": EYES, "turn": TURN, "width": WIDTH, "skin": SKIN}
SAYS = {"mood": ("smile",), "smile": ("smile",), "hair": ("hair", "colour"), "wearing": ("glasses",),
        "eyewear": ("glasses",)}  # fmt: skip


def named(paraphrase: int) -> list[str]:
    """The factors that a phrasing says something of."""
    slots = [slot for _, slot, _, _ in Formatter().parse(TEMPLATES[paraphrase]) if slot]
    return list(dict.fromkeys(name for slot in slots for name in SAYS.get(slot, (slot,))))


def as_said(values: np.ndarray, readings: np.ndarray, paraphrase: int) -> dict[str, np.ndarray]:
    """Whether faces read as `readings` `(N, F)` are what a phrasing says of faces of given factors `(N, F)`, for each
    factor that it names `(N,)`.

    A level is to be the same, or with or without glasses where that is all that is said; a number is to be in the range
    that its word stands for, or off by at most 15 % of the factor's range. Unreadable (NaN) is not.
    """
    right = {}
    for name in named(paraphrase):
        column, part = COLUMN[name], PARTS[COLUMN[name]]
        asked, found = values[:, column], readings[:, column]
        if part.levels:
            loosely = name == "glasses" and "{glasses}" not in TEMPLATES[paraphrase]
            right[name] = np.where(np.isnan(found), False, (found > 0) == (asked > 0)) if loosely else found == asked
        else:
            edges = np.array([-np.inf, *(step[0] for step in SCALES[name][:-1]), np.inf])
            place, slack = np.searchsorted(edges, asked, "right"), TOLERANCE * part.span
            right[name] = (found >= edges[place - 1] - slack) & (found <= edges[place] + slack)
    return right


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
        "eyewear": EYEWEAR[level["glasses"]],
        "shirt": level["shirt"],
        "background": level["background"],
        **{name: _degree(scale, value[name])[1] for name, scale in degrees.items()},
    }


def _degree(scale: Sequence[tuple], value: float) -> tuple:
    """The first step of a scale that ends above a value."""
    return next(step for step in scale if value < step[0])
