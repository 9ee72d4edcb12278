"""Lessons: the figures of lectures on generative models, drawn anew from models trained on the spot."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figment.core.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from figment.lessons.lesson import Lesson, Stage, Told
    from figment.workbench import Watch

LESSONS = {
    "taxonomy": "taxonomy",
    "latents-2-or-5": "latents",
    "ae-or-vae": "ae_or_vae",
    "two-terms": "two_terms",
    "perturbation": "perturbation",
    "morphing": "morphing",
    "attribute-vector": "attribute_vector",
    "denoising": "denoising",
    "contraction": "contraction",
    "anomaly": "anomaly",
    "compression": "compression",
    "sharpness": "sharpness",
    "bound": "bound",
    "wrong-kl": "wrong_kl",
    "wrong-weight": "wrong_weight",
    "maximum-likelihood": "maximum_likelihood",
    "clusters": "clusters",
    "class-densities": "class_densities",
    "rejection": "rejection",
    "likelihood-fooled": "likelihood_fooled",
    "units-of-density": "units_of_density",
    "diagonal-prior": "diagonal_prior",
    "bayes-rule": "bayes_rule",
    "distribution-transformer": "distribution_transformer",
    "energy-landscape": "energy_landscape",
    "game": "game",
    "optimal-discriminator": "discriminator",
    "saturating-gradient": "saturation",
    "critic-distance": "critic",
    "mode-collapse": "collapse",
    "tips": "tips",
    "generative-or-discriminative": "generative_or_discriminative",
    "style-mixing": "style_mixing",
    "truncation": "truncation",
    "adversarial-example": "adversarial",
    "translation-tasks": "translation_tasks",
    "two-ways": "two_ways",
    "enlarging": "enlarging",
    "colouring": "colouring",
    "noising": "noising",
    "prompts": "prompts",
    "sampler-steps": "steps",
    "distillation": "few_steps",
    "there-and-back": "there_and_back",
    "mu-or-noise": "mu_or_noise",
    "learned-variance": "learned_variance",
    "bound-terms": "bound_terms",
    "guidance": "guidance",
}


def load(name: str) -> Lesson:
    """A lesson by name. Raises UsageError with the nearest name where there is none."""
    if name not in LESSONS:
        raise UsageError(f"There is no lesson '{name}'. {did_you_mean(name, LESSONS)}")
    return import_module(f"figment.lessons.{LESSONS[name]}").LESSON


def catalogue() -> list[dict[str, str]]:
    """All lessons: `name`, `title`, `teaches`, `source`, `data`."""
    keys = ("name", "title", "teaches", "source", "data")
    return [{key: getattr(load(name), key) or "-" for key in keys} for name in LESSONS]


def teach(
    name: str,
    out: str | Path = "lessons",
    data: str | None = None,
    *,
    seed: int = 0,
    effort: float = 1.0,
    watch: Callable[[str], Watch] | None = None,
    announce: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Gives a lesson: writes `out`/NAME.png, NAME.md and NAME.json and returns what the last holds.

    Models are trained in `out`/runs and found there again. `data` instead of the lesson's own; `effort` multiplies all
    training steps. `watch(name)` follows the training of a model. Raises UsageError, DataError, Diverged, Stopped.
    """
    from threadpoolctl import threadpool_limits

    from figment.core.run import check_name
    from figment.core.training import Stopped
    from figment.lessons.lesson import Stage

    lesson, out = load(name), Path(out)
    check_name(out)
    if not 0 < effort <= 100:
        raise UsageError(f"--effort {effort}: a factor above 0 and up to 100 is wanted; 1 is the lesson as written.")
    if data is not None and lesson.data is None:
        raise UsageError(f"lesson {name} needs no data: leave --data out.")
    stage = Stage(data or lesson.data, out / "runs", seed=seed, effort=effort, watch=watch, announce=announce)
    if lesson.data is not None:
        stage.check(lesson)
    begun, cpu = time.perf_counter(), time.process_time()
    try:
        with threadpool_limits(1, "blas"):  # of small matrices: beside other work, threads wait for each other
            told = lesson.make(stage)
    except Stopped as stop:
        raise Stopped(stop.number, "the same command.") from None
    seconds = {"seconds": time.perf_counter() - begun, "cpu_seconds": time.process_time() - cpu}
    return _write(lesson, stage, told, out, seconds)


def _write(lesson: Lesson, stage: Stage, told: Told, out: Path, seconds: dict[str, float]) -> dict[str, Any]:
    from figment.core.run import write_json, write_text
    from figment.pictures import save_film, save_png

    kinds = ("png", "md", "json", *(["webp"] if told.film else []))
    files = {kind: str(out / f"{lesson.name}.{kind}") for kind in kinds}
    made = {"lesson": lesson.name, "data": stage.data, "seed": stage.seed, "effort": stage.effort}
    document = {
        "name": lesson.name,
        "title": lesson.title,
        **made,
        "figures": dict(told.figures),
        "claims": [{**vars(claim), "holds": bool(claim.holds)} for claim in told.claims],
        "files": files,
        "runs": stage.used,
        **seconds,
    }
    save_png(told.picture, files["png"], made)
    if told.film:
        save_film(told.film, files["webp"], made)
    write_text(Path(files["md"]), page(lesson, stage, told))
    write_json(Path(files["json"]), document)
    return document


def page(lesson: Lesson, stage: Stage, told: Told) -> str:
    """The text of a lesson, in Markdown: what one sees, what was measured and whether it is as expected."""
    again = f"figment lesson {lesson.name}"
    if stage.data != lesson.data:
        again += f" --data {stage.data}"
    if stage.seed:
        again += f" --seed {stage.seed}"
    if stage.effort != 1:
        again += f" --effort {stage.effort:g}"
    lines = [f"# {lesson.title}", "", lesson.teaches, "", f"*{lesson.source}*", ""]
    lines += [f"![{lesson.title}]({lesson.name}.png)", "", "## What one sees", "", told.text.strip(), ""]
    missed = sum(not claim.holds for claim in told.claims)
    if missed:
        lines += [f"**{missed} of {len(told.claims)} expectations did not come out in this run**: see below.", ""]
    if told.claims:
        lines += ["## What this run measured", ""]
        for claim in told.claims:
            verdict = "as expected" if claim.holds else "**not so in this run**"
            lines.append(f"- {claim.expected}: {claim.measured} - {verdict}.")
        lines.append("")
    return "\n".join([*lines, f"Made by `{again}`; figures in `{lesson.name}.json`.", ""])
