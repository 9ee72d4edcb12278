"""Forward and backward strips of a diffusion model: what noise takes, a guess at once, and the way back."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from figment.evaluate.neighbours import nearest
from figment.explorer.strips import drawn, fine, noised
from figment.latent.codes import psnr
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import curves, pictures, plate
from figment.models.diffusion.samplers import ancestral, level
from figment.models.diffusion.sampling import Sampling, denoising
from figment.pictures import COLOURS

STEPS = 400
TIMES = torch.linspace(0, 1, 9, dtype=torch.float64).tolist()
BETWEEN, SHOWN, MEASURED = 6, 2, 100  # steps of the sampler between two times; pictures


def make(stage: Stage) -> Told:
    scene = stage.scene("diffusion-cosine", "diffusion", STEPS, model__schedule="cosine")
    return told(stage, scene.model)


@torch.no_grad()
def told(stage: Stage, model: Any) -> Told:
    form = stage.form
    path = [level(model.schedule, t) for t in TIMES]
    x = torch.cat([stage.examples(SHOWN).x, stage.held_out.x])[: SHOWN + MEASURED]
    noise = stage.noise(len(x))
    forward = noised(x, path, noise.normal(form.shape))
    guesses = [x, *(model.denoise(y, y.new_full((len(y),), at.t), {}).mean for y, at in zip(forward[1:], path[1:]))]

    def back(until: int) -> list[Tensor]:
        """From the noise of TIMES[until] to data, the states at those times."""
        fresh = noise.stream(f"steps-{until}")
        way = [level(model.schedule, t) for t in fine(TIMES[: until + 1], BETWEEN)]
        found = denoising(model, model.spec, {}, Sampling())
        return drawn(ancestral(1.0, lambda: fresh.normal(form.shape)), found, forward[until], way)[::BETWEEN][::-1]

    half = len(TIMES) // 2
    whole, turned = back(len(TIMES) - 1), back(half)
    measured = slice(-min(MEASURED, len(x)), None)
    decibels = [float(psnr(x, guess)[measured].mean()) for guess in guesses[1:]]
    mean = stage.training.x.mean(0, keepdim=True)
    of_mean = float(psnr(x, mean.expand_as(x))[measured].mean())
    returned = {"half": _decibels(turned[0], x, measured), "noise": _decibels(whole[0], x, measured)}
    rows = stage.training.x.flatten(1)
    near = {
        name: float(nearest(y[measured].flatten(1), rows, 1).mean()) for name, y in (("drawn", whole[0]), ("held", x))
    }
    figures: dict[str, Any] = {
        "times": TIMES[1:],
        "guess_psnr": decibels,
        "mean_psnr": of_mean,
        "returned_psnr": returned,
        "nearest_training": near,
    }
    claims = [
        Claim("The less noise, the better the guess", ", ".join(f"{d:.1f}" for d in decibels) + " dB from little noise "
              "to nothing but noise", all(a > b - 0.3 for a, b in pairwise(decibels))),
        Claim("Of noise alone the network makes the mean picture", f"{decibels[-1]:.1f} dB, the mean of the training "
              f"pictures {of_mean:.1f}", abs(decibels[-1] - of_mean) < 1),
        Claim("Turned round half way, it comes back near the picture; from noise, to another",
              f"{returned['half']:.1f} against {returned['noise']:.1f} dB", returned["half"] > returned["noise"] + 1),
        Claim("What is drawn from noise is as far from the training pictures as held-out ones are",
              f"{near['drawn']:.2f} against {near['held']:.2f}", 0.7 < near["drawn"] / near["held"] < 1.4),
    ]  # fmt: skip
    blank = [torch.ones_like(x)] * (len(TIMES) - half - 1)
    strips = [forward, guesses, whole, [*turned, *blank]]
    names = ["noise added", "guessed at once", "back from noise", "back from half"]
    sheets = [
        pictures(
            ("A held-out picture, into the noise and back", "Another")[min(i, 1)],
            form.to_user(torch.stack([row[i] for strip in strips for row in strip]).clamp(-1, 1)),
            len(TIMES),
            "From data (t = 0, left) to noise (t = 1). Read the last two rows from right to left." if not i else "",
            names=names,
            margin=1.5,
        )
        for i in range(min(SHOWN, len(x)))
    ]

    def draw(axes: Any) -> None:
        axes.plot(TIMES[1:], decibels, color=COLOURS[0], linewidth=2, marker="o", label="guessed at once")
        axes.axhline(of_mean, color="#8a8378", linestyle="--", label="the mean picture")
        axes.legend(frameon=False)

    chart = curves("How good the guess is", draw, "Of held-out pictures; the same noise.", ("t", "dB"))
    text = TEXT.format(first=decibels[0], last=decibels[-1], mean=of_mean, **returned)
    return Told(plate(LESSON.title, LESSON.teaches, [*([sheet] for sheet in sheets), [chart]]), text, figures, claims)


def _decibels(y: Tensor, x: Tensor, measured: slice) -> float:
    return float(psnr(x, y)[measured].mean())


TEXT = """
The first row of each strip is the forward process, which needs no network: a picture times the signal rate, plus noise
times the noise rate. The second is what the network makes of each column *at once*: the mean of all pictures that could
be behind that noise. With little noise that is the picture ({first:.1f} dB); with nothing but noise it is the mean of
all pictures ({last:.1f} dB, the mean of the training set has {mean:.1f}), a blur that nobody drew. The third row is the
backward process: it takes a small step towards that mean, adds a little fresh noise, and asks again, so that it
decides bit by bit for one picture among all: a new one ({noise:.1f} dB from the one above). The fourth turns round half
way, where noise has left the shape, and comes back to a picture like it ({half:.1f} dB).
"""

LESSON = Lesson(
    name="there-and-back",
    title="Into the noise and back",
    source="Decks 000, 002 and 003, 'Forward and reverse diffusion'. J. Ho, A. Jain and P. Abbeel, 'Denoising "
    "diffusion probabilistic models' (2020), algorithms 1 and 2",
    teaches="One guess from noise is a blur, the mean of all it could be; many small steps decide for one picture.",
    make=make,
)
