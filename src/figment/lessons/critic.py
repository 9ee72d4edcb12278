"""A critic whose slope is bounded measures how far apart two distributions are; the game itself only that they are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from figment.lessons.discriminator import train
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import Panel, curves, plate
from figment.models.adversarial.objectives import OBJECTIVES
from figment.models.adversarial.regularisers import between, clip_weights, squared_slope, unit_slope
from figment.pictures import COLOURS, INK

SHIFTS = (1.0, 2.0, 4.0, 6.0, 8.0)  # of N(shift, 1) from N(0, 1)
STEPS, BATCH, TESTED = 400, 256, 100_000
WEIGHT, LIMIT = 100.0, 0.1  # of the penalty; of clipped weights
AXIS = torch.linspace(-3, 7, 300)
SHOWN = 4.0  # the shift whose critics are drawn
PENALISED, CLIPPED, GAME = COLOURS[2], COLOURS[1], COLOURS[0]


def critic(shift: float, steps: int, clipped: bool) -> nn.Module:
    """A critic of N(shift, 1), the data, against N(0, 1): by the gradient penalty, or with weights kept small."""
    network = nn.Sequential(nn.Linear(1, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 1), nn.Flatten(0))
    if not clipped:  # else it may begin, and stay, with a slope of 1 the wrong way
        nn.init.zeros_(next(network[4].parameters()))

    def loss() -> Tensor:
        real, drawn = torch.randn(BATCH, 1) + shift, torch.randn(BATCH, 1)
        if clipped:
            clip_weights(network, LIMIT)
            return OBJECTIVES["wasserstein"].discriminator_loss(network(real), network(drawn))
        mixed = between(real, drawn).requires_grad_()
        penalty = unit_slope(squared_slope(network(mixed), mixed)).mean()
        return OBJECTIVES["wasserstein"].discriminator_loss(network(real), network(drawn)) + WEIGHT * penalty

    train(network, loss, steps)
    if clipped:
        clip_weights(network, LIMIT)
    return network


@torch.no_grad()
def distance(network: nn.Module, shift: float) -> float:
    """E f(x) - E f(G(z)) on fresh draws."""
    return float(network(torch.randn(TESTED, 1) + shift).mean() - network(torch.randn(TESTED, 1)).mean())


def divergence(shift: float) -> float:
    """The Jensen-Shannon divergence of N(0, 1) and N(shift, 1) in nats, by the trapezium rule."""
    x = np.linspace(-10, 10 + shift, 4001)
    p, q = (np.exp(-((x - mean) ** 2) / 2) / math.sqrt(2 * math.pi) for mean in (0, shift))
    middle = (p + q) / 2 + 1e-300
    return float(np.trapezoid(sum(a * np.log(np.maximum(a, 1e-300) / middle) for a in (p, q)) / 2, x))


def make(stage: Stage) -> Told:
    steps = max(20, round(STEPS * stage.effort))
    with torch.random.fork_rng([]):
        torch.manual_seed(stage.seed)
        penalised = {shift: critic(shift, steps, clipped=False) for shift in SHIFTS}
        clipped = {shift: critic(shift, steps, clipped=True) for shift in SHIFTS}
        measured = {shift: distance(network, shift) for shift, network in penalised.items()}
        small = {shift: distance(network, shift) for shift, network in clipped.items()}
    worst = max(abs(found / shift - 1) for shift, found in measured.items())
    flat = divergence(SHIFTS[-1]) - divergence(SHIFTS[-2])
    claims = [
        Claim("The critic's difference is the distance |shift|, within 10 %", ", ".join(f"{found:.2f} for {shift:g}"
              for shift, found in measured.items()), worst < 0.1),
        Claim("The value of the game has stopped telling them apart", f"from {SHIFTS[-2]:g} to {SHIFTS[-1]:g} the "
              f"Jensen-Shannon divergence grows by {flat:.3f} of log 2", flat < 0.05 * math.log(2)),
        Claim("Clipped weights measure it in units of their own", f"{small[SHIFTS[-1]]:.2g} for {SHIFTS[-1]:g}",
              abs(small[SHIFTS[-1]] / SHIFTS[-1] - 1) > 0.5),
    ]  # fmt: skip
    figures = {"critic": measured, "clipped": small, "jensen_shannon": {s: divergence(s) for s in SHIFTS}}
    rows = [[_critics(penalised[SHOWN], clipped[SHOWN]), _distances(measured), _values()]]
    text = TEXT.format(worst=worst, flat=divergence(SHIFTS[-1]), small=small[SHIFTS[-1]], far=SHIFTS[-1], weight=WEIGHT)
    return Told(plate(LESSON.title, LESSON.teaches, rows), text, figures, claims)


def _critics(penalised: nn.Module, clipped: nn.Module) -> Panel:
    def draw(axes: Any) -> None:
        for mean, colour in ((0.0, INK), (SHOWN, GAME)):
            axes.fill_between(AXIS, -2.6, -2.6 + 4 * torch.exp(-((AXIS - mean) ** 2) / 2), color=colour, alpha=0.25,
                              linewidth=0)  # fmt: skip
        with torch.no_grad():
            for network, colour in ((penalised, PENALISED), (clipped, CLIPPED)):
                height = network(AXIS[:, None])
                axes.plot(AXIS, height - height.mean(), color=colour, linewidth=2.4)
        axes.set(xlim=(-3, 7), ylim=(-5.5, 5.5))

    return curves("Two critics", draw, "Grey: drawn; blue: data. Green: slope held near 1; orange: weights clipped.",
                  ("x", "f(x)"), 2.9)  # fmt: skip


def _distances(measured: dict[float, float]) -> Panel:
    def draw(axes: Any) -> None:
        axes.plot([0, SHIFTS[-1]], [0, SHIFTS[-1]], color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.plot(list(measured), list(measured.values()), "o", color=PENALISED, markersize=8)
        axes.set(xlim=(0, 8.5), ylim=(0, 8.8))

    return curves("What the critic measures", draw, "Dots: E f(x) − E f(G(z)), trained. Dashed: the distance.",
                  ("shift", "distance"), 2.9)  # fmt: skip


def _values() -> Panel:
    shift = np.linspace(0, SHIFTS[-1], 60)

    def draw(axes: Any) -> None:
        axes.axhline(math.log(2), color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.plot(shift, [divergence(float(s)) for s in shift], color=GAME, linewidth=2.4)
        axes.set(xlim=(0, 8.5), ylim=(0, 0.8))

    return curves("What the game measures", draw, "The Jensen-Shannon divergence. Dashed: log 2, the most there is.",
                  ("shift", "nats"), 2.9)  # fmt: skip


TEXT = """
Two normal distributions, one moved away from the other. The value of the usual game grows until they no longer overlap
and then stops at log 2: {flat:.3f} at a shift of {far:g}. There its slope is 0, and a generator is told nothing of
which way to go.

A critic answers with any number, and is trained to answer high on data and low on what is drawn. Left alone it would
answer ever higher; held to a slope of at most 1, the difference of its means is the distance that mass must be moved
(the Wasserstein distance): here within {worst:.0%} of |shift|. The slope is held by a penalty on
points between the two (weight {weight:g}; with the usual 10 the best slope is a little above 1, and so is the
distance). Clipping all weights, as was done first, bounds the slope too, but at no known number: it says {small:.2g}
for {far:g}.

`model.objective=wasserstein` with `model.regulariser=gradient-penalty`, `clipping` or `spectral-norm` trains a
generator so; let the critic lead with `model.critics=5`.
"""

LESSON = Lesson(
    name="critic-distance",
    title="A critic measures a distance",
    source="Deck 003, 'Wasserstein loss'. M. Arjovsky, S. Chintala and L. Bottou, 'Wasserstein GAN' (2017); I. "
    "Gulrajani et al., 'Improved training of Wasserstein GANs' (2017)",
    teaches="With its slope held to 1, a critic tells how far drawings are from the data, however far.",
    make=make,
    data=None,
    needs=(),
)
