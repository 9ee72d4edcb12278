"""One latent at a time: what each number of a code does to a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from figment.core.data import Factors
from figment.latent.disentanglement import Informed, informed
from figment.latent.traverse import ACTIVE, Axes, axes_of, change, walk
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import curves, pictures, plate
from figment.pictures import COLOURS, INK

STEPS, LATENT, BETA = 3200, 32, 40.0
ROWS = 8  # latents shown
VALUES = np.linspace(-3, 3, 9).tolist()


def make(stage: Stage) -> Told:
    scene = stage.scene(f"beta-vae-{LATENT}", "vae", STEPS, model__latent=LATENT, model__beta=BETA)
    base = scene.codec.encode(stage.examples(1).x, {})
    axes = axes_of(scene.codec, stage.training.suited(scene.model.spec), base)
    x = scene.codec.decode(walk(base, axes, VALUES)).unflatten(0, (len(axes), len(VALUES)))
    changes, active = change(x), axes.use > ACTIVE
    known = knowledge(stage, scene.model)
    figures: dict[str, Any] = {
        "latents": len(axes),
        "active": int(active.sum()),
        "kl": dict(zip((f"z{k}" for k in axes.latents), axes.use.tolist())),
        "pixel_change": dict(zip((f"z{k}" for k in axes.latents), changes.tolist())),
    }
    along = float(spearmanr(axes.use, changes).statistic)
    claims = [
        Claim("Only some of the latents are used", f"{figures['active']} of {len(axes)} are active",
              figures["active"] < len(axes)),
        Claim("What a latent says and what it changes go together", f"rank correlation {along:.2f}", along > 0.8),
    ]  # fmt: skip
    if active.any() and not active.all():
        share = float(changes[~active].mean() / changes[active].mean())
        claims.append(
            Claim("Idle latents change a fifth of what active ones do, or less", f"{share:.2f}", share <= 0.2)
        )
    if known is not None:
        figures["mig"] = known.mig
        told = f"a mean gap of {known.mig:.2f}, where 1 is a latent for each factor"
        claims.append(Claim("An independent prior alone gives factors no latents of their own", told, known.mig < 0.5))
    return Told(_drawn(stage, x, axes, known), _text(figures, changes, known), figures, claims)


@torch.no_grad()
def knowledge(stage: Stage, model: Any) -> Informed | None:
    """What each latent knows of each factor of the data, where factors are known."""
    factors, batch = stage.dataset.spec.c.get("attributes"), stage.training
    if not isinstance(factors, Factors):
        return None
    q = model.posterior(batch.x, {})
    z = q.mean + q.stddev * stage.noise(len(batch)).normal(q.mean.shape[1:])
    return informed(z.numpy(), batch.c["attributes"].numpy(), factors)


def _drawn(stage: Stage, x: torch.Tensor, axes: Axes, known: Informed | None) -> Any:
    use = axes.use.numpy()

    def bars(drawn: Any) -> None:
        colours = [COLOURS[0] if value > ACTIVE else "#b9b2a4" for value in use]
        drawn.bar(range(1, len(use) + 1), use, color=colours, width=0.75)
        drawn.axhline(ACTIVE, color=INK, linewidth=1, linestyle=(0, (5, 3)))
        drawn.set(yscale="log", ylim=(1e-4, 2 * use.max()), xlim=(0.2, len(use) + 0.8))

    names = []
    for latent, value in zip(axes.latents[:ROWS], axes.use.tolist()):
        told = ""
        if known is not None:
            shares = known.shares[:, latent]
            told = f"\n{known.names[int(shares.argmax())]} {shares.max():.0%}"
        names.append(f"z{latent}: {value:.1f} nats{told}")
    beside = " Below a name: the factor it knows most of, and how much of it." if known else ""
    return plate(
        LESSON.title,
        LESSON.teaches,
        [
            [
                pictures(
                    "A single latent from −3 to 3, all others kept",
                    stage.dataset.spec.x.to_user(x[:ROWS].flatten(0, 1)),
                    len(VALUES),
                    f"The middle column has it at 0. The {ROWS} latents that say most, the first on top.{beside}",
                    names=names,
                    margin=1.75,
                )
            ],
            [
                curves(
                    "How much each latent says of a picture",
                    bars,
                    "Mean KL(q(z | x) || p(z)) of each latent, in order; above the dashed line (0.01 nats): active.",
                    ("latents, the most used first", "nats"),
                    height=2.4,
                )
            ],
        ],
    )


def _text(figures: dict[str, Any], changes: torch.Tensor, known: Informed | None) -> str:
    text = TEXT.format(first=float(changes[0]), beta=BETA, **figures)
    if known is None:
        return text
    best = {name: float(row.max()) for name, row in zip(known.names, known.shares)}
    plain = sorted(best, key=lambda name: -best[name])[:3]
    return text + FACTORS.format(mig=known.mig, best=", ".join(f"{name} ({best[name]:.0%})" for name in plain))


TEXT = """
A held-out picture is encoded; then one number of its code is moved from -3 to 3 while the others stay. Of the
{latents} latents {active} are active (the lower panel): with the KL term {beta:g} times as heavy as the bound has it,
the network pays dearly for every nat. A latent that it does not use lies at the prior, says nothing and changes
nothing. From end to end the first row changes pixels by {first:.2f} of their range on average.
"""

FACTORS = """
Here the true factors of each picture are known, so one can ask which latent knows what. Best known to a single latent
are {best}. But most rows change several things at once: the mutual information gap, 1 where each factor has a latent
of its own, is {mig:.2f}. That latents are independent under the prior does not make them mean anything by themselves.
"""

LESSON = Lesson(
    name="perturbation",
    title="One latent at a time",
    source="Decks 000 and 004, 'Latent perturbation'. I. Higgins et al., 'beta-VAE' (2017); F. Locatello et al., "
    "'Challenging common assumptions in the unsupervised learning of disentangled representations' (2019)",
    teaches="Move a single latent and keep the others: some do much, some nothing, and few do just one thing.",
    make=make,
    data="faces",
)
