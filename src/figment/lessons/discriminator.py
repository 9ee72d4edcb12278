"""The best discriminator of a fixed generator is a ratio of densities, and its value says how far apart the two are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, MixtureSameFamily, Normal

from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import Panel, curves, plate
from figment.models.adversarial.objectives import OBJECTIVES, value
from figment.pictures import COLOURS, INK

DATA = MixtureSameFamily(
    Categorical(torch.tensor([0.6, 0.4])), Normal(torch.tensor([-1.5, 1.0]), torch.tensor([0.6, 0.5]))
)
GENERATORS: dict[str, Distribution] = {"far": Normal(3.5, 0.7), "near": Normal(0.0, 1.3), "equal": DATA}
STEPS, BATCH, TESTED = 600, 1024, 200_000
AXIS = torch.linspace(-5, 7, 601)
SEEN = 0.02  # density above which a discriminator has seen enough
REAL, DRAWN, RATIO = COLOURS[0], COLOURS[1], INK


@dataclass(frozen=True)
class Judged:
    """A generator's discriminator: what it answers and should answer along AXIS, and the values of the game."""

    density: Tensor
    learned: Tensor
    best: Tensor
    value: float
    known: float

    @property
    def error(self) -> float:
        """The largest difference from the ratio where data or drawings are seen."""
        seen = DATA.log_prob(AXIS).exp() + self.density > SEEN
        return float((self.learned - self.best)[seen].abs().max())


def train(network: nn.Module, loss: Callable[[], Tensor], steps: int, lr: float = 1e-2) -> None:
    """Minimises `loss` by Adam, its rate falling to 0."""
    optimiser = torch.optim.Adam(network.parameters(), lr=lr)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()


def judged(generator: Distribution, steps: int) -> Judged:
    """A discriminator trained against a generator that stays as it is.

    V is at most 2 JSD - log 4, JSD the Jensen-Shannon divergence of the two in nats (Goodfellow et al. 2014), here by
    the trapezium rule.
    """
    network = nn.Sequential(nn.Linear(1, 48), nn.SiLU(), nn.Linear(48, 48), nn.SiLU(), nn.Linear(48, 1), nn.Flatten(0))

    def logits(p: Distribution, count: int) -> Tensor:
        return network(p.sample((count, 1)))

    train(
        network, lambda: OBJECTIVES["minimax"].discriminator_loss(logits(DATA, BATCH), logits(generator, BATCH)), steps
    )
    with torch.no_grad():
        real, drawn = DATA.log_prob(AXIS), generator.log_prob(AXIS)
        both = torch.logaddexp(real, drawn)
        known = torch.trapezoid(real.exp() * (real - both) + drawn.exp() * (drawn - both), AXIS)
        reached = value(logits(DATA, TESTED), logits(generator, TESTED))
        return Judged(
            drawn.exp(), torch.sigmoid(network(AXIS[:, None])), (real - both).exp(), float(reached), float(known)
        )


def make(stage: Stage) -> Told:
    with torch.random.fork_rng([]):
        torch.manual_seed(stage.seed)
        found = {name: judged(p, max(20, round(STEPS * stage.effort))) for name, p in GENERATORS.items()}
    error, equal = max(judge.error for judge in found.values()), found["equal"].value
    gap = max(abs(judge.value - judge.known) for judge in found.values())
    claims = [
        Claim("What is learned is p_data / (p_data + p_g), within .05", f"off by {error:.3f} at most", error < 0.05),
        Claim("Its value is 2 JSD - log 4", f"{', '.join(f'{j.value:.3f}' for j in found.values())} against "
              f"{', '.join(f'{j.known:.3f}' for j in found.values())}", gap < 0.03),
        Claim("Where the two agree it is -log 4 = -1.386, and the answer 1/2 everywhere", f"{equal:.3f}",
              abs(equal + math.log(4)) < 0.02),
    ]  # fmt: skip
    figures = {name: {"value": j.value, "known": j.known, "error": j.error} for name, j in found.items()}
    rows = [[_panel(name, judge) for name, judge in found.items()]]
    text = TEXT.format(far=found["far"].value, near=found["near"].value, equal=equal, error=error)
    return Told(plate(LESSON.title, LESSON.teaches, rows), text, figures, claims)


def _panel(name: str, judge: Judged) -> Panel:
    def draw(axes: Any) -> None:
        for density, colour in ((DATA.log_prob(AXIS).exp(), REAL), (judge.density, DRAWN)):
            axes.fill_between(AXIS, 0, density, color=colour, alpha=0.35, linewidth=0)
        axes.plot(AXIS, judge.best, color=RATIO, linewidth=1.6, linestyle=(0, (4, 3)))
        axes.plot(AXIS, judge.learned, color=COLOURS[2], linewidth=2.4)
        axes.set(xlim=(-4.5, 6.5), ylim=(-0.02, 1.04), yticks=np.linspace(0, 1, 5))

    where = {"far": "A generator far away", "near": "Nearer", "equal": "Where it is the data"}[name]
    told = {
        "far": "Blue: data. Orange: what is drawn. Green: the discriminator after training; dashed: the ratio.",
        "near": f"V = {judge.value:.3f}: in between it must guess.",
        "equal": f"V = {judge.value:.3f}, the least its best can have: nothing is left to tell apart.",
    }[name]
    caption = (f"{told} V = {judge.value:.3f}." if name == "far" else told).replace("= -", "= −")
    return curves(where, draw, caption, ("x", "D(x)" if name == "far" else ""), 2.9)


TEXT = """
Hold the generator still and train the discriminator to the end. It does not learn what a real example looks like: it
learns p_data(x) / (p_data(x) + p_g(x)), the chance that an example at x is real if half of all are. Here it is off by
{error:.3f} at most wherever either has density; elsewhere it was never asked.

The value it reaches, V = E log D(x) + E log(1 - D(G(z))), is twice the Jensen-Shannon divergence of the two less log 4:
{far:.3f} for a generator far away (0 would be the most), {near:.3f} nearer, and {equal:.3f} where it draws the data. So
a generator that lowers the value of the best discriminator lowers a distance, and a discriminator that answers 1/2 is
a sign of success, not of failure. Far away the distance is nearly flat, log 2 however far: see the lesson
`saturating-gradient`.

One lecture calls drawn examples 1 and real ones 0. That is the same game, with 1 - D for D and the logit's sign
changed; figment says real = 1 everywhere.
"""

LESSON = Lesson(
    name="optimal-discriminator",
    title="What a discriminator learns",
    source="Decks 000, 002 and 003, 'Generative adversarial networks'. I. Goodfellow et al., 'Generative adversarial "
    "nets' (2014), proposition 1 and theorem 1",
    teaches="The best discriminator is a ratio of densities, and the value it reaches is a distance of the two.",
    make=make,
    data=None,
    needs=(),
)
