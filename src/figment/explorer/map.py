"""Where the data lies among a model's codes: the plane of a 2-D space and what it decodes to, or projections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
import torch

from figment.core.config import Config
from figment.core.data import Batch, Factors, Spec, Split
from figment.core.errors import UsageError, did_you_mean
from figment.core.model import HasPrior
from figment.core.noise import Noise
from figment.explorer import map_picture
from figment.explorer.scene import Found, Scene
from figment.latent import map as space
from figment.latent.codes import Code, Codec
from figment.models.classical.clusters import k_means, mean_shift, purity

ITEMS = {"encoder": 2000, "equation": 300, "search": 100}  # items shown, by what encoding one costs
DRAWS = {"encoder": 2000, "equation": 300, "search": 1000}  # points that areas and gaps are shares of
NEARLY = 0.3  # how far moments of draws from N(0, I) may be from its own


class Options(Config):
    """What the map shows."""

    color: str | None = pydantic.Field(None, description="what colours the codes: label, or a factor of the data")
    clusters: Annotated[int, pydantic.Field(ge=1, le=64)] | Literal["mean-shift"] | None = pydantic.Field(
        None, description="colour by groups found without labels: so many by k-means, or as many as mean-shift finds"
    )
    items: int | None = pydantic.Field(
        None, ge=20, le=20_000, description="items shown (None: 2000; of slow codes 300, and fewer large pictures)"
    )
    cells: int = pydantic.Field(16, ge=2, le=64, description="2-D codes: pictures along each side of the decoded plane")


@dataclass(frozen=True)
class Coded:
    """Items in model range with their codes `(N, d)`."""

    batch: Batch
    codes: np.ndarray

    @classmethod
    def of(cls, codec: Codec, split: Split, rows: np.ndarray) -> Coded:
        batch = split.gather(np.sort(rows))
        return cls(batch, codec.encode(batch.x, batch.c).z.flatten(1).float().cpu().numpy())


@dataclass(frozen=True)
class Colouring:
    """What tells items apart: a number of each, or the index of one of `levels`; NaN is unknown."""

    name: str
    levels: tuple[str, ...]
    training: np.ndarray
    shown: np.ndarray


class Survey:
    """Codes of training items and of held-out ones, and points of the space that codes could be.

    `region` says which: draws from the `prior`, or uniform ones from the `box` of the codes where there is no prior.
    """

    def __init__(self, scene: Scene, count: int | None = None):
        codec, data = scene.codec, scene.dataset
        generator, count = np.random.default_rng(0), count or codec.affordable(ITEMS[codec.way])
        rows, held = generator.permutation(len(data.train)), generator.permutation(len(data.held_out))
        if data.held_out is data.train:  # too little to hold any out: one half against the other
            rows, held = np.array_split(rows, 2)
        self.codec = codec
        self.training = Coded.of(codec, data.train, rows[: 2 * count if codec.way == "encoder" else count])
        self.shown = Coded.of(codec, data.held_out, held[:count])
        self.region = "prior" if isinstance(codec.coder, HasPrior) or codec.white else "box"
        self.draws = self._draws(Noise(scene.seed, range(DRAWS[codec.way])))

    @property
    def dimensions(self) -> int:
        return self.shown.codes.shape[1]

    def _draws(self, noise: Noise) -> np.ndarray:
        if isinstance(self.codec.coder, HasPrior):
            return self.codec.prior(range(len(noise))).z.flatten(1).cpu().numpy()
        if self.region == "prior":
            return noise.normal((self.dimensions,)).numpy()
        return space.in_box(self.training.codes, noise.uniform((self.dimensions,)).numpy()).astype(np.float32)

    def plane(self, n: int) -> space.Plane:
        """n x n points of two dimensions: of equal mass under a prior that is standard normal, else of equal area."""
        off = np.abs(np.cov(self.draws.T) - np.eye(2)).max() + np.abs(self.draws.mean(0)).max()
        standard = self.region == "prior" and off < NEARLY
        return space.prior_plane(n) if standard else space.box_plane(self.training.codes, n)

    def decode(self, points: np.ndarray) -> torch.Tensor:
        """x of points `(M, 2)` of a plane of codes, in model range, under no label."""
        z = torch.from_numpy(points).to(self.codec.device)
        return self.codec.decode(Code(z, self.codec.conditions({}, len(z)))).cpu()

    def missing(self, points: np.ndarray) -> np.ndarray:
        """Which points no code of the data is near to: `(M,)` bool."""
        return space.gaps(points, self.training.codes, self.shown.codes)


def explore(scene: Scene, words: Sequence[str], options: Options) -> Found:
    """Codes of held-out items, coloured by what is known of them; the shares of the space that are whose, or nobody's.

    Raises UsageError for a colour the data has not, for codes of one dimension, and where all codes are equal.
    """
    if words:
        raise UsageError(f"map: there is no use for '{words[0]}'; it shows held-out items. Colour them: --color NAME.")
    survey = Survey(scene, options.items)
    if survey.dimensions < 2:
        raise UsageError("one latent dimension makes no map: see what it does with `traverse`.")
    if np.ptp(survey.shown.codes, axis=0).max() == 0:
        raise UsageError("all held-out items have one and the same code, so there is nothing to lay out.")
    spec = scene.model.spec
    figures = {"items": len(survey.shown.codes), "dimensions": survey.dimensions, "region": survey.region}
    colouring = coloured(scene.dataset.spec, survey.training.batch, survey.shown.batch, options.color)
    if options.clusters is not None:
        found, figures["clusters"] = clustered(survey, options.clusters, scene.seed, colouring)
        colouring = found if options.color is None else colouring
    figures |= {"gaps": float(survey.missing(survey.draws).mean()), "coloured_by": colouring and colouring.name}
    if colouring is not None and colouring.levels:
        figures |= classes(survey, colouring)
    heading = f"{scene.title}: codes of {len(survey.shown.codes):,} held-out items"
    if survey.dimensions == 2:
        plane = survey.plane(options.cells)
        decoded = survey.decode(plane.points)
        steps = space.steps(decoded.numpy(), options.cells)
        figures["jump"] = {"largest": float(steps.max()), "over_mean": float(steps.max() / steps.mean())}
        image = map_picture.of_plane(heading, spec, survey, colouring, figures, plane, decoded)
    else:
        laid = space.embedded(survey.shown.codes, scene.seed)
        flat, variance = space.principal(survey.shown.codes)
        figures["principal_variance"] = variance.tolist()
        image = map_picture.of_projections(heading, spec, survey, colouring, flat, laid)
    return Found({**figures, "remarks": remarks(spec, colouring)}, image)


def coloured(spec: Spec, training: Batch, shown: Batch, name: str | None) -> Colouring | None:
    """The values of a label or factor by name; without one, the label, else the first factor. Raises UsageError."""
    factors = spec.c.get("attributes")
    known: dict[str, tuple[str, ...]] = {"label": spec.label.names} if spec.label else {}
    if isinstance(factors, Factors):
        known |= {factor.name: factor.levels for factor in factors.factors}
    name = name or next(iter(known), None)
    if name is None:
        return None
    if name not in known:
        raise UsageError(f"--color {name}: {spec.name} has nothing of that name. {did_you_mean(name, known)}")
    return Colouring(name, known[name], *(_values(batch, name, factors) for batch in (training, shown)))


def clustered(
    survey: Survey, clusters: int | str, seed: int, truth: Colouring | None
) -> tuple[Colouring, dict[str, Any]]:
    """Groups of the training items' codes, and how well those of held-out items agree with the levels of `truth`:
    purity, and mutual information normalised to [0, 1] (Strehl & Ghosh, "Cluster ensembles", 2002)."""
    from sklearn.metrics import normalized_mutual_info_score

    codes, shown = survey.training.codes, survey.shown.codes
    found = (
        k_means(codes, min(clusters, len(codes)), seed) if isinstance(clusters, int) else mean_shift(codes, None, seed)
    )
    assigned = found.nearest(shown)
    shares = np.bincount(assigned, minlength=len(found.centres)) / len(shown)
    figures: dict[str, Any] = {"count": len(found.centres), "shares": shares.tolist()}
    figures["inertia_per_dimension"] = found.inertia / codes.size
    if truth is not None and truth.levels:
        seen = np.isfinite(truth.shown)
        labels = truth.shown[seen].astype(int)
        figures |= {"against": truth.name, "purity": purity(assigned[seen], labels)}
        figures["mutual_information"] = float(normalized_mutual_info_score(labels, assigned[seen]))
    levels = tuple(f"group {i + 1}" for i in range(len(found.centres)))
    return Colouring("clusters", levels, found.assigned.astype(float), assigned.astype(float)), figures


def _values(batch: Batch, name: str, factors: Any) -> np.ndarray:
    if name == "label":
        return batch.c["label"].numpy().astype(float)
    return batch.c["attributes"][:, factors.names.index(name)].double().numpy()


def classes(survey: Survey, colouring: Colouring) -> dict[str, Any]:
    """How well nearest codes tell the levels of held-out items, and the share of the region that is nearest to each."""
    known, seen = np.isfinite(colouring.training), np.isfinite(colouring.shown)
    codes, labels = survey.training.codes[known], colouring.training[known].astype(int)
    truth = colouring.shown[seen].astype(int)
    areas, shares = (
        np.bincount(found, minlength=len(colouring.levels)) / len(found)
        for found in (space.votes(codes, labels, survey.draws), labels)
    )
    return {
        "neighbour_accuracy": space.neighbour_accuracy(codes, labels, survey.shown.codes[seen], truth),
        "chance": float(np.bincount(truth).max() / len(truth)),
        "areas": dict(zip(colouring.levels, areas.tolist())),
        "shares": dict(zip(colouring.levels, shares.tolist())),
    }


def remarks(spec: Spec, colouring: Colouring | None) -> list[str]:
    """What to know of a map of a model that is told the label."""
    if spec.label is None or colouring is None or colouring.name != "label":
        return []
    return ["the model is told the label, so its codes need not hold it: train with model.conditional=false for that"]
