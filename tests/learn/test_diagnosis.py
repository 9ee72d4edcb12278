"""Runs broken on purpose are named rightly and cured; of healthy ones nothing is said: the benchmark's cases."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from benchmarks.diagnosis import BROKEN, HEALTHY, Case, diagnosed, right

pytestmark = [pytest.mark.learn, pytest.mark.timeout(900)]

SEED = 3  # of no run that limits were chosen on
QUICK = {"posterior collapse", "NaN", "checkerboard"}


def cases(given: tuple[Case, ...], quick: set[str]) -> Iterator[Any]:
    for case in given:
        yield pytest.param(case, id=case.name, marks=[pytest.mark.smoke] if {case.sign, case.kind} & quick else [])


def data_of(case: Case) -> str:
    return case.data or ("mnist" if os.environ.get("FIGMENT_DATA") else "digits")


@pytest.mark.parametrize("case", cases(BROKEN, QUICK))
def test_a_broken_run_is_named(case: Case) -> None:
    found, _ = diagnosed(case, data_of(case), SEED, remedy=False)
    assert right(case, found), found


@pytest.mark.parametrize("case", cases(HEALTHY, {"autoencoder"}))
def test_of_a_healthy_run_nothing_is_said(case: Case) -> None:
    found, _ = diagnosed(case, data_of(case), SEED, remedy=False)
    assert found == []


@pytest.mark.parametrize("case", cases(BROKEN, {"checkerboard"}))
def test_its_remedy_cures_it(case: Case) -> None:
    left, cures = diagnosed(case, data_of(case), SEED, remedy=True)
    assert case.sign not in left
    assert cures
