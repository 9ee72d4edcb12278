"""A model distilled, and measured before and after: what fewer evaluations cost, and what they bring."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from figment.core.data import Dataset
from figment.core.errors import UsageError
from figment.core.model import HasSampling, Model, with_sampling
from figment.core.run import RunFolder, write_json
from figment.evaluate.features import FeatureNet, features_for
from figment.evaluate.measure import SMALLEST, measure
from figment.evaluate.speed import speed
from figment.planning import plan
from figment.use import draw, load
from figment.workbench import Watch, execute

MINUTES = 5.0
NEAR = 1.05  # of the teacher's best distance: the cheapest setting within it is what a student is held against
HALF = 8  # evaluations of the teacher that may do as well as its usual number


def distill(
    run: str | Path,
    out: str | Path | None = None,
    *,
    evaluations: int = 4,
    minutes: float | None = None,
    steps: int | None = None,
    n: int | None = None,
    features: str | None = None,
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    watch: Watch | None = None,
    announce: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Trains a student of a finished diffusion run, measures both, and writes `distill.json` to the student's folder.

    A row for each: the teacher as it draws by default, in 8 evaluations and in as many as the student (twice as many
    where the student learns its guidance); the student in `evaluations` and in one. `x_frechet` and `x_speed` are
    relative to the `baseline`, the teacher's cheapest row within 5 % of its best. `out` defaults to RUN-distilled.
    Raises UsageError, DataError, Diverged.
    """
    teacher, say = RunFolder(run), announce or (lambda line: None)
    value = teacher.read_run()
    folder = Path(out or f"{teacher.path if teacher.path.name else teacher.path.resolve()}-distilled")
    settings: dict[str, Any] = {
        "model.first": str(teacher.path.absolute()),
        "model.evaluations": evaluations,
        **(overrides or {}),
    }
    settings |= {"training.steps": steps} if steps else {"training.minutes": minutes or MINUTES}
    dataset = value.data.build()
    net, n = features_for(dataset, features), n or min(max(len(dataset.held_out), 1000), 5000)
    if n < SMALLEST:
        raise UsageError(f"{n} samples are too few to measure: ask for n >= {SMALLEST}, better 1000.")
    student = execute(
        plan("distilled", value.data, seed=seed, overrides=settings),
        folder,
        device=device,
        resume=resume,
        overwrite=overwrite,
        watch=watch,
        announce=announce,
    )
    guidance = settings.get("model.guidance", 1)
    guided = {} if guidance == 1 else {"guidance": guidance}
    plans = [(teacher, None), (teacher, HALF), (teacher, evaluations), (student, evaluations), (student, 1)]
    rows = [
        row(owner.path, count, dataset, net, n, seed, say, guided if owner is teacher else {}, device)
        for owner, count in dict.fromkeys(plans)
    ]
    told = {"teacher": str(teacher.path), "student": str(student.path), **compared(rows, value.model.kind)}
    write_json(student.path / "distill.json", told)
    return told


def row(
    run: str | Path,
    count: int | None,
    dataset: Dataset,
    net: FeatureNet,
    n: int,
    seed: int,
    say: Callable[[str], None],
    guided: Mapping[str, Any] | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """What a run's model gives in so many steps (None: as it does by default): quality, diversity, speed."""
    model: Model = load(run, device)
    options = {**(guided or {}), **({} if count is None else {"steps": count})}
    assert isinstance(model, HasSampling)
    spent = with_sampling(model, options).evaluations
    say(f"{model.config.kind} in {spent} evaluation{'s' * (spent != 1)}")
    fast = speed(model, options)
    x, c = draw(model, n, seed=seed, options=options, batch=fast["batch"])
    found = measure(x, dataset, net, c.get("label"))
    return {"model": model.config.kind, "evaluations": spent, "sampling": options, "speed": fast, **found}


def compared(rows: list[dict[str, Any]], teacher: str) -> dict[str, Any]:
    """The rows, each with its distance and speed relative to the teacher's cheapest row within 5 % of its best."""
    taught = [one for one in rows if one["model"] == teacher]
    best = min(one["quality"]["frechet"] for one in taught)
    near = [one for one in taught if one["quality"]["frechet"] <= NEAR * best]
    baseline = min(near, key=lambda one: one["evaluations"])
    for one in rows:
        one["x_frechet"] = one["quality"]["frechet"] / baseline["quality"]["frechet"]
        one["x_speed"] = one["speed"]["samples_per_second"] / baseline["speed"]["samples_per_second"]
    return {"baseline": rows.index(baseline), "rows": rows}
