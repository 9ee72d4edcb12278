"""How often a classifier is right, on items as they are and on items changed against it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.core.data import Dataset
from figment.core.errors import UsageError
from figment.core.model import CanClassify, Model
from figment.core.noise import Noise
from figment.core.progress import Advance, Watch, unwatched
from figment.evaluate.likelihood import given
from figment.pixels.attacks import Attack, Classify, attacked, direction, projected
from figment.pixels.purification import Purification, Purify, past, purifier

CHUNK = 250
MASKED = 0.02  # by which a weaker attack may seem the stronger one, by chance


@torch.no_grad()
def classification(model: Model, dataset: Dataset, n: int = 10_000) -> dict[str, Any]:
    """`accuracy` and `nats`, the mean of -log p(y | x), on `n` held-out items at most."""
    assert isinstance(model, CanClassify)
    x, y = _held_out(model, dataset, n)
    said = torch.cat([model.class_log_prob(part).float() for part in x.split(CHUNK)])
    nats = -float(said.gather(1, y[:, None]).mean())
    return {"n": len(y), "accuracy": float((said.argmax(1) == y).float().mean()), "nats": nats}


def robustness(
    model: Model, dataset: Dataset, attack: Attack, n: int = 500, seed: int = 0, watch: Watch = unwatched
) -> dict[str, Any]:
    """Accuracies of `n` held-out items at most, within the bound of an attack: as they are (`clean`), moved at random
    to the bound (`noise`), by one step (`fgsm`), by many without and with random starts (`iterative`, `pgd`), and with
    hardly a bound (`unbounded`).

    `masked` names signs that gradients are hidden rather than small: one step does more than many, or less than none
    (as a model trained against that step alone learns), an attack without a bound leaves some right, or noise does
    more. Athalye, Carlini & Wagner, "Obfuscated gradients give a false sense
    of security" (2018).
    """
    assert isinstance(model, CanClassify)
    x, y = _held_out(model, dataset, n)
    ways: dict[str, Attack] = {
        name: attack.model_copy(update={"method": name}) for name in ("fgsm", "iterative", "pgd")
    }
    ways["unbounded"] = attack.model_copy(update={"method": "iterative", "eps": 1.0 if attack.norm == "linf" else 50.0})
    found = {"n": len(y), "clean": right(model.class_log_prob, x, y)}
    with watch("attacking", len(y) * (len(ways) + 1)) as advance:
        noise = Noise(seed, range(len(y)), "attack-noise")
        found["noise"] = right(model.class_log_prob, shaken(x, attack, noise), y)
        advance(len(y))
        for name, way in ways.items():
            parts = []
            for start in range(0, len(y), CHUNK):
                here = slice(start, start + CHUNK)
                own = Noise(seed, range(len(y)))[here]
                parts.append(attacked(model.class_log_prob, x[here], y[here], way, noise=own))
                advance(len(parts[-1]))
            found[name] = right(model.class_log_prob, torch.cat(parts), y)
    return {**found, "masked": _masked(found)}


def targeted(
    model: Model, dataset: Dataset, attack: Attack, label: int, n: int = 500, seed: int = 0, watch: Watch = unwatched
) -> dict[str, Any]:
    """`success`: the share of held-out items of other labels that an attack brings to be read as this one; `before`: of
    how many that was said already."""
    assert isinstance(model, CanClassify)
    x, y = _held_out(model, dataset, n)
    x = x[y != label]
    wanted = torch.full((len(x),), label, device=x.device)
    noise, parts = Noise(seed, range(len(x))), []
    with watch("attacking", len(x)) as advance:
        for start in range(0, len(x), CHUNK):
            here = slice(start, start + CHUNK)
            parts.append(
                attacked(model.class_log_prob, x[here], wanted[here], attack, targeted=True, noise=noise[here])
            )
            advance(len(parts[-1]))
    before, after = (right(model.class_log_prob, part, wanted) for part in (x, torch.cat(parts)))
    return {"n": len(x), "before": before, "success": after}


def purified(
    model: Model,
    through: Model,
    dataset: Dataset,
    attack: Attack,
    n: int = 200,
    seed: int = 0,
    *,
    label: int | None = None,
    way: Purification | None = None,
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """Accuracies behind a purifier, on `n` held-out items at most: as they are (`clean`), under an attack on the bare
    classifier (`unaware`; without the purifier `bare`), and under one on both together (`aware`), which an item
    withstands only where neither its own slope nor that of doing nothing leads to an error.

    With a `label`, the shares of items of other labels that are read as it. The defence is worth what is left under
    the aware attack: Tramèr et al., "On adaptive attacks to adversarial example defenses" (2020).
    """
    assert isinstance(model, CanClassify)
    x, y = _held_out(model, dataset, n)
    if label is not None:
        x = x[y != label]
        y = torch.full((len(x),), label, device=x.device)
    targeted, noise = label is not None, Noise(seed, range(len(x)))
    parts = []
    with watch("attacking", 3 * len(y)) as advance:
        for start in range(0, len(y), CHUNK):
            here = slice(start, start + CHUNK)
            purify = purifier(through, way or Purification(), noise[here].stream("purify"))
            parts.append(
                _behind(model.class_log_prob, purify, x[here], y[here], attack, targeted, noise[here], advance)
            )
    return {"n": len(y), **{name: float(torch.cat([part[name] for part in parts]).float().mean()) for name in parts[0]}}


def _behind(
    bare: Classify,
    purify: Purify,
    x: Tensor,
    y: Tensor,
    attack: Attack,
    targeted: bool,
    noise: Noise,
    advance: Advance,
) -> dict[str, Tensor]:
    """Whether each item is read as y `(B,)`: what `purified` counts."""

    def defended(x: Tensor) -> Tensor:
        return bare(purify(x))

    def read(way: Classify) -> tuple[Tensor, Tensor]:
        """By the bare classifier and by the defended one, after an attack on `way`."""
        found = attacked(way, x, y, attack, targeted=targeted, noise=noise)
        advance(len(found))
        return _reads(bare, found, y), _reads(defended, found, y)

    clean = _reads(defended, x, y)
    alone, unaware = read(bare)
    each = torch.stack([unaware, read(defended)[1], read(lambda x: bare(past(purify)(x)))[1]])
    return {"clean": clean, "bare": alone, "unaware": unaware, "aware": each.any(0) if targeted else each.all(0)}


def _masked(found: Mapping[str, Any]) -> list[str]:
    signs = []
    if found["fgsm"] > found["clean"] + MASKED:
        signs.append(f"one step leaves {found['fgsm']:.1%} right, none {found['clean']:.1%}")
    if found["pgd"] > found["fgsm"] + MASKED:
        signs.append(f"many steps leave {found['pgd']:.1%} right, one step {found['fgsm']:.1%}")
    if found["unbounded"] > MASKED:
        signs.append(f"an attack without a bound leaves {found['unbounded']:.1%} right")
    if found["noise"] < found["pgd"]:
        signs.append(f"noise leaves {found['noise']:.1%} right, the attack {found['pgd']:.1%}")
    return signs


def _held_out(model: Any, dataset: Dataset, n: int) -> tuple[Tensor, Tensor]:
    """Items and their labels, which must be those that the model knows. Raises UsageError."""
    if "label" not in given(model, dataset):
        known = ", ".join(model.spec.label.names[:8])
        raise UsageError(f"{dataset.spec.name} has other labels than the model, which knows {known}, or none.")
    rows = np.random.default_rng(0).permutation(len(dataset.held_out))[:n]
    batch = dataset.held_out.gather(rows).to(model.device)
    return batch.x, batch.c["label"]


def right(classify: Classify, x: Tensor, y: Tensor) -> float:
    """The share of x `(B, ...)` that is read as y `(B,)`."""
    return float(_reads(classify, x, y).float().mean())


@torch.no_grad()
def _reads(classify: Classify, x: Tensor, y: Tensor) -> Tensor:
    """Whether each item is read as y `(B,)`."""
    return torch.cat([classify(part).argmax(1) for part in x.split(CHUNK)]) == y


def shaken(x: Tensor, attack: Attack, noise: Noise) -> Tensor:
    """Moved by the full bound in a random direction: each pixel up or down, or all along a Gaussian one."""
    way = direction(noise.normal(x.shape[1:]).to(x), attack.norm)
    return x + projected(x, 2 * attack.eps * way, attack)
