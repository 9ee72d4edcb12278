"""Signs that a run is going nowhere: pure functions of the log's last lines and of a batch of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

LINES = 20  # of the log, that a sign must hold for


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
    return found


def from_samples(x: Tensor) -> list[str]:
    """What samples `(B, ...)` from different noise say."""
    if len(x) > 1 and float(x.float().flatten(1).std(0).max()) < 1e-3:
        return ["all samples are equal: the model has collapsed to one. Train longer, or try another seed or family."]
    return []
