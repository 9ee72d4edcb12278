"""Bernoulli, binomial, multinomial and Gaussian fitted by maximum likelihood, and how far off they may be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.stats import binom
from torch.distributions import Bernoulli, Binomial, Categorical, Distribution, Normal

from figment.core.data import ArraySplit, Dataset, Image, Spec, Vector
from figment.core.model import Budget
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import Panel, curves, pictures, plate
from figment.models.classical.naive_bayes import NaiveBayes, NaiveBayesConfig
from figment.pictures import COLOURS, INK

COIN, COINS = 0.3, 200
TRIALS, SHARE, SERIES = 255, 0.35, 6  # as many trials as a pixel has levels above black
DIE, THROWS = np.array([0.05, 0.10, 0.15, 0.20, 0.20, 0.30]), 1000
MEAN, SIGMA, LENGTHS = 1.5, 0.6, 100
NARROW = 0.05  # deviation of a Gaussian whose density exceeds 1
FITTING = {"bernoulli": "bernoulli", "binomial": "binomial", "multinomial": "categorical", "gaussian": "gaussian"}
REPEATS = 400  # fits that show how far estimates scatter
BLUE, ORANGE, GREY = COLOURS[0], COLOURS[1], "#b9b2a4"

Found = dict[str, np.ndarray]  # parameters by name: truth, estimate and standard error, `(3, ...)`


def fitted(spec: Spec, stored: np.ndarray) -> NaiveBayes:
    """The model `naive-bayes` of one dimension, without smoothing: maximum likelihood."""
    model: NaiveBayes = NaiveBayesConfig.model_validate({"observation": FITTING[spec.name], "smoothing": 0}).build(spec)
    for _ in model.fit(Dataset(spec, {"train": ArraySplit(spec, stored, {})}, "draws"), Budget()):
        pass
    return model.double()


def models(generator: np.random.Generator) -> tuple[dict[str, NaiveBayes], dict[str, np.ndarray]]:
    """Four models of ours and the draws `(N,)` that each was fitted to."""
    draws: dict[str, np.ndarray] = {
        "bernoulli": (generator.random(COINS) < COIN).astype(np.uint8),
        "binomial": generator.binomial(TRIALS, SHARE, SERIES).astype(np.uint8),
        "multinomial": generator.choice(6, THROWS, p=DIE).astype(np.uint8),
        "gaussian": generator.normal(MEAN, SIGMA, LENGTHS).astype(np.float32),
    }
    pixel = Image(channels=1, height=1, width=1)
    forms: dict[str, Image | Vector] = {
        "bernoulli": pixel.model_copy(update={"binary": True}),
        "binomial": pixel,
        "multinomial": pixel,
        "gaussian": Vector(mean=(0.0,), scale=(1.0,)),
    }
    stored = {name: drawn.reshape(-1, *forms[name].shape) for name, drawn in draws.items()}
    stored["bernoulli"] = 255 * stored["bernoulli"]
    return {name: fitted(Spec(name=name, x=forms[name]), stored[name]) for name in draws}, draws


def estimates(found: Mapping[str, NaiveBayes]) -> Found:
    """Every parameter, as the models have it, with the standard error that the curvature of log p gives."""
    coin = float(found["bernoulli"].table[0, 0, 1].exp())
    die = found["multinomial"].table[0, 0, :6].exp().numpy()
    mean, sigma = float(found["gaussian"].table[0, 0, 0]), float(found["gaussian"].table[0, 0, 1].sqrt())
    share, thrown = float(found["binomial"].table[0, 0, 1].exp()), SERIES * TRIALS
    return {
        "Bernoulli p": np.array([COIN, coin, math.sqrt(coin * (1 - coin) / COINS)]),
        "binomial p": np.array([SHARE, share, math.sqrt(share * (1 - share) / thrown)]),
        "multinomial p": np.array([DIE, die, np.sqrt(die * (1 - die) / THROWS)]),
        "Gaussian mean": np.array([MEAN, mean, sigma / math.sqrt(LENGTHS)]),
        "Gaussian deviation": np.array([SIGMA, sigma, sigma / math.sqrt(2 * LENGTHS)]),
    }


def disagreement(found: Mapping[str, NaiveBayes], of: Found, draws: Mapping[str, np.ndarray]) -> float:
    """The largest difference of a log-probability of ours from that of torch.distributions."""
    reference: dict[str, Distribution] = {
        "bernoulli": Bernoulli(torch.tensor(of["Bernoulli p"][1])),
        "binomial": Binomial(TRIALS, torch.tensor(of["binomial p"][1])),
        "multinomial": Categorical(torch.tensor(of["multinomial p"][1])),
        "gaussian": Normal(of["Gaussian mean"][1], of["Gaussian deviation"][1]),
    }
    shown = {"bernoulli": 2.0 * draws["bernoulli"] - 1, "gaussian": draws["gaussian"]}
    shown |= {name: draws[name] / 127.5 - 1 for name in ("binomial", "multinomial")}
    off = []
    for name, model in found.items():
        x = torch.tensor(shown[name], dtype=torch.float64).view(-1, *model.spec.x.shape)
        known = reference[name].log_prob(torch.tensor(draws[name].astype(np.float64)))
        off.append(float((model.log_prob(x, {}).double() - known).abs().max()))
    return max(off)


def make(stage: Stage) -> Told:
    generator = np.random.Generator(np.random.Philox(stage.seed))
    found, draws = models(generator)
    of = estimates(found)
    away = {name: float(np.abs((row[1] - row[0]) / row[2]).max()) for name, row in of.items()}
    off = disagreement(found, of, draws)
    p = np.linspace(0.001, 0.999, 1999)
    heads = int(draws["bernoulli"].sum())
    curve = heads * np.log(p) + (COINS - heads) * np.log1p(-p)
    sizes = np.array([10, 30, 100, 300, 1000])
    scatter = np.array([generator.normal(MEAN, SIGMA, (REPEATS, n)).mean(1).std() for n in sizes])
    ratio = scatter / (SIGMA / np.sqrt(sizes))
    z = torch.linspace(-6 * NARROW, 6 * NARROW, 6001, dtype=torch.float64)
    narrow = Normal(0.0, NARROW).log_prob(z).exp().numpy()
    area = float(np.trapezoid(narrow, z.numpy()))
    scene = stage.scene("bernoulli", "naive-bayes", 1, data__binarise="threshold", model__smoothing=0)
    share = scene.model.table[0, :, 1].exp().view(scene.model.spec.x.shape)
    rows = len(scene.dataset.train)
    figures: dict[str, Any] = {
        "truth_estimate_error": {name: row.tolist() for name, row in of.items()},
        "standard_errors_away": away,
        "from_torch_distributions": off,
        "scatter_over_predicted": ratio.tolist(),
        "largest_density": float(narrow.max()),
        "area": area,
    }  # fmt: skip
    claims = [
        Claim("Every estimate lies within three standard errors of the truth",
              ", ".join(f"{name} {value:.1f}" for name, value in away.items()), max(away.values()) < 3),
        Claim("The share of heads is where the likelihood is highest", f"{heads / COINS:.3f} against "
              f"{p[curve.argmax()]:.3f}", abs(p[curve.argmax()] - heads / COINS) < 1e-3),
        Claim("Log-probabilities agree with torch.distributions", f"to {off:.1e}", off < 1e-6),
        Claim("Estimates scatter as the standard error says", f"{ratio.min():.2f} to {ratio.max():.2f} times, for "
              f"{sizes[0]} to {sizes[-1]} draws", bool((abs(ratio - 1) < 0.15).all())),
        Claim("A density may exceed 1: only its area is 1", f"{narrow.max():.2f} at the top, area {area:.4f}",
              narrow.max() > 1 and abs(area - 1) < 1e-3),
    ]  # fmt: skip
    panels = [
        [_curve("Bernoulli: a coin", p, curve, of["Bernoulli p"], f"{heads} heads in {COINS} throws."),
         _curve("Binomial: counts", p, binom.logpmf(draws["binomial"][:, None], TRIALS, p).sum(0), of["binomial p"],
                f"{SERIES} counts of successes in {TRIALS} trials each.")],
        [_die(of["multinomial p"]), _gaussian(draws["gaussian"], of)],
        [_density(z.numpy(), narrow), _scatter(sizes, scatter)],
        [_coins(stage, scene.model.spec, share, rows)],
    ]  # fmt: skip
    lead = of["Bernoulli p"]
    text = TEXT.format(estimate=lead[1], error=lead[2], truth=lead[0], top=float(narrow.max()))
    return Told(plate(LESSON.title, LESSON.teaches, panels), text, figures, claims)


def _curve(heading: str, p: np.ndarray, height: np.ndarray, row: np.ndarray, caption: str) -> Panel:
    def draw(axes: Any) -> None:
        truth, estimate, error = row
        axes.axvspan(estimate - error, estimate + error, color=BLUE, alpha=0.15, linewidth=0)
        axes.plot(p, height - height.max(), color=BLUE, linewidth=2.4)
        axes.plot(estimate, 0, "o", color=BLUE, markersize=9)
        axes.axvline(truth, color=ORANGE, linewidth=1.6, linestyle=(0, (5, 3)))
        axes.set(xlim=(truth - 0.2, truth + 0.2), ylim=(-12, 1.5))
        axes.text(truth - 0.19, 0.2, f"{estimate:.3f} ± {error:.3f}", color=BLUE, fontsize=11, weight="bold")
        axes.text(truth - 0.004, -11.4, "truth", color=ORANGE, fontsize=11, ha="right")

    return curves(heading, draw, caption + " Shaded: a standard error to each side.",
                  ("p", "log-likelihood, less its maximum"), 2.6)  # fmt: skip


def _die(row: np.ndarray) -> Panel:
    def draw(axes: Any) -> None:
        truth, estimate, error = row
        axes.bar(range(6), estimate, color=BLUE, alpha=0.6, width=0.66)
        axes.errorbar(range(6), estimate, error, fmt="none", ecolor=INK, capsize=4, linewidth=1.4)
        for k, value in enumerate(truth):
            axes.plot([k - 0.4, k + 0.4], [value, value], color=ORANGE, linewidth=2)
        axes.set_xticks(range(6), list("123456"))
        axes.grid(axis="x", visible=False)

    return curves("Multinomial: a loaded die", draw, f"Shares of {THROWS} throws, with standard errors; orange: truth.",
                  ("", "p"), 2.6)  # fmt: skip


def _gaussian(x: np.ndarray, of: Found) -> Panel:
    """The log-likelihood over mean and deviation."""
    mean, sigma = of["Gaussian mean"], of["Gaussian deviation"]
    across, up = np.meshgrid(np.linspace(mean[1] - 0.3, mean[1] + 0.3, 200), np.linspace(0.4, 0.9, 200))
    spread = np.square(x[:, None, None].astype(np.float64) - across).sum(0)
    height = -spread / (2 * up**2) - len(x) * np.log(up)

    def draw(axes: Any) -> None:
        levels = [-20, -12, -8, -4.5, -2, -0.5, 0]
        axes.contourf(across, up, height - height.max(), levels, cmap="Blues", alpha=0.8)
        axes.errorbar(mean[1], sigma[1], sigma[2], mean[2], "o", color=INK, markersize=7, capsize=4)
        axes.plot(MEAN, SIGMA, "X", color=ORANGE, markersize=11)

    return curves("Gaussian: mean and deviation at once", draw, f"{LENGTHS} draws. Blue: log-likelihood; dot: its "
                  "maximum, with standard errors; cross: truth.", ("mean", "deviation"), 2.6)  # fmt: skip


def _density(z: np.ndarray, height: np.ndarray) -> Panel:
    def draw(axes: Any) -> None:
        axes.fill_between(z, height, color=BLUE, alpha=0.35, linewidth=0)
        axes.axhline(1, color=INK, linewidth=1.2, linestyle=(0, (5, 3)))
        axes.set(xlim=(z[0], z[-1]), ylim=(0, None))

    return curves("A density is no probability", draw, f"N(0, {NARROW}²): it is above 1 (dashed), its area is 1.",
                  ("x", "density"), 2.2)  # fmt: skip


def _scatter(sizes: np.ndarray, scatter: np.ndarray) -> Panel:
    def draw(axes: Any) -> None:
        axes.plot(sizes, SIGMA / np.sqrt(sizes), color=GREY, linewidth=6, alpha=0.7)
        axes.plot(sizes, scatter, "o", color=BLUE, markersize=8)
        axes.set(xscale="log", yscale="log")
        axes.minorticks_off()
        axes.set_xticks(sizes, [str(n) for n in sizes])
        axes.set_yticks([0.02, 0.05, 0.1, 0.2], ["0.02", "0.05", "0.1", "0.2"])

    return curves("Four times the data, half the error", draw, f"Dots: deviation of the estimated mean over {REPEATS} "
                  "fits. Grey: σ / √n.", ("draws", "error of the mean"), 2.2)  # fmt: skip


def _coins(stage: Stage, spec: Spec, share: torch.Tensor, rows: int) -> Panel:
    """Each pixel of the data as a coin: its estimate, and its standard error."""
    error = (share * (1 - share) / rows).sqrt()
    most = float(error.max())
    shown = torch.stack([2 * share - 1, 2 * error / max(most, 1e-9) - 1])
    examples = stage.examples(6).x
    both = torch.cat([(examples >= 0).float() * 2 - 1, shown])
    return pictures("A coin for each pixel", spec.x.to_user(both), 8, f"Six pictures in black and white, P(white) of "
                    f"each pixel from {rows:,} of them, and its standard error (white: {most:.3f}).")  # fmt: skip


TEXT = """
A parametric distribution is fixed by a few numbers. Maximum likelihood takes those under which the draws at hand are
least surprising: the top of the log-likelihood (dots). For all four it is a formula: a share, shares, a mean and a mean
square. How sharp the top is says how sure one may be: its curvature gives the standard error (shaded). The coin's
estimate is {estimate:.3f} ± {error:.3f}, and {truth} was true.

Log-likelihoods of continuous data are sums of log densities, and a density is no probability: it is not negative and
its area is 1, but it may exceed 1, as the narrow Gaussian does with {top:.2f}. Likelihoods of different models compare
only on the same data in the same units.

The last row is the same on pictures: each pixel a coin. This is what `figment train naive-bayes` does with data of your
own: Bernoulli for black and white pictures, a multinomial for each pixel of grey ones (or a binomial, with
`model.observation=binomial`), Gaussians for rows.
"""

LESSON = Lesson(
    name="maximum-likelihood",
    title="The parameters that make the data least surprising",
    source="Deck 002, 'Parametric distributions'; deck 004, 'Density function'. R. A. Fisher, 'On the mathematical "
    "foundations of theoretical statistics' (1922)",
    teaches="Bernoulli, binomial, multinomial and Gaussian have their best parameters in closed form, and a known "
    "error.",
    make=make,
)
