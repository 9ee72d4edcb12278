"""Figures of speed beside peers, written into docs/benchmarks.md."""

import os

import figment  # noqa: F401  before torch: it says how threads wait

os.environ.setdefault("TQDM_DISABLE", "1")
