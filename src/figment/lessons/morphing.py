"""From one picture to another by way of their codes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from figment.evaluate.sharpness import sharpness
from figment.latent.codes import Codec
from figment.latent.interpolate import linear, path, step_sizes
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import pictures, plate
from figment.pictures import grid

STEPS, LATENT = 5000, 32
SHOWN, FRAMES = 9, 24  # pictures of a strip, and of the film
MEASURED, FINE = 24, 17  # pairs whose morphs are measured, and pictures in each
WAYS = {"pixels": "pixels mixed", "line": "codes, straight", "sphere": "codes, on the sphere"}


def morph(codec: Codec, a: Tensor, b: Tensor, steps: int) -> dict[str, Tensor]:
    """Each way from a to b, pictures `(C, H, W)`: `(steps, C, H, W)`."""
    first, last = codec.encode(torch.stack([a, b]), {}).split()
    ways = {"pixels": linear(a, b, torch.linspace(0, 1, steps))}
    return ways | {name: codec.decode(path(first, last, steps, name == "sphere")) for name in ("line", "sphere")}


def make(stage: Stage) -> Told:
    scene = stage.scene(f"vae-{LATENT}", "vae", STEPS, model__latent=LATENT)
    codec, batch = scene.codec, stage.examples(max(2 * MEASURED, 6))
    pairs = [(batch.x[i], batch.x[i + 1]) for i in range(0, len(batch) - 1, 2)]
    found = [morph(codec, a, b, FINE) for a, b in pairs]
    figures: dict[str, Any] = {name: measured(torch.stack([ways[name] for ways in found])) for name in WAYS}
    figures["length"] = lengths(codec, pairs)
    shown = [morph(codec, a, b, SHOWN) for a, b in pairs[:3]]
    user = stage.dataset.spec.x.to_user
    film = torch.stack([morph(codec, a, b, FRAMES)["sphere"] for a, b in pairs[:3]], 1)
    frames = [grid(user(moment), len(moment), max(1, 256 // film.shape[-2])) for moment in film]
    panels = [
        [
            pictures(
                f"Morph {i + 1}",
                user(torch.cat(list(ways.values()))),
                SHOWN,
                names=list(WAYS.values()),
                margin=1.85,
            )
        ]
        for i, ways in enumerate(shown)
    ]
    return Told(
        plate(LESSON.title, LESSON.teaches, panels), TEXT.format(**told(figures)), figures, _claims(figures), frames
    )


def measured(x: Tensor) -> dict[str, float]:
    """How even the steps of morphs `(P, N, C, H, W)` are, and how sharp their middle is relative to their ends."""
    sizes = torch.stack([step_sizes(row) for row in x])
    ends = (sharpness(x[:, 0]) + sharpness(x[:, -1])) / 2
    return {
        "largest_step": float((sizes.amax(1) / sizes.mean(1)).mean()),
        "worst_step": float((sizes.amax(1) / sizes.mean(1)).max()),
        "middle": float(sharpness(x[:, x.shape[1] // 2]).mean() / ends.mean()),
    }


def lengths(codec: Codec, pairs: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """The length of the code half-way, relative to those of its ends, by either line."""
    out: dict[str, list[float]] = {"line": [], "sphere": []}
    for a, b in pairs:
        first, last = codec.encode(torch.stack([a, b]), {}).split()
        ends = (first.z.norm() + last.z.norm()) / 2
        for name, kept in out.items():
            kept.append(float(path(first, last, 3, name == "sphere").z[1].norm() / ends))
    return {name: sum(kept) / len(kept) for name, kept in out.items()}


def told(figures: dict[str, Any]) -> dict[str, float]:
    return {f"{key}_{name}": value for key, inner in figures.items() for name, value in inner.items()}


def _claims(figures: dict[str, Any]) -> list[Claim]:
    pixels, line, sphere = (figures[name] for name in WAYS)
    worst = max(line["worst_step"], sphere["worst_step"])
    return [
        Claim(
            "Pictures change steadily along a path of codes: no step is more than 2.5 times the mean",
            f"at worst {worst:.2f} times, over {MEASURED} morphs both ways",
            worst <= 2.5,
        ),
        Claim(
            "Half-way, a decoded picture is more of a picture than two pictures laid over each other",
            f"sharpness relative to the ends {line['middle']:.0%} and {sphere['middle']:.0%}, of mixed pixels "
            f"{pixels['middle']:.0%}",
            min(line["middle"], sphere["middle"]) > pixels["middle"],
        ),
        Claim(
            "A straight line passes nearer to 0 than its ends lie, an arc keeps their length",
            f"{figures['length']['line']:.0%} and {figures['length']['sphere']:.0%} of the ends' length half-way",
            figures["length"]["line"] < 0.95 < figures["length"]["sphere"],
        ),
    ]


TEXT = """
Each block goes from one held-out picture to another, in three ways. Mixing *pixels* shows both at once, one fading in
while the other fades out. Mixing *codes*, z = (1 - α) z_A + α z_B, and decoding each gives a picture of something that
lies between. (The ends of the lower rows are what the model rebuilds, so they are softer than the first row's.)

Half-way, mixed pixels keep {pixels_middle:.0%} of the sharpness of their ends, a decoded mean of codes
{line_middle:.0%}. The straight line passes closer to 0 than its ends: half-way its length is {length_line:.0%} of
theirs; the arc keeps {length_sphere:.0%}. Where codes lie near a sphere, as draws from N(0, I) of many dimensions do,
the arc stays among them. The film `morphing.webp` runs along the arcs.
"""

LESSON = Lesson(
    name="morphing",
    title="From one picture to another by their codes",
    source="Decks 002 and 003, 'z = z_A (1 - α) + z_B α'. T. White, 'Sampling generative networks' (2016)",
    teaches="Between two codes lies a path of pictures; between two pictures lies only their overlay.",
    make=make,
    data="faces",
)
