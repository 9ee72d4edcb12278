"""Why one samples from a variational autoencoder and not from a plain one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.core.data import Image
from figment.evaluate.features import features_for
from figment.evaluate.measure import measure
from figment.latent.codes import Code, Codec
from figment.latent.map import Plane, box_plane, gaps, neighbour_accuracy, prior_plane
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import pictures, plate, points

STEPS = 1500
SIDE = 32  # of the square of codes whose pictures are measured
SHOWN = 9  # of the square that is shown


@dataclass(frozen=True)
class Space:
    """The code space of a model of two latents: codes of training and held-out data, and where samples come from."""

    codec: Codec
    train: np.ndarray
    held_out: np.ndarray
    sampled: Plane
    shown: Plane

    def draw(self, plane: Plane) -> Tensor:
        """The pictures of a plane, its highest row first."""
        side = len(plane.across)
        at = plane.points.reshape(side, side, 2)[::-1].reshape(-1, 2).copy()
        return self.codec.decode(Code(torch.from_numpy(at), {}))


def space(stage: Stage, model: Any, variational: bool) -> Space:
    codec = Codec(model)
    train, held_out = (codec.encode(b.x, b.c).z.numpy() for b in (stage.training, stage.held_out))
    planes = (prior_plane(n) if variational else box_plane(train, n) for n in (SIDE, SHOWN))
    return Space(codec, train, held_out, *planes)


def make(stage: Stage) -> Told:
    assert isinstance(stage.dataset.spec.x, Image)
    stage.say("the feature network that Fréchet distances are measured in")
    net = features_for(stage.dataset)
    models = {
        "ae": stage.model("ae-2", "autoencoder", STEPS, model__latent=2),
        "vae": stage.model("vae-2", "vae", STEPS, model__latent=2),
    }
    spaces = {name: space(stage, model, name == "vae") for name, model in models.items()}
    figures: dict[str, Any] = {}
    for name, found in spaces.items():
        quality = measure(found.draw(found.sampled), stage.dataset, net)["quality"]
        assert quality is not None
        figures[name] = {
            "frechet": quality["frechet"],
            "floor": quality["floor"],
            "precision": quality["precision"],
            "gaps": float(gaps(found.sampled.points, found.train, found.held_out).mean()),
            "spread": float(found.train.std(0).mean()),
        }
        if stage.names:
            labels = (b.c["label"].numpy() for b in (stage.training, stage.held_out))
            train, held_out = labels
            figures[name]["neighbours"] = neighbour_accuracy(found.train, train, found.held_out, held_out)
    figures["features"] = net.name
    return Told(_drawn(stage, spaces, figures), _text(figures), figures, _claims(figures))


def _claims(figures: dict[str, Any]) -> list[Claim]:
    ae, vae = figures["ae"], figures["vae"]
    ratio = ae["frechet"] / vae["frechet"]
    return [
        Claim(
            "Samples of the VAE's prior are nearer to the data than samples of the box around the plain codes",
            f"Fréchet distance {vae['frechet']:.2f} against {ae['frechet']:.2f} ({ratio:.1f} times)",
            ratio > 1,
        ),
        Claim("by a factor of 1.5 or more", f"{ratio:.2f}", ratio >= 1.5),
        Claim(
            "The plain code space has gaps, where nothing was ever encoded; the prior has fewer",
            f"{ae['gaps']:.0%} of the box against {vae['gaps']:.0%} of the prior",
            ae["gaps"] > vae["gaps"],
        ),
    ]


def _drawn(stage: Stage, spaces: dict[str, Space], figures: dict[str, Any]) -> Any:
    from matplotlib.patches import Circle, Rectangle

    spec, label = stage.dataset.spec, stage.training.c.get("label")
    labels = label.numpy() if label is not None else None
    ae, vae = spaces["ae"], spaces["vae"]
    (x0, y0), (x1, y1) = np.quantile(ae.train, (0.01, 0.99), axis=0)

    def box(axes: Any) -> None:
        style: dict[str, Any] = {"fill": False, "edgecolor": "#1d1b18", "linewidth": 1.4, "linestyle": (0, (5, 3))}
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, **style))

    def rings(axes: Any) -> None:
        for radius in (1, 2):
            axes.add_patch(Circle((0, 0), radius, fill=False, edgecolor="#1d1b18", lw=1.4, linestyle=(0, (5, 3))))

    names = ("first number", "second number")
    told = {key: figures[key] for key in ("ae", "vae")}
    maps = [
        points(
            "Plain autoencoder: where pictures are encoded", ae.train, labels, stage.names,
            "Colours are labels, which the network never saw. Codes lie anywhere; the dashed box holds nearly all.",
            names, decorate=box,
        ),
        points(
            "VAE: where pictures are encoded", vae.train, labels, stage.names,
            "The KL term has gathered the codes around 0, as the prior N(0, I) is (dashed: one and two deviations).",
            names, limits=(-3.4, 3.4), decorate=rings,
        ),
    ]  # fmt: skip
    grids = [
        pictures(
            f"Decoded from {where}", spec.x.to_user(found.draw(found.shown)), SHOWN,
            f"Fréchet distance to held-out data {told[key]['frechet']:.2f} (real data: {told[key]['floor']:.2f}).",
        )
        for key, where, found in (("ae", "the box, evenly", ae), ("vae", "the prior, in equal shares", vae))
    ]  # fmt: skip
    return plate(LESSON.title, LESSON.teaches, [maps, grids])


def _text(figures: dict[str, Any]) -> str:
    return TEXT.format(**{f"{k}_{n}": v for k in ("ae", "vae") for n, v in figures[k].items()})


TEXT = """
Above, every dot is a picture of the data at the two numbers it is encoded to. The plain autoencoder was asked for good
pictures back and for nothing else, so it scatters its codes as it likes (their deviation is {ae_spread:.1f}), with
gaps between them. Nobody says where to draw a new code from. Taken evenly from the box around them,
{ae_gaps:.0%} of the codes lie in a gap: farther from every training code than 95 % of held-out codes are.

The variational autoencoder paid for every nat by which a code's distribution strays from N(0, I). Its codes lie where
the prior is, and touch each other; {vae_gaps:.0%} of codes drawn from the prior lie in a gap.

Below is what the decoders make of such codes. The Fréchet distance to held-out data is {ae_frechet:.2f} for the box and
{vae_frechet:.2f} for the prior; two halves of real data are {vae_floor:.2f} apart.
"""

LESSON = Lesson(
    name="ae-or-vae",
    title="Codes without a rule, and codes with a prior",
    source="Decks 001, 003 and 004. D. P. Kingma and M. Welling, 'Auto-encoding variational Bayes' (2014); the figure "
    "after D. Foster, 'Generative deep learning' (2023), chapter 3",
    teaches="A plain autoencoder does not say where new codes lie; a variational one puts them where its prior is.",
    make=make,
)
