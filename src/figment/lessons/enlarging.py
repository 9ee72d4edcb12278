"""Small pictures enlarged: by interpolation, by squared error, and with a judge."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from figment.evaluate.features import features_for
from figment.evaluate.measure import measure
from figment.evaluate.translation import translation, translations
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import bars, pictures, plate
from figment.pictures import COLOURS
from figment.translations import views

STEPS = 2400
SHOWN, MEASURED = 10, 400
WEIGHT = 0.02
NAMES = {"bicubic": "bicubic", "squared": "squared error", "judged": "with a judge"}


def make(stage: Stage) -> Told:
    scale = 4 if min(stage.dataset.spec.x.shape[1:]) >= 16 else 2
    common: dict[str, Any] = {"model__scale": scale, "training__previews": 0}
    scenes = {
        "squared": stage.scene("srresnet", "super-resolution", STEPS, model__error="l2", **common),
        "judged": stage.scene("srgan", "super-resolution", STEPS, model__adversarial=WEIGHT, **common),
    }
    figures: dict[str, Any] = {"scale": scale}
    net = features_for(stage.dataset, "fixed")
    for name, scene in scenes.items():
        pairs = list(translations(scene.model, stage.dataset, MEASURED))
        found = translation(pairs)
        figures[name] = {key: found[key] for key in ("psnr", "ssim", "slope", "slope_real")}
        figures["bicubic"] = found["bicubic"]
        truth = pairs[0][2].shape[2:]
        if truth == stage.dataset.spec.x.shape[1:]:
            enlarged = [F.interpolate(s, truth, mode="bicubic", align_corners=False).clamp(-1, 1) for s, _, _ in pairs]
            for key, made in ((name, [made for _, made, _ in pairs]), ("bicubic", enlarged)):
                quality = measure(torch.cat(made), stage.dataset, net)["quality"] or {}
                figures[key]["frechet"] = quality["frechet"]
    return _told(stage, scenes, figures)


def _told(stage: Stage, scenes: dict[str, Any], figures: dict[str, Any]) -> Told:
    gain = figures["squared"]["psnr"] - figures["bicubic"]["psnr"]
    claims = [
        Claim("Learned enlargement is nearer to the truth than bicubic", f"by {gain:.1f} dB", gain > 0.8),
        Claim("A judge costs some of that", f"{figures['judged']['psnr']:.1f} dB against "
              f"{figures['squared']['psnr']:.1f} dB", figures["judged"]["psnr"] < figures["squared"]["psnr"]),
        Claim("and makes the pictures steeper", f"slopes of {figures['judged']['slope']:.3f} against "
              f"{figures['squared']['slope']:.3f}; the truth has {figures['judged']['slope_real']:.3f}",
              figures["judged"]["slope"] > figures["squared"]["slope"]),
    ]  # fmt: skip
    batch = stage.examples(SHOWN).suited(scenes["judged"].model.spec)
    with torch.no_grad():
        small, judged, truth = views(scenes["judged"].model, batch)
        squared = views(scenes["squared"].model, batch)[1]
    source = scenes["judged"].model.pair(batch)[0]
    bicubic = F.interpolate(source, truth.shape[2:], mode="bicubic", align_corners=False).expand_as(truth)
    pixels = stage.dataset.spec.x.to_user(torch.cat([small, bicubic, squared, judged, truth]))
    decibels = {said: figures[key]["psnr"] for key, said in NAMES.items()}
    steep = {said: figures[key]["slope"] / figures["judged"]["slope_real"] for key, said in NAMES.items()}
    rows = [
        [
            pictures(
                f"Enlarged {figures['scale']} times",
                pixels,
                len(batch),
                "Held-out pictures.",
                names=["given", *NAMES.values(), "truth"],
                margin=1.25,
            )
        ],
        [
            bars("Nearness to the truth", decibels, unit="dB", colours=COLOURS[:3], form="{:.1f}"),
            bars("Steepness, the truth being 1", steep, colours=COLOURS[:3], form="{:.2f}", named=False),
        ],
    ]
    text = TEXT.format(gain=f"{gain:.1f}", scale=figures["scale"])
    return Told(plate(LESSON.title, LESSON.teaches, rows), text, figures, claims)


TEXT = """
Many pictures shrink to the same small one. The picture that is nearest to all of them on average is their mean, and a
mean is smooth: the network that minimises the squared error is {gain} dB nearer to the truth than bicubic
interpolation, and still soft. A judge that knows what pictures look like asks for one of the many: steeper, and a
little farther from the one that happened to be the truth. Which is better depends on what it is for.

On data of one's own: `figment train super-resolution --data FOLDER model.scale={scale}`, then `figment translate RUN
PICTURE`, of any size.
"""

LESSON = Lesson(
    name="enlarging",
    title="More pixels than there were",
    source="Deck 001, 'Super-resolution'. C. Ledig et al., 'Photo-realistic single image super-resolution using a "
    "generative adversarial network' (2017)",
    teaches="The nearest picture on average is a blur; a judge asks for a sharp one of those that are possible.",
    make=make,
    data="faces",
)
