"""The Kullback-Leibler term as one lecture prints it, beside the right one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal

from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import curves, plate
from figment.models.autoencoders.likelihoods import kl_to_standard_normal
from figment.pictures import COLOURS, INK

RIGHT, WRONG = COLOURS[2], COLOURS[1]
MEAN, VARIANCE = 1.0, 0.5  # where both are compared
DESCENT, RATE = 60, 0.1  # steps of gradient descent and their length
DRAWS = 1_000_000

Divergence = Callable[[Tensor, Tensor], Tensor]


def right(mean: Tensor, sigma: Tensor) -> Tensor:
    """KL(N(mean, sigma^2) || N(0, 1))."""
    return kl_to_standard_normal(mean[:, None], 2 * sigma.log()[:, None])


def printed(mean: Tensor, sigma: Tensor) -> Tensor:
    """-1/2 (sigma + mean^2 - 1 - log sigma), as the slide has it: the sign and the power of sigma are wrong."""
    return -0.5 * (sigma + mean.square() - 1 - sigma.log())


def descent(formula: Divergence) -> np.ndarray:
    """Mean and sigma `(DESCENT + 1, 2)` along gradient descent over (mean, log sigma) from N(1, 1/2)."""
    mean = torch.tensor([MEAN], requires_grad=True)
    log_sigma = torch.tensor([VARIANCE**0.5]).log().requires_grad_()
    path = [(MEAN, VARIANCE**0.5)]
    for _ in range(DESCENT):
        slopes = torch.autograd.grad(formula(mean, log_sigma.exp()).sum(), (mean, log_sigma))
        with torch.no_grad():
            mean -= RATE * slopes[0]
            log_sigma -= RATE * slopes[1]
        path.append((mean.item(), log_sigma.exp().item()))
    return np.array(path)


def monte_carlo(seed: int) -> tuple[float, float]:
    """E_q[log q(z) - log p(z)] over a million draws, and its standard error: needs no formula."""
    generator = torch.Generator().manual_seed(seed)
    q, p = Normal(MEAN, VARIANCE**0.5), Normal(0.0, 1.0)
    z = MEAN + VARIANCE**0.5 * torch.randn(DRAWS, generator=generator)
    ratio = (q.log_prob(z) - p.log_prob(z)).double()
    return float(ratio.mean()), float(ratio.std() / DRAWS**0.5)


def signed(value: float) -> str:
    return f"{value:.4f}".replace("-", "−")


def make(stage: Stage) -> Told:
    at = torch.tensor([MEAN]), torch.tensor([VARIANCE**0.5])
    paths = {"right": descent(right), "printed": descent(printed)}
    estimate, error = monte_carlo(stage.seed)
    figures: dict[str, Any] = {
        "kl": float(right(*at)),
        "printed": float(printed(*at)),
        "monte_carlo": estimate,
        "standard_error": error,
        **{f"{name}_after_descent": {"mean": path[-1, 0], "sigma": path[-1, 1]} for name, path in paths.items()},
    }
    ends = {name: path[-1] for name, path in paths.items()}
    claims = [
        Claim(
            "The right formula agrees with a Monte Carlo estimate of KL(N(1, 1/2) || N(0, 1))",
            f"{figures['kl']:.4f} nats against {estimate:.4f} ± {error:.4f}",
            abs(figures["kl"] - estimate) < 4 * error,
        ),
        Claim(
            "The printed formula is no divergence: it can be negative",
            f"{signed(figures['printed'])} at the same place",
            figures["printed"] < 0,
        ),
        Claim(
            "Descending the right formula ends at the prior N(0, 1)",
            f"mean {ends['right'][0]:.3f} and sigma {ends['right'][1]:.3f} after {DESCENT} steps",
            abs(ends["right"][0]) < 0.05 and abs(ends["right"][1] - 1) < 0.05,
        ),
        Claim(
            "Descending the printed formula runs away: it has no minimum",
            f"mean {ends['printed'][0]:.3g} and sigma {ends['printed'][1]:.3g} after as many",
            abs(ends["printed"][0]) > 10,
        ),
    ]
    return Told(_drawn(paths, figures), TEXT.format(**figures), figures, claims)


def _drawn(paths: dict[str, np.ndarray], figures: dict[str, Any]) -> Any:
    sigma, mean = torch.linspace(0.02, 3, 400), torch.linspace(-3, 3, 400)
    zero, one = torch.zeros(400), torch.ones(400)

    def both(
        axes: Any, x: Tensor, m: Tensor, s: Tensor, above: tuple[float, float], below: tuple[float, float]
    ) -> None:
        for formula, colour, name, at in ((right, RIGHT, "right", above), (printed, WRONG, "printed", below)):
            axes.plot(x, formula(m, s), color=colour, linewidth=2.6)
            axes.text(*at, name, color=colour, fontsize=12, ha="center", weight="bold")
        axes.axhline(0, color=INK, linewidth=0.8)

    def over_sigma(axes: Any) -> None:
        both(axes, sigma, zero, sigma, (2.1, 1.6), (2.1, -0.75))
        axes.set(ylim=(-2.2, 4.2), xlim=(0, 3))

    def over_mean(axes: Any) -> None:
        both(axes, mean, mean, one, (0, 1.2), (0, -1.7))
        axes.set(ylim=(-4.6, 4.6), xlim=(-3, 3))

    z = np.linspace(-4, 12, 800)

    def density(path: np.ndarray, colour: str, shown: tuple[int, ...], reach: float) -> Callable[[Any], None]:
        def draw(axes: Any) -> None:
            axes.fill_between(z, Normal(0.0, 1.0).log_prob(torch.tensor(z)).exp(), color="#c9c3b6", alpha=0.6, lw=0)
            for i, step in enumerate(shown):
                m, s = (float(v) for v in path[step])
                height = Normal(m, s).log_prob(torch.tensor(z)).exp()
                axes.plot(z, height, color=colour, linewidth=2.4, alpha=0.35 + 0.65 * i / (len(shown) - 1))
                if -4 < m < reach:
                    peak = min(float(Normal(m, s).log_prob(torch.tensor(m)).exp()), 1.05)
                    axes.text(m, peak + 0.03, f"{step}", ha="center", fontsize=10, color=colour, weight="bold")
            axes.text(-2.0, 0.13, "prior", fontsize=10, color="#6b665c", ha="right")
            axes.set(ylim=(0, 1.2), xlim=(-4, reach))

        return draw

    return plate(
        LESSON.title,
        "KL(q || p) of q = N(μ, σ²) to the prior p = N(0, 1) is never negative, and 0 only where q is the prior.",
        [
            [
                curves(
                    "Over the width σ, at μ = 0",
                    over_sigma,
                    "Right: ½(μ² + σ² − 1 − log σ²), least at σ = 1.\nPrinted: −½(σ + μ² − 1 − log σ), greatest there.",
                    ("σ", "nats"),
                ),
                curves(
                    "Over the mean μ, at σ = 1",
                    over_mean,
                    f"At μ = 1, σ² = ½: right {figures['kl']:.4f}, printed {signed(figures['printed'])}, "
                    f"measured by a million draws {figures['monte_carlo']:.4f}.",
                    ("μ", "nats"),
                ),
            ],
            [
                curves(
                    "Descending the right formula",
                    density(paths["right"], RIGHT, (0, 10, 60), 4),
                    "q after 0, 10 and 60 steps of gradient descent: it comes to lie on the prior (grey).",
                    ("z", "density"),
                    height=2.5,
                ),
                curves(
                    "Descending the printed formula",
                    density(paths["printed"], WRONG, (0, 10, 20, 24), 12),
                    "q after 0, 10, 20 and 24 such steps: it leaves the prior behind, faster and faster.",
                    ("z", "density"),
                    height=2.5,
                ),
            ],
        ],
    )


TEXT = """
Both upper curves of the right formula (green) have their lowest point, 0, where q is the prior. The printed formula
(orange) is turned upside down: it is *greatest* there, and falls without end to both sides. Two things are wrong with
it: the sign before the one half, and σ where σ² belongs (if its σ is read as a variance, the sign alone).

At q = N(1, ½) the divergence is {kl:.4f} nats; a million draws, which need no formula, give {monte_carlo:.4f}. The
printed formula gives {printed:.4f}, and no divergence is negative.

The lower row minimises each. The right term pulls q onto the prior. The printed one pushes it away for as long as one
lets it: a VAE that adds it to its loss can make the loss as low as it likes without learning anything.
"""

LESSON = Lesson(
    name="wrong-kl",
    title="The KL term as printed, and as it is",
    source="Deck 003, 'Kullback-Leibler divergence loss'; right in deck 000. D. P. Kingma and M. Welling, "
    "'Auto-encoding variational Bayes' (2014), appendix B",
    teaches="A slip in the sign and in a power turns the divergence that keeps codes near the prior into one that "
    "drives them away without end.",
    make=make,
    data=None,
    needs=(),
)
