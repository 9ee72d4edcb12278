"""One protocol over all families with a density: signs, orders that must hold, and figures that cannot be."""

from __future__ import annotations

from typing import Any

import pytest

import figment
from figment.core.run import RunFolder
from figment.evaluate.likelihood import likelihood, likelihood_of_run

pytestmark = pytest.mark.smoke

STEPS = {"flow": 150, "vae": 300, "vq-vae": 300, "diffusion": 100, "rbm": 300}
SETTINGS = {"vae": {"model__decoder": "logistic"}, "rbm": {"data__binarise": "threshold"}}
KINDS = {"naive-bayes": "exact", "rbm": "estimate"}
FAMILIES = ("naive-bayes", "gda", "gaussian-mixture", "kde", "ppca", *STEPS)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    folder = tmp_path_factory.mktemp("runs")
    small = {"model__size": "tiny", "training__previews": 0}
    return {
        kind: figment.train(kind, "digits", folder / kind, steps=STEPS.get(kind), **small, **SETTINGS.get(kind, {}))
        for kind in FAMILIES
    }


@pytest.fixture(scope="module")
def rows(runs: dict[str, RunFolder]) -> dict[str, dict[str, Any]]:
    return {kind: likelihood_of_run(run.path) for kind, run in runs.items()}


def test_every_family_has_a_possible_figure_with_its_sign(rows: dict[str, dict[str, Any]]) -> None:
    for kind, row in rows.items():
        assert row["kind"] == KINDS.get(kind, "bound")
        assert not row["alarms"], (kind, row["alarms"])
        assert row["bits_per_dim"] > 0, kind
        assert row["likelihood"].startswith({"exact": "=", "bound": "<=", "estimate": "~"}[row["kind"]])


def test_who_knows_more_of_digits_needs_fewer_bits(rows: dict[str, dict[str, Any]]) -> None:
    bits = {kind: row["bits_per_dim"] for kind, row in rows.items()}
    assert bits["naive-bayes"] < rows["naive-bayes"]["independent_pixels"]  # which know no labels
    assert bits["rbm"] < rows["rbm"]["independent_pixels"]
    assert bits["flow"] < bits["gaussian-mixture"] < bits["gda"]


def test_more_draws_bound_more_tightly(runs: dict[str, RunFolder], rows: dict[str, dict[str, Any]]) -> None:
    tight = [rows["vae"], *(likelihood_of_run(runs["vae"].path, draws=k) for k in (4, 64))]
    assert all(not row["alarms"] for row in tight)
    bits = [row["bits_per_dim"] for row in tight]
    assert bits[0] > bits[1] > bits[2]


@pytest.mark.parametrize(
    ("kind", "method", "spoilt", "draws", "told"),
    [
        ("naive-bayes", "log_prob", lambda nats: nats + 400.0, None, "no 8-bit picture"),
        ("vae", "log_weights", lambda weights: weights - 50.0, 4, "above that of 4 draws"),
    ],
)
def test_a_broken_model_is_told(
    runs: dict[str, RunFolder],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    method: str,
    spoilt: Any,
    draws: Any,
    told: str,
) -> None:
    model: Any = figment.load(runs[kind].path)
    sound = getattr(model, method)
    monkeypatch.setattr(model, method, lambda *given: spoilt(sound(*given)))
    found = likelihood(model, runs[kind].read_run().data.build(), n=100, draws=draws)
    assert found is not None
    assert any(told in alarm for alarm in found["alarms"]), found["alarms"]
