"""Sums of codes: A + B - C."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from figment.core.errors import UsageError
from figment.latent.codes import Code, Codec


def parse_sum(words: Sequence[str]) -> tuple[list[float], list[str]]:
    """The weights and names of a sum in words: `A + 0.5*B - C` -> (1, 0.5, -1), (A, B, C). Raises UsageError."""
    weights, names, sign = list[float](), list[str](), 1.0
    wanted = True  # a term comes next, not an operator
    for word in words:
        if word in ("+", "-"):
            if wanted and names:
                raise UsageError(f"'{' '.join(words)}': two operators stand side by side.")
            sign, wanted = (1.0 if word == "+" else -1.0), True
            continue
        if not wanted:
            raise UsageError(f"'{' '.join(words)}': an operator, + or -, is missing before '{word}'.")
        factor, star, name = word.partition("*")
        number = _number(factor) if star else None
        weights.append(sign * (1.0 if number is None else number))
        names.append(word if number is None else name)
        wanted = False
    if wanted:
        raise UsageError("a sum such as held:3 + held:5 - held:8 is wanted, with spaces around + and -.")
    return weights, names


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def combine(codec: Codec, terms: Code, weights: Sequence[float]) -> Code:
    """sum_k w_k z_k of the terms `(K, ...)`, as one code; labels add up likewise, and what is left below 0 is dropped.

    Codes that lie near a sphere are brought back to the length of the first: a sum of them would leave it.
    Mikolov et al., "Linguistic regularities in continuous space word representations" (2013); Radford et al.,
    "Unsupervised representation learning with deep convolutional generative adversarial networks" (2016).
    """
    w = torch.tensor(weights, dtype=torch.float64, device=terms.z.device)
    z = (w @ terms.z.double().flatten(1)).view(1, *terms.z.shape[1:])
    if codec.white:
        z = z * (terms.z[0].double().norm() / z.norm().clamp_min(1e-12))
    c = {key: (w @ value.double().flatten(1)).view(1, *value.shape[1:]).float() for key, value in terms.c.items()}
    if "label" in c:
        share = c["label"].clamp_min(0)
        c["label"] = share / share.sum().clamp_min(1e-12)
    return Code(z.to(terms.z.dtype), c)
