"""What a model's codes hold, and how far they are from the prior that samples are drawn from."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.core.data import Dataset, Factors, Split
from figment.core.model import CanDecode, CanEncode, HasPosterior, Model
from figment.evaluate.features import FeatureNet
from figment.evaluate.frechet import frechet
from figment.evaluate.likelihood import converted, given
from figment.latent.aggregate import aggregate_gap
from figment.latent.disentanglement import informed
from figment.latent.map import neighbour_accuracy
from figment.models.autoencoders.likelihoods import active_units

TRAINING, HELD_OUT, DECODED = 4000, 2000, 1000  # rows
CHUNK = 250
CONFIDENT = 0.8


@dataclass(frozen=True)
class Coded:
    """Rows x `(N, ...)` with conditions, the means and deviations of their codes, and a draw of each, all `(N, d)`."""

    x: Tensor
    known: dict[str, Tensor]
    mean: Tensor
    deviation: Tensor
    drawn: Tensor
    shape: tuple[int, ...]


@torch.no_grad()
def latent_space(
    model: Model, dataset: Dataset, samples: Tensor | None = None, net: FeatureNet | None = None, seed: int = 0
) -> dict[str, Any] | None:
    """Figures of the codes of held-out rows, draws where they have a posterior; None for a model without an encoder.

    `active_units` and `aggregate` (KL(q(z) || p(z)) in nats, between two bounds) where there is a posterior;
    `neighbour_accuracy` where there are labels; `mig`, the mean of the `gaps`, where factors vary; `decoded` where
    `samples` `(n, ...)` in the data's range and features to compare them in are given.
    """
    if not isinstance(model, CanEncode):
        return None
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        held_out = _coded(model, dataset, dataset.held_out, HELD_OUT)
        training = _coded(model, dataset, dataset.train, TRAINING) if dataset.spec.label else None
    figures: dict[str, Any] = {"dimensions": held_out.drawn.shape[1], "n": len(held_out.drawn)}
    if isinstance(model, HasPosterior):
        figures["active_units"] = int(active_units(held_out.mean))
        figures["aggregate"] = asdict(aggregate_gap(held_out.mean, held_out.deviation, held_out.drawn))
    if training is not None and dataset.held_out is not dataset.train:
        pairs = [(part.drawn.numpy(), part.known["label"].numpy()) for part in (training, held_out)]
        figures["neighbour_accuracy"] = neighbour_accuracy(*pairs[0], *pairs[1])
    factors = dataset.spec.c.get("attributes")
    if isinstance(factors, Factors):
        with suppress(ValueError):  # no factor varies among these rows
            found = informed(held_out.drawn.numpy(), held_out.known["attributes"].numpy(), factors)
            figures |= {"mig": found.mig, "gaps": dict(zip(found.names, found.gaps.tolist()))}
    halved = len(held_out.x) >= 4  # a spread takes two rows of each half
    if samples is not None and net is not None and isinstance(model, CanDecode) and halved:
        figures["decoded"] = _decoded(model, dataset, held_out, samples, net)
    return figures


def _coded(model: Any, dataset: Dataset, split: Split, count: int) -> Coded:
    rows = np.random.default_rng(0).permutation(len(split))[:count]
    keys, batches, codes = given(model, dataset), [], []
    for start in range(0, len(rows), CHUNK):
        batch = split.gather(rows[start : start + CHUNK])
        x = converted(batch.x, dataset.spec, model.spec).to(model.device)
        c = {key: batch.c[key].to(model.device) for key in keys}
        posterior = model.posterior(x, c) if isinstance(model, HasPosterior) else None
        mean = posterior.mean if posterior else model.encode(x, c)
        batches.append(batch)
        codes.append((mean, posterior.stddev if posterior else torch.zeros_like(mean)))
    mean, deviation = (torch.cat(part).float().cpu() for part in zip(*codes))
    known = {key: torch.cat([batch.c[key] for batch in batches]) for key in dataset.spec.c}
    flat, spread = mean.flatten(1), deviation.flatten(1)
    drawn = flat + spread * torch.randn_like(flat)
    return Coded(torch.cat([batch.x for batch in batches]), known, flat, spread, drawn, tuple(mean.shape[1:]))


def _decoded(model: Any, dataset: Dataset, coded: Coded, samples: Tensor, net: FeatureNet) -> dict[str, Any]:
    """Fréchet distances of what the `codes` of one half of the rows decode to, and of draws from the `prior`, to the
    other half; and how many a classifier reads with a probability above 0.8. `real` is the first half itself: the
    floor.

    Rosca, Lakshminarayanan & Mohamed, "Distribution matching in variational inference" (2018).
    """
    n = min(DECODED, len(samples), len(coded.x) // 2)
    c = {key: coded.known[key][:n].to(model.device) for key in given(model, dataset)}
    z = coded.drawn[:n].view(-1, *coded.shape).to(model.device)
    parts = zip(z.split(CHUNK), *(value.split(CHUNK) for value in c.values()))
    decoded = torch.cat([model.decode(part, dict(zip(c, values))).float().cpu() for part, *values in parts])
    shown = {"real": coded.x[:n], "codes": converted(decoded, model.spec, dataset.spec), "prior": samples[:n]}
    features = {name: net(x) for name, x in shown.items()}
    other = net(coded.x[-n:])
    figures: dict[str, Any] = {"n": n, "frechet": {name: frechet(rows, other) for name, rows in features.items()}}
    if net.head is not None:
        sure = {name: net.read(rows).exp().amax(1) > CONFIDENT for name, rows in features.items()}
        figures["confident"] = {name: float(each.double().mean()) for name, each in sure.items()}
    return figures
