"""Two numbers a picture against five: what a code can keep."""

from __future__ import annotations

import torch

from figment.latent.compress import Axes
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import bars, pictures, plate
from figment.pictures import COLOURS

STEPS = 1500
SHOWN = 10


def make(stage: Stage) -> Told:
    small, large = (stage.scene(f"ae-{d}", "autoencoder", STEPS, model__latent=d) for d in (2, 5))
    batch, spec = stage.examples(SHOWN), stage.dataset.spec
    rebuilt = [scene.codec.decode(scene.codec.encode(batch.x, batch.c)) for scene in (large, small)]
    errors = {f"autoencoder, {d}": stage.error(scene) for d, scene in ((2, small), (5, large))}
    errors |= {f"PCA, {d}": principal_error(stage, d) for d in (2, 5)}
    flat = stage.held_out.x.flatten(1)
    errors["mean picture"] = float((flat - stage.training.x.flatten(1).mean(0)).square().mean())
    two, five = errors["autoencoder, 2"], errors["autoencoder, 5"]
    claims = [
        Claim("Five numbers keep more than two", f"MSE {five:.4f} against {two:.4f}", five < two),
        Claim("and much more: three quarters of the error or less", f"ratio {five / two:.2f}", five <= 0.75 * two),
        Claim(
            "At each size the network beats as many principal components",
            f"{two:.4f} < {errors['PCA, 2']:.4f} and {five:.4f} < {errors['PCA, 5']:.4f}",
            two < errors["PCA, 2"] and five < errors["PCA, 5"],
        ),
    ]
    order = ("mean picture", "PCA, 2", "autoencoder, 2", "PCA, 5", "autoencoder, 5")
    colours = ["#b9b2a4", "#b9b2a4", COLOURS[1], "#b9b2a4", COLOURS[0]]
    panels = [
        [
            pictures(
                "Held-out pictures, and what is left of them",
                spec.x.to_user(torch.cat([batch.x, *rebuilt])),
                SHOWN,
                f"Each picture has {spec.x.dimensions} numbers. The code between encoder and decoder has five of them, "
                "or two.",
                names=("truth", "5 numbers", "2 numbers"),
            )
        ],
        [
            bars(
                "Mean squared error on held-out pictures",
                {name: errors[name] for name in order},
                "Pixels between −1 and 1; lower is better. Grey: what needs no network.",
                colours=colours,
                form="{:.4f}",
            )
        ],
    ]
    figures = {"mse": errors, "ratio": five / two}
    text = TEXT.format(two=two, five=five, pca=errors["PCA, 5"], numbers=spec.x.dimensions)
    return Told(plate(LESSON.title, LESSON.teaches, panels), text, figures, claims)


def principal_error(stage: Stage, count: int) -> float:
    """Held-out error of rebuilding pictures from their first principal components."""
    train, held_out = (batch.x.flatten(1) for batch in (stage.training, stage.held_out))
    axes = Axes.of(train, count)
    return float((axes.rows(axes.scores(held_out)) - held_out).square().mean())


TEXT = """
The first row are pictures the network has never seen. Below them is what it makes of them after squeezing each through
five numbers, and through two. An autoencoder is a form of compression: of {numbers} numbers it keeps those that help
most to draw the picture again.

With five numbers most pictures can be recognised, with some of their slant and weight. With two, pictures that look
alike must share a place in the code: the network draws their mean, which is blurred, or takes one for the other. The
error says the same: {five:.4f} with five numbers, {two:.4f} with two. Five principal components, the best that
straight lines can do, leave {pca:.4f}: what the network adds is that its few numbers run along curves.
"""

LESSON = Lesson(
    name="latents-2-or-5",
    title="A code of two numbers, or of five",
    source="Decks 000 and 004, 'Dimensionality of latent space'. G. Hinton and R. Salakhutdinov, 'Reducing the "
    "dimensionality of data with neural networks' (2006)",
    teaches="Autoencoding is a form of compression: the size of the code decides how much of a picture comes back.",
    make=make,
)
