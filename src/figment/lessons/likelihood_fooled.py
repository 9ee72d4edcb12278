"""Raw likelihood as a judge of what is strange: fooled by whatever is simpler, and how it is mended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.core.data import ArraySplit, Dataset, Image
from figment.core.model import Budget
from figment.evaluate.memorisation import auroc
from figment.evaluate.outliers import JUDGED, MEANING, Normal, Observer
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import Panel, bars, curves, pictures, plate
from figment.models.classical.gaussian_mixture import GaussianMixtureConfig
from figment.pictures import COLOURS

TEXTURE = 0.5  # deviation of the noise laid over pictures, in model range
PLANE, COMPONENTS = 40, 10
ROWS, ASKED, SHOWN = 5000, 500, 12  # pictures learned from, asked about, shown
SCORES = ("likelihood", "reconstruction", "typicality", "ratio", "complexity", JUDGED)
OWN, OTHER = COLOURS[0], COLOURS[1]

Scores = dict[str, tuple[Tensor, Tensor]]  # of pictures of the kind learned from, and of the other, by name


def textured(x: Tensor, seed: int) -> Tensor:
    """Pictures with noise laid over them."""
    return x + TEXTURE * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


def stored(form: Image, x: Tensor) -> np.ndarray:
    """Pictures in 8 bits `(B, C, H, W)`."""
    return form.to_user(x).transpose(0, 3, 1, 2)


def judged(stage: Stage, learned: Tensor, own: Tensor, other: Tensor) -> Scores:
    """Scores of unseen pictures of two kinds, by a mixture of Gaussians that has learned one of them."""
    spec, form = stage.dataset.spec.model_copy(update={"c": {}}), stage.dataset.spec.x
    assert isinstance(form, Image)
    config = GaussianMixtureConfig(latent=min(PLANE, form.dimensions), components=COMPONENTS)
    model = config.build(spec)
    for _ in model.fit(Dataset(spec, {"train": ArraySplit(spec, stored(form, learned), {})}, "kind"), Budget()):
        pass
    observer = Observer.of(model, [form.to_model(stored(form, learned))])
    seen = [observer.see(form.to_model(stored(form, x))).measures for x in (own[::2], own[1::2], other)]
    normal = Normal.of(seen[0])
    found = [normal.score(measures) for measures in seen[1:]]
    return {name: (found[0][name], found[1][name]) for name in SCORES}


def make(stage: Stage) -> Told:
    train = stage.dataset.train
    smooth = train.gather(np.random.default_rng(0).permutation(len(train))[:ROWS]).x
    held = stage.held_out.x[:ASKED]
    rough, held_rough = textured(smooth, stage.seed), textured(held, stage.seed + 1)
    learned_rough = judged(stage, rough, held_rough, held)
    learned_smooth = judged(stage, smooth, held, held_rough)
    found = {name: (auroc(*learned_rough[name]), auroc(*learned_smooth[name])) for name in SCORES}
    both = {name: min(pair) for name, pair in found.items()}
    best = max(both, key=lambda name: both[name])
    mean = {"textured": float(-learned_rough["likelihood"][0].mean()),
            "smooth": float(-learned_rough["likelihood"][1].mean())}  # fmt: skip
    raw = found["likelihood"]
    claims = [
        Claim("A model of textured pictures finds smooth ones, never seen, likelier than its own",
              f"log p(x) {mean['smooth']:.0f} against {mean['textured']:.0f} nats on average; AUROC {raw[0]:.2f}",
              raw[0] < 0.5),
        Claim("The other way round raw likelihood is right", f"AUROC {raw[1]:.2f}", raw[1] > 0.9),
        Claim("What a compressor needs, taken off, mends it", f"AUROC {found['complexity'][0]:.2f}",
              found["complexity"][0] > 0.9),
        Claim("Some score tells both ways, at 0.9 at least", f"{best}: {found[best][0]:.2f} and {found[best][1]:.2f}",
              both[best] >= 0.9),
    ]  # fmt: skip
    form = stage.dataset.spec.x
    tints = [OTHER, OTHER, *[COLOURS[2]] * 4]
    rows = [
        [pictures("Learned from, and never seen", form.to_user(torch.cat([held_rough[:SHOWN], held[:SHOWN]])),
                  min(SHOWN, len(held)), names=["textured", "smooth"], margin=1.0)],
        [_two("log p(x) by the model of textured pictures", [-score for score in learned_rough["likelihood"]],
              "Blue: new textured pictures. Orange: smooth ones, which lie to the right: likelier."),
         _two("The same, less what compressors need", [-score for score in learned_rough["complexity"]],
              "A likelihood ratio to a general compressor: smooth ones lie to the left.")],
        [_bars("Learned textured: are smooth ones strange?", {name: pair[0] for name, pair in found.items()}, tints),
         _bars("Learned smooth: are textured ones strange?", {name: pair[1] for name, pair in found.items()}, tints)],
    ]  # fmt: skip
    text = TEXT.format(**mean, raw=raw, reconstruction=found["reconstruction"], typicality=found["typicality"],
                       complexity=found["complexity"], ratio=found["ratio"], strangeness=found[JUDGED], best=best,
                       meaning="\n".join(f"- **{name}**: {MEANING[name]};" for name in SCORES))  # fmt: skip
    return Told(plate(LESSON.title, LESSON.teaches, rows), text, {"auroc": found, "log_prob": mean}, claims)


def _two(heading: str, scores: list[Tensor], caption: str) -> Panel:
    def draw(axes: Any) -> None:
        low, high = np.quantile(torch.cat(scores).numpy(), (0.005, 0.995))
        for score, colour in zip(scores, (OWN, OTHER)):
            axes.hist(score.numpy().clip(low, high), np.linspace(low, high, 45), color=colour, alpha=0.6)
        axes.set(yticks=[], xlim=(low, high))

    return curves(heading, draw, caption, ("nats", ""), 2.2)


def _bars(heading: str, values: Mapping[str, float], colours: list[str]) -> Panel:
    return bars(heading, values, "AUROC: 1 tells all apart, 0.5 is chance, below it is fooled.", colours=colours,
                form="{:.2f}")  # fmt: skip


TEXT = """
A model of p(x) should give little to what it has never seen, and so tell what is strange. It was shown pictures with a
texture, noise of many small dots, and then asked about the same kind of pictures without. It finds them *likelier*:
{smooth:.0f} nats against {textured:.0f} for new pictures of its own kind. As a judge, -log p(x) has an AUROC of
{raw[0]:.2f}, where ½ would be chance. Learned the other way round it is right, {raw[1]:.2f}.

The model is not broken. Texture cannot be foreseen, so each picture with it has a small density; the smooth ones lie
near the middle of the cloud, where the density is high and hardly any picture is. Which other kinds fool a model is
the same story: simpler ones, as handwritten digits do a model of photographs of clothes.

{meaning}

Rebuilding is fooled too, {reconstruction[0]:.2f}: a smooth picture is easier to rebuild. Typicality asks whether the
likelihood is as usual, and not whether it is high: {typicality[0]:.2f} and {typicality[1]:.2f}. Taking off what
compressors need gives {complexity[0]:.2f} and {complexity[1]:.2f}. A ratio to a model of texture, learned from the same
pictures, is only as good as both models: {ratio[0]:.2f} and {ratio[1]:.2f}. Strangeness asks how rarely normal pictures
have such a likelihood and such a complexity at once, and takes in the others: {strangeness[0]:.2f} and
{strangeness[1]:.2f}. None of them was shown a strange picture first. Here `{best}` does best both ways.

Only a mixture of Gaussians was tried here, and one sort of simplicity. `figment anomaly RUN DATA` prints the same
table for a run of any family with a density, and other data.
"""

LESSON = Lesson(
    name="likelihood-fooled",
    title="Likelier than anything it has seen",
    source="Deck 004, 'Model can reject unreasonable inputs'; deck 003, 'Density estimation'. E. Nalisnick et al., 'Do "
    "deep generative models know what they don't know?' (2019); J. Serra et al., 'Input complexity and "
    "out-of-distribution detection' (2020)",
    teaches="A high density is no sign of a familiar picture: simpler ones are likelier. Other scores mend it.",
    make=make,
)
