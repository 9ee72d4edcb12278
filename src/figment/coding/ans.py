"""Asymmetric numeral systems: a stack of bits onto which symbols are pushed at the price of -log2 P each."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

from figment.core.errors import UsageError

PRECISION = 24  # bits of a probability
TOTAL = 1 << PRECISION
LEAST = np.uint64(1 << 31)  # a head lies in [2^31, 2^63)
WORD = np.uint64(32)
CHECKSUM = 4  # bytes
# Points `(M,)` of [0, 2^24) -> the symbols whose intervals they lie in, and the starts and widths of those.
Find = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


class Stack:
    """L symbols are pushed at a time, one onto each head; heads that are full give 32-bit words to a common tail.

    An interval is [start, start + width) of [0, 2^24), width / 2^24 the probability of a symbol. What was pushed last
    is popped first. Duda, "Asymmetric numeral systems" (2009); Giesen, "Interleaved entropy coders" (2014).
    """

    def __init__(self, lanes: int, seed: int = 0):
        """`seed` fills the heads: bits that bits-back coding borrows before it has any of its own."""
        generator = np.random.Generator(np.random.Philox(key=seed))
        self.heads = generator.integers(1 << 31, 1 << 32, lanes, dtype=np.uint64)
        self.tail = np.empty(1024, np.uint32)
        self.count = 0
        self._borrowed = generator

    @property
    def bits(self) -> int:
        """The length of all there is on the stack."""
        return 32 * (self.count + 2 * len(self.heads))

    def push(self, start: np.ndarray, width: np.ndarray) -> None:
        """The intervals `(M,)` of M <= L symbols, onto the first M heads."""
        start, width, heads = start.astype(np.uint64), width.astype(np.uint64), self.heads[: len(start)]
        full = heads >= width << np.uint64(63 - PRECISION)
        self._give((heads[full] & np.uint64(0xFFFFFFFF)).astype(np.uint32))
        heads[full] >>= WORD
        quotient, rest = np.divmod(heads, width)
        heads[:] = (quotient << np.uint64(PRECISION)) + rest + start

    def pop(self, count: int, find: Find) -> np.ndarray:
        """The symbols `(M,)` on top of the first M = `count` heads."""
        heads = self.heads[:count]
        point = heads & np.uint64(TOTAL - 1)
        symbol, start, width = find(point.astype(np.int64))
        heads[:] = width.astype(np.uint64) * (heads >> np.uint64(PRECISION)) + point - start.astype(np.uint64)
        empty = heads < LEAST
        heads[empty] = (heads[empty] << WORD) | self._take(int(empty.sum())).astype(np.uint64)
        return symbol

    def _give(self, words: np.ndarray) -> None:
        while self.count + len(words) > len(self.tail):
            self.tail = np.concatenate([self.tail, np.empty_like(self.tail)])
        self.tail[self.count : self.count + len(words)] = words
        self.count += len(words)

    def _take(self, count: int) -> np.ndarray:
        """The last `count` words of the tail; below its end, random ones that were never pushed."""
        missing = count - self.count
        if missing > 0:
            fresh = self._borrowed.integers(0, 1 << 32, missing, dtype=np.uint32)
            taken, self.count = np.concatenate([fresh, self.tail[: self.count]]), 0
            return taken
        self.count -= count
        return self.tail[self.count : self.count + count].copy()

    def to_bytes(self) -> bytes:
        """Heads, tail, and a checksum of both."""
        body = self.heads.astype("<u8").tobytes() + self.tail[: self.count].astype("<u4").tobytes()
        return body + zlib.crc32(body).to_bytes(CHECKSUM, "little")

    @classmethod
    def from_bytes(cls, data: bytes, lanes: int) -> Stack:
        """The stack that `to_bytes` wrote. Raises UsageError where it is not whole, or a bit of it has changed."""
        body, check = data[:-CHECKSUM], data[-CHECKSUM:]
        if len(body) < 8 * lanes or len(body) % 4 or zlib.crc32(body).to_bytes(CHECKSUM, "little") != check:
            raise UsageError("this is no compressed file, or it was cut short or damaged.")
        stack = cls(lanes)
        stack.heads = np.frombuffer(body[: 8 * lanes], "<u8").astype(np.uint64)
        stack.tail = np.frombuffer(body[8 * lanes :], "<u4").astype(np.uint32)
        stack.count = len(stack.tail)
        return stack


def intervals(log_mass: np.ndarray) -> np.ndarray:
    """The edges `(..., S + 1)` in [0, 2^24] of S outcomes with log-probabilities `(..., S)`; none has width 0."""
    outcomes = log_mass.shape[-1]
    mass = np.exp(log_mass.astype(np.float64))
    below = np.cumsum(mass, -1) / mass.sum(-1, keepdims=True)
    edges = np.zeros((*mass.shape[:-1], outcomes + 1), np.int64)
    edges[..., 1:] = np.rint(below * (TOTAL - outcomes)).astype(np.int64) + np.arange(1, outcomes + 1)
    edges[..., -1] = TOTAL
    return edges
