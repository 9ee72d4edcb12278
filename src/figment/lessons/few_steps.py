"""The trilemma before and after distillation: a diffusion model, and a student of it that draws in four evaluations."""

from __future__ import annotations

from typing import Any

import torch

from figment.evaluate.distillation import compared, row
from figment.evaluate.features import features_for
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import curves, pictures, plate
from figment.pictures import COLOURS
from figment.use import draw

TEACHER, STUDENT = 400, 150  # training steps
FEW = 4  # evaluations of the student
SAMPLES = 500
SHOWN = 10


def make(stage: Stage) -> Told:
    teacher = stage.scene("diffusion", "diffusion", TEACHER, model__conditional=True, model__size="tiny")
    settings: dict[str, Any] = {"model__first": str(teacher.run), "model__evaluations": FEW, "model__conditional": True}
    student = stage.scene("distilled", "distilled", STUDENT, model__size="tiny", **settings)
    net = features_for(stage.dataset)
    plans = [(teacher, 16), (teacher, 8), (teacher, FEW), (student, FEW)]
    rows = [row(scene.run, count, stage.dataset, net, SAMPLES, stage.seed, stage.say) for scene, count in plans]
    figures: dict[str, Any] = compared(rows, "diffusion")
    *_, same, drawn = rows
    baseline = rows[figures["baseline"]]
    near = [one["quality"]["frechet"] for one in (baseline, same, drawn)]
    recalls = [one["diversity"]["recall"] for one in (baseline, drawn)]
    claims = [
        Claim(f"In {FEW} evaluations the student is nearer to the data than its teacher",
              f"Fréchet distance {near[2]:.1f} against {near[1]:.1f}", near[2] < near[1]),
        Claim("and faster than its teacher where that is good",
              f"{drawn['x_speed']:.1f} times as many samples a second", drawn["x_speed"] > 1),
        Claim("What it gives for that: some quality, little variety",
              f"distance {drawn['x_frechet']:.2f} times its teacher's in {baseline['evaluations']}, recall "
              f"{recalls[1]:.2f} against {recalls[0]:.2f}", abs(recalls[1] - recalls[0]) <= 0.1),
    ]  # fmt: skip
    seen = [draw(scene.model, SHOWN, seed=stage.seed, options={"steps": count})[0] for scene, count in plans]

    def places(axes: Any) -> None:
        for one, colour in zip(rows, COLOURS):
            name = f"{one['model']}, {one['evaluations']}"
            size = 600 * one["diversity"]["coverage"]
            x, y = one["speed"]["samples_per_second"], one["quality"]["frechet"]
            axes.scatter([x], [y], s=size, color=colour, alpha=0.6, label=name)
        axes.axhline(drawn["quality"]["floor"], color="#8a8378", linestyle="--")
        axes.set_xscale("log")
        axes.set_ylim(0, 1.2 * max(one["quality"]["frechet"] for one in rows))
        legend = axes.legend(frameon=False)
        for handle in legend.legend_handles:
            handle.set_sizes([60])

    panels = [
        [
            curves(
                "Quality, diversity and speed",
                places,
                "Right is faster, down is better, large covers more of the data. Dashed: real data against real data.",
                ("samples a second", "Fréchet distance"),
            )
        ],
        [
            pictures(
                "The same noise",
                stage.dataset.spec.x.to_user(torch.cat(seen).clamp(-1, 1)),
                SHOWN,
                "The student starts from its teacher's weights and ends near its teacher's pictures.",
                names=[f"{one['model']}, {one['evaluations']}" for one in rows],
                margin=1.6,
            )
        ],
    ]
    text = TEXT.format(few=FEW, many=baseline["evaluations"], student=near[2], same=near[1], best=near[0])
    return Told(plate(LESSON.title, LESSON.teaches, panels), text, figures, claims)


TEXT = """
Diffusion gives quality and diversity and pays with time: in {many} evaluations its distance here is {best:.1f}, in
{few} it is {same:.1f}, because the walk from noise to data is curved and long steps leave it. The student is the same
network trained a little longer on another question: not where the data lies, but where its teacher, who walks from
noise to a drawing in twice as many steps, comes by on its way from each of {few} levels to the next. In {few}
evaluations the student's distance is {student:.1f}.
"""

LESSON = Lesson(
    name="distillation",
    title="The trilemma before and after distillation",
    source="Deck 002, 'Which model should we use?'. Z. Xiao, K. Kreis and A. Vahdat, 'Tackling the generative learning "
    "trilemma with denoising diffusion GANs' (2022); T. Salimans and J. Ho, 'Progressive distillation for "
    "fast sampling of diffusion models' (2022)",
    teaches="A diffusion model is good and varied and slow; a student that starts from its weights and learns to jump "
    "where its teacher walks draws in a few evaluations.",
    make=make,
)
