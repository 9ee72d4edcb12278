"""`attributes.csv`: named factors of pictures, in columns of numbers or of words."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np

from figment.core.data import Factor
from figment.core.errors import DataError, UsageError, did_you_mean
from figment.data import splits

NAME = "attributes.csv"
FILE_COLUMNS = ("file", "file_name", "filename", "name", "image", "image_id")
UNKNOWN = ("", "nan")
MOST_LEVELS = 256


def attributes(
    tables: Mapping[str, bytes | None], names: Sequence[str]
) -> tuple[tuple[Factor, ...], np.ndarray, list[str]]:
    """The factors that tables (name -> content) give to pictures of these names: factors, values `(N, F)`, remarks.

    The first column names a picture, by its path from the table's folder or by its file name alone where that is
    unambiguous. A column of numbers is a number, one of words a level; an empty cell, or no row, is NaN: unknown.
    Raises DataError with the line of a table that cannot be read so.
    """
    if not tables:
        return (), np.empty((len(names), 0), np.float32), []
    header: list[str] = []
    cells: dict[int, tuple[str, list[str]]] = {}  # position of a picture -> where its row is, and the row
    strangers = 0
    for table, content in sorted(tables.items()):
        found = Names(names, folder_of(table))
        for number, (line, row) in enumerate(table_rows(table, content, "file,smile,hair")):
            if not number:
                if header and row[1:] != header:
                    raise DataError(f"{line}: other columns than in the other tables ({', '.join(header)}).")
                header = row[1:]
                continue
            position = found.position(row[0])
            if position is None:
                strangers += 1
            elif position in cells:
                raise DataError(f"{line}: '{row[0]}' has a row already, in {cells[position][0]}.")
            else:
                cells[position] = line, row[1:]
    if not cells:
        raise DataError(f"{', '.join(tables)}: no row names any of the {len(names):,} pictures, such as {names[0]}.")
    notes = [f"{strangers:,} rows of {NAME} name no picture here."] if strangers else []
    if len(cells) < len(names):
        notes.append(f"{len(names) - len(cells):,} pictures have no row in {NAME}: their attributes are unknown.")
    factors, columns = [], []
    for place, name in enumerate(header):
        column = {position: (line, row[place].strip()) for position, (line, row) in cells.items()}
        levels = _levels(name, column)
        if len(levels) > MOST_LEVELS:
            notes.append(f"The column '{name}' of {NAME} is not used: {len(levels):,} different words.")
            continue
        values = np.full(len(names), np.nan, np.float32)
        for position, (_, text) in column.items():
            if text.lower() not in UNKNOWN:
                values[position] = levels.index(text) if levels else float(text)
        factors.append(Factor(name=name, levels=levels))
        columns.append(values)
    stacked = np.stack(columns, 1) if columns else np.empty((len(names), 0), np.float32)
    return tuple(factors), stacked, notes


def as_labels(factors: Sequence[Factor], values: np.ndarray, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """A factor by name as labels `(N,)`, -1 where it is unknown, and the names of its classes: its levels, or the
    different numbers that it takes. Raises UsageError where there is none, or where it takes too many numbers."""
    known = {factor.name: (factor, column) for factor, column in zip(factors, values.T)}
    if name not in known:
        raise UsageError(f"data.label={name}: {NAME} has no such column. {did_you_mean(name, known)}")
    factor, column = known[name]
    if factor.levels:
        return np.where(np.isfinite(column), column, -1).astype(np.int64), factor.levels
    numbers = np.unique(column[np.isfinite(column)])
    if len(numbers) > MOST_LEVELS:
        raise UsageError(f"data.label={name}: {len(numbers):,} different numbers are no labels; {MOST_LEVELS} may be.")
    labels = np.where(np.isfinite(column), np.searchsorted(numbers, column), -1)
    return labels.astype(np.int64), tuple(f"{number:g}" for number in numbers)


class Names:
    """Where a picture that a table in some folder names stands in the list of all."""

    def __init__(self, names: Sequence[str], folder: str):
        inside = "" if folder == "." else f"{folder}/"
        self.paths = {name.removeprefix(inside): i for i, name in enumerate(names) if name.startswith(inside)}
        self.files: dict[str, int | None] = {}
        for path, i in self.paths.items():
            file = path.rpartition("/")[2]
            self.files[file] = None if file in self.files else i

    def position(self, text: str) -> int | None:
        path = text.strip().replace("\\", "/").removeprefix("./")
        return self.paths[path] if path in self.paths else self.files.get(path)


def folder_of(table: str) -> str:
    """The folder that a table lies in, "." at the root."""
    return str(PurePosixPath(table).parent)


def table_rows(table: str, content: bytes | None, header: str) -> Iterator[tuple[str, list[str]]]:
    """The rows of a table that are not empty, its header first (such as that given), each with where it stands.
    Raises DataError."""
    if content is None:
        raise DataError(f"{table} cannot be read.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content[: error.start].count(b"\n") + 1
        raise DataError(f"{table}, line {number}: this is no UTF-8 text. Save the table as UTF-8.") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    width = 0
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise DataError(f"{table}, line {reader.line_num}: {error}.") from None
        line = f"{table}, line {reader.line_num}"
        if row is None:
            break
        if not any(cell.strip() for cell in row):
            continue
        if not width:
            row, width = _header(line, row), len(row)
        if len(row) != width:
            raise DataError(f"{line}: {len(row)} cells where the header has {width}.")
        yield line, row
    if not width:
        raise DataError(f"{table} is empty: a header such as {header} is wanted.")


def _header(line: str, row: list[str]) -> list[str]:
    names = [cell.strip() for cell in row]
    if names[0].lower() not in FILE_COLUMNS:
        raise DataError(f"{line}: the first column is '{names[0]}', but must be 'file', the name of a picture.")
    if len(names) < 2 or not all(names) or len(set(names)) < len(names):
        raise DataError(f"{line}: each column after '{names[0]}' needs a name of its own (found: {', '.join(names)}).")
    return names


def _levels(name: str, column: Mapping[int, tuple[str, str]]) -> tuple[str, ...]:
    """The different words of a column, none where all are numbers. Raises DataError for words among many numbers."""
    known = [(line, text) for line, text in column.values() if text.lower() not in UNKNOWN]
    words = [(line, text) for line, text in known if not _is_number(text)]
    levels = {text for _, text in known} if words else set()
    if len(levels) > MOST_LEVELS and len(words) < len(known) / 2:
        raise DataError(f"{words[0][0]}: '{words[0][1]}' in the column '{name}' is no number, as the others are.")
    return tuple(sorted(levels, key=splits.natural))


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
