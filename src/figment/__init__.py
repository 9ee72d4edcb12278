"""Figment: one workbench for generative models.

import figment
run = figment.train("vae", data="digits", minutes=1)
model = figment.load(run.path)
x = figment.sample(model, n=16)
"""

import os
from importlib import import_module
from typing import Any

# Threads that spin long at barriers collapse beside one busy core, and that sleep at once lose a tenth alone; torch
# reads this when it starts.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

_PUBLIC = {
    "Run": "figment.core.run",
    "train": "figment.workbench",
    "load": "figment.use",
    "sample": "figment.use",
    "compare": "figment.evaluate.compare",
}
__all__ = ["Run", "compare", "evaluate", "load", "sample", "train"]


def __getattr__(name: str) -> Any:
    if name == "evaluate":  # the package of that name can be called
        return import_module("figment.evaluate")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'figment' has no attribute '{name}'")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
