"""Which items of a split lie nearest to some, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from figment.evaluate.neighbours import distances


def nearest_rows(queries: Tensor, blocks: Iterable[tuple[int, Tensor]], k: int) -> tuple[Tensor, Tensor]:
    """The rows nearest to each query, and how far they are: int64 and float64 `(Q, k)`, ascending.

    `queries` `(Q, F)`; `blocks` are the number of a first row and the rows from there on `(n, F)`.
    """
    rows, near = torch.zeros(len(queries), 0, dtype=torch.int64), torch.zeros(len(queries), 0, dtype=torch.float64)
    for start, block in blocks:
        here = torch.cat([part for _, part in distances(queries, block)]).cpu()
        near = torch.cat([near, here], 1)
        rows = torch.cat([rows, torch.arange(start, start + len(block)).expand(len(queries), -1)], 1)
        near, place = near.topk(min(k, near.shape[1]), largest=False)
        rows = rows.gather(1, place)
    return rows, near
