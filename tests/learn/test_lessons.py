"""Every lesson as written, on its own data: within three minutes of two cores, and what it expects comes out.

A lesson may honestly find an expectation missed; those it must meet, because a row of the catalogue rests on them, are
named here by a word of theirs.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from figment import lessons
from figment.core.errors import UsageError
from real import source

pytestmark = [pytest.mark.learn, pytest.mark.timeout(1800)]

MUST = {
    "taxonomy": ("Every branch", "What has a density", "branch that the decks"),
    "latents-2-or-5": ("Five numbers", "three quarters", "principal components"),
    "ae-or-vae": ("gaps", "shared evenly", "nearer to the data", "cover more"),
    "two-terms": ("leaves nothing", "evenly"),
    "perturbation": ("go together", "a fifth"),
    "morphing": ("2.5 times", "Half-way"),
    "attribute-vector": ("rising",),
    "denoising": ("Denoising raises", "does worse"),
    "contraction": ("fifth", "moves its code less"),
    "anomaly": ("left out", "damaged spot"),
    "compression": ("principal components", "More numbers"),
    "sharpness": ("Fed with the same noise", "as sharply as", "comes back"),
    "bound": ("whatever q is", "never above", "true posterior"),
    "wrong-kl": ("Monte Carlo", "no divergence", "ends at the prior", "runs away"),
    "wrong-weight": ("collapses", "sum of squares", "learned"),
    "maximum-likelihood": ("three standard errors", "highest", "torch.distributions", "scatter", "exceed 1"),
    "clusters": ("never rises", "without being told", "level", "far apart"),
    "class-densities": ("Independent pixels", "likeliest", "straight"),
    "rejection": ("were asked for", "95 of 100 cases", "95 of 100 at least", "alone is sure"),
    "likelihood-fooled": ("likelier than its own", "other way round", "mends", "both ways"),
    "units-of-density": ("In other units", "without end", "punished", "truly needs"),
    "diagonal-prior": ("under the prior", "takes away", "weight on dependence"),
    "bayes-rule": ("area of 1", "share P(y)", "are distributed", "Far from"),
    "distribution-transformer": ("On the line", "On the plane", "way back"),
    "game": ("On the line", "On the plane"),
    "optimal-discriminator": ("within .05", "2 JSD", "Where the two agree"),
    "saturating-gradient": ("a hundred times", "nowhere", "arrives"),
    "critic-distance": ("within 10 %", "has stopped", "units of their own"),
    "mode-collapse": ("half of the modes", "brings nearly all", "in pairs"),
    "tips": ("is sure", "bring the drawings", "half of the modes", "brings modes back"),
    "energy-landscape": ("in the valleys", "come down", "a tenth", "crowd"),
    "style-mixing": ("more evenly", "goes with coarse", "lost where"),
    "truncation": ("look like the data", "looks like a sample", "nearly the same"),
    "adversarial-example": ("misleads", "hardly matters", "20 more", "are cleaned first", "worth less"),
    "there-and-back": ("the better the guess", "mean picture", "Turned round"),
    "mu-or-noise": ("same posterior mean", "better than predicting mu"),
    "learned-variance": ("more tightly", "not touch the mean", "falls for ever", "whole divergence"),
    "bound-terms": ("negative", "from N(0, I)", "eight bits"),
    "prompts": ("digit and colour", "leaves it out"),
    "guidance": ("read as the label", "At weight 2", "covered"),
    "noising": ("one jump", "ends in noise", "does not", "reach it", "variance 1"),
    "sampler-steps": ("ever less so", "adds noise", "a quarter"),
    "distillation": ("than its teacher", "faster"),
    "translation-tasks": ("nearer to the truth", "steeper"),
    "two-ways": ("There and back", "reached", "kept better"),
    "enlarging": ("bicubic", "costs", "steeper"),
    "colouring": ("pale", "asks for more", "no mean of them"),
    "generative-or-discriminative": ("is ahead", "is behind", "cross", "stays ahead"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lessons")


@pytest.mark.parametrize("name", MUST)
def test_a_lesson_shows_what_it_teaches(name: str, folder: Path) -> None:
    told = lessons.teach(name, folder)
    assert told["cpu_seconds"] < 6 * 60  # three minutes of two cores
    for word in MUST[name]:
        claims = [claim for claim in told["claims"] if word in claim["expected"]]
        assert claims, f"{word}: no claim of that name"
        assert all(claim["holds"] for claim in claims), claims


def test_clothes_show_why_one_samples_from_a_prior(folder: Path) -> None:
    """Row C11 of the catalogue: the map of codes and the sampled pictures, of 2 numbers and of 56."""
    told = lessons.teach("ae-or-vae", folder, source("fashion_mnist"))
    assert told["cpu_seconds"] < 6 * 60
    assert len(told["claims"]) == 4
    assert all(claim["holds"] for claim in told["claims"]), told["claims"]


def test_every_lesson_is_tested() -> None:
    assert set(MUST) == set(lessons.LESSONS)


def test_every_lesson_takes_pictures_of_ones_own(tmp_path: Path) -> None:
    """A folder of coloured pictures, higher than wide and without labels; what needs labels says so."""
    import PIL.Image

    from figment.data import faces

    (tmp_path / "mine").mkdir()
    for i, pixels in enumerate(faces.draw(1, range(120), 24)):
        PIL.Image.fromarray(pixels[:, 2:22]).save(tmp_path / "mine" / f"{i}.png")
    for name in lessons.LESSONS:
        if lessons.load(name).data is None:
            continue
        wanting = [need for need in lessons.load(name).needs if need in ("labels", "points", "pairs", "two kinds")]
        if name == "attribute-vector" or wanting:
            with pytest.raises(UsageError, match=f"needs {' and '.join(wanting) or 'labels'}"):
                lessons.teach(name, tmp_path, str(tmp_path / "mine"), effort=0.01)
        else:
            told = lessons.teach(name, tmp_path, str(tmp_path / "mine"), effort=0.01)
            assert Path(told["files"]["png"]).stat().st_size > 10_000
