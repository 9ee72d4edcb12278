"""Signs that a run is going nowhere: pure functions of the log's last lines and of a batch of samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

LINES = 20  # of the log, that a sign must hold for
INEXACT = 1e-2  # of the range of x (standard deviations of rows), that an inverse is off
FEW = 3.0  # symbols of a codebook, by perplexity
SILENT = 0.05  # nats of KL, of all latent dimensions together


def from_log(lines: Sequence[Mapping[str, float]]) -> list[str]:
    """What the last lines of the log say, oldest first; nothing before there are enough of them."""
    last = list(lines)[-LINES:]
    if len(last) < LINES:
        return []
    found = []
    for name in (name for name in last[-1] if name.split(".")[-1] == "loss"):
        values = [line.get(name, float("nan")) for line in last]
        if max(values) - min(values) <= 1e-6 * abs(values[-1]):
            found.append(
                f"{name} has not changed for {LINES} lines of the log: nothing is being learned. "
                "Try a larger training.lr; check with `figment data check` that the data varies."
            )
    accuracy = [line.get("discriminator.accuracy", 0.0) for line in last]
    losses = [line.get("discriminator.loss", 1.0) for line in last]
    if min(accuracy) >= 0.99 or max(losses) <= 0.01:
        found.append(
            f"the discriminator has won: for {LINES} lines of the log it tells every sample from the data, so the "
            "generator learns little. Try a larger model.gamma or a smaller training.lr."
        )
    perplexity = [line.get("autoencoder.perplexity", math.inf) for line in last]
    if max(perplexity) < FEW:
        found.append(
            f"codebook collapse: for {LINES} lines of the log {perplexity[-1]:.1f} symbols are used, so codes say "
            "little of the data. Let unused vectors be put where the data is, model.revive=true; else pull the encoder "
            "to the codebook more, model.commitment=1, or take a smaller training.lr."
        )
    if "kl" in last[-1] and (max(line.get("kl", 1.0) for line in last) <= SILENT or _inactive(last)):
        found.append(
            f"posterior collapse: for {LINES} lines of the log the codes say nothing of the data "
            f"(KL {last[-1]['kl']:.2g} nats), so all reconstructions are one. Let the decoder's variance be learned, "
            "model.sigma=global, at model.beta=1: a mean squared error plus KL is sigma = sqrt(D / 2), far too large. "
            "Or let some KL cost nothing, model.free_bits=0.2; if only the start goes wrong, model.anneal=0.5."
        )
    error = max(line.get("inverse_error", 0.0) for line in last)
    if error > INEXACT:
        found.append(
            f"the flow does not invert: x comes back from its code with an error of {error:.2g}, so its densities and "
            "samples belong to different models. Try a smaller training.lr; bound the scales of a "
            "model.transform=coupling more tightly, model.bound=1; give model.transform=continuous more model.steps."
        )
    return found


def _inactive(lines: Sequence[Mapping[str, float]]) -> bool:
    return max(line.get("active", 1.0) for line in lines) == 0


def from_samples(x: Tensor) -> list[str]:
    """What samples `(B, ...)` from different noise say."""
    if len(x) > 1 and float(x.float().flatten(1).std(0).max()) < 1e-3:
        return ["all samples are equal: the model has collapsed to one. Train longer, or try another seed or family."]
    return []
