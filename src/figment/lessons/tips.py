"""Each tip of the decks for games that go wrong, with and without it."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import torch

from figment.core.errors import UsageError
from figment.core.run import RunFolder
from figment.evaluate.points import energy_distance, on_modes
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import bars, plate
from figment.pictures import COLOURS

STEPS, BATCH, DRAWN = 400, 64, 2000
Settings = dict[str, Any]
WINS: Settings = {"model__objective": "minimax", "model__regulariser": "none", "model__rate": 10.0,
                  "training__lr": 3e-4, "training__batch": BATCH}  # fmt: skip
STRONG: dict[str, Settings] = {  # against a discriminator that wins
    "without": {},
    "a. dropout": {"model__dropout": 0.5},
    "b. slower": {"model__rate": 1.0},
    "c. fewer filters": {"model__filters": 0.1},
    "d. noisy labels": {"model__smoothing": 0.3},
    "e. flipped labels": {"model__flipped": 0.3},
    "noise on all": {"model__noise": 1.0},
    "bounded slope": {"model__regulariser": "r1+r2"},
}
LOST: Settings = {"model__objective": "non-saturating", "model__regulariser": "none", "training__lr": 4e-3,
                  "training__batch": 2 * BATCH}  # fmt: skip
WEAK: dict[str, Settings] = {  # against a generator that draws a few things
    "without": {},
    "a. stronger judge": {"model__critics": 5},
    "b. Wasserstein": {"model__objective": "wasserstein", "model__regulariser": "gradient-penalty",
                       "training__lr": 1e-3},
    "c. slower, more a batch": {"training__lr": 5e-4, "training__batch": 8 * BATCH},
    "it sees variation": {"model__deviation": True},
    "energy score": {"model__spread": 1.0},
    "in pairs, bounded": {"model__objective": "relativistic", "model__regulariser": "r1+r2"},
}  # fmt: skip


def make(stage: Stage) -> Told:
    if stage.dataset.modes is None:
        raise UsageError(f"{stage.data} does not consist of peaks that could be lost: take toy:gaussians8.")
    strong = {name: played(stage, f"wins-{i}", WINS | tip) for i, (name, tip) in enumerate(STRONG.items())}
    weak = {name: played(stage, f"lost-{i}", LOST | tip) for i, (name, tip) in enumerate(WEAK.items())}
    bare, lost = strong["without"], weak["without"]
    calmer = [name for name, found in strong.items() if found["accuracy"] < bare["accuracy"] - 0.01]
    nearer = [name for name, found in strong.items() if found["distance"] < bare["distance"]]
    more = [name for name, found in weak.items() if found["modes"] > lost["modes"]]
    cures = ("c. slower, more a batch", "in pairs, bounded")
    count = len(stage.dataset.modes.centres)
    claims = [
        Claim("Without a tip the discriminator is sure, the generator lost", f"{bare['accuracy']:.1%} of pairs told "
              f"apart, {bare['modes']} of {count} modes", bare["accuracy"] > 0.9),
        Claim("Most tips make the discriminator less sure", f"{len(calmer)} of {len(strong) - 1}: " + ", ".join(calmer),
              len(calmer) > (len(strong) - 1) / 2),
        Claim("and most bring the drawings nearer to the data", f"{len(nearer)} of {len(strong) - 1}: "
              + ", ".join(nearer), len(nearer) > (len(strong) - 1) / 2),
        Claim("Without a tip half of the modes are lost", f"{lost['modes']} of {count}", lost["modes"] <= count / 2),
        Claim("A slower game of larger batches brings modes back, and so does judging in pairs", f"{len(more)} of "
              f"{len(weak) - 1} tips do: " + ", ".join(more), set(cures) <= set(more)),
    ]  # fmt: skip
    rows = [
        [
            bars("How sure the discriminator is", {name: found["accuracy"] for name, found in strong.items()},
                 "The share of pairs that it tells apart, over the second half: one half where it knows nothing.",
                 colours=shaded(strong), form="{:.0%}"),
            bars("How far drawings are from the data", {name: found["distance"] for name, found in strong.items()},
                 "Energy distance; 0 where they agree.", colours=shaded(strong), form="{:.2g}", named=False),
        ],
        [
            bars("Modes that are drawn", {name: float(found["modes"]) for name, found in weak.items()},
                 f"Of {count}; a mode is drawn with a tenth of its share.", colours=shaded(weak), form="{:.0f}"),
            bars("Drawings on a mode", {name: found["on_mode"] for name, found in weak.items()},
                 "The share within three deviations of one.", colours=shaded(weak), form="{:.0%}", named=False),
        ],
    ]  # fmt: skip
    text = TEXT.format(sure=bare["accuracy"], count=count, lost=lost["modes"])
    figures = {"discriminator_wins": strong, "mode_collapse": weak}
    return Told(plate(LESSON.title, LESSON.teaches, rows), text, figures, claims)


def played(stage: Stage, name: str, settings: Settings) -> dict[str, Any]:
    """A game with such settings: how sure its discriminator was, and what its generator draws."""
    steps = STEPS * settings.get("model__critics", 1)  # as many moves of the generator
    scene = stage.scene(name, "gan", steps, training__previews=0, model__size="tiny", **settings)
    modes = stage.dataset.modes
    assert modes is not None
    with torch.no_grad():
        drawn = scene.model.sample({}, stage.noise(DRAWN))
    found, share = on_modes(
        torch.as_tensor(stage.dataset.spec.x.to_user(drawn)), torch.as_tensor(modes.centres), modes.deviation
    )
    lines = [line for line in RunFolder(scene.run).read_metrics() if "discriminator.accuracy" in line]
    accuracy = fmean(line["discriminator.accuracy"] for line in lines[len(lines) // 2 :])
    distance = max(energy_distance(drawn, stage.training.x), 0.0)
    return {"accuracy": accuracy, "modes": found, "on_mode": share, "distance": distance}


def shaded(found: dict[str, Any]) -> list[str]:
    """Orange for the game without a tip, blue for the deck's, green for other ones."""
    deck = [COLOURS[0] if name[1:3] == ". " else COLOURS[2] for name in found]
    return [COLOURS[1], *deck[1:]]


TEXT = """
Two games that go wrong, and what helps. Orange: without any tip; blue: a tip of the deck; green: others.

Above, the discriminator learns ten times as fast as the generator, nothing bounds its slope, and the generator's loss
is flat where it loses: it tells {sure:.0%} of pairs apart, and the generator hears little. The tips take something from
it: features (dropout), speed, width, or the certainty of its labels, smoothed or flipped for some pairs.

Below, the generator draws {lost} of {count} modes and the discriminator follows it from one to the next. The tips
strengthen the judge (five moves to one of the generator, a loss that measures a distance), or calm both. Not every tip
helps every game: a judge that is merely stronger follows faster, and a loss that measures a distance takes longer than
these few steps. That is why they are switches, and why one measures.

Each is a setting: `model.dropout`, `model.rate`, `model.filters`, `model.smoothing`, `model.flipped`, `model.critics`,
`model.objective`, `training.lr` and `training.batch`. `figment diagnose RUN` names which of the two it is and
`figment train --remedy` chooses.
"""

LESSON = Lesson(
    name="tips",
    title="Tips for two players, with and without",
    source="Deck 003, 'Training a GAN can be tricky'. T. Salimans et al., 'Improved techniques for training GANs' "
    "(2016); S. Chintala et al., 'How to train a GAN?' (2016)",
    teaches="Take from the discriminator that wins, strengthen the one that is fooled.",
    make=make,
    data="toy:gaussians8",
    needs=("points",),
)
