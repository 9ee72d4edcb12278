"""A code that hardly moves when its picture does."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.explorer.map_picture import palette
from figment.explorer.scene import Scene
from figment.latent.map import neighbour_accuracy
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import Panel, bars, plate, points
from figment.models.autoencoders.contraction import jacobian_norm_estimate
from figment.models.autoencoders.corruption import corrupted
from figment.pictures import COLOURS

STEPS = 1500
SIGMA = 0.1  # of the noise that codes are tried with, black to white being 1
SIGNS = 8  # random signs a picture, for the norm of the Jacobian
COPIES, SHOWN = 120, 10  # noisy copies of a picture, and pictures they are made of


def make(stage: Stage) -> Told:
    scenes = {
        "plain": stage.scene("ae-2", "autoencoder", STEPS, model__latent=2),
        "contractive": stage.scene("cae-2", "autoencoder", STEPS, model__latent=2, model__regulariser="contractive"),
    }
    figures = {name: measured(stage, scene) for name, scene in scenes.items()}
    plain, tame = figures["plain"], figures["contractive"]
    ratio, price = tame["jacobian"] / plain["jacobian"], tame["mse"] / plain["mse"]
    claims = [
        Claim("The encoder's slopes are a fifth or less", f"||J||² is {ratio:.2f} of the plain one's", ratio <= 0.2),
        Claim("at a price of at most 1.3 times the error", f"{price:.2f} times", price <= 1.3),
        Claim(
            "Noise on the picture moves its code less",
            f"by {tame['moved']:.3f} of the codes' spread, against {plain['moved']:.3f}",
            tame["moved"] < plain["moved"],
        ),
    ]
    panels = [
        [cloud(stage, scene, name) for name, scene in scenes.items()],
        [
            _bars("Slope of the encoder", "jacobian", figures, "||∂z/∂x||² relative to the variance of codes"),
            _bars("Code moved by noise", "moved", figures, f"of the codes' spread, by noise of {SIGMA:g}"),
            _bars("Error", "mse", figures, "of held-out pictures rebuilt"),
        ],
    ]
    text = TEXT.format(sigma=SIGMA, ratio=ratio, price=price, plain=plain["moved"], tame=tame["moved"])
    return Told(plate(LESSON.title, LESSON.teaches, panels), text, {**figures, "ratio": ratio, "price": price}, claims)


def measured(stage: Stage, scene: Scene) -> dict[str, float]:
    """||J||^2 and the move of codes under noise, relative to the spread of codes; the error of reconstruction."""
    x = stage.held_out.x.clone().requires_grad_()
    with torch.random.fork_rng([]):
        torch.manual_seed(stage.seed)
        norm = torch.stack([_norm(scene, x) for _ in range(SIGNS)]).mean()
    z = scene.codec.encode(x.detach(), {}).z
    moved = scene.codec.encode(noisy(stage, x.detach()), {}).z - z
    variance = z.var(0).sum()
    figures = {
        "jacobian": float(norm / variance),
        "moved": float((moved.square().sum(1).mean() / variance).sqrt()),
        "mse": stage.error(scene),
    }
    if stage.names:
        train = scene.codec.encode(stage.training.x, {}).z
        labels = [batch.c["label"].numpy() for batch in (stage.training, stage.held_out)]
        figures["neighbours"] = neighbour_accuracy(train.numpy(), labels[0], z.numpy(), labels[1])
    return figures


def _norm(scene: Scene, x: Tensor) -> Tensor:
    return jacobian_norm_estimate(scene.model.encode(x, {}), x).mean()


def noisy(stage: Stage, x: Tensor) -> Tensor:
    return corrupted(x, "gaussian", SIGMA, stage.noise(len(x)))


def cloud(stage: Stage, scene: Scene, name: str) -> Panel:
    """Codes of the data in grey, and of noisy copies of a few held-out pictures in colours."""
    batch = stage.examples(SHOWN)
    z = scene.codec.encode(stage.training.x, {}).z.numpy()
    copies = scene.codec.encode(noisy(stage, batch.x.repeat_interleave(COPIES, 0)), {}).z.numpy()
    low, high = np.quantile(z, (0.003, 0.997), axis=0)

    def over(axes: Any) -> None:
        axes.collections[0].set(color="#d5cfc2", alpha=0.8)
        tints = [tint for tint in palette(len(batch)) for _ in range(COPIES)]
        axes.scatter(*copies.T, s=9, c=tints, alpha=0.55, linewidths=0)
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))

    captions = {
        "plain": f"Grey: codes of the data. A colour: {COPIES} noisy copies of one picture.",
        "contractive": "The same pictures and the same noise.",
    }
    heading = f"{name.capitalize()} autoencoder"
    return points(heading, z, caption=captions[name], axes_names=("first number", "second number"), decorate=over)


def _bars(heading: str, key: str, figures: dict[str, dict[str, float]], caption: str) -> Panel:
    values = {name: found[key] for name, found in figures.items()}
    return bars(heading, values, caption, colours=[COLOURS[1], COLOURS[0]])


TEXT = """
Every colour is one held-out picture, copied many times with slight noise (deviation {sigma:g} of the range from black
to white). A plain autoencoder has no reason to give such copies the same code: its clouds are wide and run into each
other. The contractive one adds to its loss the squared norm of the Jacobian of the encoder, ||∂z/∂x||², here relative
to the variance of codes (else a smaller code and a louder decoder would do). Its clouds are small beside the distance
from picture to picture: noise moves a code by {tame:.3f} of the codes' spread, against {plain:.3f}.

The norm is {ratio:.2f} of the plain one's, at {price:.2f} times the error.
"""

LESSON = Lesson(
    name="contraction",
    title="A code that stays where it is",
    source="Deck 000, 'Contractive autoencoder (CAE)'. S. Rifai, P. Vincent, X. Muller, X. Glorot and Y. Bengio, "
    "'Contractive auto-encoders: explicit invariance during feature extraction' (2011)",
    teaches="Punish the encoder's slopes, and pictures that differ by little keep codes that differ by little.",
    make=make,
)
