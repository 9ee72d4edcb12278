"""ELBO + KL = log p(x): what variational inference trades, where everything is known exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import Panel, curves, plate
from figment.models.autoencoders.likelihoods import gaussian_log_density, kl_to_standard_normal, squared_error
from figment.models.classical.ppca import PPCA
from figment.pictures import COLOURS, INK

ASCENT, RATE = 60, 0.15
BOUND, GAP = COLOURS[0], COLOURS[4]


@dataclass(frozen=True)
class Linear:
    """A picture or row x `(1, ...)` under x = m + W z + sigma epsilon with one latent z ~ N(0, 1)."""

    model: PPCA
    x: Tensor

    def elbo(self, mean: Tensor, deviation: Tensor) -> Tensor:
        """E_q log p(x | z) - KL(q || p(z)) of q = N(mean, deviation^2), all `(N,)`, in closed form: nats `(N,)`."""
        decoded = self.model.decode(mean[:, None], {})
        error = squared_error(self.x, decoded) + deviation.square() * self.model.gain.square()
        likelihood = gaussian_log_density(error, self.model.variance, self.x.numel())
        return likelihood - kl_to_standard_normal(mean[:, None], 2 * deviation.log()[:, None])

    def gap(self, mean: Tensor, deviation: Tensor) -> Tensor:
        """KL(q || p(z | x)) `(N,)`."""
        return kl_divergence(Normal(mean, deviation), self.posterior)

    @property
    def posterior(self) -> Normal:
        q = self.model.posterior(self.x, {})
        return Normal(q.mean[0, 0], q.stddev[0, 0])

    @property
    def evidence(self) -> float:
        return float(self.model.log_prob(self.x, {}))

    def ascent(self) -> np.ndarray:
        """Mean, deviation and ELBO `(ASCENT + 1, 3)` along gradient ascent of the ELBO from q = N(-2, 1), its steps
        shortened where the ELBO is steep."""
        flat = self.posterior.variance.clamp(max=1)
        mean, log_deviation = torch.tensor([-2.0], requires_grad=True), torch.zeros(1, requires_grad=True)
        path = []
        for _ in range(ASCENT + 1):
            value = self.elbo(mean, log_deviation.exp())
            path.append((mean.item(), log_deviation.exp().item(), value.item()))
            slopes = torch.autograd.grad(value.sum(), (mean, log_deviation))
            with torch.no_grad():
                mean += RATE * flat * slopes[0]
                log_deviation += (RATE * slopes[1]).clamp(-0.2, 0.2)
        return np.array(path)


def make(stage: Stage) -> Told:
    scene = stage.scene("ppca-1", "ppca", 1, model__latent=1)
    linear = Linear(scene.model, stage.held_out.x[:1])
    posterior, evidence = linear.posterior, linear.evidence
    generator = torch.Generator().manual_seed(stage.seed)
    mean = 3 * torch.randn(1000, generator=generator)
    deviation = torch.randn(1000, generator=generator).exp()
    elbo, gap = linear.elbo(mean, deviation), linear.gap(mean, deviation)
    path = linear.ascent()
    figures: dict[str, Any] = {
        "log_prob": evidence,
        "largest_difference": float(((elbo + gap - evidence) / (1 + gap)).abs().max()),
        "posterior": {"mean": posterior.mean.item(), "deviation": posterior.stddev.item()},
        "reached": {"mean": path[-1, 0], "deviation": path[-1, 1], "elbo": path[-1, 2]},
    }
    reached, true = figures["reached"], figures["posterior"]
    off = max(abs(reached[key] - true[key]) for key in true)
    claims = [
        Claim(
            "ELBO(q) + KL(q || p(z | x)) is log p(x), whatever q is",
            f"for 1000 random q the sum is off by {figures['largest_difference']:.1e} of 1 + KL at most",
            figures["largest_difference"] < 1e-4,
        ),
        Claim("so the ELBO is never above log p(x)", f"at most {float(elbo.max()):.3f} against {evidence:.3f} nats",
              float(elbo.max()) <= evidence + 1e-4),
        Claim(
            "and raising it ends at the true posterior",
            f"N({reached['mean']:.3f}, {reached['deviation']:.3f}²) against N({true['mean']:.3f}, "
            f"{true['deviation']:.3f}²)",
            off < 1e-2,
        ),
    ]  # fmt: skip
    text = TEXT.format(evidence=evidence, first=path[0, 2], last=path[-1, 2], steps=ASCENT)
    return Told(_drawn(stage, linear, path), text, figures, claims)


def _drawn(stage: Stage, linear: Linear, path: np.ndarray) -> Any:
    posterior, evidence = linear.posterior, linear.evidence
    mean = torch.linspace(-2.5, 2.5, 200) * 1.0 + posterior.mean
    over = linear.elbo(mean, posterior.stddev.expand(200)).numpy()

    def stacked(axes: Any, x: Any, elbo: np.ndarray) -> None:
        low = min(float(elbo.min()), evidence - 1)
        axes.fill_between(x, low - 1, elbo, color=BOUND, alpha=0.25, linewidth=0)
        axes.fill_between(x, elbo, evidence, color=GAP, alpha=0.45, linewidth=0)
        axes.plot(x, elbo, color=BOUND, linewidth=2.6)
        axes.axhline(evidence, color=INK, linewidth=1.6)
        axes.set(xlim=(float(x[0]), float(x[-1])), ylim=(low, evidence + 0.14 * (evidence - low)))
        axes.text(0.5, 0.925, "log p(x)", transform=axes.transAxes, ha="center", fontsize=11, color=INK)

    def by_mean(axes: Any) -> None:
        stacked(axes, mean.numpy(), over)
        axes.plot([posterior.mean] * 2, [over.min(), evidence], color=INK, linewidth=1, linestyle=(0, (5, 3)))
        axes.text(0.53, 0.3, "ELBO(q)", transform=axes.transAxes, fontsize=12, color=BOUND, weight="bold")
        axes.text(
            0.03, 0.79, "KL(q || p(z | x))", transform=axes.transAxes, fontsize=11, color="#8a5a00", weight="bold"
        )

    def by_step(axes: Any) -> None:
        stacked(axes, np.arange(len(path)), path[:, 2])

    z = torch.linspace(-4, 4, 500)

    def densities(axes: Any) -> None:
        axes.fill_between(z, Normal(0.0, 1.0).log_prob(z).exp(), color="#c9c3b6", alpha=0.6, linewidth=0)
        axes.plot(z, posterior.log_prob(z).exp(), color=INK, linewidth=2.2, linestyle=(0, (5, 3)))
        for i, step in enumerate((0, 2, 5, ASCENT)):
            m, s = path[step, :2]
            axes.plot(z, Normal(m, s).log_prob(z).exp(), color=BOUND, linewidth=2.2, alpha=0.3 + 0.23 * i)
            axes.text(m, float(Normal(m, s).log_prob(torch.tensor(m)).exp()), f"{step}", color=BOUND, fontsize=10,
                      ha="center", va="bottom", weight="bold")  # fmt: skip
        axes.set(xlim=(-4, 4), ylim=(0, None))

    rows = [
        [
            curves("The two parts of log p(x)", by_mean, "q = N(m, s²), s that of the posterior. The best m is the "
                   "posterior's mean (dashed).", ("m", "nats")),
            curves("Raising the ELBO", by_step, "Gradient ascent over m and log s: what the ELBO gains, the gap loses.",
                   ("step", "nats")),
        ]
    ]  # fmt: skip
    below = [
        curves("q on its way", densities, "After 0, 2, 5 and 60 steps. Grey: the prior. Dashed: the true "
               "posterior.",
               ("z", "density"))
    ]  # fmt: skip
    if stage.dataset.spec.x.shape == (2,):
        below.append(_plane(stage, linear))
    return plate(LESSON.title, LESSON.teaches, [*rows, below])


def _plane(stage: Stage, linear: Linear) -> Panel:
    """The data, the line x = m + W z, the point x, and where on the line its posterior lies."""

    def draw(axes: Any) -> None:
        rows = stage.training.x.numpy()
        axes.scatter(*rows.T, s=7, color="#c9c3b6", linewidths=0)
        line = linear.model.decode(torch.tensor([[-3.0], [3.0]]), {}).numpy()
        axes.plot(*line.T, color=INK, linewidth=1.2)
        q = linear.posterior
        ends = linear.model.decode(torch.stack([q.mean - q.stddev, q.mean + q.stddev])[:, None], {}).numpy()
        axes.plot(*ends.T, color=BOUND, linewidth=7, alpha=0.6, solid_capstyle="round")
        axes.scatter(*linear.x.T.numpy(), s=90, color=COLOURS[1], zorder=4)
        axes.annotate("x", linear.x[0].numpy(), (8, 6), textcoords="offset points", fontsize=14, color=COLOURS[1])
        axes.set_aspect("equal", adjustable="datalim")

    caption = "Data, the line m + W z, a point x (orange), and where its code may lie: the posterior (blue)."
    return curves("What the model is", draw, caption)


TEXT = """
The model is linear: x = m + W z + σ ε, so log p(x) and the posterior p(z | x) are known exactly, and what a VAE can
only hope for can be checked. For one held-out x, log p(x) = {evidence:.3f} nats, the black line. Any q divides it in
two: the ELBO below and KL(q || p(z | x)) above. The sum does not move; so raising the ELBO, which needs no posterior,
lowers the divergence from the posterior, which nobody can compute elsewhere.

Gradient ascent from a bad q raises the ELBO from {first:.3f} to {last:.3f} nats in {steps} steps, and q arrives at the
posterior. (The bound is on log p(x), not on a divergence, as a slide has it.)
"""

LESSON = Lesson(
    name="bound",
    title="ELBO + KL = log p(x)",
    source="Decks 002 and 004, 'Variational inference'. M. I. Jordan, Z. Ghahramani, T. S. Jaakkola and L. K. Saul, "
    "'An introduction to variational methods for graphical models' (1999); M. E. Tipping and C. M. Bishop, "
    "'Probabilistic principal component analysis' (1999)",
    teaches="The evidence is split into a bound and a divergence; what raises the one lowers the other.",
    make=make,
    data="toy:moons",
    needs=(),
)
