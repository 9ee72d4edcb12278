"""Parquet files as the Hugging Face Hub serves them, and data sets of the Hub itself."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic

from figment.core.errors import DataError, UsageError, did_you_mean
from figment.data import splits
from figment.data.captions import COLUMNS, MOST, listed
from figment.data.pictures import UNUSED, PictureConfig, Source

IMAGES = ("image", "img", "picture", "png", "jpg")
LABELS = ("label", "labels", "class", "target", "y")
MISSING = (None, -1)  # the Hub's mark of an unlabelled row
MOST_CLASSES = 10_000


class ParquetConfig(PictureConfig):
    """A file or a folder of Parquet with a column of pictures; splits follow from the names of files or folders."""

    kind: Literal["parquet"] = "parquet"
    path: str = pydantic.Field(description="a .parquet file, or a folder of them")
    image: str | None = pydantic.Field(None, description="the column of pictures (unset: found)")
    label: str | None = pydantic.Field(None, description="the column of labels (unset: found)")
    text: str | None = pydantic.Field(None, description="the column of captions (unset: found)")

    def source(self) -> Source:
        arrow, parquet = required("pyarrow"), required("pyarrow.parquet")
        root = Path(self.path).expanduser()
        paths = sorted(root.rglob("*.parquet")) if root.is_dir() else [root]
        if not paths:
            raise DataError(f"{self.path} holds no .parquet file.")
        try:
            files = [parquet.ParquetFile(path) for path in paths]
        except (OSError, arrow.ArrowException) as error:
            raise DataError(f"{self.path} is no readable Parquet: {error}") from None
        schema = files[0].schema_arrow
        names = [split_of(path.relative_to(root) if root.is_dir() else Path(path.name)) for path in paths]
        columns = _features(schema)
        image, label, text = choose(columns, self.image, self.label, self.text)
        counts = [file.metadata.num_rows for file in files]
        groups = [(file, g) for file in files for g in range(file.num_row_groups)]
        blocks = [file.metadata.row_group(group).num_rows for file, group in groups]

        def column(name: str | None) -> list[Any] | None:
            try:
                return [x for file in files for x in file.read([name])[name].to_pylist()] if name else None
            except (OSError, KeyError, arrow.ArrowException) as error:
                raise DataError(f"{self.path}: the column '{name}' cannot be read from all files: {error}") from None

        starts = np.cumsum([0, *counts])

        def describe(item: int) -> str:
            file = bisect_right(starts, item) - 1
            return f"{paths[file].name} row {item - starts[file]}"

        def read(block: int) -> Sequence[bytes | None]:
            file, group = groups[block]
            try:
                return [payload(cell) for cell in file.read_row_group(group, [image])[image].to_pylist()]
            except (OSError, arrow.ArrowException):
                return [None] * blocks[block]
            except KeyError:
                raise DataError(f"{describe(sum(blocks[:block]))}: this file has no column '{image}'.") from None

        stats = [(str(path), (s := path.stat()).st_size, s.st_mtime_ns, s.st_ctime_ns) for path in paths]
        return table(
            root.stem if root.is_file() else root.resolve().name,
            splits.fingerprint(json.dumps([stats, image])),
            blocks=blocks,
            split=np.repeat(np.array(names), counts),
            values=column(label),
            told=column(text),
            known=columns[label].get("names") if label else None,
            read=read,
            describe=describe,
            unused=set(columns) - {image, label, text},
        )


class HubConfig(PictureConfig):
    """A data set of the Hugging Face Hub, fetched and kept by `datasets`: the only data that uses the network."""

    kind: Literal["hub"] = "hub"
    name: str = pydantic.Field(pattern=r"^[\w.-]+/[\w.-]+$", description="OWNER/NAME on the Hub")
    subset: str | None = pydantic.Field(None, description="one of its configurations")
    revision: str | None = pydantic.Field(None, description="a branch, tag or commit of it")
    image: str | None = pydantic.Field(None, description="the column of pictures (unset: found)")
    label: str | None = pydantic.Field(None, description="the column of labels (unset: found)")
    text: str | None = pydantic.Field(None, description="the column of captions (unset: found)")

    def source(self) -> Source:
        hub = required("datasets")
        try:
            found = hub.load_dataset(self.name, self.subset, revision=self.revision)
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(f"hf:{self.name} cannot be fetched: {reason}") from None
        parts = [(splits.NAMES[name], part) for name, part in found.items() if name in splits.NAMES]
        if not parts:
            raise DataError(f"hf:{self.name} has no split train, validation or test (it has: {', '.join(found)}).")
        features = parts[0][1].features.to_dict()
        columns = {name: value if isinstance(value, dict) else {} for name, value in features.items()}
        image, label, text = choose(columns, self.image, self.label, self.text)
        raw = [(name, part.cast_column(image, hub.Image(decode=False))) for name, part in parts]
        counts = [len(part) for _, part in raw]
        runs = [(part, a, min(a + 1000, len(part))) for _, part in raw for a in range(0, len(part), 1000)]

        def read(block: int) -> Sequence[bytes | None]:
            part, start, stop = runs[block]
            return [payload(cell) for cell in part[start:stop][image]]

        return table(
            self.name.split("/")[1],
            splits.fingerprint(json.dumps([self.name, image, [part._fingerprint for _, part in parts]])),
            blocks=[stop - start for _, start, stop in runs],
            split=np.repeat(np.array([name for name, _ in raw]), counts),
            values=[x for _, part in raw for x in part[label]] if label else None,
            told=[x for _, part in raw for x in part[text]] if text else None,
            known=columns[label].get("names") if label else None,
            read=read,
            describe=lambda item: f"row {item}",
            unused=set(columns) - {image, label, text},
        )


def required(module: str) -> Any:
    """A module of the extra `data`. Raises UsageError saying how to install it."""
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        hint = "pip install 'figment[data]'"
        raise UsageError(f"This data needs '{module.split('.')[0]}', which is not installed. Type: {hint}") from None


def split_of(path: Path) -> str:
    """The split a file belongs to by its name or those of its folders: `data/validation-00000-of-00001` is valid."""
    for part in (path.stem, *reversed(path.parts[:-1])):
        word = re.split(r"[-_.]", part.lower())[0]
        if word in splits.NAMES:
            return splits.NAMES[word]
    return ""


def choose(
    columns: dict[str, dict[str, Any]], image: str | None, label: str | None, text: str | None
) -> tuple[str, str | None, str | None]:
    """The columns of pictures, of labels and of captions, by declared type, then by Arrow type and name. Raises
    UsageError."""
    for asked in (image, label, text):
        if asked is not None and asked not in columns:
            raise UsageError(f"There is no column '{asked}'. {did_you_mean(asked, columns)}")
    typed = [name for name, kind in columns.items() if kind.get("_type") == "Image"]
    binary = [name for name, kind in columns.items() if re.match(r"struct<.*bytes: .*binary|.*binary$", _arrow(kind))]
    found = typed or binary
    picture = image or next((name for name in IMAGES if name in found), found[0] if found else None)
    if picture is None:
        raise DataError(f"no column holds pictures (columns: {', '.join(columns)}). Name one with data.image=COLUMN.")
    classes = [name for name, kind in columns.items() if kind.get("_type") == "ClassLabel"]
    plain = [name for name in LABELS if name in columns and re.match(r"u?int|.*string", _arrow(columns[name]))]
    said = [name for name in COLUMNS if name in columns and "string" in _arrow(columns[name]) and name != label]
    return picture, label or next(iter(classes + plain), None), text or next(iter(said), None)


def payload(cell: Any) -> bytes | None:
    """The file in a cell: bytes, or `{bytes, path}` with the path read where there are no bytes."""
    return cell if isinstance(cell, bytes | None) else cell.get("bytes")


def table(
    title: str,
    fingerprint: str,
    blocks: Sequence[int],
    split: np.ndarray,
    values: Sequence[Any] | None,
    told: Sequence[Any] | None,
    known: Sequence[str] | None,
    read: Any,
    describe: Any,
    unused: set[str],
) -> Source:
    """A source of rows, its label values turned into classes; `told` is a caption of each, or a list."""
    notes = [f"Columns not used: {', '.join(sorted(unused))}."] if unused else []
    label, classes = np.full(len(split), -1, np.int64), tuple(known or ())
    if values is not None:
        if not known:
            classes = tuple(sorted({str(value) for value in values if value not in MISSING}, key=splits.natural))
        place = {str(name): k for k, name in enumerate(range(len(known)) if known else classes)}
        try:
            label = np.array([-1 if value in MISSING else place[str(value)] for value in values], np.int64)
        except KeyError as error:
            raise DataError(f"{title} has a label {error}, but names for {len(classes)} classes only.") from None
        if len(classes) > min(MOST_CLASSES, len(split) // 2):
            notes.append(f"Labels are not used: {len(classes):,} different values in {len(split):,} rows.")
            label, classes = np.full(len(split), -1, np.int64), ()
    for name in ("valid", "test"):
        if (label[split == "train"] >= 0).any() and (label[split == name] < 0).any():
            notes.append(f"The split '{name}' has rows without a label and is left out.")
            split = np.where(split == name, UNUSED, split)
    captions = [listed(text)[:MOST] for text in told or ()]
    said = captions if any(captions) else ()
    return Source(title, fingerprint, blocks, split, label, classes, read, describe, tuple(notes), captions=said)


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """What is known of each column: the type that `datasets` wrote into the schema, else that of Arrow."""
    try:
        written = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        written = {}
    plain = {name: {"arrow": str(schema.field(name).type)} for name in schema.names}
    return {name: written[name] if isinstance(written.get(name), dict) else plain[name] for name in schema.names}


def _arrow(kind: dict[str, Any]) -> str:
    return str(kind.get("arrow") or kind.get("dtype") or "")
