"""How work that takes a while tells how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Advance = Callable[[int], None]
Watch = Callable[[str, int], AbstractContextManager[Advance]]  # `with watch("what is done", total) as advance: ...`


@contextmanager
def unwatched(label: str, total: int) -> Iterator[Advance]:
    """A `Watch` that shows nothing."""
    yield lambda done: None
