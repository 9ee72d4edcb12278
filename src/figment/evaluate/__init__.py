"""Measuring models. `figment.evaluate(run)` is `report.evaluate`: the package itself can be called."""

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        from figment.evaluate.report import evaluate

        return evaluate(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
