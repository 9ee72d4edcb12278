"""The variance of reverse steps: two that are fixed, one that is learned, and a formula that sends it to infinity."""

from __future__ import annotations

import math
from typing import Any

import torch

from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import bars, curves, plate
from figment.models.diffusion.bound import denoised
from figment.models.diffusion.chain import chain_terms
from figment.models.diffusion.transition import Spread
from figment.pictures import COLOURS

STEPS, CHAIN, MEASURED = 700, 20, 300
SPREADS: tuple[Spread, ...] = ("beta", "beta-tilde", "learned")


def make(stage: Stage) -> Told:
    setting: dict[str, Any] = {"model__schedule": "cosine", "model__steps": CHAIN, "model__times": "steps"}
    setting |= {"model__prediction": "eps", "model__variance": "learned"}
    model = stage.scene("learned-variance", "diffusion", STEPS, **setting).model
    form, x = stage.form, stage.held_out.x[:MEASURED]
    bits: dict[str, float] = {}
    terms: dict[str, list[float]] = {}
    with torch.no_grad():
        for spread in SPREADS:
            torch.manual_seed(stage.seed)
            found = [float(term.mean()) / form.dimensions / math.log(2)
                     for term in chain_terms(model, form, x, {}, CHAIN, spread)]  # fmt: skip
            terms[spread], bits[spread] = found, sum(found)
        times = torch.arange(2, CHAIN + 1) / CHAIN
        shares = [share(stage, model, float(t)) for t in times]
    gradient = through_the_mean(model, x[:32])
    sigmas = torch.logspace(-2, 2, 200, dtype=torch.float64)
    error, tilde = 0.02, 0.05
    printed = error / (2 * sigmas)
    whole = ((error + tilde) / sigmas - 1 + (sigmas / tilde).log()) / 2
    least = float(sigmas[whole.argmin()])
    figures: dict[str, Any] = {
        "bits_per_dim": bits,
        "terms": terms,
        "share_of_beta": shares,
        "gradient_through_the_mean": gradient,
        "least_of_the_divergence": least,
    }
    fixed = min(bits["beta"], bits["beta-tilde"])
    claims = [
        Claim("The learned variance bounds more tightly than either fixed one", f"{bits['learned']:.3f} against "
              f"{fixed:.3f} bits a dimension", bits["learned"] < fixed),
        Claim("L_vlb does not touch the mean", f"gradient {gradient:g}", gradient == 0),
        Claim("As printed, without its logarithm, the loss falls for ever", f"from {printed[0]:.2g} to "
              f"{printed[-1]:.2g} as the variance grows", bool((printed.diff() < 0).all())),
        Claim("The whole divergence is least where the variance is what it should be", f"{least:.3f}, beta-tilde and "
              f"the squared error add up to {error + tilde:.3f}", abs(least - error - tilde) < 0.005),
    ]  # fmt: skip

    def draw(axes: Any) -> None:
        axes.plot(times, shares, color=COLOURS[0], linewidth=2, marker="o")
        axes.axhline(1, color="#8a8378", linestyle="--")
        axes.axhline(0, color="#8a8378", linestyle="--")
        axes.text(1, 1, "beta", va="bottom", ha="right")
        axes.text(1, 0, "beta-tilde", va="bottom", ha="right")

    def losses(axes: Any) -> None:
        axes.plot(sigmas, printed, color=COLOURS[1], linewidth=2, label="as printed")
        axes.plot(sigmas, whole, color=COLOURS[0], linewidth=2, label="with its logarithm")
        axes.set_xscale("log")
        axes.set_ylim(-0.2, 3)
        axes.legend(frameon=False)

    panels = [
        [
            bars(
                f"The bound of a chain of {CHAIN} steps",
                {f"variance {name}": value for name, value in bits.items()},
                "Bits a dimension of held-out pictures; lower is better. The mean is the same in all three.",
                colours=["#b9b2a4", "#b9b2a4", COLOURS[0]],
                form="{:.3f}",
            )
        ],
        [
            curves(
                "Where the learned variance lies",
                draw,
                "The mean exponent v of beta^v beta-tilde^(1 - v), by time.",
                ("t", "v"),
            ),
            curves("Why the logarithm is needed", losses, "Loss of one step by its variance.", ("variance", "nats")),
        ],
    ]
    text = TEXT.format(steps=CHAIN, least=least, **{name.replace("-", "_"): value for name, value in bits.items()})
    return Told(plate(LESSON.title, LESSON.teaches, panels), text, figures, claims)


def share(stage: Stage, model: Any, t: float) -> float:
    """The mean v at a time: how far, by logarithms, the learned variance is from beta-tilde to beta."""
    torch.manual_seed(stage.seed)
    x = stage.held_out.x[:64]
    moment = torch.full((len(x),), t)
    found, _, _ = denoised(model, stage.form, x, moment, {})
    at = model.transition(moment, x)
    variance = at.variance("learned", found.variance)
    return float(((variance / at.beta_tilde).log() / (at.beta / at.beta_tilde).log()).mean())


def through_the_mean(model: Any, x: torch.Tensor) -> float:
    """The largest gradient of L_vlb with respect to what the network says of the mean."""
    t = torch.full((len(x),), 0.5)
    at = model.transition(t, x)
    torch.manual_seed(0)
    x_t = at.alpha.to(x) * x + at.sigma.to(x) * torch.randn_like(x)
    raw = model.predict(x_t, t, {}).detach().requires_grad_()
    model.vlb(x, model.read(raw, x_t, t, at)[1], t, at).sum().backward()
    assert raw.grad is not None
    return float(raw.grad.chunk(2, 1)[0].abs().max())


TEXT = """
Of the reverse step's variance two values are natural: beta, right if the data were noise themselves, and beta-tilde,
right if they were a single point. Over many small steps it hardly matters; in a chain of {steps} it does: {beta:.3f}
bits a dimension with beta, {beta_tilde:.3f} with beta-tilde, and {learned:.3f} with one that the network says for
every pixel, between the two (its exponent v is drawn below). The slides put a learned Sigma into the weight of the
squared error alone: that loss falls for ever as Sigma grows. The divergence of the two normals also has the logarithm
of Sigma, and is least at {least:.3f}, where Sigma is beta-tilde plus the squared error. So that the few steps with
large terms do not spoil the mean, its gradient is stopped in this part: L_simple alone teaches the mean.
"""

LESSON = Lesson(
    name="learned-variance",
    title="A variance that is learned",
    source="Deck 000, 'Learned Sigma'. A. Nichol and P. Dhariwal, 'Improved denoising diffusion probabilistic models' "
    "(2021)",
    teaches="With few steps it pays to learn how sure a step is, by the whole divergence, logarithm and all.",
    make=make,
)
