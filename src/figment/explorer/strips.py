"""The forward and the backward process of diffusion on pictures of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pydantic
import torch
from torch import Tensor

from figment.core.config import Config, parse
from figment.core.errors import UsageError
from figment.core.model import CanDenoise
from figment.core.noise import Noise
from figment.explorer.inputs import read, varied
from figment.explorer.scene import Found, Scene
from figment.latent.codes import psnr
from figment.models.diffusion.samplers import Denoise, Estimate, Level, Step, level
from figment.models.diffusion.sampling import denoising, sampler
from figment.pictures import sheet


class Options(Config):
    """How far into the noise, and how finely."""

    steps: int = pydantic.Field(9, ge=3, le=50, description="pictures in a row, from data to the noise at `until`")
    until: float = pydantic.Field(1.0, gt=0, le=1, description="the time to which noise is added; 1: nothing is left")
    between: int = pydantic.Field(8, ge=1, le=200, description="steps of the sampler from one picture to the next")
    count: int = pydantic.Field(2, ge=1, le=20, description="held-out pictures, where none are named")


@torch.no_grad()
def explore(scene: Scene, words: Sequence[str], options: Options) -> Found:
    """Three rows a picture, a column a time: noise added to it (one jump each, the same noise), what the model makes of
    that at once, E[x | x_t], and, from right to left, the way back that its sampler takes (ddpm unless told otherwise).

    Figures: dB of the guess at each time, and of what was drawn back. Raises UsageError for a model that does not
    denoise, or a word that names no picture.
    """
    model = scene.model
    if not isinstance(model, CanDenoise):
        raise UsageError(
            f"`strips` are of diffusion, and '{scene.model.config.kind}' adds no noise to pictures: take diffusion."
        )
    scene.require_pictures("strips")
    items = [read(scene, word) for word in list(words) or varied(scene, options.count)]
    spec, form = scene.model.spec, scene.model.spec.x
    decoded = (scene.codec.decode(item.code) if item.code is not None else item.x for item in items)
    x = torch.cat([picture for picture in decoded if picture is not None])
    unknown = spec.label.count if spec.label else 0
    labels = torch.tensor([unknown if item.label is None else item.label for item in items], device=x.device)
    c = {"label": labels} if spec.label else {}
    times = torch.linspace(0, options.until, options.steps, dtype=torch.float64).tolist()
    noise = Noise(scene.seed, range(len(x)))
    choices = parse(scene.model.Sampling, {"sampler": "ddpm", **scene.sampling})
    guided, fresh = sampler(model, spec, choices).denoiser, noise.stream("steps")
    step = choices.step(lambda: fresh.normal(form.shape).to(x))
    path = [level(model.schedule, t) for t in times]
    forward = noised(x, path, noise.stream("prior").normal(form.shape).to(x))
    guesses = [x, *(model.denoise(x_t, x.new_full((len(x),), t), c).mean for x_t, t in zip(forward[1:], times[1:]))]
    way = [level(model.schedule, t) for t in fine(times, options.between)]
    back = drawn(step, denoising(guided, spec, c, choices), forward[-1], way)
    back = back[:: options.between][::-1]
    rows = {"noise added": forward, "what it makes of it": guesses, "the way back": back}
    cells = [list(form.to_user(torch.stack(row)[:, i])) for i in range(len(x)) for row in rows.values()]
    names = [name if k else item.name for item in items for k, name in enumerate(rows)]
    ratios = [psnr(x, guess) for guess in guesses[1:]]
    taken = options.between * (len(times) - 1)
    figures: dict[str, Any] = {"times": times, "sampler": choices.sampler, "steps_back": taken}
    figures["guess_psnr"] = [float(ratio.mean()) for ratio in ratios]
    figures["back_psnr"] = dict(zip([item.name for item in items], psnr(x, back[0]).tolist()))
    title = f"{scene.title}: into the noise and back"
    return Found(figures, sheet(cells, names, [f"t = {t:.2g}" for t in times], title=title))


def noised(x: Tensor, path: Sequence[Level], noise: Tensor) -> list[Tensor]:
    """alpha x + sigma noise at every level."""
    return [at.alpha * x + at.sigma * noise for at in path]


def fine(times: Sequence[float], between: int) -> list[float]:
    """The times from the last to the first, each gap in so many steps."""
    gaps = pairwise(reversed(times))
    return [times[-1], *(a + (b - a) * (k + 1) / between for a, b in gaps for k in range(between))]


def drawn(step: Step, denoise: Denoise, x: Tensor, path: Sequence[Level]) -> list[Tensor]:
    """x at every level of a path, from x at its first."""
    states, past = [x], list[Estimate]()
    for here, there in pairwise(path):
        x, now = step(denoise, x, here, there, past)
        past = [*past[-1:], now]
        states.append(x)
    return states
