"""Each alarm fires on the sign it names and on nothing healthy."""

from __future__ import annotations

import pytest
import torch

from figment.core.alarms import LINES, from_log, from_samples

HEALTHY = [{"loss": 1 / (i + 1), "gradient_norm": 1.0} for i in range(LINES)]
GAME = [{"discriminator.loss": 0.6 + 0.01 * (i % 3), "discriminator.accuracy": 0.7} for i in range(LINES)]


@pytest.mark.parametrize("lines", [HEALTHY, GAME, HEALTHY[:3], []])
def test_healthy_logs_are_quiet(lines: list[dict[str, float]]) -> None:
    assert from_log(lines) == []


def test_constant_loss_is_told() -> None:
    assert "has not changed" in from_log([{"loss": 0.5}] * LINES)[0]
    assert from_log([{"loss": 0.5}] * (LINES - 1)) == []


def test_a_discriminator_that_wins_is_told() -> None:
    won = [{"discriminator.loss": 1e-4 * (i + 1), "discriminator.accuracy": 1.0} for i in range(LINES)]
    assert "discriminator has won" in from_log(won)[0]


def test_a_flow_that_does_not_invert_is_told_with_the_remedy() -> None:
    lines = [{"loss": 1 / (i + 1)} | ({"inverse_error": 1e-4} if i % 5 == 0 else {}) for i in range(LINES)]
    assert from_log(lines) == []
    (told,) = from_log([*lines[:7], {"loss": 0.1, "inverse_error": 0.03}, *lines[8:]])
    assert "0.03" in told
    assert "model.bound" in told


def test_equal_samples_are_told() -> None:
    one = torch.randn(1, 1, 8, 8)
    assert from_samples(one.expand(16, 1, 8, 8))
    assert not from_samples(torch.randn(16, 1, 8, 8))


def test_codes_that_say_nothing_are_told_with_the_remedy() -> None:
    silent = [{"loss": 1 / (i + 1), "kl": 1e-3, "active": 3.0} for i in range(LINES)]
    inactive = [{"loss": 1 / (i + 1), "kl": 2.0, "active": 0.0} for i in range(LINES)]
    healthy = [{"loss": 1 / (i + 1), "kl": 2.0 * (i > 0), "active": 3.0 * (i > 0)} for i in range(LINES)]
    for lines in (silent, inactive):
        (told,) = from_log(lines)
        assert "posterior collapse" in told
        assert all(remedy in told for remedy in ("model.sigma=global", "model.free_bits=0.2", "model.anneal=0.5"))
    assert from_log(healthy) == []
