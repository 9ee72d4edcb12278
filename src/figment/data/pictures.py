"""Encoded pictures, wherever they lie -> a Dataset: surveyed, brought to one size, decoded once, split, or streamed."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import pydantic

from figment.core.data import ArraySplit, Classes, Condition, Dataset, Factor, Factors, Image, Spec, Split
from figment.core.errors import DataError
from figment.core.text import TokenizerName
from figment.data import binary, cache, splits
from figment.data.captions import TOKENIZER, Captions, tokens
from figment.data.decode import Crop, Decoded, Shape, Unreadable, header, pictures
from figment.data.selection import SelectedConfig
from figment.data.streaming import StreamSplit

FORMAT = 1
UNUSED = "-"
LARGE = 128 * 128  # pixels from which decoding one picture outweighs handing it to a thread
Side = Annotated[int, pydantic.Field(ge=1, le=8192)]


@dataclass(frozen=True)
class Source:
    """N encoded pictures in blocks that are cheap to read together.

    `read(block)` gives the files of a block, None for one that is missing; `describe(item)` names an item for people.
    `split` `(N,)` is train, valid, test, "" (unknown) or UNUSED; `label` `(N,)` is a position in `classes`, or -1.
    `attributes` `(N, F)` are values of `factors`, NaN where unknown; `captions` (N lists of texts, or
    none at all) say what each shows. `fingerprint` changes whenever any picture does.
    """

    title: str
    fingerprint: str
    blocks: Sequence[int]
    split: np.ndarray
    label: np.ndarray
    classes: tuple[str, ...]
    read: Callable[[int], Sequence[bytes | None]]
    describe: Callable[[int], str]
    notes: tuple[str, ...] = ()
    factors: tuple[Factor, ...] = ()
    attributes: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    captions: Captions = ()


@dataclass(frozen=True)
class Survey:
    """What was found on going through a source once; kept in the cache, with the pixels unless they stream."""

    shape: Shape
    count: int
    streams: bool
    binary: bool
    range: tuple[int, int]
    sizes: dict[str, int]
    modes: dict[str, int]
    faults: dict[int, str]
    items: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # the readable ones (n,)
    digest: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))  # of their pixels (n,)
    folder: Path = Path()

    def write(self, folder: Path) -> None:
        plain = {name: value for name, value in vars(self).items() if name not in ("items", "digest", "folder")}
        (folder / "survey.json").write_text(json.dumps(plain))
        np.savez(folder / "items.npz", items=self.items, digest=self.digest)

    @classmethod
    def read(cls, folder: Path) -> Survey:
        plain = json.loads((folder / "survey.json").read_text())
        plain |= {"shape": tuple(plain["shape"]), "range": tuple(plain["range"])}
        plain |= {"faults": {int(item): why for item, why in plain["faults"].items()}}
        with np.load(folder / "items.npz") as arrays:
            return cls(**plain, items=arrays["items"], digest=arrays["digest"], folder=folder)


class SizedConfig(SelectedConfig):
    """How pictures come to one size; abstract."""

    size: Side | tuple[Side, Side] | None = pydantic.Field(
        None, description="short side, or [height, width]; unset: `limit`, unless all are smaller"
    )
    limit: Side | None = pydantic.Field(None, description="short side where none is asked for (unset: by device)")
    crop: Crop = pydantic.Field("centre", description="how another shape is met: centre crop, or stretch")
    stream: bool | None = pydantic.Field(None, description="decode while training (unset: if beyond half the memory)")

    def resolved(self) -> Self:
        return self.model_copy(update={"limit": self.limit or _limit()})


class PictureConfig(SizedConfig):
    """Pictures from somewhere; abstract: `source()` says from where."""

    binarise: binary.Binarise = pydantic.Field("none", description=binary.DESCRIPTION)
    tokenizer: TokenizerName = pydantic.Field("words", description=TOKENIZER)

    def source(self) -> Source:
        raise NotImplementedError  # pragma: no cover - every registered kind overrides this

    def survey(self, source: Source) -> Survey:
        """Goes through all pictures once, or finds in the cache what that gave."""
        limit = self.limit or _limit()
        settings = json.dumps([FORMAT, limit, self.size, self.crop, self.stream])
        key = splits.fingerprint(source.fingerprint, source.split, settings)
        return Survey.read(cache.cached(key, lambda folder: self._decode(source, limit, folder)))

    def build(self) -> Dataset:
        source = self.source()
        return binary.binarised(self.dataset(source, self.survey(source)), self.binarise)

    def dataset(self, source: Source, survey: Survey) -> Dataset:
        """The splits of a surveyed source. Raises DataError, with counts, where too few pictures are left."""
        if len(survey.items) < splits.FEWEST:
            raise DataError(too_few(source, survey))
        rows = assign(source.split[survey.items], survey.digest)
        label = source.label[survey.items]
        named = len(source.classes) > 1 and all((label[positions] >= 0).all() for positions in rows.values())
        channels, height, width = survey.shape
        conditions, given = dict[str, Condition](), dict[str, np.ndarray]()
        if named:
            frequencies = splits.frequencies(label[rows["train"]], len(source.classes))
            conditions["label"], given["label"] = Classes(names=source.classes, frequencies=frequencies), label
        if source.factors:
            conditions["attributes"] = Factors(factors=source.factors)
            given["attributes"] = source.attributes[survey.items]
        if source.captions:
            told = [source.captions[item] for item in survey.items]
            conditions["text"], given["text"] = tokens(told, rows["train"], self.tokenizer)
        for key, (part, values) in self.partners(source, survey).items():
            conditions[key], given[key] = part, values
        spec = Spec(
            name=source.title,
            x=Image(channels=channels, height=height, width=width, binary=survey.binary),
            c=conditions,
        )
        parts: dict[str, Split] = {}
        for name, positions in rows.items():
            c = {key: value[positions] for key, value in given.items()}
            if survey.streams:
                parts[name] = StreamSplit(spec, source, survey.items[positions], c, self.crop)
            else:
                pixels = np.asarray(np.load(survey.folder / f"{name}.npy", mmap_mode="r"))
                parts[name] = ArraySplit(spec, pixels, c)
        train = rows["train"]
        conditioned = [value[train] for value in given.values()] or [""]
        content = splits.fingerprint(survey.digest[train], *conditioned, str(survey.shape))
        return self.selected(Dataset(spec, parts, content, notes=tuple(self._notes(source, survey, rows, named))))

    def partners(self, source: Source, survey: Survey) -> Mapping[str, tuple[Condition, np.ndarray]]:
        """What else lies beside each picture of a survey, by the key of its condition. Raises DataError."""
        return {}

    def _decode(self, source: Source, limit: int, folder: Path) -> None:
        """Fills a cache folder: headers first, for the size that all come to; then the pixels."""
        sizes, modes, grey, faults = _headers(source)
        if not sizes:
            empty = Survey((1, 1, 1), len(source.split), False, False, (0, 0), {}, {}, faults)
            return empty.write(folder)
        shape = target(sizes, 1 if grey else 3, self.size, limit)
        expected = sizes.total() * int(np.prod(shape))
        streams = expected > _memory() // 2 if self.stream is None else self.stream
        items, digest, levels = [], [], np.zeros(256, bool)
        threaded = sum(w * h * n for (w, h), n in sizes.items()) > LARGE * sizes.total()
        with (folder / "pixels").open("wb") as file:
            for start, decoded in _blocks(source, faults, shape, self.crop, threaded):
                faults |= {start + position: why for position, why in decoded.faults.items()}
                items.append(start + decoded.positions)
                digest.append(splits.digests(decoded.pixels))
                levels |= np.bincount(decoded.pixels.ravel(), minlength=256) > 0
                if not streams:
                    file.write(decoded.pixels.tobytes())
        seen = np.flatnonzero(levels).tolist() or [0]
        survey = Survey(
            shape, len(source.split), streams, binary=seen == [0, 255], range=(seen[0], seen[-1]),
            sizes={f"{w}x{h}": n for (w, h), n in sizes.most_common()}, modes=dict(modes.most_common()),
            faults=dict(sorted(faults.items())), items=np.concatenate(items), digest=np.concatenate(digest),
        )  # fmt: skip
        survey.write(folder)
        if not streams:
            _part(folder, survey, assign(source.split[survey.items], survey.digest))
        (folder / "pixels").unlink()

    def _notes(self, source: Source, survey: Survey, rows: Mapping[str, np.ndarray], named: bool) -> Iterator[str]:
        yield from source.notes
        _, height, width = survey.shape
        if list(survey.sizes) == [f"{width}x{height}"]:
            yield f"{len(survey.items):,} pictures, all {width}x{height}, kept so."
        else:
            how = "centre crop" if self.crop == "centre" else "stretched"
            yield (
                f"{len(survey.items):,} pictures of {len(survey.sizes)} size{'s' * (len(survey.sizes) > 1)} come to "
                f"{width}x{height}: {how} (change it with data.size, data.crop)."
            )
        if survey.shape[0] == 1:
            yield "All pictures are grey: one channel."
        if survey.faults:
            listing = "; ".join(f"{source.describe(item)}: {why}" for item, why in list(survey.faults.items())[:5])
            more = ", ..." if len(survey.faults) > 5 else ""
            yield f"{len(survey.faults):,} unreadable files are skipped ({listing}{more}): see `figment data check`."
        if source.classes and not named:
            yield "Labels are not used: there is one class only, or pictures without a label."
        yield "Splits: " + ", ".join(f"{name} {len(part):,}" for name, part in rows.items()) + "."
        if survey.streams:
            yield "The pictures are decoded while training (data.stream)."


def too_few(source: Source, survey: Survey) -> str:
    """The message for a source with hardly a readable picture."""
    reasons = "; ".join(f"{n} x {why}" for why, n in Counter(survey.faults.values()).most_common(5))
    return (
        f"{source.title}: {len(survey.items)} of {survey.count} pictures can be read; "
        f"at least {splits.FEWEST} are needed"
        + (f" ({reasons}). `figment data check` lists the unreadable ones." if reasons else ".")
    )


def target(sizes: Counter[tuple[int, int]], channels: int, size: int | tuple[int, int] | None, limit: int) -> Shape:
    """The one shape pictures of such sizes `(width, height)` come to: their own where they share a shape, else square.

    Without a size the short side is `limit`, or the median of the short sides where all are smaller.
    """
    if isinstance(size, tuple):
        return channels, *size
    short = sorted(min(pair) for pair in sizes.elements())
    side = size or (limit if short[-1] >= limit else short[len(short) // 2])
    width, height = next(iter(sizes))
    if all(w * height == h * width for w, h in sizes):
        scale = side / min(width, height)
        return channels, round(height * scale), round(width * scale)
    return channels, side, side


def assign(given: np.ndarray, digest: np.ndarray) -> dict[str, np.ndarray]:
    """The rows of each split, ascending: as given where something is to train on and to test on, else by hash."""
    unsplit = (given == "train") | (given == "")
    masks = {"train": unsplit, "valid": given == "valid", "test": given == "test"}
    if not masks["train"].any() or not (masks["valid"] | masks["test"]).any():
        used = given != UNUSED
        out = splits.held_out(digest)
        masks = {"train": used & ~out, "test": used & out}
    return {name: np.flatnonzero(mask) for name, mask in masks.items() if mask.any()}


def _headers(source: Source) -> tuple[Counter[tuple[int, int]], Counter[str], bool, dict[int, str]]:
    sizes: Counter[tuple[int, int]] = Counter()
    modes: Counter[str] = Counter()
    faults: dict[int, str] = {}
    grey, start = True, 0
    for block in _shown(range(len(source.blocks)), "reading"):
        for item, data in enumerate(source.read(block), start):
            try:
                head = header(data)
            except Unreadable as fault:
                faults[item] = str(fault)
                continue
            sizes[head.width, head.height] += 1
            modes[head.mode] += 1
            grey = grey and head.grey
        start += source.blocks[block]
    return sizes, modes, grey, faults


def _blocks(
    source: Source, faults: Mapping[int, str], shape: Shape, crop: Crop, threaded: bool
) -> Iterator[tuple[int, Decoded]]:
    """Each block's first item and its pictures; those with a fault already known are passed over."""
    starts = np.cumsum([0, *source.blocks])
    with ThreadPoolExecutor(os.cpu_count() if threaded else 1) as pool:
        for block in _shown(range(len(source.blocks)), "decoding"):
            start, files = int(starts[block]), source.read(block)
            known = [position for position in range(len(files)) if start + position not in faults]
            chunk = 16 if threaded else len(known) or 1
            chunks = [known[i : i + chunk] for i in range(0, len(known), chunk)]
            for part, decoded in zip(
                chunks, pool.map(lambda part, files=files: pictures([files[i] for i in part], shape, crop), chunks)
            ):
                positions = np.array(part, np.int64)
                yield (
                    start,
                    Decoded(
                        positions[decoded.positions],
                        decoded.pixels,
                        {part[position]: why for position, why in decoded.faults.items()},
                    ),
                )


def _part(folder: Path, survey: Survey, rows: Mapping[str, np.ndarray]) -> None:
    """Sorts `pixels` into one array a split."""
    if not len(survey.items):
        return
    pixels = np.memmap(folder / "pixels", np.uint8, "r", shape=(len(survey.items), *survey.shape))
    for name, positions in rows.items():
        out = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.uint8, (len(positions), *survey.shape))
        for start in range(0, len(positions), 4096):
            out[start : start + 4096] = pixels[positions[start : start + 4096]]
        out.flush()


def _shown(blocks: range, what: str) -> Iterator[int]:
    """The same numbers, with progress on stderr where a person watches."""
    from rich.console import Console
    from rich.progress import track

    quiet = not sys.stderr.isatty() or len(blocks) < 4
    yield from track(blocks, f"{what} pictures", console=Console(stderr=True), transient=True, disable=quiet)


def _limit() -> int:
    """64, or 32 without an accelerator."""
    import torch

    return 64 if torch.cuda.is_available() or torch.backends.mps.is_available() else 32


def _memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
