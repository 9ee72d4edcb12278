"""One attribute turned up and down: a direction among codes, learned from examples, applied with weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import torch
from torch import Tensor

from figment.core.config import Config
from figment.core.data import Batch, Factor, Factors, Image, Spec
from figment.core.errors import UsageError, did_you_mean
from figment.data import faces
from figment.data.faces import FACTORS
from figment.explorer.inputs import Chosen, choose, from_file, varied
from figment.explorer.scene import Found, Scene
from figment.latent.attribute import Direction, auroc, columns, cosine, direction, halves
from figment.latent.codes import Code
from figment.latent.probe import draw_labelled
from figment.pictures import sheet

EXAMPLES = {"encoder": 5000, "equation": 200, "search": 60}  # training items, by what encoding one costs
MEASURED = {"encoder": 100, "equation": 0, "search": 0}  # held-out items edited for the figures, beside those shown
FEWEST = 5  # examples of each side
NAMES = 1  # the first word is a name, also with an = in it


class Options(Config):
    """Which pictures, how far, and where examples come from if the data does not know the attribute."""

    image: str | None = pydantic.Field(None, description="the picture to edit (unset: held-out ones)")
    positive: str | None = pydantic.Field(None, description="a folder of pictures that have the attribute")
    negative: str | None = pydantic.Field(None, description="a folder of pictures that have it not")
    count: int = pydantic.Field(5, ge=1, le=50, description="pictures, where none is named")
    steps: int = pydantic.Field(9, ge=3, le=101, description="weights, from -reach to reach")
    reach: float = pydantic.Field(2.0, gt=0, le=20, description="the largest weight")


@dataclass(frozen=True)
class Examples:
    """Codes `(N, d)` with the wanted attribute `(N,)`, 0 and 1 or a number, and all else that is known, `(N, P)` each;
    every fifth is kept for the figures."""

    name: str
    codes: Tensor
    target: Tensor
    others: Sequence[Tensor] = ()

    def part(self, held: bool) -> Examples:
        kept = (torch.arange(len(self.codes)) % 5 == 4) == held
        return Examples(self.name, self.codes[kept], self.target[kept], [other[kept] for other in self.others])

    def direction(self) -> Direction:
        return direction(self.codes, self.target, self.others)


def explore(scene: Scene, words: Sequence[str], options: Options) -> Found:
    """decode(z + weight * v) of some pictures; from -1 to 1 leads from one side's mean to the other's, 0 leaves it be.

    The figures say how well v tells held-out examples apart, what else it is close to, and what an encoder (of drawn
    faces: an oracle) reads in the edited pictures. Larsen et al., "Autoencoding beyond pixels using a learned
    similarity metric" (2016). Raises UsageError where the attribute is unknown or examples are too few.
    """
    scene.require_pictures("attribute")
    examples = _examples(scene, words, options)
    learned, held = examples.part(held=False), examples.part(held=True)
    try:
        found = learned.direction()
        plain = direction(learned.codes, learned.target)
    except ValueError as error:
        raise UsageError(f"attribute {examples.name}: {error} in {len(learned.codes)} examples.") from None
    weights = torch.linspace(-options.reach, options.reach, options.steps)
    chosen = choose(scene, [options.image] if options.image else varied(scene, options.count))
    figures = {
        "attribute": examples.name,
        "encoded_by": scene.codec.way,
        "examples": len(learned.codes),
        "unit": found.unit,
        "weights": weights.tolist(),
        "others_held_fixed": found.corrected,
        "length": float(found.vector.norm()),
        "auroc": auroc(found.score(held.codes), halves(held.target)),
        "cosine_with_difference_of_means": cosine(found.vector, plain.vector),
        **_read(scene, examples.name, found, weights),
    }
    x = swept(scene, chosen.code, found, weights)
    return Found(figures, _picture(scene, chosen, x, examples.name, weights))


def swept(scene: Scene, code: Code, along: Direction, weights: Tensor) -> Tensor:
    """The pictures `(B, A, ...)` of codes moved by each weight `(A,)`; white codes keep their distance from 0."""
    z = along.applied(code.z, weights)
    if scene.codec.white:
        norm = code.z.flatten(1).norm(dim=1)
        z = z * (
            norm.view(-1, 1, *[1] * (z.ndim - 2)) / z.flatten(2).norm(dim=2).view(*z.shape[:2], *[1] * (z.ndim - 2))
        )
    c = {key: value.repeat_interleave(len(weights), 0) for key, value in code.c.items()}
    return scene.codec.decode(Code(z.flatten(0, 1), c)).unflatten(0, z.shape[:2])


def _read(scene: Scene, name: str, along: Direction, weights: Tensor) -> dict[str, Any]:
    """What the encoder, and of drawn faces the oracle, reads in edited held-out pictures, a mean for each weight."""
    count = min(MEASURED[scene.codec.way], len(scene.dataset.held_out))
    if not count:
        return {}
    batch = scene.dataset.held_out.gather(np.arange(count))
    x = swept(scene, scene.codec.encode(batch.x, batch.c), along, weights)
    again = {key: value.repeat_interleave(len(weights), 0) for key, value in batch.c.items()}
    seen = along.score(scene.codec.encode(x.flatten(0, 1), again).z.flatten(1).float().cpu())
    figures: dict[str, Any] = {"measured": count, "encoder_reads": seen.view(count, -1).mean(0).tolist()}
    factors, factor = scene.dataset.spec.c.get("attributes"), name.partition("=")[0]
    if isinstance(factors, Factors) and factors.factors == FACTORS and factor in factors.names:
        form = scene.model.spec.x
        assert isinstance(form, Image)
        readings = faces.read(form.to_user(x.flatten(0, 1))).reshape(count, len(weights), -1)
        figures["oracle"] = _judged(readings, batch.c["attributes"].numpy(), name)
    return figures


def _judged(readings: np.ndarray, truth: np.ndarray, name: str) -> dict[str, Any]:
    """Readings `(B, A, F)` of faces: the attribute's mean at each weight (of a level: the share that is read as it),
    whether it rises and never falls, and how often each other factor is read as it was drawn `(B, F)`; what cannot be
    read is not kept."""
    factor, _, level = name.partition("=")
    place = faces.NAMES.index(factor)
    read = readings[..., place]
    if level:
        read = (read == FACTORS[place].levels.index(level)).astype(float)
    seen = np.isfinite(read)
    mean = np.where(seen, read, 0).sum(0) / np.where(seen.any(0), seen.sum(0), np.nan)
    right = np.stack([faces.agree(truth, readings[:, a]) for a in range(readings.shape[1])], 1)
    kept = {part: float(right[..., k].mean()) for k, part in enumerate(faces.NAMES) if k != place}
    return {
        "mean": mean.tolist(),
        "rises": bool((np.diff(mean) >= 0).all() and mean[-1] > mean[0]),
        "kept": kept,
        "least_kept": min(kept.values()),
        "unreadable": float(np.isnan(readings).mean()),
    }


def _examples(scene: Scene, words: Sequence[str], options: Options) -> Examples:
    if options.positive or options.negative:
        if words or not (options.positive and options.negative):
            raise UsageError("attribute: give NAME, or both --positive FOLDER and --negative FOLDER.")
        return _from_folders(scene, options.positive, options.negative)
    if len(words) != 1:
        names = ", ".join(attributes(scene.dataset.spec)) or "none: give --positive FOLDER and --negative FOLDER"
        raise UsageError(f"attribute: name one. {scene.dataset.spec.name} knows {names}.")
    rows = np.random.default_rng(0).permutation(len(scene.dataset.train))[: EXAMPLES["encoder"]]
    batch = scene.dataset.train.gather(np.sort(rows))
    target, others = targets(scene.dataset.spec, batch, words[0])
    known = target[target.isfinite()]
    if min(int(halves(known).sum()), int((~halves(known)).sum())) < FEWEST:
        raise UsageError(
            f"attribute {words[0]}: fewer than {FEWEST} of {len(rows)} training items are on one side of it."
        )
    kept = _kept(target, scene.codec.affordable(EXAMPLES[scene.codec.way]))
    codes = scene.codec.encode(batch.x[kept], {key: value[kept] for key, value in batch.c.items()})
    return Examples(words[0], _flat(codes), target[kept], [other[kept] for other in others])


def _kept(target: Tensor, count: int) -> Tensor:
    """Positions of `count` examples at most of those that are known, as many of one half as of the other."""
    known = target.isfinite().nonzero()[:, 0]
    return known[np.sort(draw_labelled(halves(target[known]).long().numpy(), count, seed=0))]


def _flat(code: Code) -> Tensor:
    return code.z.flatten(1).float().cpu()


def attributes(spec: Spec) -> list[str]:
    """The names that `targets` knows: factors, FACTOR=LEVEL where there are levels, and classes."""
    factors = spec.c.get("attributes")
    named = factors.factors if isinstance(factors, Factors) else ()
    levels = [f"{f.name}={level}" if f.levels else f.name for f in named for level in f.levels or ("",)]
    classes = spec.label.names if spec.label else ()
    return levels + [name for name in classes if f"={name}" not in "".join(levels)]


def targets(spec: Spec, batch: Batch, name: str) -> tuple[Tensor, list[Tensor]]:
    """An attribute by name `(N,)`, 1 for a class or a level that is there, and all else that is known as columns.

    Raises UsageError for a name that is not in `attributes(spec)`; of two levels the second may go unnamed.
    """
    factors, (factor, _, level) = spec.c.get("attributes"), name.partition("=")
    named = dict(zip(factors.names, factors.factors)) if isinstance(factors, Factors) else {}
    values = dict(zip(named, batch.c["attributes"].T)) if named else {}
    if spec.label is not None:
        named["label"] = Factor(name="label", levels=spec.label.names)
        values["label"] = batch.c["label"].float()
    if factor not in named and spec.label is not None and name in spec.label.names:
        factor, level = "label", name
    if factor in named:
        levels, column = named[factor].levels, values[factor]
        level = level or (levels[1] if len(levels) == 2 else "")
        others = [other for other in named if other != factor and len(named[other].levels) != 1]
        held = [columns(values[other], named[other]) for other in others]
        if level in levels:
            return torch.where(column.isfinite(), (column == levels.index(level)).float(), column), held
        if not level and not levels:
            return column, held
    raise UsageError(f"attribute {name}: {spec.name} has none of that name. {did_you_mean(name, attributes(spec))}")


def _from_folders(scene: Scene, positive: str, negative: str) -> Examples:
    """Codes of the pictures of two folders, dealt in turn so that both sides are held out."""
    sides = []
    for folder in map(Path, (positive, negative)):
        if not folder.is_dir():
            raise UsageError(f"{folder} is no folder: its pictures are to be examples, {FEWEST} at least.")
        files = sorted(path for path in folder.glob("*") if path.is_file())
        files = files[: scene.codec.affordable(EXAMPLES[scene.codec.way]) // 2]
        if len(files) < FEWEST:
            raise UsageError(f"{folder}: {len(files)} pictures are too few to learn from; {FEWEST} of each are needed.")
        sides.append([item.x for item in (from_file(scene, path) for path in files) if item.x is not None])
    x = torch.cat([part for side in sides for part in side])
    target = torch.cat([torch.full((len(side),), value) for side, value in zip(sides, (1.0, 0.0))])
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return Examples(
        f"{Path(positive).name} against {Path(negative).name}", _flat(scene.codec.encode(x[order], {})), target[order]
    )


def _picture(scene: Scene, chosen: Chosen, x: Tensor, name: str, weights: Tensor) -> Any:
    form = scene.model.spec.x
    assert isinstance(form, Image)
    given = form.to_user(chosen.x)
    rows = [[picture, *form.to_user(edited)] for picture, edited in zip(given, x)]
    names = ["given", *(f"{weight:+.2g}" if weight else "0" for weight in weights.tolist())]
    return sheet(rows, chosen.names, names, title=f"{scene.title}: {name}; -1 to +1 is from one mean to the other")
