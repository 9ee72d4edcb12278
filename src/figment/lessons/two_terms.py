"""What each of the two terms of a variational autoencoder does to its codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.evaluate.features import FeatureNet, features_for
from figment.evaluate.measure import measure
from figment.explorer.scene import Scene
from figment.latent.codes import Code
from figment.latent.interpolate import path, step_sizes
from figment.latent.map import neighbour_accuracy, prior_plane
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import Panel, pictures, plate, points, rings
from figment.use import draw

STEPS = 1500
NAMES = {"reconstruction": "Reconstruction only", "kl": "KL only", "both": "Both"}
SIDE = 8  # pictures along a side of a decoded plane
PAIRS, BETWEEN = 32, 12  # interpolations measured, and pictures in each
SAMPLES, SURE = 1000, 0.8  # drawn from the prior; the probability from which a classifier counts as sure


def make(stage: Stage) -> Told:
    net = features_for(stage.dataset)
    scenes = {
        "reconstruction": stage.scene("vae-beta-0", "vae", STEPS, model__latent=2, model__beta=0),
        "kl": stage.scene("vae-beta-1000", "vae", STEPS, model__latent=2, model__beta=1000),
        "both": stage.scene("vae-2", "vae", STEPS, model__latent=2),
    }
    figures = {name: measured(stage, scene, net) for name, scene in scenes.items()}
    return Told(_drawn(stage, scenes), _text(figures), figures, _claims(figures))


def measured(stage: Stage, scene: Scene, net: FeatureNet) -> dict[str, float]:
    """Error of reconstruction, KL, smoothness of interpolation, and what the prior's samples look like."""
    model, codec, batch = scene.model, scene.codec, stage.held_out
    with torch.no_grad():
        q = model.posterior(batch.x, {})
        kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1)
    codes = codec.encode(batch.x, {}).split()
    paths = [path(codes[2 * i], codes[2 * i + 1], BETWEEN, False) for i in range(min(PAIRS, len(codes) // 2))]
    x = codec.decode(Code.joined(paths)).unflatten(0, (len(paths), BETWEEN))
    sizes = torch.stack([step_sizes(row) for row in x])
    samples = draw(model, SAMPLES, seed=stage.seed)[0]
    diversity = measure(samples, stage.dataset, net)["diversity"]
    assert diversity is not None
    rebuilt = codec.decode(codec.encode(stage.training.x, {}))
    figures = {
        "mse": float((rebuilt - stage.training.x).square().mean()),
        "held_out_mse": stage.error(scene),
        "coverage": diversity["coverage"],
        "kl": float(kl.mean()),
        "largest_step": float(sizes.amax(1).mean() / sizes.mean().clamp_min(1e-9)),
    }
    if net.head is not None:
        sure = [net.classify(x).exp().amax(1) > SURE for x in (samples, batch.x)]
        figures |= {"sure": float(sure[0].double().mean()), "sure_of_data": float(sure[1].double().mean())}
        train, held_out = (drawn_codes(stage, model, b.x).numpy() for b in (stage.training, batch))
        labels = [b.c["label"].numpy() for b in (stage.training, batch)]
        figures["neighbours"] = neighbour_accuracy(train, labels[0], held_out, labels[1])
    return figures


@torch.no_grad()
def drawn_codes(stage: Stage, model: Any, x: Tensor) -> Tensor:
    """z ~ q(z | x), one of each picture."""
    q = model.posterior(x, {})
    return q.mean + q.stddev * stage.noise(len(x)).normal(q.mean.shape[1:])


def _claims(figures: dict[str, dict[str, float]]) -> list[Claim]:
    alone, kl, both = (figures[name] for name in NAMES)
    claims = [
        Claim(
            "The KL term alone leaves nothing of the picture in the code",
            f"{kl['kl']:.2f} nats, error {kl['mse']:.3f}; with both {both['kl']:.2f} nats and {both['mse']:.3f}",
            kl["kl"] < 0.1 and kl["mse"] > 1.5 * both["mse"],
        ),
        Claim(
            "Reconstruction alone rebuilds the training pictures best",
            f"error {alone['mse']:.3f} against {both['mse']:.3f} with both (held-out ones: {alone['held_out_mse']:.3f} "
            f"and {both['held_out_mse']:.3f})",
            alone["mse"] < both["mse"],
        ),
        Claim(
            "With both, pictures change more evenly along a line between two codes",
            f"largest step {both['largest_step']:.2f} times the mean, {alone['largest_step']:.2f} without the KL term",
            both["largest_step"] < alone["largest_step"],
        ),
    ]
    claims.append(
        Claim(
            "With both, samples of the prior come closest to covering the data",
            f"{both['coverage']:.0%} of held-out pictures have one near, {alone['coverage']:.0%} without the KL term, "
            f"{kl['coverage']:.0%} with nothing else",
            both["coverage"] > max(alone["coverage"], kl["coverage"]),
        )
    )
    if "sure" in both:
        claims.append(
            Claim(
                f"and a classifier is sure (above {SURE}) of more of them than without the KL term",
                f"{both['sure']:.0%} against {alone['sure']:.0%}; of real pictures {both['sure_of_data']:.0%}",
                both["sure"] > alone["sure"],
            )
        )
    return claims


def _drawn(stage: Stage, scenes: dict[str, Scene]) -> Any:
    spec, label = stage.dataset.spec, stage.training.c.get("label")
    labels = label.numpy() if label is not None else None
    captions = {
        "reconstruction": "Codes spread out and thin out; the prior (dashed: one and two deviations) is but a spot.",
        "kl": "Every picture has the same code, the prior itself: nothing is known of it.",
        "both": "Codes fill the prior, and like lies beside like.",
    }

    maps: list[Panel] = []
    planes: list[Panel] = []
    strips = []
    ends = stage.examples(4)
    for name, scene in scenes.items():
        codec, z = scene.codec, drawn_codes(stage, scene.model, stage.training.x).numpy()
        limit = max(3.2, float(np.quantile(np.abs(z), 0.995)))
        names = stage.names if name != "kl" else ()
        maps.append(points(NAMES[name], z, labels, names, captions[name], limits=(-limit, limit), decorate=rings))
        plane = torch.from_numpy(prior_plane(SIDE).points)
        x = codec.decode(Code(plane, {})).unflatten(0, (SIDE, SIDE)).flip(0).flatten(0, 1)
        planes.append(pictures("" if planes else "The prior, in equal shares, decoded", spec.x.to_user(x), SIDE))
        codes = codec.encode(ends.x, {}).split()
        strips.append(codec.decode(path(codes[0], codes[2], BETWEEN, False)))
    morphs = pictures(
        "From one held-out picture to another, in equal steps of the code",
        spec.x.to_user(torch.cat(strips)),
        BETWEEN,
        names=list(NAMES.values()),
        margin=1.75,
    )
    return plate(LESSON.title, LESSON.teaches, [maps, planes, [morphs]])


def _text(figures: dict[str, dict[str, float]]) -> str:
    return TEXT.format(**{f"{k}_{n}": v for k in NAMES for n, v in figures[k].items()})


TEXT = """
The loss of a variational autoencoder has two terms. Each map shows codes drawn from q(z | x), a dot a picture, from a
network that was trained with one of them or with both.

With *reconstruction only* the error is {reconstruction_mse:.3f}, but nothing ties codes to the prior: they wander off
(KL {reconstruction_kl:.0f} nats), and what lies between them is left to chance. With the *KL term only* all codes are
the prior itself ({kl_kl:.2f} nats): the decoder knows nothing and always draws the mean picture, at an error of
{kl_mse:.3f}. With *both*, pictures share out the prior among themselves ({both_kl:.1f} nats each). They come back with
an error of {both_mse:.3f}, codes of the prior decode to pictures, and a path between two codes changes them steadily:
its largest step is {both_largest_step:.2f} times the mean, against {reconstruction_largest_step:.2f} without the KL
term. That is what the decks call completeness and continuity.
"""

LESSON = Lesson(
    name="two-terms",
    title="Two terms: one keeps pictures apart, one keeps codes together",
    source="Deck 004, 'Why the regularization term is needed'; continuity and completeness: deck 000. D. P. Kingma "
    "and M. Welling, 'Auto-encoding variational Bayes' (2014)",
    teaches="Reconstruction alone scatters the codes, the KL term alone empties them; together they make a space to "
    "draw from and to walk in.",
    make=make,
)
