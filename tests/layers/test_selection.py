"""A part of a data set: its labels and rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from figment.core.data import Dataset, Split
from figment.core.errors import UsageError
from figment.data import parse


def labels(split: Split) -> np.ndarray:
    return split.gather(np.arange(len(split))).c["label"].numpy()


def pixels(split: Split) -> np.ndarray:
    return split.gather(np.arange(len(split))).x.numpy()


def test_a_label_left_out_is_unknown_to_the_data() -> None:
    whole, part = parse("digits").build(), parse("digits", {"without": 3}).build()
    assert part.spec.label is not None
    assert part.spec.label.names == tuple("012456789")
    for name in ("train", "test"):
        there = labels(whole.splits[name]) != 3
        np.testing.assert_array_equal(pixels(part.splits[name]), pixels(whole.splits[name])[there])
        names = np.array(list("012456789"))[labels(part.splits[name])]
        np.testing.assert_array_equal(names.astype(int), labels(whole.splits[name])[there])
    assert sum(part.spec.label.frequencies) == pytest.approx(1)
    assert part.content != whole.content


def test_one_class_alone_is_no_label() -> None:
    assert parse("digits", {"only": "7"}).build().spec.c == {}
    assert parse("digits", {"only": "7, 2"}).build().spec.label.names == ("2", "7")  # type: ignore[union-attr]


def test_fewer_rows_to_train_on_leave_what_is_held_out() -> None:
    whole, part = parse("digits").build(), parse("digits", {"rows": 100}).build()
    assert (len(part.train), len(part.held_out)) == (100, len(whole.held_out))
    again = parse("digits", {"rows": 100}).build()
    np.testing.assert_array_equal(pixels(part.train), pixels(again.train))
    assert len(np.unique(labels(part.train))) == 10


@pytest.mark.parametrize("stream", [False, True])
def test_pictures_of_a_folder_are_selected_stored_or_streamed(stream: bool, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for k, name in enumerate(("ant", "bee", "cat")):
        (tmp_path / name).mkdir()
        for i in range(12):
            shade = generator.integers(80 * k, 80 * k + 60, (6, 5), dtype=np.uint8)
            PIL.Image.fromarray(shade).save(tmp_path / name / f"{i}.png")
    part: Dataset = parse(str(tmp_path), {"without": ["bee"], "stream": stream}).build()
    assert part.spec.label is not None
    assert part.spec.label.names == ("ant", "cat")
    for split in part.splits.values():
        means = pixels(split).mean((1, 2, 3))
        np.testing.assert_array_equal(means > 0, labels(split) == 1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"only": "11"}, "no label '11'"),
        ({"only": "3", "without": "3"}, "0 training items are left; at least 8"),
        ({"rows": 7}, "greater than or equal to 8"),
    ],
)
def test_labels_that_are_not_there_are_a_usage_error(settings: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse("digits", settings).build()
