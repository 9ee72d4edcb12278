"""Figures of speed beside peers, written into docs/benchmarks.md."""

import os

# Read when torch is first imported: threads that spin while they wait collapse when a core is busy elsewhere.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TQDM_DISABLE", "1")
