"""L_0, ..., L_T: what each step of the chain adds to the bound, and what the bound says of noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.core.model import CanDenoise, Denoised
from figment.evaluate.likelihood import pixel_histograms
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import bars, curves, plate
from figment.models.diffusion.bound import variational_bound
from figment.models.diffusion.chain import chain_terms
from figment.models.diffusion.samplers import level
from figment.models.diffusion.schedule import Schedule
from figment.pictures import COLOURS

STEPS, CHAIN, MEASURED = 700, 100, 150
CHAINS = (10, 30, 100)


class Even(CanDenoise):
    """The exact denoiser of pixels that are independent and uniform over 256 grey levels: noise, as far as data go."""

    levels = torch.linspace(-1, 1, 256)

    def __init__(self, schedule: Schedule):
        self.schedule = schedule

    def denoise(self, x_t: Tensor, t: Tensor, c: Mapping[str, Tensor]) -> Denoised:
        alpha, sigma = (rate(t).view(-1, *[1] * x_t.ndim) for rate in (self.schedule.alpha, self.schedule.sigma))
        weight = (-((x_t[..., None] - alpha * self.levels) ** 2) / (2 * sigma**2)).softmax(-1)
        return Denoised((weight * self.levels).sum(-1))


def make(stage: Stage) -> Told:
    setting: dict[str, Any] = {"model__schedule": "cosine", "model__prediction": "mixture", "model__quiet": 9.0}
    setting |= {"model__weighting": "elbo", "model__times": "importance"}
    model = stage.scene("likelihood", "diffusion", STEPS, **setting).model
    return told(stage, model)


@torch.no_grad()
def told(stage: Stage, model: Any) -> Told:
    form, x = stage.form, stage.held_out.x[:MEASURED]
    unit = form.dimensions * math.log(2)

    def terms(steps: int) -> np.ndarray:
        torch.manual_seed(stage.seed)
        return np.array([float(t.mean()) / unit for t in chain_terms(model, form, x, {}, steps, "learned")])

    found = {steps: terms(steps) for steps in CHAINS}
    chain = found[CHAIN]
    torch.manual_seed(stage.seed)
    whole = -float(variational_bound(model, form, x, {}, 32, quiet=9.0).mean()) / unit
    end = level(model.schedule, 1.0)
    power = float((x.double() ** 2).mean())
    prior = (end.alpha**2 * power + end.sigma**2 - 1 - 2 * math.log(end.sigma)) / (2 * math.log(2))
    histograms = pixel_histograms(stage.dataset)
    noise = form.to_model(np.random.default_rng(0).integers(0, 256, (20, *form.shape), dtype=np.uint8))
    nothing = -float(variational_bound(Even(model.schedule), form, noise, {}, 32, quiet=11.0).mean()) / unit
    figures: dict[str, Any] = {
        "total": {str(steps): float(parts.sum()) for steps, parts in found.items()},
        "continuous": whole,
        "L_0": float(chain[0]),
        "L_T": float(chain[-1]),
        "prior": prior,
        "least": float(chain[1:].min()),
        "independent_pixels": histograms,
        "noise": nothing,
    }
    totals = figures["total"]
    claims = [
        Claim("No term is negative", f"the least is {figures['least']:.2g}", figures["least"] >= -1e-9),
        Claim("L_T is the divergence of the noised data from N(0, I)", f"{chain[-1]:.3g} and {prior:.3g}",
              abs(chain[-1] - prior) < 1e-6 + 0.01 * prior),
        Claim("The sum is well below the eight bits of a pixel of which nothing is known",
              f"{totals[str(CHAIN)]:.3f} bits a dimension", totals[str(CHAIN)] < 5),
        Claim("More steps bound more tightly", ", ".join(f"{steps}: {v:.3f}" for steps, v in totals.items()),
              totals["10"] > totals["30"] > totals["100"] - 0.02),
        Claim("Of noise nothing can be saved: eight bits a pixel", f"{nothing:.3f}", 7.9 < nothing < 8.3),
    ]  # fmt: skip

    def draw(axes: Any) -> None:
        for (steps, parts), colour in zip(found.items(), COLOURS):
            middle = (np.arange(1, steps) + 0.5) / steps
            axes.plot(middle, parts[1:-1] * steps, color=colour, linewidth=2, label=f"T = {steps}")
        axes.set_yscale("log")
        axes.legend(frameon=False)

    shares = {"L_0, the last noise": chain[0], "t < 1/4": 0.0, "t < 1/2": 0.0, "t < 3/4": 0.0, "t < 1": 0.0}
    for name, part in zip(list(shares)[1:], np.array_split(chain[1:-1], 4)):
        shares[name] = float(part.sum())
    shares["L_T, the prior"] = chain[-1]
    compared = {
        "this model, T = 100": totals["100"],
        "its limit, T without end": whole,
        "independent pixels": histograms,
        "noise, by its exact denoiser": nothing,
    }
    panels = [
        [
            bars(
                "Where the bits are spent",
                shares,
                f"A chain of {CHAIN} steps, its middle terms summed by quarters of the time; bits a dimension of "
                "held-out pictures.",
                form="{:.3f}",
            ),
            bars(
                "And what they add up to",
                compared,
                "Bits a dimension. Eight are those of a pixel of which nothing is known.",
                colours=[COLOURS[0], COLOURS[0], "#b9b2a4", "#b9b2a4"],
                form="{:.2f}",
            ),
        ],
        [
            curves(
                "The terms by time",
                draw,
                "L_t times T: much the same for every T.",
                ("t", "bits a dimension, times T"),
            )
        ],
    ]
    text = TEXT.format(
        sum=totals["100"],
        first=chain[0],
        last=chain[-1],
        few=totals["10"],
        whole=whole,
        pixels=histograms,
        none=nothing,
    )
    return Told(plate(LESSON.title, LESSON.teaches, panels), text, figures, claims)


TEXT = """
The bound of a chain is a sum. L_T is the divergence of what is left at the end from pure noise: {last:.1g} bits a
dimension here, and nothing in it is learned. Each L_t in between is the divergence of the step back that knows the
picture from the step that only guesses it: large where the network guesses badly. L_0 is what the last noise leaves
open, as the mass of the grey level: {first:.3f}. Some printings subtract the terms, others add them: with L_0 = -log p
all are added, and all are at least 0. A hundred steps give {sum:.3f} bits a dimension, ten {few:.3f}, and without end
{whole:.3f}. A histogram of each pixel by itself takes {pixels:.3f}: it has counted which grey levels occur at all (of
the 256, scanned digits have 17), and the network, for which grey is a number, has not. Pixels that are noise need eight
bits whatever one learns: {none:.2f} by the bound of their exact denoiser.
"""

LESSON = Lesson(
    name="bound-terms",
    title="What each step adds to the bound",
    source="Decks 000 and 002, 'ELBO'. J. Ho, A. Jain and P. Abbeel, 'Denoising diffusion probabilistic models' "
    "(2020), eq. 5; D. Kingma, T. Salimans, B. Poole and J. Ho, 'Variational diffusion models' (2021)",
    teaches="The likelihood of a diffusion model is a sum over its steps, none of them negative.",
    make=make,
)
