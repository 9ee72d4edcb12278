"""The signs of a run that goes wrong: what shows each, why it comes about, and what cures it; the one table that
training, `figment diagnose` and the documentation read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from figment.core import signs
from figment.core.errors import FigmentError
from figment.core.signs import Lines

Settings = Mapping[str, Any]  # dotted names -> values, or functions of the value that is there


@dataclass(frozen=True)
class Sign:
    """Something wrong: its name, what shows it in this run, and what a person may do."""

    name: str
    cause: str
    advice: str

    def __str__(self) -> str:
        return f"{self.name}: {self.cause}. {self.advice}"


@dataclass(frozen=True)
class Known:
    """A sign that is looked for: in which families, what shows it, why it comes about, what to do, and its remedies in
    the order in which they are tried; `see` finds it in a log, and is None where it is not the log that shows it."""

    name: str
    families: str
    shown_by: str
    comes_of: str
    advice: str
    remedies: Sequence[Settings] = ()
    see: Callable[[Lines, float], str | None] | None = None

    def seen(self, cause: str) -> Sign:
        return Sign(self.name, cause, self.advice)


class Ailing(FigmentError):
    """A run shows a sign, at a step and after so many seconds, that dotted `settings` cure; raised where curing it was
    asked for."""

    def __init__(self, sign: Sign, settings: Mapping[str, Any], step: int, seconds: float):
        super().__init__(str(sign))
        self.sign, self.settings, self.step, self.seconds = sign, settings, step, seconds


def _third(value: float) -> float:
    return value / 3


def _tenth(value: float) -> float:
    return value / 10


def _half(value: float) -> float:
    return value / 2 if isinstance(value, float) else max(value // 2, 1)


IN_PAIRS = {"model.objective": "relativistic", "model.regulariser": "r1+r2"}
SLOWER = (
    {"model.gamma": lambda gamma: 4 * gamma or 1.0},
    {"model.rate": lambda rate: rate / 4},
    {"model.flipped": 0.1},
)
SIGNS = {
    known.name: known
    for known in (
        Known(
            "NaN",
            "all that learn in steps",
            "a loss, a gradient or a weight is not a finite number; nothing is updated",
            "steps too large for the loss, or numbers too large for fp16",
            "Take a smaller training.lr, or --precision fp32; --remedy goes back to the last checkpoint with half the "
            "rate.",
            ({"training.lr": _tenth},),
        ),
        Known(
            "divergence",
            "all that learn in steps",
            f"in {signs.STAYS} of {signs.LINES} lines a gradient is above {signs.STEEP:g}; or one player's loss is "
            f"up by {signs.LOST:.0%} of all it had fallen by, and by {signs.JUMP:g} times its usual change",
            "steps too large: weights were thrown to where gradients say nothing of the way back",
            "Take a smaller training.lr, a longer training.warmup, or bound gradients by training.clip=1.",
            ({"training.lr": _tenth},),
            signs.divergence,
        ),
        Known(
            "standstill",
            "all that learn in steps",
            f"a loss is the same to one in a million in {signs.LINES} lines",
            "no gradient reaches the weights, or all data is one",
            "Try a larger training.lr; check with `figment data check` that the data varies.",
            ({"training.lr": lambda lr: 3 * lr},),
            signs.standstill,
        ),
        Known(
            "vanishing gradient",
            "gan, stylegan, translators with a discriminator",
            f"the discriminator tells {signs.SURE:.0%} of pairs apart and the generator's gradient is below "
            f"{signs.FAINT:g}",
            "the generator's loss is flat where it loses, as that of minimax is",
            "Take an objective that is not, model.objective=non-saturating or relativistic, and bound the "
            "discriminator's slope, model.regulariser=r1+r2 (a translator's by a larger model.gamma).",
            (IN_PAIRS, {"model.objective": "relativistic"}, *SLOWER),
            signs.vanishing_gradient,
        ),
        Known(
            "discriminator wins",
            "gan, stylegan, translators with a discriminator",
            f"the discriminator tells {signs.SURE:.0%} of pairs apart over {signs.LINES} lines, and less than "
            f"{signs.NARROW:.0%} of real examples have a drawn one near them, where that is logged",
            "it learns faster than the generator, or nothing bounds its slope",
            "Bound its slope, model.regulariser=r1+r2, more where that is done already, model.gamma=4; or let it learn "
            "more slowly, model.rate=0.25, or from noisy labels, model.flipped=0.1. A translator has model.gamma "
            "alone: take four times as much.",
            (IN_PAIRS, *SLOWER),
            signs.discriminator_wins,
        ),
        Known(
            "mode collapse",
            "gan, stylegan",
            f"less than {signs.NARROW:.0%} of a batch's real examples have a drawn one near them (recall), and the "
            f"discriminator tells less than {signs.AHEAD:.0%} of pairs apart",
            "the generator has won by drawing a few things well: nothing asks for the others",
            "Judge samples against real examples, model.objective=relativistic, and bound the discriminator's slope, "
            "model.regulariser=r1+r2; show it how much a batch varies, model.deviation=true; or take a smaller "
            "training.lr.",
            (IN_PAIRS, {"model.deviation": True}, {"training.lr": _third}),
            signs.mode_collapse,
        ),
        Known(
            "posterior collapse",
            "vae",
            f"all codes together say less than {signs.SILENT:g} nats of an example, or no latent dimension is active",
            "the error weighs too little beside the KL term: a mean squared error plus KL is a decoder of sigma = "
            "sqrt(D / 2), far too large",
            "Let the decoder's variance be learned, model.sigma=global, at model.beta=1: a mean squared error plus KL "
            "is sigma = sqrt(D / 2), far too large. Or let some KL cost nothing, model.free_bits=0.2; if only the "
            "start goes wrong, model.anneal=0.5.",
            ({"model.sigma": "global", "model.beta": 1.0}, {"model.free_bits": 0.2}),
            signs.posterior_collapse,
        ),
        Known(
            "codebook collapse",
            "vq-vae",
            f"fewer than {signs.FEW:g} symbols are used, by perplexity, and less than {signs.UNUSED:.0%} of the "
            "codebook",
            "vectors that no code is near are never moved",
            "Let unused vectors be put where the data is, model.revive=true; else pull the encoder to the codebook "
            "more, model.commitment=1, or take a smaller training.lr.",
            ({"model.revive": True}, {"model.commitment": 1.0}, {"training.lr": _third}),
            signs.codebook_collapse,
        ),
        Known(
            "inexact inverse",
            "flow",
            f"x comes back from its code with an error above {signs.INEXACT:g}",
            "scales that are too steep for the precision, or too few steps of an equation",
            "Try a smaller training.lr; bound the scales of a model.transform=coupling more tightly, model.bound=1; "
            "give model.transform=continuous more model.steps.",
            ({"training.lr": _third},),
            signs.inexact_inverse,
        ),
        Known(
            "schedule never reaches noise",
            "diffusion",
            f"more than {signs.SIGNAL:g} of the signal's power is left at t = 1",
            "a chain of too few steps for its betas",
            "Take more model.steps, model.rescale=true, or another model.schedule.",
            ({"model.rescale": True}, {"model.schedule": "straight"}),
            signs.unfinished_schedule,
        ),
        Known(
            "noise-only samples",
            "all that draw, translate or rebuild",
            f"pictures are {signs.NOISY:.0%} of the way from the grain of data to that of white noise, rows as near "
            "to a normal distribution, by energy distance",
            "little has been learned yet: too few steps, or too small ones",
            "Train longer, or with a larger training.lr.",
            ({"training.lr": lambda lr: 10 * lr if lr < 1e-3 else lr},),
            signs.noise_only,
        ),
        Known(
            "samples are all alike",
            "all that draw, translate or rebuild",
            f"what is drawn varies less than {signs.ALIKE:.0%} as much as data",
            "the model draws the mean of the data, or one thing: its codes do not count (yet)",
            "Train longer, or with a larger training.lr; let codes count for more (model.latent, model.sigma=global).",
            (),
            signs.alike,
        ),
        Known(
            "checkerboard",
            "all that draw, translate or rebuild pictures",
            f"the power at a period of 2, 4 or 8 pixels is {signs.LATTICE:g} times that beside it, and that of data",
            "pixels of one patch are made apart from those of the next, or a discriminator that sees every other pixel "
            "alone leads the generator astray",
            "Draw pixels and not patches, model.patch=1; bound a discriminator's slope, model.gamma=1, or let its "
            "opinion weigh less, model.adversarial=0.02; train longer.",
            ({"model.patch": 1}, {"model.gamma": lambda gamma: gamma or 1.0}, {"model.adversarial": _tenth}),
            signs.checkerboard,
        ),
        Known(
            "memorisation",
            "all that draw",
            "more samples than chance allows lie closer to a training item than nearly all held-out items do",
            "too little data for so many weights and steps",
            "Give it more data, train less long, or take a smaller model.size; a gan of pictures may see them changed, "
            "model.augment=adaptive.",
            ({"model.augment": "adaptive"}, {"training.steps": _half}, {"training.minutes": _half}),
            signs.memorisation,
        ),
        Known(
            "impossible likelihood",
            "all that have one",
            "`figment evaluate` finds a density that no data can have",
            "a fault in the model or in its arithmetic",
            "Do not trust it: please report how it came about.",
        ),
    )
}


def from_log(lines: Lines, progress: float = 1.0) -> list[Sign]:
    """What a log says, its lines oldest first; `progress` is how much of the run is over at the last of them."""
    if not lines:
        return []
    found = ((known, known.see(lines, progress)) for known in SIGNS.values() if known.see is not None)
    return [known.seen(cause) for known, cause in found if cause is not None]


def not_finite(error: str) -> Sign:
    """The sign of a run that was stopped by such an error."""
    return SIGNS["NaN"].seen(f"divergence: {error.split(' Try ')[0].rstrip('.')}")


def remedy(name: str, run: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that cure a sign of this name in a run (as plain nested values, the model's fitted to the data): the
    first of its remedies whose settings the run has, with other values. Empty where there is none."""
    for settings in SIGNS[name].remedies:
        there = {key: value for key, value in _leaves(run) if key in settings}
        if any(callable(settings[key]) and value is None for key, value in there.items()):
            continue  # a run without steps has minutes
        wanted = {k: f(there[k]) if callable(f := settings[k]) else f for k in there}
        if len(there) == len(settings) and wanted != there:
            return {key: value for key, value in wanted.items() if value != there[key]}
    return {}


def _leaves(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        yield f"{path}{key}", inner
        if isinstance(inner, Mapping):
            yield from _leaves(inner, f"{path}{key}.")
