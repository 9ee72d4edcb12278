"""A generator that draws a few of eight modes, and what brings the others back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.core.errors import UsageError
from figment.core.run import RunFolder
from figment.core.signs import NARROW
from figment.evaluate.points import on_modes
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import Panel, curves, plate
from figment.pictures import COLOURS, INK

STEPS, BATCH, LR = 1800, 128, 4e-3
DRAWN, SHOWN = 4000, 700
REACH = 2.1  # of pictures, in deviations
GAMES: dict[str, dict[str, Any]] = {
    "broken": {"model__objective": "non-saturating", "model__regulariser": "none"},
    "bounded": {"model__objective": "non-saturating", "model__regulariser": "r1+r2"},
    "pairs": {"model__objective": "relativistic", "model__regulariser": "r1+r2"},
}
HEADINGS = {
    "broken": "Nothing bounds the judge",
    "bounded": "Its slope is bounded",
    "pairs": "and it judges in pairs",
}


def make(stage: Stage) -> Told:
    drawn, found, curve = {}, {}, {}
    modes = stage.dataset.modes
    if modes is None:
        raise UsageError(
            f"{stage.data} does not consist of peaks that could be lost: take toy:gaussians8 or toy:grid25."
        )
    centres = torch.as_tensor(modes.centres)
    vector = stage.dataset.spec.x
    for name, settings in GAMES.items():
        scene = stage.scene(f"game-{name}", "gan", STEPS, training__batch=BATCH, training__lr=LR,
                            training__previews=0, **settings)  # fmt: skip
        with torch.no_grad():
            drawn[name] = scene.model.sample({}, stage.noise(DRAWN))
        found[name] = on_modes(torch.as_tensor(vector.to_user(drawn[name])), centres, modes.deviation)
        lines = [line for line in RunFolder(scene.run).read_metrics() if "discriminator.coverage" in line]
        curve[name] = np.array([(line["step"], line["discriminator.coverage"]) for line in lines])
    count = len(centres)
    told = {name: f"{modes_found} of {count}, {share:.0%} on a mode" for name, (modes_found, share) in found.items()}
    claims = [
        Claim("Unbounded and judged one by one, half of the modes are lost", told["broken"],
              found["broken"][0] <= count / 2),
        Claim("A bounded slope brings nearly all back", told["bounded"], found["bounded"][0] >= 0.85 * count),
        Claim("and so does judging in pairs, most drawings on one of them", told["pairs"],
              found["pairs"][0] >= 0.85 * count and found["pairs"][1] >= 0.7),
    ]  # fmt: skip
    figures = {name: {"modes_found": k, "on_mode": share} for name, (k, share) in found.items()}
    real = stage.training.x[:SHOWN]
    rows = [[_cloud(name, drawn[name][:SHOWN], real, told[name]) for name in GAMES], [_coverage(curve)]]
    text = TEXT.format(count=count, **told)
    return Told(plate(LESSON.title, LESSON.teaches, rows), text, figures, claims)


def _cloud(name: str, x: Tensor, real: Tensor, caption: str) -> Panel:
    def draw(axes: Any) -> None:
        axes.scatter(*real.T.numpy(), s=5, color="#c9c3b6", linewidths=0)
        axes.scatter(*x.T.numpy(), s=5, color=_colour(name), linewidths=0)
        axes.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), xticks=[], yticks=[])

    return Panel(HEADINGS[name], draw, caption + (". Grey: data." if name == "broken" else "."), -1.0)


def _coverage(curve: dict[str, np.ndarray]) -> Panel:
    def draw(axes: Any) -> None:
        for name, line in curve.items():
            width = max(1, len(line) // 25)
            smooth = np.convolve(line[:, 1], np.ones(width) / width, mode="valid")
            axes.plot(line[width - 1 :, 0], smooth, color=_colour(name), linewidth=2.2, label=HEADINGS[name])
        axes.axhline(NARROW, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        axes.set(ylim=(0, 1.25), yticks=np.linspace(0, 1, 6))
        axes.legend(loc="upper center", ncol=len(curve), frameon=False, fontsize=10)

    return curves("What the log shows", draw, "The share of a batch's real examples that have a drawn one near them. "
                  "Below the dashed line `figment diagnose` says: mode collapse.", ("steps", "coverage"),
                  2.4)  # fmt: skip


def _colour(name: str) -> str:
    return dict(zip(GAMES, (COLOURS[1], COLOURS[0], COLOURS[2])))[name]


TEXT = """
The data lies on {count} small hills on a ring. A generator that is judged one drawing at a time can do well by drawing
a few of them: nothing in its loss asks for the others, and when the discriminator has learned that a hill is drawn too
often, it moves on to the next. Left unbounded, the game ends so: {broken}.

Two cures, with the same networks and as many steps. A penalty on the discriminator's slope (R1 and R2) keeps it from
walling off hills: {bounded}. Judging each drawing against a real example gives every hill a say: {pairs}; both together
are figment's default.

The lower panel is what one sees while it happens. `figment diagnose RUN` names it, and `figment train --remedy` stops
such a run and starts it anew with the second cure. With labels (the default where the data has them) a generator is
told which hill to draw, and loses none.
"""

LESSON = Lesson(
    name="mode-collapse",
    title="Modes lost, and found again",
    source="Deck 003, 'Mode collapse'. A. Srivastava et al., 'VEEGAN: reducing mode collapse in GANs using implicit "
    "variational learning' (2017); L. Mescheder, A. Geiger and S. Nowozin, 'Which training methods for GANs do "
    "actually converge?' (2018)",
    teaches="A generator can win by drawing a few things well; bounding the judge makes it draw all.",
    make=make,
    data="toy:gaussians8",
    needs=("points",),
)
