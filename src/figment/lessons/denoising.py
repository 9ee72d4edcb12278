"""An autoencoder that rebuilds the clean picture from a spoilt one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.explorer.scene import Scene
from figment.latent.codes import psnr
from figment.latent.compress import Axes
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import bars, pictures, plate
from figment.models.autoencoders.corruption import corrupted
from figment.pictures import COLOURS

STEPS = 1500
SIGMA = 0.3  # of the noise, black to white being 1
SHOWN = 10
NAMES = {"noisy": "noisy", "identity": "trained on clean pictures", "principal": "PCA, best k", "denoised": "denoising"}


def make(stage: Stage) -> Told:
    twin, undone = stage.scene("ae", "autoencoder", STEPS), denoiser(stage)

    def outputs(x: Tensor) -> dict[str, Tensor]:
        spoilt = corrupted(x, "gaussian", SIGMA, stage.noise(len(x)))
        rebuilt = {
            name: scene.codec.decode(scene.codec.encode(spoilt, {}))
            for name, scene in (("identity", twin), ("denoised", undone))
        }
        return {"noisy": spoilt, **rebuilt}

    clean = stage.held_out.x
    found = outputs(clean)
    figures: dict[str, Any] = {name: float(psnr(clean, x).mean()) for name, x in found.items()}
    figures["principal"], figures["components"] = principal(stage, found["noisy"])
    claims = [
        Claim("Denoising raises the signal above the noise", f"from {figures['noisy']:.1f} to "
              f"{figures['denoised']:.1f} dB", figures["denoised"] > figures["noisy"] + 3),
        Claim("The same network trained on clean pictures alone does worse", f"{figures['identity']:.1f} dB",
              figures["identity"] < figures["denoised"]),
        Claim("and so does keeping the best number of principal components", f"{figures['principal']:.1f} dB with "
              f"{figures['components']}", figures["principal"] < figures["denoised"]),
    ]  # fmt: skip
    x = stage.examples(SHOWN).x
    shown = outputs(x)
    user = stage.dataset.spec.x.to_user
    order = ("noisy", "identity", "principal", "denoised")
    panels = [
        [
            pictures(
                "Held-out pictures",
                user(torch.cat([x, shown["noisy"], shown["identity"], shown["denoised"]])),
                SHOWN,
                "Both networks are the same; one never saw noise while it learned, the other saw nothing else.",
                names=["clean", "noisy", "trained on clean", "denoising"],
                margin=1.55,
            )
        ],
        [
            bars(
                "Signal to noise against the clean picture",
                {NAMES[name]: figures[name] for name in order},
                f"Peak signal-to-noise ratio in dB; higher is better. Noise of {SIGMA:g} of the range. PCA: the number "
                "of components that is best.",
                colours=["#b9b2a4", COLOURS[1], "#b9b2a4", COLOURS[0]],
                form="{:.1f} dB",
            )
        ],
    ]
    text = TEXT.format(sigma=SIGMA, **figures)
    return Told(plate(LESSON.title, LESSON.teaches, panels), text, figures, claims)


def denoiser(stage: Stage) -> Scene:
    """An autoencoder trained to undo Gaussian noise."""
    noise: dict[str, Any] = {"model__regulariser": "denoising", "model__corruption": SIGMA}
    return stage.scene("dae", "autoencoder", STEPS, **noise)


def principal(stage: Stage, noisy: Tensor) -> tuple[float, int]:
    """The best PSNR that projecting noisy held-out pictures on k principal components of clean ones reaches, and k."""
    clean = stage.held_out.x
    axes = Axes.of(stage.training.x.flatten(1), clean[0].numel())
    scores = axes.scores(noisy.flatten(1))
    counts = np.unique(np.geomspace(1, scores.shape[1], 24).round().astype(int)).tolist()
    found = {k: float(psnr(clean, axes.rows(scores[:, :k]).view_as(clean)).mean()) for k in counts}
    best = max(found, key=lambda k: found[k])
    return found[best], best


TEXT = """
Noise of deviation {sigma:g} (black to white being 1) leaves a signal-to-noise ratio of {noisy:.1f} dB. The third row
is an ordinary autoencoder: it was trained to return what it is given, and gives back part of the noise ({identity:.1f}
dB). The fourth is the same network trained on spoilt pictures with the clean ones as its aim: to succeed it must know
where pictures lie and go there ({denoised:.1f} dB). Projecting on principal components also throws noise away, and
strokes with it: {principal:.1f} dB with the best number of them, {components}.
"""

LESSON = Lesson(
    name="denoising",
    title="Rebuilding what was there before the noise",
    source="Decks 000, 003 and 004, 'Denoising autoencoder'. P. Vincent, H. Larochelle, I. Lajoie, Y. Bengio and P.-A. "
    "Manzagol, 'Stacked denoising autoencoders' (2010)",
    teaches="A network that must undo noise learns where clean pictures lie; one that may copy learns to copy.",
    make=make,
)
