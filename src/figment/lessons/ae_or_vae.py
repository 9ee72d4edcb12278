"""Why one samples from a variational autoencoder and not from a plain one."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import entr

from figment.evaluate.features import FeatureNet, features_for
from figment.evaluate.measure import measure
from figment.explorer.map import Survey
from figment.explorer.scene import Scene
from figment.latent.map import votes
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import pictures, plate, points, rings

STEPS, DENSE = 1500, 3000  # of convolutions, fewer for larger pictures; of dense layers
QUICK: dict[str, Any] = {"training__optimiser": "muon", "training__lr": 5e-3}  # the prior is met in few steps
WEIGHT = 2.0  # of the KL term over two numbers, which are so few that a model would pay for codes beyond the prior
SAMPLES = 1000
SIDE, ROW = 9, 12  # pictures along a side of a decoded plane, and in a row of samples


def make(stage: Stage) -> Told:
    net = features_for(stage.dataset)
    kinds = {"ae": "autoencoder", "vae": "vae"}
    two: dict[str, dict[str, Any]] = {"ae": {"model__latent": 2}, "vae": {"model__latent": 2, "model__beta": WEIGHT}}
    flat = {name: Survey(trained(stage, f"sampled-{name}-2", kind, **two[name])) for name, kind in kinds.items()}
    deep = {name: Survey(trained(stage, f"sampled-{name}", kind)) for name, kind in kinds.items()}
    figures: dict[str, Any] = {
        name: {"two": measured(stage, flat[name], net), "many": measured(stage, deep[name], net)} for name in kinds
    }
    ratio = figures["ae"]["many"]["frechet"] / figures["vae"]["many"]["frechet"]
    figures |= {"features": net.name, "latents": deep["vae"].dimensions, "ratio": ratio}
    return Told(_drawn(stage, flat, deep, figures), _text(figures), figures, _claims(figures))


def trained(stage: Stage, name: str, kind: str, **settings: Any) -> Scene:
    """A model of pictures; where they are grey, of black and white draws, whose mean is the grey again.

    So a pixel counts in bits, as in Foster's figure, and dense layers learn in seconds.
    """
    if stage.form.channels == 1:
        settings |= {"data__binarise": "dynamic", "model__network": "plain", "model__size": "tiny"}
        settings |= {"training__steps": max(2, round(DENSE * stage.effort))}
    return stage.scene(name, kind, STEPS, **QUICK, **settings)


def measured(stage: Stage, survey: Survey, net: FeatureNet) -> dict[str, float]:
    """Fréchet distance and coverage of what draws decode to, the share of draws in gaps, and how far codes spread.

    With labels, also `kinds`: exp H of the labels of the training codes nearest to draws, the number of labels where
    all are as likely.
    """
    found = measure(survey.decode(survey.draws[:SAMPLES]), stage.dataset, net)
    quality, diversity = found["quality"], found["diversity"]
    assert quality and diversity
    label = survey.training.batch.c.get("label")
    kinds = {}
    if label is not None:
        shares = np.bincount(votes(survey.training.codes, label.numpy(), survey.draws)) / len(survey.draws)
        kinds = {"kinds": float(np.exp(entr(shares).sum()))}
    return kinds | {
        "frechet": quality["frechet"],
        "floor": quality["floor"],
        "coverage": diversity["coverage"],
        "gaps": float(survey.missing(survey.draws).mean()),
        "spread": float(survey.training.codes.std(0).mean()),
    }


def _claims(figures: dict[str, Any]) -> list[Claim]:
    (ae, many), (vae, drawn) = (figures[name].values() for name in ("ae", "vae"))
    claims = [
        Claim(
            "Of two numbers, the box around plain codes has gaps, where nothing was encoded; the prior has fewer",
            f"{ae['gaps']:.0%} of the box, {vae['gaps']:.0%} of the prior",
            ae["gaps"] > vae["gaps"],
        ),
        Claim(
            f"Of {figures['latents']} numbers the box is nearly all gap; the prior's pictures are nearer to the data",
            f"{many['gaps']:.0%} of the box; Fréchet distance {drawn['frechet']:.1f} against {many['frechet']:.1f} "
            f"({figures['ratio']:.1f} times)",
            many["gaps"] > 0.9 and figures["ratio"] > 1,
        ),
        Claim(
            "and cover more of it",
            f"{drawn['coverage']:.0%} of held-out pictures have one near, against {many['coverage']:.0%}",
            drawn["coverage"] > many["coverage"],
        ),
    ]
    if "kinds" in ae:
        even = Claim(
            "Of two numbers, some kinds of thing have much of the box and some hardly any; the prior is shared evenly",
            f"as if {ae['kinds']:.1f} kinds were drawn equally often, against {vae['kinds']:.1f}",
            vae["kinds"] > ae["kinds"],
        )
        claims.insert(1, even)
    return claims


def _drawn(stage: Stage, flat: dict[str, Survey], deep: dict[str, Survey], figures: dict[str, Any]) -> Any:
    from matplotlib.patches import Rectangle

    spec = stage.dataset.spec
    low, high = np.quantile(flat["ae"].training.codes, (0.01, 0.99), axis=0)

    def box(axes: Any) -> None:
        style: dict[str, Any] = {"fill": False, "edgecolor": "#1d1b18", "linewidth": 1.4, "linestyle": (0, (5, 3))}
        axes.add_patch(Rectangle(tuple(low), *(high - low), **style))

    told = {
        "ae": ("Plain autoencoder", "Colours are labels, which the network never saw. Codes lie anywhere; the dashed "
               "box holds nearly all.", box, None, "the box"),
        "vae": ("VAE", "The KL term has gathered the codes about 0, where the prior N(0, I) is (dashed: one and two "
                "deviations).", rings, (-3.4, 3.4), "the prior"),
    }  # fmt: skip
    maps, planes, samples = [], [], []
    for name, (heading, caption, decorate, limits, where) in told.items():
        survey, figure = flat[name], figures[name]
        known = survey.training.batch.c.get("label")
        labels = known.numpy() if known is not None else None
        axes_names = ("first number", "second number")
        maps.append(
            points(f"{heading}: codes of pictures", survey.training.codes, labels, stage.names, caption, axes_names,
                   limits=limits, decorate=decorate)
        )  # fmt: skip
        x = survey.decode(survey.plane(SIDE).points).unflatten(0, (SIDE, SIDE)).flip(0).flatten(0, 1)
        caption = f"Fréchet distance of {SAMPLES} such pictures to held-out data: "
        real = f" (two halves of real data: {figure['two']['floor']:.1f})."
        planes.append(
            pictures(
                f"Decoded from {where}, evenly",
                spec.x.to_user(x),
                SIDE,
                f"{caption}{figure['two']['frechet']:.1f}{real}",
            )
        )
        samples.append(
            pictures(f"Drawn from {where} of {figures['latents']} numbers",
                     spec.x.to_user(deep[name].decode(deep[name].draws[: 3 * ROW])), ROW,
                     f"Fréchet distance {figure['many']['frechet']:.1f}, coverage {figure['many']['coverage']:.0%}.")
        )  # fmt: skip
    return plate(LESSON.title, LESSON.teaches, [maps, planes, samples])


def _text(figures: dict[str, Any]) -> str:
    flat = {f"{k}_{n}_{m}": v for k in ("ae", "vae") for n in ("two", "many") for m, v in figures[k][n].items()}
    return TEXT.format(latents=figures["latents"], **flat)


TEXT = """
Above, every dot is a picture of the data at the two numbers it is encoded to. The plain autoencoder was asked for good
pictures back and for nothing else, so it scatters its codes as it likes (their deviation is {ae_two_spread:.1f}), with
gaps between them, and with much room for some kinds of thing and little for others. Nobody says where to draw a new
code from. Taken evenly from the box around them, {ae_two_gaps:.0%} of the codes lie in a gap: farther from every
training code than 95 % of held-out codes are.

The variational autoencoder paid for every nat by which a code's distribution strays from N(0, I). Its codes lie where
the prior is, and touch each other; {vae_two_gaps:.0%} of codes drawn from the prior lie in a gap.

In the middle is what the decoders make of such codes: a Fréchet distance to held-out data of {ae_two_frechet:.1f} for
the box and {vae_two_frechet:.1f} for the prior, where two halves of real data are {vae_two_floor:.1f} apart. Both are
far: two numbers keep little, and leave a box little room to be empty. With {latents} numbers, below,
{ae_many_gaps:.0%} of the box is gap: a box has far more room than codes have places in it. Its pictures are at
{ae_many_frechet:.1f} and cover {ae_many_coverage:.0%} of held-out data; those of the prior are at
{vae_many_frechet:.1f} and cover {vae_many_coverage:.0%}.
"""

LESSON = Lesson(
    name="ae-or-vae",
    title="Codes without a rule, and codes with a prior",
    source="Decks 001, 003 and 004. D. P. Kingma and M. Welling, 'Auto-encoding variational Bayes' (2014); the figure "
    "after D. Foster, 'Generative deep learning' (2023), chapter 3",
    teaches="A plain autoencoder does not say where new codes lie; a variational one puts them where its prior is.",
    make=make,
)
