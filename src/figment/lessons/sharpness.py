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
NAMES = ("data", "GAN", "VAE", "AE", "AE, from a box", "VAE, rebuilt", "AE, rebuilt")


def make(stage: Stage) -> Told:
    ae = stage.scene(f"ae-{LATENT}", "autoencoder", STEPS, model__latent=LATENT)
    vae = stage.scene(f"vae-{LATENT}", "vae", STEPS, model__latent=LATENT)
    gan = stage.scene("gan", "gan", GAN_STEPS).model
    x, survey = stage.held_out.x, Survey(ae)
    normal = stage.noise(SAMPLES).normal((LATENT,)).numpy()
    with torch.no_grad():
        rebuilt = [reconstruct(scene.model, x, {}) for scene in (vae, ae)]
    drawn = [draw(model, SAMPLES, seed=stage.seed)[0] for model in (gan, vae.model)]
    decoded = [survey.decode(z) for z in (normal, survey.draws[:SAMPLES])]
    shown: dict[str, Tensor] = dict(zip(NAMES, (x, *drawn, *decoded, *rebuilt)))
    figures: dict[str, Any] = {name: float(sharpness(x).mean()) for name, x in shown.items()}
    figures["share"] = {name: figures[name] / figures["data"] for name in shown}
    spec = stage.dataset.spec
    panels = [
        [
            pictures(
                "Pictures",
                spec.x.to_user(torch.cat([x[:SHOWN] for x in shown.values()])),
                SHOWN,
                "Held-out data; what GAN, VAE and autoencoder make of numbers drawn from N(0, I); what the autoencoder "
                "makes of numbers even over the box of its own codes; held-out data rebuilt.",
                names=NAMES,
                margin=1.6,
            )
        ],
        [
            bars(
                "Sharpness: variance of the Laplacian",
                {name: figures[name] for name in shown},
                "High where neighbouring pixels differ. Noise and wrong strokes raise it too: it does not say that a "
                "picture is right.",
                colours=["#b9b2a4", *(COLOURS[k] for k in (2, 1, 0, 0, 1, 0))],
            )
        ],
    ]
    share = figures["share"]
    names = {name: name.replace(", ", "_").replace(" ", "_").lower() for name in NAMES}
    text = TEXT.format(latent=LATENT, **{names[name]: value for name, value in share.items()})
    return Told(plate(LESSON.title, LESSON.teaches, panels), text, figures, _claims(share))


def _claims(share: dict[str, float]) -> list[Claim]:
    three, rebuilt = [share[name] for name in ("AE", "VAE", "GAN")], [share[name] for name in NAMES[-2:]]
    return [
        Claim("Fed with the same noise, an autoencoder draws more softly than a VAE, and a VAE than a GAN",
              "{:.0%} < {:.0%} < {:.0%} of the data's sharpness".format(*three), three[0] < three[1] < three[2]),
        Claim("A GAN draws about as sharply as the data is", f"{three[2]:.0%}", 0.8 <= three[2] <= 1.25),
        Claim(f"What comes back from {LATENT} numbers is softer than the data, and than what a GAN draws",
              "{:.0%} of the VAE, {:.0%} of the autoencoder".format(*rebuilt), max(rebuilt) < min(1, three[2])),
    ]  # fmt: skip


TEXT = """
Give GAN, VAE and autoencoder the same kind of numbers, drawn from N(0, I). Measured by the variance of the Laplacian,
the data being 100 %, the autoencoder then draws with {ae:.0%}, the VAE with {vae:.0%}, the GAN with {gan:.0%}.

The autoencoder was never told where its codes are to lie, so of these numbers it knows nothing: it shows something like
the mean of all pictures. The VAE has learned to decode them, but with noise on every code: where that leaves open how a
stroke runs, the answer with the smallest squared error is the mean of the possible strokes, and a mean is soft. A GAN's
generator is never compared with a particular picture: its opponent only asks whether a drawing could be data, and
softness gives it away.

Sharpness alone says little. From numbers even over the box of its own codes the autoencoder draws strokes
({ae_from_a_box:.0%}), often wrong ones: noise and wrong strokes are sharp too. And from the codes of given
pictures ({latent} numbers each) both answer with a mean: the autoencoder with {ae_rebuilt:.0%}, the VAE with
{vae_rebuilt:.0%}. Which of the two is then the softer depends on the data and on the size of the code.
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
