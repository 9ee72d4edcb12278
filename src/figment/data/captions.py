"""What pictures show, in words: captions.jsonl, captions.csv, or NAME.txt beside a picture; and their tokens."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from figment.core.errors import DataError
from figment.core.text import Bytes, TokenizerName, Tokens, Words, padded
from figment.data.attributes import FILE_COLUMNS, Names, folder_of, table_rows

TABLES = ("captions.jsonl", "captions.csv")
COLUMNS = ("text", "caption", "captions", "prompt")
MOST = 16  # captions of one picture
LONGEST = {"words": 64, "bytes": 256}  # tokens of one caption
EXAMPLES = 1000  # captions that a model keeps, to draw from where no prompt is given

TOKENIZER = "captions as words, or as bytes: with no unknown ones, but longer"
Captions = Sequence[Sequence[str]]


def captions(
    tables: Mapping[str, bytes | None], beside: Mapping[str, Callable[[], bytes | None]], names: Sequence[str]
) -> tuple[list[list[str]], list[str]]:
    """The captions of pictures of these names, and remarks: from tables (name -> content), and from the lines of files
    `beside` a picture (its name without suffix -> a reader).

    A row of a table names a picture, by its path from the table's folder or by its file name alone where that is
    unambiguous. Raises DataError with the line that cannot be read so.
    """
    told: list[list[str]] = [[] for _ in names]
    strangers = 0
    for table, content in sorted(tables.items()):
        found = Names(names, folder_of(table))
        for name, said in (_lines if table.endswith(".jsonl") else _cells)(table, content):
            position = found.position(name)
            if position is None:
                strangers += 1
            else:
                told[position] += said
    for position, name in enumerate(names):
        if read := beside.get(name.rpartition(".")[0]):
            told[position] += (read() or b"").decode("utf-8-sig", "replace").splitlines()
    told = [[text.strip() for text in own if text.strip()][:MOST] for own in told]
    silent = sum(not own for own in told)
    notes = [f"{strangers:,} captions name no picture here."] if strangers else []
    if 0 < silent < len(names):
        notes.append(f"{silent:,} pictures have no caption: theirs is the empty one.")
    return told, notes


def tokens(told: Captions, train: np.ndarray, how: TokenizerName) -> tuple[Tokens, np.ndarray]:
    """Captions as a condition: its form, with the words of the `train` rows, and uint16 `(N, K, L)`."""
    known = [text for row in train for text in told[row]]
    tokenizer = Words.of(known) if how == "words" else Bytes()
    numbers = [tokenizer.encode(own) for own in told]
    longest = max((len(text) for own in numbers for text in own), default=1)
    length = max(1, min(longest, LONGEST[how]))
    stored = np.zeros((len(told), max(1, *map(len, told), 1), length), np.uint16)
    for row, own in zip(stored, numbers):
        row[: len(own)] = padded(own, length)
    return remembering(Tokens(tokenizer=tokenizer, length=length), stored[train]), stored


def remembering(part: Tokens, stored: np.ndarray) -> Tokens:
    """The condition with examples from training captions `(N, K, L)`: the first caption of evenly spaced items, the
    second of the one after, ..."""
    there = stored.any(2).sum(1)
    rows = np.flatnonzero(there)
    rows = rows[np.linspace(0, len(rows) - 1, min(EXAMPLES, len(rows))).astype(np.int64)] if len(rows) else rows
    chosen = (stored[row, k % there[row]] for k, row in enumerate(rows))
    return part.model_copy(update={"examples": tuple(part.tokenizer.decode(text.tolist()) for text in chosen)})


def listed(value: Any) -> list[str]:
    """One caption, or a list of them, as a list; anything else is none."""
    texts = value if isinstance(value, list | tuple) else [value]
    return [text for text in texts if isinstance(text, str)]


def _lines(table: str, content: bytes | None) -> Iterator[tuple[str, list[str]]]:
    """Lines such as `{"file": "a.png", "text": "a red seven"}`, or with "captions" a list."""
    if content is None:
        raise DataError(f"{table} cannot be read.")
    for number, line in enumerate(content.decode("utf-8-sig", "replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        row = row if isinstance(row, dict) else {}
        name = next((row[key] for key in FILE_COLUMNS if isinstance(row.get(key), str)), None)
        said = next((listed(row[key]) for key in COLUMNS if key in row), None)
        if name is None or said is None:
            wanted = '{"file": "a.png", "text": "a red seven"}'
            raise DataError(f"{table}, line {number}: a line such as {wanted} is wanted (found: {line[:80]!r}).")
        yield name, said


def _cells(table: str, content: bytes | None) -> Iterator[tuple[str, list[str]]]:
    """Rows of a picture's name and a caption, or several: columns named `text`, `caption`, ..., else all others."""
    wanted: list[int] = []
    for _, row in table_rows(table, content, "file,text"):
        if not wanted:
            named = [k for k, name in enumerate(row) if name.lower() in COLUMNS]
            wanted = named or list(range(1, len(row)))
        else:
            yield row[0], [row[k] for k in wanted]
