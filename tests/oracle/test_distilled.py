"""A student against its teacher: what it starts from, what it keeps, and how the two are compared."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import synthetic
from figment import use, workbench
from figment.core.data import Image
from figment.core.errors import UsageError
from figment.core.model import Denoised, Turn, size_of, with_sampling
from figment.core.noise import Noise
from figment.evaluate.distillation import compared, distill
from figment.explorer.scene import Scene, explore
from figment.models.diffusion.distilled import Distilled, Jumps
from figment.models.diffusion.grain import contrast, grain, softly_clipped
from figment.models.diffusion.walks import Walks
from figment.planning import plan as planned
from short import learn, outcome, plan


@pytest.fixture(scope="module", params=["plane-labelled", "odd-labelled"])
def taught(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A teacher's folder and its data."""
    folder = tmp_path_factory.mktemp(request.param)
    data = synthetic.write(request.param, folder)
    return workbench.execute(plan("diffusion", data, 30), folder / "teacher"), data


def student_of(taught: tuple[Any, Any], **settings: Any) -> Distilled:
    """An untrained student of a teacher, with settings of its model."""
    folder, data = taught
    named = {f"model.{key}": value for key, value in {"first": str(folder.path), **settings}.items()}
    student = workbench.build(plan("distilled", data, **named), data.build())
    assert isinstance(student, Distilled)
    return student


@pytest.mark.parametrize("count", [1, 2, 4])
@torch.no_grad()
def test_an_untrained_student_draws_as_its_teacher_does_by_ddim(taught: Any, count: int) -> None:
    folder, _ = taught
    teacher = use.load(folder.path)
    student = student_of(taught).eval()
    noise, c = Noise(5, range(6)), {"label": torch.tensor([0, 1, 2, 0, 1, 2])}
    expected = with_sampling(teacher, {"sampler": "ddim", "steps": count}).sample(c, noise)
    found = with_sampling(student, {"steps": count}).sample(c, Noise(5, range(6)))
    torch.testing.assert_close(found, student.pictures(expected), atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """The folder of a teacher that draws codes, and its data."""
    folder = tmp_path_factory.mktemp("coded")
    data = synthetic.write(synthetic.CAPTIONED, folder)
    return workbench.execute(plan("latent-diffusion", data, 8), folder / "teacher"), data


def test_a_student_draws_between_two_prompts(coded: Any, tmp_path: Path) -> None:
    folder, data = coded
    settings = {"model.first": str(folder.path), "model.evaluations": 2}
    run = workbench.execute(plan("distilled", data, **settings), tmp_path / "student")
    explored = explore(Scene(run.path), "interpolate", ("prompt:dim", "prompt:bright one"), {})
    assert explored


@torch.no_grad()
def test_a_student_of_codes_draws_what_its_teacher_does(coded: Any) -> None:
    folder, _ = coded
    teacher = use.load(folder.path)
    c = {"text": teacher.spec.text.draw(Noise(1, range(3)))}
    student = student_of(coded).eval()
    expected = with_sampling(teacher, {"sampler": "ddim", "steps": 2}).sample(c, Noise(5, range(3)))
    assert expected.shape[1:] == student.spec.x.shape
    found = with_sampling(student, {"steps": 2}).sample(c, Noise(5, range(3)))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("evaluations", [1, 4])
def test_a_student_of_codes_leaves_their_autoencoder_as_it_is(coded: Any, tmp_path: Path, evaluations: int) -> None:
    folder, data = coded
    settings = {"model.first": str(folder.path), "model.guidance": 2.0, "model.adversarial": 1.0}
    settings |= {"model.evaluations": evaluations}
    run = workbench.execute(plan("distilled", data, **settings), tmp_path / "student")
    before, after = (load_file(at / "model.safetensors") for at in (folder.model, run.model))
    assert set(after) == {f"generator.{name}" for name in before}
    same = {name for name in before if torch.equal(before[name], after[f"generator.{name}"])}
    assert {name for name in before if name.startswith("first.") or name in ("mean", "spread")} <= same
    assert not all(name in same for name in before if name.startswith("denoiser."))


@torch.no_grad()
def test_two_jumps_to_data_end_where_the_second_says(taught: Any) -> None:
    """At t = 0 a jump is what the network makes of x_s; between, x_s and that are mixed so that t = s is x_s itself."""
    student = student_of(taught).eval()
    x, c = torch.randn(3, *student.spec.x.shape), {"label": torch.arange(3)}
    s, zero = torch.full((3,), 0.7), torch.zeros(3)
    torch.testing.assert_close(student.jump(x, s, s, c), x, atol=1e-6, rtol=0)
    torch.testing.assert_close(student.jump(x, s, zero, c), student.generator.denoise(x, s, c).mean)


def test_where_the_teacher_goes_straight_its_denoiser_is_what_the_student_learns(
    taught: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a constant E[x | x_t] = m the path is x_t = alpha m + sigma noise: one jump is exact, from any level to the
    next, so a student that knows m is led to make no error, and one that is off by 1/2 is told so at every level."""
    _, data = taught
    student = student_of(taught).eval()
    batch = data.build().held_out.gather(np.arange(5)).suited(student.spec)
    monkeypatch.setattr(student.first, "denoise", lambda x, t, c: Denoised(torch.full_like(x, 0.3)))
    monkeypatch.setattr(student.generator, "denoise", lambda x, t, c: Denoised(torch.full_like(x, 0.8)))
    guess, target = student.jumps(student.walk(batch), batch.c)
    assert len(guess) == len(target) == 5 * len(student.levels[1:])
    torch.testing.assert_close(target, torch.full_like(target, 0.3), atol=1e-4, rtol=0)
    torch.testing.assert_close(guess, torch.full_like(guess, 0.8))


@torch.no_grad()
def test_jumps_that_hit_their_targets_retrace_the_teachers_walk(taught: Any) -> None:
    """The walk's states are those of its solver at the student's levels, and its targets lead from each to the next."""
    folder, data = taught
    student = student_of(taught).eval()
    batch = data.build().held_out.gather(np.arange(4)).suited(student.spec)
    torch.manual_seed(3)
    noise = torch.randn(4, *student.spec.x.shape)
    torch.manual_seed(3)
    states = student.walk(batch)
    torch.testing.assert_close(states[0], noise)
    expected = with_sampling(use.load(folder.path), {"sampler": "unipc", "steps": 8}).decode(noise, batch.c)
    torch.testing.assert_close(states[-1], expected, atol=1e-5, rtol=1e-5)
    torch.manual_seed(3)
    _, target = student.jumps(student.walk(batch), batch.c)
    x = noise
    for (here, there), f in zip(pairwise(student.levels), target.split(4)):
        x = there.alpha * f + there.sigma / here.sigma * (x - here.alpha * f)
    torch.testing.assert_close(x, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("count", [1, 3])
def test_what_plays_is_what_the_student_draws(taught: Any, count: int) -> None:
    """Of the noise that comes first, by all its jumps; only the last of them learns from the game."""
    _, data = taught
    student = student_of(taught, evaluations=count).eval()
    batch = data.build().train.gather(np.arange(4)).suited(student.spec)
    torch.manual_seed(3)
    noise = torch.randn(4, *student.spec.x.shape)
    torch.manual_seed(3)
    drawn = student.drawn(batch)
    assert drawn.requires_grad
    with torch.no_grad():
        plain = student.with_sampling(Jumps(sharpen=0)).decode(noise, batch.c)
        torch.testing.assert_close(student.pictures(drawn), plain, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_pictures_of_one_evaluation_are_sharpened(taught: Any) -> None:
    """By .15 unless told, and those of several, or rows, not; rows cannot be."""
    for evaluations in (1, 2):
        student = student_of(taught, evaluations=evaluations).eval()
        batch = taught[1].build().train.gather(np.arange(4)).suited(student.spec)
        noise, pictures = torch.randn(4, *student.spec.x.shape), isinstance(student.spec.x, Image)
        plain, half = (student.with_sampling(Jumps(sharpen=s)) for s in (0, 0.5 * pictures))
        x = plain.decode(noise, batch.c)
        share = 0.15 * (evaluations == 1 and pictures)
        expected = (x + share * contrast(x)).clamp(-1, 1) if pictures else x
        torch.testing.assert_close(student.decode(noise, batch.c), expected)
        if pictures:
            torch.testing.assert_close(half.decode(noise, batch.c), (x + 0.5 * contrast(x)).clamp(-1, 1))
        else:
            with pytest.raises(UsageError, match="changes pictures"):
                student.with_sampling(Jumps(sharpen=0.5))


def test_contrast_is_what_sets_a_pixel_apart() -> None:
    flat, dot = torch.full((1, 2, 12, 12), 0.3), torch.zeros(1, 1, 12, 12)
    torch.testing.assert_close(contrast(flat), torch.zeros_like(flat), atol=1e-6, rtol=0)
    dot[..., 6, 6] = 1.0
    apart = contrast(dot)
    assert float(apart[0, 0, 6, 6]) == pytest.approx(1 - 1 / 81)
    assert float(apart[0, 0, 3, 3]) == pytest.approx(-1 / 81)
    assert float(apart[0, 0, 0, 0]) == 0


def test_grain_is_what_differs_from_pixel_to_pixel() -> None:
    flat, board = torch.full((1, 2, 6, 6), 0.3), torch.ones(1, 1, 6, 6)
    torch.testing.assert_close(grain(flat), torch.zeros_like(flat))
    slope = torch.arange(6.0).expand(1, 1, 6, 6)
    torch.testing.assert_close(grain(slope)[..., 1:-1], torch.zeros(1, 1, 6, 4))
    board[..., ::2, ::2] = board[..., 1::2, 1::2] = -1.0
    torch.testing.assert_close(grain(board)[..., 1:-1, 1:-1], board[..., 1:-1, 1:-1])


def test_beyond_black_and_white_pictures_look_alike_and_still_find_back() -> None:
    x = torch.tensor([-3.0, -1.0, 0.5, 2.0], requires_grad=True)
    seen = softly_clipped(x)
    torch.testing.assert_close(seen.detach(), torch.tensor([-1.2, -1.0, 0.5, 1.1]))
    seen.sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([0.1, 1.0, 1.0, 0.1]))


def test_as_many_real_examples_play_as_are_drawn(taught: Any) -> None:
    _, data = taught
    student = student_of(taught, evaluations=3, adversarial=1.0)
    batch = data.build().train.gather(np.arange(8)).suited(student.spec)
    turn = Turn(0, 0.0)
    assert len(student.played(batch, turn)) == student.walking(batch) == 3
    for player in student.players():
        assert player.loss(batch, turn).value.isfinite()


def test_walks_are_remembered_with_their_conditions_until_newer_ones_take_their_place(taught: Any) -> None:
    walks = Walks((2, 3), use.load(taught[0].path).spec, most=5)
    walks.keep(torch.arange(4.0).view(4, 1, 1).expand(4, 2, 3), {"label": torch.arange(4)})
    states, c = walks.some(200)
    assert set(c["label"].tolist()) == {0, 1, 2, 3}
    walks.keep(torch.arange(4.0, 7).view(3, 1, 1).expand(3, 2, 3), {"label": torch.arange(4, 7)})
    states, c = walks.some(200)
    assert set(c["label"].tolist()) == {2, 3, 4, 5, 6}
    assert torch.equal(states, c["label"].view(200, 1, 1).expand(200, 2, 3).float())
    walks.keep(torch.arange(10.0, 19).view(9, 1, 1).expand(9, 2, 3), {"label": torch.arange(10, 19)})
    assert set(walks.some(200)[1]["label"].tolist()) == {14, 15, 16, 17, 18}


def test_the_teacher_walks_every_so_many_turns(taught: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, data = taught
    student = student_of(taught, again=3)
    batch = data.build().train.gather(np.arange(8)).suited(student.spec)
    walked: list[int] = []
    walk = student.walk
    monkeypatch.setattr(student, "walk", lambda batch: walked.append(len(batch)) or walk(batch))
    for turn in range(7):
        student.generator_loss(batch, Turn(turn, turn / 7))
    assert walked == [2, 2, 2]  # of four jumps each
    assert student.walks.count == 6
    with torch.no_grad():
        student.generator_loss(batch, Turn(7, 1.0))
    assert walked == [2, 2, 2, 2]
    assert student.walks.count == 6


def test_every_process_remembers_the_walks_of_all(taught: Any) -> None:
    """Else a run of two could not go on from the checkpoint that the first of them writes."""
    _, data = taught
    student = student_of(taught)
    batch = data.build().train.gather(np.arange(8)).suited(student.spec)
    student.generator_loss(batch, Turn(0, 0.0, gather=lambda rows: torch.cat([rows, rows + 1])))
    assert student.walks.count == 4
    torch.testing.assert_close(student.walks.states[2:4], student.walks.states[:2] + 1)
    assert torch.equal(
        student.walks.get_buffer("label")[:4], torch.cat([batch.c["label"][:2], batch.c["label"][:2] + 1])
    )


def test_an_energy_score_is_refused_before_a_teacher_is_trained() -> None:
    with pytest.raises(UsageError, match=r"model\.spread: a student draws what its teacher does"):
        planned("distilled", "digits", overrides={"model.spread": 1})


def test_guidance_is_taught_not_chosen(taught: Any) -> None:
    student = student_of(taught)
    with pytest.raises(UsageError, match=r"figment distill RUN model\.guidance=W"):
        with_sampling(student, {"guidance": 3.0})


def test_what_is_published_holds_no_teacher_and_no_critic(taught: Any, tmp_path: Path) -> None:
    folder, data = taught
    settings = {"model.first": str(folder.path), "model.adversarial": 1.0, "model.evaluations": 1}
    run = workbench.execute(plan("distilled", data, **settings), tmp_path / "student")
    student, teacher = use.load(run.path), use.load(folder.path)
    assert {name.partition(".")[0] for name in load_file(run.model / "model.safetensors")} == {"generator"}
    assert size_of(student) == size_of(teacher)
    assert {"discriminator.accuracy", "generator.game", "generator.trajectory"} <= run.read_metrics()[-1].keys()
    saved = max(run.checkpoints.iterdir())
    assert not [name for name in load_file(saved / "weights.safetensors") if name.startswith("first.")]


def test_a_resumed_student_of_one_evaluation_is_the_unbroken_one(taught: Any, tmp_path: Path) -> None:
    folder, data = taught
    run = plan(
        "distilled", data, 6, **{"model.first": str(folder.path), "model.evaluations": 1, "model.adversarial": 1}
    )
    dataset = data.build()
    whole = learn(run, dataset, tmp_path / "whole")
    learn(run, dataset, tmp_path / "parts", stop=3)
    assert outcome(learn(run, dataset, tmp_path / "parts")) == outcome(whole)


def test_a_student_is_held_against_the_cheapest_good_setting_of_its_teacher() -> None:
    def row(model: str, evaluations: int, distance: float, rate: float) -> dict[str, Any]:
        speed = {"samples_per_second": rate}
        return {"model": model, "evaluations": evaluations, "quality": {"frechet": distance}, "speed": speed}

    rows = [row("diffusion", 16, 2.0, 10), row("diffusion", 8, 2.09, 20), row("diffusion", 4, 5.0, 40)]
    told = compared([*rows, row("distilled", 4, 2.508, 40), row("distilled", 1, 4.18, 150)], "diffusion")
    assert told["baseline"] == 1
    assert [round(one["x_frechet"], 6) for one in told["rows"][3:]] == [1.2, 2.0]
    assert [one["x_speed"] for one in told["rows"][3:]] == [2.0, 7.5]


def test_distill_measures_before_and_after(taught: Any, tmp_path: Path) -> None:
    folder, _ = taught
    small = {"model.width": 8, "training.batch": 8, "training.previews": 0}
    told = distill(folder.path, tmp_path / "student", evaluations=2, steps=2, n=60, overrides=small)
    assert [(one["model"], one["evaluations"]) for one in told["rows"]] == [
        ("diffusion", 16), ("diffusion", 8), ("diffusion", 2), ("distilled", 2), ("distilled", 1)
    ]  # fmt: skip
    assert all(np.isfinite(one["x_frechet"]) for one in told["rows"])
    assert (tmp_path / "student" / "distill.json").exists()


def test_too_few_samples_are_refused_before_a_student_is_trained(taught: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="49 samples are too few"):
        distill(taught[0].path, tmp_path / "student", steps=2, n=49)
    assert not (tmp_path / "student").exists()


def test_only_a_denoiser_can_teach(tmp_path: Path) -> None:
    data = synthetic.write("plane", tmp_path)
    folder = workbench.execute(plan("vae", data), tmp_path / "vae")
    with pytest.raises(UsageError, match="take diffusion"):
        workbench.build(plan("distilled", data, **{"model.first": str(folder.path)}), data.build())
    with pytest.raises(UsageError, match="told nothing"):
        plan("distilled", data, **{"model.guidance": 2.0}).model.build(data.build().spec)
