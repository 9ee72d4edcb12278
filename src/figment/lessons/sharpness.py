"""Who draws sharply: autoencoders, which average what they cannot tell apart, or adversaries, which are found out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from figment.evaluate.sharpness import sharpness
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import bars, pictures, plate
from figment.pictures import COLOURS
from figment.workbench import draw, reconstruct

STEPS, GAN_STEPS = 1500, 2500
LATENT = 5
SHOWN, SAMPLES = 10, 1000


def make(stage: Stage) -> Told:
    ae = stage.scene(f"ae-{LATENT}", "autoencoder", STEPS, model__latent=LATENT).model
    vae = stage.scene(f"vae-{LATENT}", "vae", STEPS, model__latent=LATENT).model
    gan = stage.scene("gan", "gan", GAN_STEPS).model
    with torch.no_grad():
        rebuilt = reconstruct(ae, stage.held_out.x, {})
    shown: dict[str, Tensor] = {
        "data": stage.held_out.x,
        "GAN": draw(gan, SAMPLES, seed=stage.seed)[0],
        "VAE": draw(vae, SAMPLES, seed=stage.seed)[0],
        "autoencoder": rebuilt,
    }
    figures: dict[str, Any] = {name: float(sharpness(x).mean()) for name, x in shown.items()}
    figures["share"] = {name: figures[name] / figures["data"] for name in shown}
    share = figures["share"]
    claims = [
        Claim("A GAN draws more sharply than a VAE", f"{share['GAN']:.0%} against {share['VAE']:.0%} of the data's "
              "sharpness", share["GAN"] > share["VAE"]),
        Claim("A GAN draws about as sharply as the data is", f"{share['GAN']:.0%}", 0.8 <= share["GAN"] <= 1.25),
        Claim("An autoencoder rebuilds more softly than the VAE draws", f"{share['autoencoder']:.0%} against "
              f"{share['VAE']:.0%}", share["autoencoder"] < share["VAE"]),
    ]  # fmt: skip
    spec = stage.dataset.spec
    panels = [
        [
            pictures(
                "Pictures",
                spec.x.to_user(torch.cat([x[:SHOWN] for x in shown.values()])),
                SHOWN,
                "Held-out data and what an autoencoder makes of it (it cannot draw); samples of the others.",
                names=["data", "GAN", "VAE", "autoencoder"],
            )
        ],
        [
            bars(
                "Sharpness: variance of the Laplacian",
                {name: figures[name] for name in shown},
                "High where neighbouring pixels differ. Noise raises it too: more than the data is no merit.",
                colours=["#b9b2a4", COLOURS[2], COLOURS[1], COLOURS[0]],
            )
        ],
    ]
    text = TEXT.format(latent=LATENT, **{name.lower(): value for name, value in share.items()})
    return Told(plate(LESSON.title, LESSON.teaches, panels), text, figures, claims)


TEXT = """
An autoencoder is asked for the smallest squared error. Where its code (here {latent} numbers) leaves open how a stroke
runs, the answer with the smallest error is the mean of all possible strokes, and a mean is soft. The decoder of a VAE
is asked for the same. A GAN's generator is never compared with a particular picture: its opponent only asks whether a
drawing could be data, and softness gives it away.

Measured by the variance of the Laplacian, the data being 100 %: GAN {gan:.0%}, VAE {vae:.0%}, autoencoder
{autoencoder:.0%}.
"""

LESSON = Lesson(
    name="sharpness",
    title="Who draws sharply, and who softly",
    source="Deck 000, 'GANs vs AEs'. C. K. Sønderby, J. Caballero, L. Theis, W. Shi and F. Huszár, 'Amortised MAP "
    "inference for image super-resolution' (2017)",
    teaches="Squared error is least at the mean of what is possible, which is blurred; an adversary tells means from "
    "data.",
    make=make,
)
