"""How good a diffusion model's samples are after so many evaluations of its network, for each sampler."""

from __future__ import annotations

from typing import Any

import torch

from figment.evaluate.features import features_for
from figment.evaluate.measure import measure
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import curves, pictures, plate
from figment.pictures import COLOURS
from figment.use import draw

STEPS = 400
SAMPLES = 400
SAMPLERS = {"dpm-solver++": 1, "unipc": 1, "heun": 2, "ddim": 1, "ddpm": 1}  # evaluations a step
BUDGETS = (2, 4, 8, 16, 32)  # evaluations
SHOWN = 10


def make(stage: Stage) -> Told:
    model = stage.scene("diffusion", "diffusion", STEPS, model__conditional=True, model__size="tiny").model
    net = features_for(stage.dataset)
    distances: dict[str, dict[int, float]] = {name: {} for name in SAMPLERS}
    floor, strips = 0.0, []
    for name, each in SAMPLERS.items():
        for budget in BUDGETS:
            x, c = draw(model, SAMPLES, seed=stage.seed, options={"sampler": name, "steps": max(1, budget // each)})
            quality = measure(x, stage.dataset, net, c.get("label"))["quality"]
            assert quality
            distances[name][budget], floor = quality["frechet"], quality["floor"]
            stage.say(f"{name}, {budget} evaluations: Fréchet distance {quality['frechet']:.1f}")
            if budget == 4:
                strips.append(x[:SHOWN])
    figures: dict[str, Any] = {"frechet": distances, "floor": floor, "samples": SAMPLES}
    few, many = BUDGETS[1], BUDGETS[-1]
    least = min(distances[name][many] for name in SAMPLERS)
    solver, chain = distances["dpm-solver++"], distances["ddpm"]
    claims = [
        Claim("More evaluations are better, but ever less so", f"dpm-solver++: {_told(solver)}",
              solver[few] > solver[8] > 0.9 * solver[many]),
        Claim("In few evaluations a solver of the differential equation beats the chain that adds noise",
              f"{solver[few]:.1f} against {chain[few]:.1f} in {few}", solver[few] < chain[few]),
        Claim("A second-order solver needs a quarter of the evaluations for nearly the same",
              f"dpm-solver++ in 8: {solver[8]:.1f}; the best in {many}: {least:.1f}", solver[8] <= 1.25 * least),
    ]  # fmt: skip

    def lines(axes: Any) -> None:
        for (name, found), colour in zip(distances.items(), COLOURS):
            axes.plot(list(found), list(found.values()), "o-", color=colour, label=name, linewidth=2)
        axes.axhline(floor, color="#8a8378", linestyle="--", label="real data")
        axes.set_xscale("log", base=2)
        axes.set_ylim(0)
        axes.set_xticks(BUDGETS, [str(budget) for budget in BUDGETS])
        axes.legend(frameon=False)

    panels = [
        [
            curves(
                "Distance from data by evaluations of the network",
                lines,
                f"Fréchet distance of {SAMPLES} samples, all from the same model and the same noise; heun evaluates "
                "twice a step. Dashed: real data against real data.",
                ("evaluations", "Fréchet distance"),
            )
        ],
        [
            pictures(
                f"The same noise in {few} evaluations",
                stage.dataset.spec.x.to_user(torch.cat(strips).clamp(-1, 1)),
                SHOWN,
                "Solvers agree on what the noise should become; the chain has not yet got rid of its own noise.",
                names=list(SAMPLERS),
                margin=1.4,
            )
        ],
    ]
    text = TEXT.format(few=few, solver=_told(solver), chain=_told(chain))
    return Told(plate(LESSON.title, LESSON.teaches, panels), text, figures, claims)


def _told(found: dict[int, float]) -> str:
    return ", ".join(f"{distance:.1f} in {budget}" for budget, distance in found.items())


TEXT = """
Sampling is a walk from noise to data, and each step asks the network once or twice where the data lies. The chain of
the lectures (ddpm) adds fresh noise at every step and has to remove it again: {chain}. The same network also defines a
differential equation without any fresh noise; ddim takes its steps along straight lines, dpm-solver++ and unipc bend
them by what the last step has shown, heun looks twice: dpm-solver++ {solver}. A better solver is free: nothing is
trained. What no solver can do is to make {few} evaluations or one as good as many, because the walk is curved; for that
the network itself must learn to jump (figment distill).
"""

LESSON = Lesson(
    name="sampler-steps",
    title="How many steps does a sample take?",
    source="Decks 002 and 003, 'Sampling' and 'Diffusion is slow'. J. Song, C. Meng and S. Ermon, 'Denoising diffusion "
    "implicit models' (2021); C. Lu et al., 'DPM-Solver++' (2022); T. Karras et al., 'Elucidating the design space of "
    "diffusion-based generative models' (2022)",
    teaches="One trained network, many ways to walk from noise to data: solvers of its differential equation get in "
    "eight evaluations where the chain of the lectures needs many more.",
    make=make,
)
