"""The weight between the two terms of a VAE is the variance of its decoder, whether one says so or not."""

from __future__ import annotations

from typing import Any

import torch

from figment.explorer.scene import Scene
from figment.latent.traverse import ACTIVE, axes_of
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import bars, pictures, plate
from figment.pictures import COLOURS
from figment.use import draw

STEPS = 1500
SHOWN = 10
NAMES = {"mean": "mean of squares + KL", "sum": "sum of squares + KL", "learned": "σ learned"}


def make(stage: Stage) -> Told:
    dimensions = stage.dataset.spec.x.dimensions
    sigmas = {"mean": (dimensions / 2) ** 0.5, "sum": 0.5**0.5}
    scenes = {
        name: stage.scene(f"vae-{name}-of-squares", "vae", STEPS, model__sigma=sigma) for name, sigma in sigmas.items()
    }
    scenes["learned"] = stage.scene("vae", "vae", STEPS)
    figures: dict[str, Any] = {name: measured(stage, scene) for name, scene in scenes.items()}
    for name, sigma in sigmas.items():
        figures[name]["sigma"] = sigma
    figures |= {"dimensions": dimensions, "latents": scenes["learned"].model.config.latent}
    return Told(_drawn(stage, scenes, figures), _text(figures), figures, _claims(figures))


@torch.no_grad()
def measured(stage: Stage, scene: Scene) -> dict[str, float]:
    """Active latents, KL, the root mean squared error of what is rebuilt, and sigma of the decoder."""
    batch = stage.training.suited(scene.model.spec)
    axes = axes_of(scene.codec, batch, scene.codec.encode(batch.x[:1], {}))
    return {
        "active": int((axes.use > ACTIVE).sum()),
        "kl": float(axes.use.sum()),
        "rms": stage.error(scene) ** 0.5,
        "sigma": float(scene.model.observation.sigma),
    }


def _claims(figures: dict[str, Any]) -> list[Claim]:
    mean, total, learned = (figures[name] for name in NAMES)
    return [
        Claim(
            "The mean of squares plus KL collapses: no latent says anything",
            f"{mean['active']} of {figures['latents']} active, {mean['kl']:.2f} nats, error {mean['rms']:.3f}",
            mean["active"] == 0,
        ),
        Claim(
            "The sum of squares plus KL does not",
            f"{total['active']} active, {total['kl']:.1f} nats, error {total['rms']:.3f}",
            total["active"] > 0 and total["rms"] < mean["rms"],
        ),
        Claim(
            "A learned σ uses more of the code and rebuilds better than either",
            f"{learned['active']} active, {learned['kl']:.1f} nats, error {learned['rms']:.3f}",
            learned["rms"] < total["rms"] and learned["active"] >= total["active"],
        ),
        Claim(
            "because it comes to what is true: the size of the error that is left",
            f"σ {learned['sigma']:.3f}, error {learned['rms']:.3f} on held-out pictures; assumed by the others were "
            f"{total['sigma']:.2f} and {mean['sigma']:.1f}",
            0.5 < learned["sigma"] / learned["rms"] < 1.5,
        ),
    ]


def _drawn(stage: Stage, scenes: dict[str, Scene], figures: dict[str, Any]) -> Any:
    user, x = stage.dataset.spec.x.to_user, stage.examples(SHOWN).x
    rebuilt = [scene.codec.decode(scene.codec.encode(x, {})) for scene in scenes.values()]
    drawn = [draw(scene.model, SHOWN, seed=stage.seed)[0] for scene in scenes.values()]
    colours = [COLOURS[1], COLOURS[4], COLOURS[2]]

    def panel(heading: str, key: str, caption: str, form: str) -> Any:
        values = {NAMES[name]: figures[name][key] for name in NAMES}
        return bars(
            heading,
            values,
            caption,
            colours=colours,
            form=form,
            named=key == "active",
            width=1.75 if key == "active" else 1,
        )

    return plate(
        LESSON.title,
        LESSON.teaches,
        [
            [
                pictures(
                    "Held-out pictures rebuilt", user(torch.cat([x, *rebuilt])), SHOWN,
                    names=["truth", *NAMES.values()], margin=2.05,
                )
            ],
            [pictures("Samples of the prior", user(torch.cat(drawn)), SHOWN, names=list(NAMES.values()), margin=2.05)],
            [
                panel("Active latents", "active", f"above 0.01 nats, of {figures['latents']}", "{:.0f}"),
                panel("Information", "kl", "nats of KL a picture", "{:.1f}"),
                panel("Error", "rms", "root mean square", "{:.3f}"),
            ],
        ],
    )  # fmt: skip


def _text(figures: dict[str, Any]) -> str:
    flat = {f"{k}_{n}": v for k in NAMES for n, v in figures[k].items()}
    return TEXT.format(dimensions=figures["dimensions"], latents=figures["latents"], **flat)


TEXT = """
"Squared error plus KL" is the bound of a decoder N(f(z), σ²I): -log p(x | z) = ||x - f(z)||² / 2σ² + D log σ + ... So
the factor before the squared error *is* 1 / 2σ². The sum of squares with weight 1 says σ² = 1/2. The mean over the D
pixels, as many libraries have it, says σ² = D/2: here, with D = {dimensions}, a deviation of {mean_sigma:.1f}, while
all pixels lie between -1 and 1. To such a decoder every picture is as good as any other, and a code is not worth a
single nat: {mean_active} of {latents} latents are active, and every row is the mean picture. That is posterior
collapse.

With the sum of squares (σ = {sum_sigma:.2f}) {sum_active} latents are active, with a σ that is learned
{learned_active}. It came to {learned_sigma:.3f}, about the error that is left on held-out pictures
({learned_rms:.3f}): there is no weight to tune.
"""

LESSON = Lesson(
    name="wrong-weight",
    title="Mean or sum: the weight that empties the code",
    source="Decks 001 and 003, 'L = MSE + KLD'; deck 002 has f_σ(z). O. Rybkin, K. Daniilidis and S. Levine, 'Simple "
    "and effective VAE training with calibrated decoders' (2021)",
    teaches="The weight between error and KL is the decoder's variance: averaged over pixels, it is far too large.",
    make=make,
)
