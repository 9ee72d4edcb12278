"""How little items are like the data a model has learnt: scores, the higher the stranger, set by normal items."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.core.data import Image, Split
from figment.core.errors import UsageError
from figment.core.model import (
    CanDecode,
    CanEncode,
    EstimatesLogProb,
    HasBound,
    HasEnergy,
    HasImportance,
    HasLogProb,
    density,
)
from figment.evaluate.background import Texture, least_bits
from figment.evaluate.likelihood import importance
from figment.evaluate.memorisation import auroc
from figment.evaluate.neighbours import nearest
from figment.evaluate.reference import rows_of

Measures = Mapping[str, Tensor]  # of items, by name, float64 (B,)
Scores = Mapping[str, Tensor]  # the same
TRAINING, CHUNK = 10_000, 250  # items of training that others are compared with, and that are seen at a time
NEIGHBOURS = 5  # codes
DRAWS = 8  # importance weights of a bound
ALLOWED = 1.0  # deviations that oddities of any sort may have more than a code that is far from all others
COMPONENTS, ROWS = 3, 30  # Gaussians under `rarity` at most, and normal items that each needs
MEANING = {
    "likelihood": "-log p(x): fooled where strange items are simpler than normal ones",
    "typicality": "how far -log p(x) is from its mean over normal items",
    "ratio": "-log p(x) less that of a model of texture alone, learned from the same data",
    "complexity": "-log p(x) less what general compressors (PNG, WebP) need",
    "reconstruction": "squared error of x encoded and decoded",
    "distance": "log of the mean distance of the code from the five nearest codes of training items",
    "rarity": "how rarely -log p(x) and the bits of compressors come together so among normal items",
    "strangeness": "the largest of distance, and less one of rarity and complexity, in deviations: this one judges",
}
JUDGED = "strangeness"  # its form was chosen on pairs of data sets, none of a person's items being seen


@dataclass(frozen=True)
class Known:
    """Codes of training items `(N, d)`, each number in units of its deviation `(d,)`."""

    codes: Tensor
    scale: Tensor

    @classmethod
    def of(cls, codes: Tensor) -> Known:
        scale = codes.std(0) + 1e-6
        return cls(codes / scale, scale)

    def log_distance(self, codes: Tensor) -> Tensor:
        """log of the mean distance to the five nearest training codes: `(B, d)` -> float64 `(B,)`.

        Ramaswamy, Rastogi & Shim, "Efficient algorithms for mining outliers from large data sets" (2000).
        """
        near = nearest(codes / self.scale, self.codes, min(NEIGHBOURS, len(self.codes)))
        return near.mean(1).clamp_min(1e-9).log().cpu()


@dataclass(frozen=True)
class Seen:
    """Items as a model sees them: their measures, and what it rebuilds them as `(B, ...)`, where it does."""

    measures: Measures
    rebuilt: Tensor | None


@dataclass(frozen=True)
class Observer:
    """Measures items by what a model can: its density, its code where that is smaller than x, and for pictures the
    bits of other descriptions. Labels are unknown to it."""

    model: Any
    surprise: Callable[[Tensor], Tensor] | None
    coded: bool
    known: Known | None = None
    texture: Texture | None = None

    @classmethod
    @torch.no_grad()
    def of(cls, model: Any, training: Iterable[Tensor]) -> Observer:
        """From batches x `(B, ...)` of what the model learned from. Raises UsageError where it has neither a density
        nor an encoder."""
        bare = cls(model, _surprise(model), _is_coded(model))
        if bare.surprise is None and not bare.coded:
            raise UsageError(
                f"'{model.config.kind}' has neither a density nor an encoder to judge by: take a run of "
                "gaussian-mixture, flow, vae, autoencoder, with-prior, ..."
            )
        texture, codes = Texture() if isinstance(model.spec.x, Image) else None, []
        for x in training:
            if texture is not None:
                texture.learn(model.spec.x.to_user(x))
            if bare.coded:
                codes.append(model.encode(x.to(model.device), {}).flatten(1).float())
        return replace(bare, known=Known.of(torch.cat(codes)) if codes else None, texture=texture)

    @torch.no_grad()
    def see(self, x: Tensor, log_prob: Tensor | None = None) -> Seen:
        """Items x `(B, ...)`; `log_prob` `(B,)` where it is known already.

        Measures: `likelihood`, -log p(x) (where that is a bound, by 8 importance weights); `reconstruction` and
        `distance` of coded items; `bits` of compressors and `texture` of pictures, in nats.
        """
        x, found, rebuilt = x.to(self.model.device), dict[str, Tensor](), None
        if self.coded:
            z = self.model.encode(x, {})
            rebuilt = self.model.decode(z, {}).float()
            found["reconstruction"] = (rebuilt - x).double().square().flatten(1).mean(1)
            if self.known is not None:
                found["distance"] = self.known.log_distance(z.flatten(1).float())
        if self.surprise is not None:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                found["likelihood"] = -log_prob if log_prob is not None else self.surprise(x)
        if isinstance(self.model.spec.x, Image):
            pixels = self.model.spec.x.to_user(x)
            found["bits"] = math.log(2) * least_bits(pixels)
            if self.texture is not None:
                found["texture"] = self.texture.nats(pixels)
        return Seen({name: values.double().cpu() for name, values in found.items()}, rebuilt)


def some_of(split: Split, count: int) -> Iterator[Tensor]:
    """Items of a split, `count` at most, in a fixed random order and a few at a time: `(B, ...)`."""
    return (part for x, _ in rows_of(split, count) for part in x.split(CHUNK))


def _is_coded(model: Any) -> bool:
    """Whether x can be rebuilt from a code: with a density, from one of fewer numbers."""
    form, place = model.spec.x, model.device
    if not (isinstance(model, CanEncode) and isinstance(model, CanDecode)):
        return False
    with torch.no_grad():
        code = model.encode(torch.zeros(1, *form.shape, device=place), {})
    return code.numel() < form.dimensions or density(model) in (None, "implicit")


def _surprise(model: Any) -> Callable[[Tensor], Tensor] | None:
    """-log p(x) in nats, up to a constant, of items without labels; from above where only a bound is known."""
    if isinstance(model, HasImportance):
        return lambda x: -importance(model, DRAWS, x, {})
    if isinstance(model, HasLogProb):
        return lambda x: -model.log_prob(x, {})
    if isinstance(model, HasBound):
        return lambda x: -model.bound(x, {})
    if isinstance(model, EstimatesLogProb):
        log_prob = model.log_prob_estimator()
        return lambda x: -log_prob(x, {})
    if isinstance(model, HasEnergy):
        return lambda x: model.energy(x, {})
    return None


@dataclass(frozen=True)
class Unit:
    """Deviations from the mean over normal items."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, values: Tensor) -> Unit:
        return cls(float(values.mean()), float(values.std(correction=0)) + 1e-9)

    def __call__(self, values: Tensor) -> Tensor:
        return (values - self.mean) / self.deviation


@dataclass(frozen=True)
class Normal:
    """What normal items that were not trained on measure, and how strange that makes others. No outlier is needed.

    A simple item is likely to a model of complex ones (Nalisnick et al., "Do deep generative models know what they
    don't know?", 2019), so the likelihood alone is no judge. `rarity` is r = sqrt(2 (max log q - log q(t))), q a
    mixture of Gaussians fitted to t = (-log p(x), bits of compressors) of normal items: the radius in deviations, were
    q one Gaussian. Morningstar et al., "Density of states estimation for out-of-distribution detection" (2021); Serra
    et al., "Input complexity and out-of-distribution detection with likelihood-based generative models" (2020).
    """

    units: Mapping[str, Unit]
    states: Any  # sklearn's GaussianMixture
    peak: float = 0.0
    scores: Scores = field(default_factory=dict)

    @classmethod
    def of(cls, measures: Measures) -> Normal:
        from sklearn.mixture import GaussianMixture

        units = {name: Unit.of(values) for name, values in _judged(measures).items()}
        states = _states(units, measures)
        states = states if len(states) > 1 else states.repeat(2, 0)
        count = max(1, min(COMPONENTS, len(states) // ROWS))
        mixture = GaussianMixture(count, reg_covar=1e-3, random_state=0).fit(states)
        fitted = cls(units, mixture, float(mixture.score_samples(states).max()))
        parts = {"rarity": fitted._rarity(measures)}
        if {"likelihood", "bits"} <= set(measures):
            parts["complexity"] = measures["likelihood"] - measures["bits"]
        fitted = replace(fitted, units={**units, **{name: Unit.of(values) for name, values in parts.items()}})
        return replace(fitted, scores=fitted.score(measures))

    def score(self, measures: Measures) -> Scores:
        """All scores that the measures allow, by name: see MEANING."""
        found = dict[str, Tensor]()
        if "likelihood" in measures:
            surprise = measures["likelihood"]
            found = {"likelihood": surprise, "typicality": (surprise - self.units["surprise"].mean).abs()}
            others = {"ratio": "texture", "complexity": "bits"}
            found |= {name: surprise - measures[of] for name, of in others.items() if of in measures}
        found |= {name: measures[name] for name in ("reconstruction", "distance") if name in measures}
        found["rarity"] = self._rarity(measures)
        allowed = {"distance": 0.0, "rarity": ALLOWED, "complexity": ALLOWED}
        judged = [self.units[name](found[name]) - less for name, less in allowed.items() if name in found]
        return found | {JUDGED: torch.stack(judged).amax(0)}

    def limit(self, share: float, name: str = JUDGED) -> float:
        """The score that a `share` of normal items exceeds."""
        return float(self.scores[name].quantile(1 - share)) if share else math.inf

    def percentile(self, scores: Scores) -> Tensor:
        """The share of normal items that are less strange, in percent: `(B,)`."""
        usual = self.scores[JUDGED].sort().values
        return 100 * torch.searchsorted(usual, scores[JUDGED]).double() / len(usual)

    def auroc(self, measures: Measures) -> dict[str, float]:
        """How well each score tells items from normal ones: 1 all, 1/2 none, below it is fooled."""
        return {name: auroc(self.scores[name], values) for name, values in self.score(measures).items()}

    def _rarity(self, measures: Measures) -> Tensor:
        log_density = torch.from_numpy(self.states.score_samples(_states(self.units, measures)))
        return (2 * (self.peak - log_density)).clamp_min(0).sqrt()


def _judged(measures: Measures) -> Measures:
    """Surprise, -log p(x) or without a density the log of the error of rebuilding; distance, and bits."""
    error = measures.get("reconstruction", torch.zeros(1)).clamp_min(1e-12)
    same = {name: measures[name] for name in ("distance", "bits") if name in measures}
    return {"surprise": measures.get("likelihood", error.log()), **same}


def _states(units: Mapping[str, Unit], measures: Measures) -> np.ndarray:
    """Surprise and complexity in deviations: `(B, 2)`; without pictures, surprise alone."""
    judged = _judged(measures)
    return torch.stack([units[name](judged[name]) for name in ("surprise", "bits") if name in judged], 1).numpy()


def fooled(found: Mapping[str, float]) -> list[str]:
    """A sentence on each of the plain scores that finds strange items more normal than normal ones, by their AUROC."""
    return [
        f"{name} is fooled: to it these items are more normal than the run's own (AUROC {found[name]:.2f}); by "
        f"{JUDGED}, which judges, it is {found[JUDGED]:.2f}"
        for name in ("likelihood", "reconstruction")
        if found.get(name, 1.0) < 0.5
    ]
