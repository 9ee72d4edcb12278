"""Two losses of a generator with the same fixed point: one is flat where it loses, the other steep."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import Panel, curves, plate
from figment.models.adversarial.objectives import OBJECTIVES, Name
from figment.pictures import COLOURS, INK

SHOWN: dict[Name, str] = {"minimax": COLOURS[1], "non-saturating": COLOURS[2]}
START, RATE, STEPS, DRAWS = 7.0, 0.3, 60, 4000  # of the descent: N(7, 1) is to become N(0, 1)
LOSING = 1e-3  # D(G(z)) of a generator that is found out


def slope(name: Name, chance: Tensor) -> Tensor:
    """|d loss / d logit| of a generator at D(G(z)) = `chance` `(N,)`."""
    logit = torch.logit(chance).requires_grad_()
    (found,) = torch.autograd.grad(OBJECTIVES[name].generator(logit).sum(), logit)
    return found.abs()


def descent(name: Name, seed: int) -> np.ndarray:
    """The mean of a generator x = mean + z `(STEPS + 1,)` that goes downhill against the best discriminator of each
    moment, log p_data / p_g = mean^2 / 2 - mean x."""
    noise = torch.randn(DRAWS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    mean, path = torch.tensor(START, dtype=torch.float64, requires_grad=True), [START]
    for _ in range(STEPS):
        at = mean.detach()
        logit = at.square() / 2 - at * (mean + noise)
        (found,) = torch.autograd.grad(OBJECTIVES[name].generator(logit).mean(), mean)
        with torch.no_grad():
            mean -= RATE * found
        path.append(mean.item())
    return np.array(path)


def make(stage: Stage) -> Told:
    at = torch.tensor([LOSING], dtype=torch.float64)
    slopes = {name: float(slope(name, at)) for name in SHOWN}
    paths = {name: descent(name, stage.seed) for name in SHOWN}
    ratio = slopes["non-saturating"] / slopes["minimax"]
    moved, left = START - paths["minimax"][-1], paths["non-saturating"][-1]
    claims = [
        Claim("Where the generator is found out, D(G(z)) = .001, its gradient is a hundred times larger and more with "
              "the loss -log D", f"{ratio:.0f} times", ratio >= 100),
        Claim("From far away the game's own loss gets nowhere", f"{moved:.3g} of {START:g} in {STEPS} steps",
              moved < 0.1 * START),
        Claim("The other arrives", f"{left:.2g} is left", abs(left) < 0.1),
    ]  # fmt: skip
    figures = {"slopes": slopes, "ratio": ratio, "paths": {name: path.tolist() for name, path in paths.items()}}
    rows = [[_losses(), _slopes(), _paths(paths)]]
    text = TEXT.format(ratio=ratio, moved=moved, start=START, steps=STEPS, left=abs(left))
    return Told(plate(LESSON.title, LESSON.teaches, rows), text, figures, claims)


def _losses() -> Panel:
    chance = torch.linspace(1e-3, 1 - 1e-3, 400, dtype=torch.float64)

    def draw(axes: Any) -> None:
        for name, colour in SHOWN.items():
            axes.plot(chance, OBJECTIVES[name].generator(torch.logit(chance)), color=colour, linewidth=2.4)
        axes.text(0.3, 2.2, "−log D", color=SHOWN["non-saturating"], fontsize=11)
        axes.text(0.36, -1.9, "log(1 − D)", color=SHOWN["minimax"], fontsize=11)
        axes.set(xlim=(0, 1), ylim=(-4.5, 5))

    return curves("Two losses of a generator", draw, "Both fall as the discriminator takes a drawing for real; a "
                  "generator starts at the left.", ("D(G(z))", "loss"), 2.9)  # fmt: skip


def _slopes() -> Panel:
    chance = torch.logspace(-6, -0.001, 300, dtype=torch.float64)

    def draw(axes: Any) -> None:
        for name, colour in SHOWN.items():
            axes.loglog(chance, slope(name, chance), color=colour, linewidth=2.4)
        axes.axvline(LOSING, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        axes.set(xlim=(1e-6, 1), ylim=(1e-6, 3))

    return curves("What the generator is told", draw, "Size of the gradient in the logit: D for one, 1 − D for the "
                  "other. Dashed: D = .001.", ("D(G(z))", "gradient"), 2.9)  # fmt: skip


def _paths(paths: dict[Name, np.ndarray]) -> Panel:
    def draw(axes: Any) -> None:
        for name, path in paths.items():
            axes.plot(path, color=SHOWN[name], linewidth=2.4)
        axes.axhline(0, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        axes.set(xlim=(0, STEPS), ylim=(-0.4, START + 0.4))

    return curves("A generator that starts far away", draw, "Its mean, against the best discriminator of every moment. "
                  "Dashed: the data.", ("steps", "mean"), 2.9)  # fmt: skip


TEXT = """
The game as written has the generator minimise log(1 - D(G(z))). While its drawings are bad the discriminator is sure of
them, D is near 0, and there this loss is flat: its gradient in the logit is D itself. The loss -log D(G(z)) has its
least value in the same place, and the gradient 1 - D: at D = .001 that is {ratio:.0f} times as much.

On the line all of it can be computed. A generator draws N(m, 1), the data is N(0, 1), and the discriminator is always
the best there is. From m = {start:g} the game's own loss moves it by {moved:.2g} in {steps} steps; the other brings it
to within {left:.2g}. This is the vanishing gradient that `figment diagnose` names, and `model.objective=minimax` and
`non-saturating` are the two losses.
"""

LESSON = Lesson(
    name="saturating-gradient",
    title="A loss that falls silent",
    source="Decks 000, 002 and 004 print min log(1 - D(G(z))). I. Goodfellow et al., 'Generative adversarial nets' "
    "(2014), section 3",
    teaches="The game's own loss tells a losing generator nothing; another with the same goal does.",
    make=make,
    data=None,
    needs=(),
)
