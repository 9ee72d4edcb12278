"""Each sign is seen where it is, and in nothing healthy; each remedy is a setting of the runs that need it."""

from __future__ import annotations

from pathlib import Path

import pytest

from figment import planning, workbench
from figment.core.alarms import from_log, remedy
from figment.core.processes import Processes
from figment.core.run import RunFolder, write_json
from figment.core.session import Session
from figment.core.signs import LINES
from figment.evaluate.diagnosis import diagnose, held, page

HEALTHY = [{"loss": 1 / (i + 1), "gradient_norm": 1.0} for i in range(LINES)]
GAME = [
    {
        "discriminator.loss": 0.6 + 0.01 * (i % 3),
        "discriminator.accuracy": 0.7,
        "generator.gradient_norm": 0.2,
        **({"discriminator.coverage": 0.95} if i % 2 else {}),
    }
    for i in range(LINES)
]


def game(**figures: float) -> list[dict[str, float]]:
    return [{**line, **{name.replace("__", "."): value for name, value in figures.items()}} for line in GAME]


def names(lines: list[dict[str, float]], progress: float = 1.0) -> list[str]:
    return [sign.name for sign in from_log(lines, progress)]


@pytest.mark.parametrize("lines", [HEALTHY, GAME, HEALTHY[:3], []])
def test_healthy_logs_are_quiet(lines: list[dict[str, float]]) -> None:
    assert from_log(lines) == []


def test_an_equilibrium_is_healthy_however_small_the_gradient() -> None:
    assert names(game(discriminator__accuracy=0.5, generator__gradient_norm=1e-3)) == []


def test_constant_loss_is_told() -> None:
    assert "has not changed" in from_log([{"loss": 0.5}] * LINES)[0].cause
    assert from_log([{"loss": 0.5}] * (LINES - 1)) == []


def test_a_discriminator_that_wins_is_told() -> None:
    (won,) = from_log(game(discriminator__accuracy=0.99, discriminator__coverage=0.1))
    assert won.name == "discriminator wins"
    assert "99.0%" in won.cause
    assert names(game(discriminator__accuracy=0.97, discriminator__coverage=0.1), 0.1) == []
    assert names(game(discriminator__accuracy=0.99, discriminator__coverage=0.9)) == [], "right by a hair's breadth"


def test_a_gradient_that_vanishes_is_told_before_the_winner() -> None:
    faint = game(discriminator__accuracy=1.0, discriminator__coverage=0.1, generator__gradient_norm=1e-4)
    assert names(faint) == ["vanishing gradient", "discriminator wins"]


def test_lost_modes_are_told_once_a_run_is_no_longer_young() -> None:
    narrow = game(discriminator__coverage=0.4)
    assert names(narrow, 0.5) == ["mode collapse"]
    assert names(narrow, 0.1) == []
    assert names(game(discriminator__coverage=0.7), 0.5) == []
    lost = game(discriminator__coverage=0.0, discriminator__accuracy=1.0)
    assert names(lost, 0.5) == ["discriminator wins"], "nothing is near the data, and the generator has not won"
    begun = game(discriminator__coverage=0.0, discriminator__accuracy=0.1)
    assert names(begun[:8] + lost[8:], 0.5) == [], "the discriminator has just got ahead"


def test_a_flow_that_does_not_invert_is_told_with_the_remedy() -> None:
    lines = [{"loss": 1 / (i + 1)} | ({"inverse_error": 1e-4} if i % 5 == 0 else {}) for i in range(LINES)]
    assert from_log(lines) == []
    (told,) = from_log([*lines[:7], {"loss": 0.1, "inverse_error": 0.03}, *lines[8:]])
    assert "0.03" in told.cause
    assert "model.bound" in told.advice


def drawn(**figures: float) -> list[str]:
    """The signs of a log whose last line is after a preview."""
    usual = {"spread": 0.9, "noise": 0.1, "lattice": 1.0, "copies": 0.02, "fresh": 0.1}
    return names(
        [*HEALTHY, {"loss": 0.05} | {f"drawn.{name}": value for name, value in (usual | figures).items()}], 0.7
    )


def test_what_is_drawn_is_told() -> None:
    assert drawn() == []
    assert drawn(noise=0.9) == ["noise-only samples"]
    assert drawn(spread=0.05) == ["samples are all alike"]
    assert drawn(spread=0.05, noise=0.9) == ["samples are all alike"], "a flat picture has only its last bits"
    assert drawn(lattice=20.0) == ["checkerboard"]
    assert drawn(copies=0.5) == ["memorisation"]
    assert names([{"drawn.noise": 1.0, "drawn.spread": 1.0}], 0.1) == [], "all begin with noise"
    assert names([{"drawn.copies": 0.5, "drawn.fresh": 0.1}], 0.1) == [], "a blob may lie near one item by chance"


def test_a_loss_that_rises_again_is_told() -> None:
    fallen = [{"loss": 1 / (i + 1) + 0.01 * (i % 2)} for i in range(2 * LINES)]
    assert names([*fallen, *[{"loss": 0.9}] * 3]) == ["divergence"]
    assert names([*fallen, *[{"loss": 0.9}] * 2]) == [], "a spike"
    assert names([*fallen, *[{"loss": 0.3}] * 3]) == [], "most of what was learned is kept"
    assert names([{"generator.loss": 0.1 * i} for i in range(3 * LINES)]) == [], "of two players one may lose"
    assert names([{"loss": 0.01 * i} for i in range(3 * LINES)]) == [], "it never fell"


def test_steep_gradients_are_told_at_once() -> None:
    assert names([{"gradient_norm": 1e6}] * 3, 0.01) == ["divergence"]
    assert names([{"gradient_norm": 1e6}] * 2 + [{"gradient_norm": 1.0}], 0.01) == []


def test_a_schedule_that_stops_early_is_told_in_the_first_line() -> None:
    assert names([{"loss": 1.0, "signal_left": 0.36}], 0.01) == ["schedule never reaches noise"]
    assert names([{"loss": 1.0, "signal_left": 1e-4}], 0.01) == []


def test_the_page_is_that_of_the_table() -> None:
    """`python -c "from figment.evaluate.diagnosis import page; print(page(), end='')" > docs/diagnosis.md`"""
    assert (Path(__file__).parents[2] / "docs" / "diagnosis.md").read_text() == page()


def test_codes_that_say_nothing_are_told_with_the_remedy() -> None:
    silent = [{"loss": 1 / (i + 1), "kl": 1e-3, "active": 3.0} for i in range(LINES)]
    inactive = [{"loss": 1 / (i + 1), "kl": 2.0, "active": 0.0} for i in range(LINES)]
    healthy = [{"loss": 1 / (i + 1), "kl": 2.0 * (i > 0), "active": 3.0 * (i > 0)} for i in range(LINES)]
    for lines in (silent, inactive):
        (told,) = from_log(lines)
        assert told.name == "posterior collapse"
        assert all(word in told.advice for word in ("model.sigma=global", "model.free_bits=0.2", "model.anneal=0.5"))
    assert from_log(healthy) == []


KINDS = {
    "vanishing gradient": "gan",
    "discriminator wins": "gan",
    "mode collapse": "gan",
    "codebook collapse": "vq-vae",
    "posterior collapse": "vae",
    "inexact inverse": "flow",
    "standstill": "vae",
    "divergence": "diffusion",
    "NaN": "autoencoder",
    "schedule never reaches noise": "diffusion",
    "noise-only samples": "diffusion",
    "checkerboard": "diffusion",
    "memorisation": "diffusion",
}


BROKEN = {
    "schedule never reaches noise": {"model.schedule": "linear", "model.rescale": False},
    "noise-only samples": {"training.lr": 1e-6},
}


@pytest.mark.parametrize("name", KINDS)
def test_every_remedy_is_a_setting_that_the_run_takes(name: str) -> None:
    """Applied one after the other until none is left (or three are), each changes the run."""
    data = "digits" if KINDS[name] == "vq-vae" else "toy:moons"
    run, applied = planning.plan(KINDS[name], data, overrides={"training.steps": 5, **BROKEN.get(name, {})}), 0
    while applied < 3 and (settings := remedy(name, run.model_dump(mode="json"))):
        cured = run.override(settings)
        assert cured != run
        run, applied = cured, applied + 1
    assert applied


def test_the_remedy_is_what_the_run_lacks() -> None:
    def of(**settings: object) -> dict[str, object]:
        overrides = {f"model.{key}": value for key, value in settings.items()}
        run = planning.plan("gan", "toy:gaussians8", overrides=overrides)
        return remedy("mode collapse", run.model_dump(mode="json"))

    assert of(objective="minimax", regulariser="none") == {
        "model.objective": "relativistic",
        "model.regulariser": "r1+r2",
    }
    assert of(objective="minimax") == {"model.objective": "relativistic"}
    assert of() == {"model.deviation": True}
    assert of(deviation=True) == {"training.lr": pytest.approx(1e-3 / 3)}
    assert remedy("mode collapse", {"model": {"kind": "vae"}}) == {}


def test_translators_are_cured_by_what_they_have() -> None:
    def of(objective: str) -> dict[str, object]:
        run = planning.plan("pix2pix", "faces:edges-to-photo", overrides={"model.objective": objective})
        return remedy("vanishing gradient", run.model_dump(mode="json"))

    assert of("minimax") == {"model.objective": "relativistic"}
    assert of("relativistic") == {"model.gamma": pytest.approx(1.6)}


def test_a_diagnosis_says_when_a_sign_held() -> None:
    lines = [*GAME * 3, *game(discriminator__accuracy=1.0) * 2, *GAME * 2]
    lines = [{name: value for name, value in line.items() if name != "discriminator.coverage"} for line in lines]
    log = [{**line, "step": 10 * (i + 1)} for i, line in enumerate(lines)]
    ((sign, (first, last)),) = held(log, 1.0)
    assert sign.name == "discriminator wins"
    assert 10 * 3 * LINES < first < last < 10 * 6 * LINES


def test_a_short_run_is_cured_by_a_shorter_one() -> None:
    run = planning.plan("vae", "digits", overrides={"training.minutes": 0.5})
    assert remedy("memorisation", run.model_dump(mode="json")) == {"training.minutes": 0.25}


def test_a_strength_that_was_found_for_the_data_is_what_a_remedy_changes(tmp_path: Path) -> None:
    """Told of a run that has not published anything, and while it learns."""
    run = planning.plan("gan", "digits", overrides={"training.steps": 100})
    assert run.model.gamma is None  # type: ignore[attr-defined]
    folder = RunFolder(tmp_path)
    write_json(folder.run, run.model_dump(mode="json"))
    for step, line in enumerate(game(discriminator__accuracy=1.0) * 3, 1):
        folder.append_metrics({"step": step, "seconds": step, **line, "discriminator.coverage": 0.1})
    (settings,) = (f["settings"] for f in diagnose(folder)["findings"] if f["name"] == "discriminator wins")
    dataset = run.data.build()
    session = Session(run, dataset, workbench.build(run, dataset), Processes("cpu"))
    assert settings == remedy("discriminator wins", session.fitted()) == {"model.gamma": pytest.approx(1.2)}
