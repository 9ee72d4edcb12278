"""The forward process of diffusion: pictures drowned in noise step by step, or in one jump; and schedules that do not
drown them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.core.noise import Noise
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import bars, curves, pictures, plate
from figment.models.diffusion.schedule import ScheduleName, Steps, path, prior_gap
from figment.pictures import COLOURS

STEPS, SHORT = 1000, 100
NAMES: tuple[ScheduleName, ...] = ("linear", "quadratic", "cosine", "offset-cosine", "straight")
TIMES = np.linspace(0, 1, 9)
DRAWS = 4000
ENOUGH = 1e-3  # of the signal's power left


def chain(x: Tensor, schedule: Steps, noise: Noise) -> Tensor:
    """x after all T steps x_i = sqrt(1 - beta_i) x_{i-1} + sqrt(beta_i) noise, one by one."""
    for beta in schedule.betas:
        x = math.sqrt(1 - beta) * x + math.sqrt(beta) * noise.normal(x.shape[1:]).to(x)
    return x


def jumped(x: Tensor, schedule: Any, t: float, noise: Tensor) -> Tensor:
    """alpha(t) x + sigma(t) noise."""
    moment = torch.tensor(t, dtype=torch.float64)
    return float(schedule.alpha(moment)) * x + float(schedule.sigma(moment)) * noise


def make(stage: Stage) -> Told:
    schedules = {name: path(name, STEPS) for name in NAMES}
    one = stage.examples(1).x
    noise = stage.noise(1).normal(one.shape[1:])
    strips = torch.cat([jumped(one, schedule, t, noise) for schedule in schedules.values() for t in TIMES])
    user = stage.dataset.spec.x.to_user(strips.clamp(-1, 1))

    half = path("linear", STEPS // 2)
    assert isinstance(half, Steps)
    start = torch.full((DRAWS, 1), 0.6)
    walked = chain(start, Steps(half.betas[: len(half.betas) // 2]), stage.noise(DRAWS))[:, 0].double()
    middle = torch.tensor(0.5, dtype=torch.float64)
    alpha, sigma = float(half.alpha(middle)), float(half.sigma(middle))
    mean_off = abs(float(walked.mean()) - 0.6 * alpha) / (sigma / math.sqrt(DRAWS))
    variance_off = abs(float(walked.var()) / sigma**2 - 1) / math.sqrt(2 / DRAWS)

    end = torch.ones((), dtype=torch.float64)
    left = {name: float(schedule.alpha(end)) ** 2 for name, schedule in schedules.items()}
    short = path("linear", SHORT, rescale=False)
    x = stage.training.x.double()
    power = float((x**2).mean())
    stopped, rate = float(short.alpha(end)) ** 2, float(short.alpha(end))
    gap = prior_gap(short, power)
    beta, spread = 0.02, float(x.var())
    once = float((math.sqrt(1 - beta) * x).var())
    figures: dict[str, Any] = {
        "signal_left": left,
        "short_chain_signal_left": stopped,
        "short_chain_signal_rate": rate,
        "short_chain_bits_per_dim": gap,
        "rescaled_signal_left": float(path("linear", SHORT).alpha(end)) ** 2,
        "data_variance": spread,
        "standard_errors": {"mean": mean_off, "variance": variance_off},
    }
    claims = [
        Claim("Many small steps and one jump give the same distribution",
              f"mean {mean_off:.1f} and variance {variance_off:.1f} standard errors apart after {STEPS // 4} steps",
              max(mean_off, variance_off) < 3),
        Claim("Every schedule of full length ends in noise",
              ", ".join(f"{name} {value:.1g}" for name, value in left.items()), max(left.values()) <= ENOUGH),
        Claim("A short chain of the same betas does not", f"{SHORT} steps: signal rate {rate:.2f}, {gap:.2f} bits a "
              "dimension from N(0, I)", stopped > 100 * ENOUGH),
        Claim("Betas times 1000 / T reach it", f"{figures['rescaled_signal_left']:.1g} of the power left",
              figures["rescaled_signal_left"] <= ENOUGH),
        Claim("The scaled picture has variance 1 - beta only if the data have variance 1",
              f"{once:.3f} here, where the data have {spread:.3f}", abs(once - (1 - beta)) > 0.02),
    ]  # fmt: skip

    grid = torch.linspace(0, 1, 401, dtype=torch.float64)

    def draw(axes: Any) -> None:
        for name, schedule, colour in zip(NAMES, schedules.values(), COLOURS):
            axes.plot(grid, schedule.alpha(grid) ** 2, color=colour, label=name, linewidth=2)
        axes.plot(grid, short.alpha(grid) ** 2, color="#8a8378", linestyle="--", label=f"linear, {SHORT} steps")
        axes.legend(frameon=False)
        axes.set_ylim(0, 1.02)

    panels = [
        [
            pictures(
                "One picture, the same noise, five schedules",
                user,
                len(TIMES),
                f"From data (t = 0, left) to noise (t = 1) in steps of {TIMES[1]:g} T. Linear betas drown a picture "
                "early; the cosine keeps its shape for longer.",
                names=list(NAMES),
                margin=1.4,
            )
        ],
        [
            curves(
                "What is left of the signal's power",
                draw,
                "alpha(t)^2. Dashed: the same betas over a hundred steps, not rescaled: it stops long before noise.",
                ("t", "signal power"),
            ),
            bars(
                "Signal rate alpha(1) where the chain ends",
                {**{name: math.sqrt(value) for name, value in left.items()}, f"linear, {SHORT} steps": rate},
                "Sampling starts at pure noise: whatever is left here is missing there.",
                colours=[*COLOURS[: len(NAMES)], "#8a8378"],
            ),
        ],
    ]
    text = TEXT.format(short=SHORT, rate=rate, stopped=stopped, gap=gap, spread=spread, once=once)
    return Told(plate(LESSON.title, LESSON.teaches, panels), text, figures, claims)


TEXT = """
Each step scales the picture down a little and adds a little noise; because normal noise adds up to normal noise, any
number of steps is one jump x_t = alpha x + sigma noise, which is what makes training fast. What matters is where the
jump of all steps ends. That is no question of "a large enough T" but of the sum of the betas: with the usual betas
(1e-4 to 0.02) a chain of {short} steps keeps a signal rate of {rate:.2f}, {stopped:.2f} of the power, and sampling from
N(0, I) starts {gap:.2f} bits a dimension from where training ended. Multiplied by 1000 / T the same betas reach noise.
Two slips of the slides: the *rates* of signal and noise are the square roots of alpha-bar and 1 - alpha-bar, which are
powers; and sqrt(1 - beta) x has the variance 1 - beta only for data of variance 1: these have {spread:.2f}, and
{once:.2f} once scaled with beta = 0.02.
"""

LESSON = Lesson(
    name="noising",
    title="From data to noise",
    source="Decks 000, 002 and 003, 'Forward process' and 'Diffusion schedules'. J. Ho, A. Jain and P. Abbeel, "
    "'Denoising diffusion probabilistic models' (2020); A. Nichol and P. Dhariwal (2021); S. Lin et al., 'Common "
    "diffusion noise schedules and sample steps are flawed' (2024)",
    teaches="Noise added in many small steps is noise added in one; whether anything of the data survives is decided "
    "by the schedule.",
    make=make,
)
