"""Who draws sharply: autoencoders, which average what they cannot tell apart, or adversaries, which are found out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from figment.evaluate.sharpness import sharpness
from figment.explorer.map import Survey
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import bars, pictures, plate
from figment.pictures import COLOURS
from figment.use import draw, reconstruct

STEPS, GAN_STEPS = 1500, 2500
LATENT = 5
SHOWN, SAMPLES = 10, 1000
NAMES = ("data", "GAN", "VAE, drawn", "VAE, rebuilt", "AE, drawn", "AE, rebuilt")


def make(stage: Stage) -> Told:
    ae = stage.scene(f"ae-{LATENT}", "autoencoder", STEPS, model__latent=LATENT)
    vae = stage.scene(f"vae-{LATENT}", "vae", STEPS, model__latent=LATENT)
    gan = stage.scene("gan", "gan", GAN_STEPS).model
    x, box = stage.held_out.x, Survey(ae)
    with torch.no_grad():
        rebuilt = [reconstruct(scene.model, x, {}) for scene in (vae, ae)]
    drawn = [draw(model, SAMPLES, seed=stage.seed)[0] for model in (gan, vae.model)]
    shown: dict[str, Tensor] = dict(zip(NAMES, (x, *drawn, rebuilt[0], box.decode(box.draws[:SAMPLES]), rebuilt[1])))
    figures: dict[str, Any] = {name: float(sharpness(x).mean()) for name, x in shown.items()}
    figures["share"] = {name: figures[name] / figures["data"] for name in shown}
    spec = stage.dataset.spec
    panels = [
        [
            pictures(
                "Pictures",
                spec.x.to_user(torch.cat([x[:SHOWN] for x in shown.values()])),
                SHOWN,
                "Held-out data, samples, and what becomes of held-out data that is encoded and decoded. An autoencoder "
                "has no prior: its samples are of codes even over the box of all codes.",
                names=NAMES,
                margin=1.6,
            )
        ],
        [
            bars(
                "Sharpness: variance of the Laplacian",
                {name: figures[name] for name in shown},
                "High where neighbouring pixels differ. Noise raises it too: more than the data is no merit.",
                colours=["#b9b2a4", COLOURS[2], COLOURS[1], COLOURS[1], COLOURS[0], COLOURS[0]],
            )
        ],
    ]
    share = figures["share"]
    text = TEXT.format(latent=LATENT, **{name.replace(", ", "_").lower(): value for name, value in share.items()})
    return Told(plate(LESSON.title, LESSON.teaches, panels), text, figures, _claims(share))


def _claims(share: dict[str, float]) -> list[Claim]:
    softer = "{:.0%} against {:.0%} of the data's sharpness"
    soft = [share[name] for name in NAMES[2:]]
    return [
        Claim("A GAN draws more sharply than a VAE and than an autoencoder, drawn or rebuilt",
              softer.format(share["GAN"], max(soft)) + " at most", share["GAN"] > max(soft)),
        Claim("A GAN draws about as sharply as the data is", f"{share['GAN']:.0%}", 0.8 <= share["GAN"] <= 1.25),
        Claim("Of rebuilt pictures, those of the autoencoder are softer than those of the VAE",
              softer.format(share["AE, rebuilt"], share["VAE, rebuilt"]), share["AE, rebuilt"] < share["VAE, rebuilt"]),
        Claim("and of drawn ones too",
              softer.format(share["AE, drawn"], share["VAE, drawn"]), share["AE, drawn"] < share["VAE, drawn"]),
    ]  # fmt: skip


TEXT = """
An autoencoder is asked for the smallest squared error. Where its code (here {latent} numbers) leaves open how a stroke
runs, the answer with the smallest error is the mean of all possible strokes, and a mean is soft. The decoder of a VAE
is asked for the same, and from codes with noise on them. A GAN's generator is never compared with a particular picture:
its opponent only asks whether a drawing could be data, and softness gives it away.

Measured by the variance of the Laplacian, the data being 100 %: GAN {gan:.0%}. Rebuilt, like beside like, the VAE has
{vae_rebuilt:.0%} and the autoencoder {ae_rebuilt:.0%}; drawn, {vae_drawn:.0%} and {ae_drawn:.0%}. Which of the two is
the softer depends on the data and on the size of the code.
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
