"""The taxonomy of generative models, computed from what each kind in the registry can do."""

from __future__ import annotations

from typing import Any

from figment import registry
from figment.core.model import Fits, abilities, density
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import FAINT, TEXT, curves, plate
from figment.pictures import COLOURS, INK, PAPER

BRANCHES = {
    "tractable": ("explicit, tractable", "log p(x) is a formula"),
    "approximate": ("explicit, approximate", "a bound, an energy, or a denoiser"),
    "implicit": ("implicit", "samples or translations, and no density"),
    None: ("no density", "codes, labels or parts only"),
}
SHOWN = {  # ability -> how it is said, in the order of the columns
    "CanSample": "samples",
    "HasLogProb": "log p",
    "HasBound": "bound",
    "HasEnergy": "energy",
    "CanDenoise": "denoises",
    "CanEncode": "encodes",
    "CanDecode": "decodes",
    "CanTranslate": "translates",
    "CanClassify": "labels",
}
ABSENT = {"implicit": "generative stochastic network"}  # of Goodfellow's tree, and not of this program
KNOWN = {"flow": "tractable", "vae": "approximate", "rbm": "approximate", "ebm": "approximate",
         "diffusion": "approximate", "gan": "implicit", "autoencoder": None}  # fmt: skip
ROW, HEAD = 1.0, 1.25  # heights in the chart's units


def make(stage: Stage) -> Told:
    classes = {kind: registry.load("model", kind).model_class() for kind in registry.kinds("model")}
    tree = {branch: [kind for kind, cls in classes.items() if density(cls) == branch] for branch in BRANCHES}
    figures = {
        "branches": {str(branch): kinds for branch, kinds in tree.items()},
        "abilities": {kind: abilities(cls) for kind, cls in classes.items()},
        "closed_form": [kind for kind, cls in classes.items() if issubclass(cls, Fits)],
    }
    claims = [
        Claim(
            "Every branch of the tree has a kind that stands for it",
            ", ".join(f"{BRANCHES[branch][0]}: {len(kinds)}" for branch, kinds in tree.items()),
            all(tree.values()),
        ),
        Claim(
            "What has a density, tractable or approximate, can be given a likelihood or an energy",
            "checked on the classes",
            all(
                set(abilities(classes[kind])) & {"HasLogProb", "HasBound", "HasEnergy", "CanDenoise"}
                for branch in ("tractable", "approximate")
                for kind in tree[branch]
            ),
        ),
    ]
    claims.append(
        Claim(
            "The families of the decks come out in the branch that the decks draw them in",
            ", ".join(f"{kind}: {BRANCHES[density(classes[kind])][0]}" for kind in KNOWN),
            all(density(classes[kind]) == branch for kind, branch in KNOWN.items()),
        )
    )
    height = sum(HEAD + ROW * (len(kinds) + (branch in ABSENT)) for branch, kinds in tree.items())
    panel = curves(
        "Each kind under what its class can do; filled: it can",
        lambda axes: _draw(axes, tree, classes, height),
        "Nothing here is declared: the branch and the dots are computed from the abilities that a class lists.",
        height=0.27 * height,
    )
    return Told(plate(LESSON.title, LESSON.teaches, [[panel]]), WORDS.format(count=len(classes)), figures, claims)


def _draw(axes: Any, tree: dict[str | None, list[str]], classes: dict[str, type], height: float) -> None:
    axes.set(xlim=(0, 12), ylim=(height, -0.6))
    axes.axis("off")
    places = {ability: 4.7 + 0.89 * i for i, ability in enumerate(SHOWN)}
    for ability, x in places.items():
        axes.text(x, -0.2, SHOWN[ability], fontsize=TEXT, color=FAINT, ha="center")
    y = 0.2
    for (branch, kinds), colour in zip(tree.items(), COLOURS):
        name, meaning = BRANCHES[branch]
        top = y
        axes.text(0.3, y + 0.55, name, fontsize=12.5, weight="bold", color=colour)
        axes.text(3.0, y + 0.55, meaning, fontsize=TEXT, color=FAINT)
        y += HEAD
        for kind in kinds:
            axes.plot([0.12, 0.45], [y, y], color=colour, linewidth=1.6, solid_capstyle="round")
            axes.text(0.55, y, kind, fontsize=11.5, color=INK, va="center", family="monospace")
            own = abilities(classes[kind])
            for ability, x in places.items():
                face = colour if ability in own else PAPER
                axes.plot(x, y, "o", markersize=8, markerfacecolor=face, markeredgecolor=colour, alpha=0.9)
            y += ROW
        axes.plot([0.12, 0.12], [top + 0.75, y - ROW], color=colour, linewidth=1.6, solid_capstyle="round")
        if branch in ABSENT:
            axes.plot([0.12, 0.12, 0.45], [y - ROW, y, y], color=colour, linewidth=1.6, linestyle=(0, (1, 2)))
            axes.text(0.55, y, f"{ABSENT[branch]}: none here", fontsize=TEXT, color=FAINT, va="center")
            y += ROW


WORDS = """
Generative models differ in what they know of the density p(x) they learn. Some have it as a formula that can be
evaluated: classical models and flows. Some have only a bound (variational autoencoders), an energy, that is the
density but for a factor (Boltzmann machines), or its slope at every level of noise (diffusion). Some have no density
at all and only draw: adversarial networks, and an autoencoder with a prior put on its codes after the fact. (So would
generative stochastic networks, which draw by spoiling and cleaning again and again: the tree has a place for them, this
program has none.) A plain autoencoder has not even that.

The picture is made from the {count} kinds of this program. A kind lists what it can do in the header of its class; the
branch follows from it: log p(x) makes a density tractable, a bound, an energy or a denoiser makes it approximate,
samples or translations alone leave it implicit. Commands follow the same dots: what samples can be evaluated, what
encodes and decodes can be explored, what has a density can classify by Bayes' rule and compress.
"""

LESSON = Lesson(
    name="taxonomy",
    title="What models know of the density they learn",
    source="Deck 004, 'Taxonomy of generative models'. I. Goodfellow, 'NIPS 2016 tutorial: Generative adversarial "
    "networks' (2016)",
    teaches="Explicit or implicit, tractable or approximate: the families differ in what they know of p(x), and so in "
    "what can be done with them.",
    make=make,
    data=None,
    needs=(),
)
