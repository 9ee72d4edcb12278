"""One real recipe a family, a minute each at most: what it learns of 8x8 digits must beat known floors."""

from __future__ import annotations

from pathlib import Path

import pytest

import figment
from figment.evaluate.distillation import distill
from figment.evaluate.report import evaluate

pytestmark = pytest.mark.smoke

STEPS = {
    "gaussian-mixture": 1,
    "with-prior": 800,
    "vae": 800,
    "gan": 1200,
    "flow": 600,
    "diffusion": 250,
    "vq-vae": 600,
    "ebm": 300,
}


@pytest.mark.parametrize("kind", STEPS)
def test_samples_of_digits_beat_blurred_data(kind: str, tmp_path: Path) -> None:
    """Among real digits (precision), all of them (coverage), nearer than real digits blurred by a pixel (Fréchet)."""
    run = figment.train(kind, "digits", tmp_path / "run", steps=STEPS[kind])
    row = evaluate(run, n=1000)
    quality, diversity = row["quality"], row["diversity"]
    assert quality["precision"] >= 0.3, row
    assert diversity["coverage"] >= 0.3, row
    assert quality["frechet"] < quality["blurred"], row


def test_autoencoder_beats_principal_components(tmp_path: Path) -> None:
    """Held-out digits are rebuilt better than from as many principal components as the code has dimensions."""
    import numpy as np
    from sklearn.decomposition import PCA

    run = figment.train("autoencoder", "digits", tmp_path / "run", steps=1500, model__latent=8)
    data = run.read_run().data.build()
    train, held = (s.gather(np.arange(len(s))).x.flatten(1).numpy() for s in (data.train, data.held_out))
    pca = PCA(8).fit(train)
    floor = float(np.square(pca.inverse_transform(pca.transform(held)) - held).mean())
    assert evaluate(run)["reconstruction"]["mse"] < floor


def test_diffusion_finds_every_mode_of_a_toy(tmp_path: Path) -> None:
    """Eight Gaussians on a ring: all eight are found, and samples lie on them."""
    run = figment.train("diffusion", "toy:gaussians8", tmp_path / "run", steps=1500, model__size="tiny")
    row = evaluate(run, n=2000)
    assert row["diversity"]["coverage"] >= 0.8, row
    assert row["quality"]["precision"] >= 0.7, row


def test_a_student_of_a_toy_draws_in_four_evaluations_as_its_teacher_does_in_sixteen(tmp_path: Path) -> None:
    """Two moons, whose density is known: KL(data || samples) of the student is near that of its teacher at 16
    evaluations, where the teacher itself at 4 is far off."""
    teacher = figment.train("diffusion", "toy:moons", tmp_path / "teacher", steps=1500, model__size="tiny")
    rows = distill(teacher.path, tmp_path / "student", steps=800, n=2000)["rows"]
    kl = {(row["model"], row["evaluations"]): row["quality"]["kl"] for row in rows}
    assert kl["distilled", 4] <= kl["diffusion", 16] + 0.06, kl
    assert kl["distilled", 4] <= 0.6 * kl["diffusion", 4], kl
