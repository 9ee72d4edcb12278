"""A model as a lossless compressor: pictures cost what it says they are worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.special import ndtr, ndtri
from torch import Tensor

from figment.coding.ans import TOTAL, Stack, intervals
from figment.core.data import Image
from figment.core.errors import UsageError
from figment.core.model import HasMasses, HasPosterior, Model
from figment.core.progress import Watch, unwatched

LANES = 16  # pictures coded side by side; each borrows a code's worth of bits at the start
BUCKETS = 1 << 16  # of equal prior mass, that a code's numbers are cut into
WIDTH = TOTAL // BUCKETS  # of a bucket
PIXELS = 1024  # whose intervals are computed at a time: in double precision all would take gigabytes


class Codebook:
    """The symbols, intervals and codes of one model: both directions must use the very same batches and threads."""

    def __init__(self, model: Model):
        if not isinstance(model, HasMasses) or not isinstance(model.spec.x, Image) or model.measure != "mass":
            raise UsageError(
                f"this '{model.config.kind}' gives pictures no probability, or only a density: train "
                "naive-bayes, or vae with model.decoder=logistic (data.binarise=threshold: bernoulli)."
            )
        self.model: Any = model
        self.coded = isinstance(model, HasPosterior)

    def symbols(self, x: Tensor, levels: int) -> np.ndarray:
        """x `(B, C, H, W)` in model range -> which of so many levels each pixel has: `(B, D)`."""
        return ((x.flatten(1) + 1) * ((levels - 1) / 2)).round().long().cpu().numpy()

    def pictures(self, symbols: np.ndarray, levels: int) -> Tensor:
        """Which of so many levels each pixel has `(B, D)` -> x `(B, C, H, W)` in model range, as the data gives it."""
        grey = symbols * (255 // (levels - 1))
        return self.model.spec.x.to_model(grey.reshape(-1, *self.model.spec.x.shape).astype(np.uint8))

    @torch.no_grad()
    def edges(self, code: np.ndarray | None, c: Mapping[str, Tensor], count: int) -> np.ndarray:
        """The intervals `(B, D, S + 1)` of pixels, given the buckets of a code."""
        z = None if code is None else torch.from_numpy(ndtri((code + 0.5) / BUCKETS)).float().to(self.model.device)
        masses = self.model.log_masses(z, c, count).cpu().numpy()
        edges = np.empty((*masses.shape[:2], masses.shape[2] + 1), np.int32)
        for start in range(0, masses.shape[1], PIXELS):
            edges[:, start : start + PIXELS] = intervals(masses[:, start : start + PIXELS])
        return edges

    @torch.no_grad()
    def posterior(self, x: Tensor, c: Mapping[str, Tensor]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation `(B, k)` of q(z | x)."""
        q = self.model.posterior(x.to(self.model.device), c)
        return q.mean.double().cpu().numpy(), q.stddev.double().cpu().numpy()


def compress(model: Model, x: Tensor, c: Mapping[str, Tensor], lanes: int = LANES, watch: Watch = unwatched) -> Stack:
    """Pictures x `(N, C, H, W)` in model range, and conditions that the receiver has too, on a stack of bits.

    Without codes each pixel costs -log2 P. With codes: z is read off the stack by q(z | x), x is put onto it by
    p(x | z) and z by p(z), which costs the bound, -log2 p(x | z) p(z) / q(z | x), in expectation. Townsend, Bird &
    Barber, "Practical lossless compression with latent variables using bits back coding" (2019). Raises UsageError
    for a model whose pictures have a density only.
    """
    book, stack = Codebook(model), Stack(lanes)
    with watch("compressing", len(x)) as advance:
        for start in range(0, len(x), lanes):
            part, given = x[start : start + lanes], {key: value[start : start + lanes] for key, value in c.items()}
            _put(book, stack, part, given)
            advance(len(part))
    return stack


def _put(book: Codebook, stack: Stack, x: Tensor, c: Mapping[str, Tensor]) -> None:
    rows, code = np.arange(len(x)), None
    if book.coded:
        mean, deviation = book.posterior(x, c)
        code = np.stack([stack.pop(len(x), _bucket(m, s)) for m, s in zip(mean.T, deviation.T)], 1)
    edges = book.edges(code, c, len(x))
    symbols = book.symbols(x, edges.shape[2] - 1)
    for pixel in range(symbols.shape[1]):
        low, high = (edges[rows, pixel, symbols[:, pixel] + side] for side in (0, 1))
        stack.push(low, high - low)
    if code is not None:
        for column in code.T:
            stack.push(column * WIDTH, np.full(len(x), WIDTH))


def decompress(model: Model, stack: Stack, count: int, c: Mapping[str, Tensor], watch: Watch = unwatched) -> Tensor:
    """The `count` pictures of a stack, in the order in which they were pushed; it is left as it was before them."""
    book, lanes, parts = Codebook(model), len(stack.heads), []
    with watch("decoding again", count) as advance:
        for start in reversed(range(0, count, lanes)):
            size = min(lanes, count - start)
            given = {key: value[start : start + size] for key, value in c.items()}
            parts.append(_taken(book, stack, size, given))
            advance(size)
    return torch.cat(parts[::-1])


def _taken(book: Codebook, stack: Stack, count: int, c: Mapping[str, Tensor]) -> Tensor:
    code = None
    if book.coded:
        found = [stack.pop(count, _even) for _ in range(book.model.config.latent)]
        code = np.stack(found[::-1], 1)
    edges = book.edges(code, c, count)
    symbols = np.empty((count, edges.shape[1]), np.int64)
    for pixel in reversed(range(edges.shape[1])):
        symbols[:, pixel] = stack.pop(count, lambda point, at=edges[:, pixel]: _between(point, at))  # type: ignore[misc]
    x = book.pictures(symbols, edges.shape[2] - 1)
    if code is not None:
        mean, deviation = book.posterior(x, c)
        for m, s, column in reversed(list(zip(mean.T, deviation.T, code.T))):
            low, high = (_posterior_edge(column + side, m, s) for side in (0, 1))
            stack.push(low, high - low)
    return x


def _even(point: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The buckets that points `(M,)` lie in under the prior."""
    symbol = point // WIDTH
    return symbol, symbol * WIDTH, np.full_like(symbol, WIDTH)


def _between(point: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The outcomes whose intervals, between edges `(M, S + 1)`, points `(M,)` lie in."""
    symbol, rows = (edges <= point[:, None]).sum(1) - 1, np.arange(len(point))
    return symbol, edges[rows, symbol], edges[rows, symbol + 1] - edges[rows, symbol]


def _posterior_edge(bucket: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Where in [0, 2^24] a bucket `(M,)` begins under N(mean, deviation^2); each has at least width 1."""
    below = ndtr((ndtri(bucket / BUCKETS) - mean) / deviation)
    return np.rint(below * (TOTAL - BUCKETS)).astype(np.int64) + bucket


def _bucket(mean: np.ndarray, deviation: np.ndarray) -> Any:
    """How to find the bucket of a point under N(mean, deviation^2), by bisection."""

    def find(point: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        low, high = np.zeros_like(point), np.full_like(point, BUCKETS)
        while (high - low > 1).any():
            middle = (low + high) // 2
            right = _posterior_edge(middle, mean, deviation) <= point
            low, high = np.where(right, middle, low), np.where(right, high, middle)
        start = _posterior_edge(low, mean, deviation)
        return low, start, _posterior_edge(low + 1, mean, deviation) - start

    return find
