"""Drawn faces: the same every time, made of what they say they are made of."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from figment import data
from figment.core.data import ArraySplit, Classes
from figment.core.errors import UsageError
from figment.data import faces
from figment.data.faces.captions import TEMPLATES
from figment.data.faces.factors import COLUMN, PARTS, Part


def test_a_face_is_the_same_in_any_batch_and_for_ever() -> None:
    together = faces.draw(3, range(40))
    for rows in ([7], [39, 0, 7], range(5, 12)):
        assert np.array_equal(faces.draw(3, rows), together[list(rows)])
    far = faces.draw(3, [1 << 40, 5])
    assert np.array_equal(far[1], together[5])
    assert hashlib.sha256(together.tobytes()).hexdigest()[:16] == "83377ac2d374acd5"  # DRAWING counts its changes


def test_factors_are_uniform_and_independent() -> None:
    values = faces.factors(0, range(20_000))
    ranks = values.argsort(0).argsort(0) / len(values)
    assert np.abs(np.corrcoef(ranks.T) - np.eye(len(PARTS))).max() < 0.03
    for column, part in enumerate(PARTS):
        shares = np.histogram(values[:, column], len(part.levels) or 8, (part.low, len(part.levels) or part.high))[0]
        assert np.abs(shares / len(values) * len(shares) - 1).max() < 0.08
    assert not np.array_equal(values[:100], faces.factors(1, range(100)))


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_every_factor_is_seen_and_changes_nothing_of_the_stream(part: Part) -> None:
    values = faces.factors(5, range(30))
    column = COLUMN[part.name]
    other = values.copy()
    other[:, column] = (
        (values[:, column] + 1) % len(part.levels) if part.levels else part.low + part.high - values[:, column]
    )
    moved = np.abs(values[:, column] - other[:, column]) > 0.2 * part.span
    difference = np.abs(faces.paint(values).astype(int) - faces.paint(other)).max((1, 2, 3))
    assert (difference[moved] > 40).all()


def test_any_size_shows_the_same_face() -> None:
    small, large = faces.draw(0, range(24)).astype(float), faces.draw(0, range(24), 128).astype(float)
    mean = large.reshape(24, 32, 4, 32, 4, 3).mean((2, 4))
    assert np.abs(mean - small).mean() < 2.5


def test_maps_and_outlines_fit_the_picture() -> None:
    values = faces.factors(0, range(64))
    parts, lines = faces.segmentation(values, 64), faces.edges(values, 64)
    inner = parts[:, 1:-1, 1:-1]
    borders = (inner != parts[:, 2:, 1:-1]) | (inner != parts[:, 1:-1, 2:])
    near = np.maximum(np.maximum(lines[:, 1:-1, 1:-1], lines[:, 2:, 1:-1]), lines[:, 1:-1, 2:])  # just inside of each
    assert near[borders].mean() > 180
    assert lines[:, 1:-1, 1:-1][~borders].mean() < 30
    assert set(np.unique(parts)) == set(range(len(faces.SEGMENTS)))
    wall = faces.paint(values, 64)[parts == faces.SEGMENTS.index("background")]
    assert np.quantile(wall, 0.01) > 130
    bare = values[:, COLUMN["glasses"]] == 0
    assert (parts == faces.SEGMENTS.index("glasses")).any((1, 2)).tolist() == (~bare).tolist()


def test_faces_as_data() -> None:
    dataset = data.parse("faces", {"count": 200, "size": 40, "label": "glasses"}).build()
    train, test = dataset.splits["train"], dataset.splits["test"]
    assert isinstance(train, ArraySplit) and isinstance(test, ArraySplit)
    assert train.x.shape == (200, 3, 40, 40)
    assert np.array_equal(train.x.transpose(0, 2, 3, 1), faces.draw(0, range(200), 40))
    assert np.array_equal(train.c["attributes"], faces.factors(0, range(200)))
    assert dataset.spec.c["label"] == Classes(
        names=("none", "round", "square"), frequencies=dataset.spec.label.frequencies
    )
    assert np.array_equal(train.c["label"], train.c["attributes"][:, COLUMN["glasses"]])
    assert not (test.x[:, None] == train.x[None]).all((2, 3, 4)).any()
    assert data.parse("faces", {"count": 16, "label": "none"}).build().spec.label is None
    longer = data.parse("faces", {"count": 400, "size": 40}).build()
    assert np.array_equal(longer.splits["train"].x[:200], train.x)


def test_wrong_requests() -> None:
    for wrong in ({"smile": 2}, {"hair": "none"}, {"nose": 1}, {"smile": "wide"}):
        with pytest.raises(UsageError):
            faces.factors(0, [0], wrong)
    with pytest.raises(UsageError):
        faces.factors(0, [-1])
    with pytest.raises(UsageError):
        faces.draw(0, [0], 4)
    assert faces.factors(0, range(3), {"hair": "bun", "smile": 0.5})[:, COLUMN["hair"]].tolist() == [3, 3, 3]


def test_the_oracle_reads_its_own_faces() -> None:
    values = faces.factors(11, range(500))
    right = faces.agree(values, faces.read(faces.paint(values)))
    assert dict(zip(faces.NAMES, right.mean(0) >= 0.985)) == dict.fromkeys(faces.NAMES, True)


def test_the_oracle_bears_blur_noise_and_other_sizes() -> None:
    from scipy.ndimage import gaussian_filter

    values = faces.factors(12, range(100))
    blurred = gaussian_filter(faces.paint(values).astype(float), (0, 0.5, 0.5, 0), mode="nearest")
    noisy = blurred + 255 * 0.03 * np.random.default_rng(0).standard_normal(blurred.shape)
    for pictures in (noisy.round().clip(0, 255).astype(np.uint8), faces.paint(values, 64), faces.paint(values, 80)):
        right = faces.agree(values, faces.read(pictures))
        assert right.mean(0).min() > 0.9


def test_the_oracle_says_when_it_cannot() -> None:
    generator = np.random.default_rng(0)
    pictures = faces.draw(13, range(64))
    noise = generator.integers(0, 256, pictures.shape).astype(np.uint8)
    shuffled = generator.permuted(pictures.reshape(64, -1, 3), axis=1).reshape(pictures.shape)
    for nonsense in (noise, shuffled, np.full_like(pictures, 200), pictures[:, ::-1]):
        assert np.isnan(faces.read(nonsense)).mean() > 0.95
    mouthless = pictures.copy()
    mouthless[:, 19:27, 8:24] = np.median(pictures[:, 18:20, 12:20].reshape(64, -1, 3), 1)[:, None, None]
    readings = faces.read(mouthless)
    assert np.isnan(readings[:, [COLUMN["smile"], COLUMN["mouth"]]]).all()
    assert np.isnan(readings[:, COLUMN["background"]]).mean() < 0.2
    assert faces.read(pictures[:0]).shape == (0, len(PARTS))
    with pytest.raises(UsageError):
        faces.read(pictures[:, :20])


def test_readings_follow_a_factor_and_no_other_moves() -> None:
    values = np.repeat(faces.factors(14, range(12)), 5, 0)
    values[:, COLUMN["smile"]] = np.tile(np.linspace(-1, 1, 5), 12)
    readings = faces.read(faces.paint(values))
    assert (np.diff(readings[:, COLUMN["smile"]].reshape(12, 5)) > 0.2).mean() > 0.95
    assert faces.agree(values, readings).mean() > 0.98


def test_captions_say_what_is_drawn() -> None:
    values = faces.factors(2, range(200))
    full, short = faces.captions(values, 0), faces.captions(values, 7)
    for row, caption in zip(values, full):
        for name in ("colour", "shirt", "background"):
            assert PARTS[COLUMN[name]].levels[int(row[COLUMN[name]])] in caption
        assert ("happy" in caption) == (row[COLUMN["smile"]] >= 0.5)
    assert full != short
    phrasings = {faces.caption(2, 17, k) for k in range(len(TEMPLATES))}
    assert len(phrasings) == len(TEMPLATES)
    assert faces.caption(2, 17) == full[17]
    with pytest.raises(UsageError):
        faces.caption(2, 17, len(TEMPLATES))
