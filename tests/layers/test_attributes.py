"""`attributes.csv`: what a table says of pictures arrives with them, and a bad table is refused with its line."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import figment.cli.faces  # noqa: F401 - adds its command
import short
from figment import data, workbench
from figment.cli.commands import app
from figment.core.data import ArraySplit, Factor, Factors
from figment.core.errors import DataError, UsageError
from figment.data import faces
from figment.data.attributes import as_labels, attributes
from figment.data.faces.folder import write

NAMES = ["a/1.png", "a/2.png", "b/1.png", "b/3.png"]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIGMENT_CACHE", str(tmp_path / "cache"))


def read(text: str, name: str = "attributes.csv") -> tuple[list[str], list[list[float]], list[str]]:
    factors, values, notes = attributes({name: text.encode()}, NAMES)
    return [f"{f.name}:{','.join(f.levels)}" for f in factors], values.tolist(), notes


def test_numbers_words_and_gaps() -> None:
    factors, values, notes = read(
        '\ufefffile,age,hair\r\na/1.png,-1.5,long\r\n"b/1.png",,short\r\n\r\n3.png,7,nan\r\nz.png,1,x\r\n'
    )
    assert factors == ["age:", "hair:long,short"]
    nan = float("nan")
    np.testing.assert_equal(values, [[-1.5, 0], [nan, nan], [nan, 1], [7, nan]])
    assert len(notes) == 2


def test_names_are_relative_to_the_table_and_bare_names_must_be_unique() -> None:
    assert np.isnan(read("name,x\n1.png,1\nb/1.png,2\n")[1]).ravel().tolist() == [True, True, False, True]
    assert read("name,x\n1.png,5\n", "b/attributes.csv")[1][2] == [5]
    assert read("name,x\n.\\a\\2.png,5\n")[1][1] == [5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("smile,file\n1,a/1.png\n", "line 1: the first column is 'smile'"),
        ("file,x,x\na/1.png,1,2\n", "line 1: each column"),
        ("file\na/1.png\n", "line 1: each column"),
        ("file,x\na/1.png,1\na/2.png\n", "line 3: 1 cells"),
        ("file,x\na/1.png,1\n\na/1.png,2\n", "line 4: 'a/1.png' has a row already"),
        ('file,x\na/1.png,"1\n', "line 2"),
        ("file,x\nq.png,1\n", "no row names any"),
    ],
)
def test_a_bad_table_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(text)


def test_a_table_of_other_bytes_is_refused() -> None:
    with pytest.raises(DataError, match=r"line 2: this is no UTF-8"):
        attributes({"attributes.csv": b"file,x\na/1.png,\xff\n"}, NAMES)
    with pytest.raises(DataError, match="other columns"):
        attributes({"a/attributes.csv": b"file,x\n1.png,1\n", "b/attributes.csv": b"file,y\n1.png,1\n"}, NAMES)


def test_a_slip_among_numbers_is_an_error_and_free_text_is_left_out() -> None:
    names = [f"{i}.png" for i in range(600)]
    rows = [f"{name},{i / 7}" for i, name in enumerate(names)]
    rows[41] = "41.png,5..3"
    with pytest.raises(DataError, match=r"line 43: '5\.\.3' in the column 'x' is no number"):
        attributes({"attributes.csv": "\n".join(["file,x", *rows]).encode()}, names)
    rows = [f"{name},word{i},{i}" for i, name in enumerate(names)]
    factors, values, notes = attributes({"attributes.csv": "\n".join(["file,text,x", *rows]).encode()}, names)
    assert [factor.name for factor in factors] == ["x"]
    assert values[:, 0].tolist() == list(range(600))
    assert "'text'" in notes[0]


@pytest.mark.parametrize("packed", [False, True])
def test_drawn_faces_come_back_from_their_folder(packed: bool, tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", 60, {"seed": 4, "label": "glasses"}, start=100)
    if packed:
        with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
            for file in sorted(folder.rglob("*.*")):
                archive.write(file, file.relative_to(tmp_path))
        folder = tmp_path / "mine.zip"
    dataset = data.parse(str(folder)).build()
    part = dataset.spec.c["attributes"]
    assert isinstance(part, Factors)
    assert part.names == faces.NAMES
    assert dataset.spec.label is not None and set(dataset.spec.label.names) == {"none", "round", "square"}
    drawn = {faces.draw(4, [i])[0].tobytes(): row for i, row in zip(range(100, 160), faces.factors(4, range(100, 160)))}
    for split in dataset.splits.values():
        assert isinstance(split, ArraySplit)
        for pixels, values in zip(split.x.transpose(0, 2, 3, 1), split.c["attributes"]):
            for drawn_as, read_as, value, found in zip(faces.FACTORS, part.factors, drawn[pixels.tobytes()], values):
                assert (
                    (drawn_as.levels[int(value)] == read_as.levels[int(found)]) if drawn_as.levels else value == found
                )
        batch = split.gather(np.array([1, 0]))
        assert np.array_equal(batch.c["attributes"].numpy(), split.c["attributes"][[1, 0]])


def test_a_column_may_be_the_label_that_is_learned_and_asked_for(tmp_path: Path) -> None:
    """Of words or of few numbers, instead of folders; any family that knows labels then draws what is asked for."""
    folder = write(tmp_path / "mine", 60, {"size": 12, "label": "shirt"})
    run = workbench.execute(
        short.plan("gaussian-mixture", data.parse(str(folder), {"label": "glasses"})), tmp_path / "run"
    )
    label = run.read_run().data.build().spec.label
    assert label is not None and label.names == ("none", "round", "square")
    answer = CliRunner().invoke(app, ["sample", str(run.path), "-n", "5", "--label", "round", "--out", "drawn.npz"])
    assert answer.exit_code == 0, answer.output
    assert np.load("drawn.npz")["labels"].tolist() == [1] * 5
    table = folder / "attributes.csv"
    rows = [line.split(",")[0] for line in table.read_text().splitlines()[1:]]
    table.write_text("\n".join(["file,smiling,age", *(f"{name},{i % 2 * 2 - 1},{i}.5" for i, name in enumerate(rows))]))
    spec = data.parse(str(folder), {"label": "smiling"}).build().spec
    assert spec.label is not None and spec.label.names == ("-1", "1")
    with pytest.raises(UsageError, match="Did you mean 'smiling'"):
        data.parse(str(folder), {"label": "smile"}).build()
    factor = Factor(name="age")
    with pytest.raises(UsageError, match="300 different numbers are no labels"):
        as_labels([factor], np.arange(300.0)[:, None], "age")
    assert as_labels([factor], np.array([[2.0], [np.nan], [1.0]]), "age")[0].tolist() == [1, -1, 0]


def test_attributes_are_part_of_the_content_and_may_stream(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", 40, {"label": "none"})
    before = data.parse(str(folder)).build()
    streamed = data.parse(str(folder), {"stream": True}).build()
    one, two = (found.train.gather(np.arange(5)).c["attributes"].numpy() for found in (before, streamed))
    assert np.array_equal(one, two)
    table = folder / "attributes.csv"
    table.write_text(table.read_text().replace(",round,", ",square,"))
    assert data.parse(str(folder)).build().content != before.content


def test_forms_of_a_drawn_folder(tmp_path: Path) -> None:
    pairs, masks = (write(tmp_path / form, 12, {"size": 40}, form=form) for form in ("pairs", "masks"))
    names = [f"{i:06d}.png" for i in range(12)]
    for place in (pairs / "A", pairs / "B", masks / "images", masks / "masks"):
        assert sorted(file.name for file in place.iterdir()) == names
    values = faces.factors(0, range(12))
    assert np.array_equal(np.asarray(Image.open(pairs / "A" / names[3])), 255 - faces.edges(values[3:4], 40)[0])
    assert np.array_equal(np.asarray(Image.open(masks / "masks" / names[7])), faces.segmentation(values[7:8], 40)[0])
    assert (masks / "classes.txt").read_text().split() == list(faces.SEGMENTS)
    for wrong in ({"form": "triples"}, {"settings": {"hair": "none"}}, {"settings": {"count": 3}}):
        with pytest.raises(UsageError):
            write(tmp_path / "other", 4, **wrong)
    assert not (tmp_path / "other").exists()


def test_the_command(tmp_path: Path) -> None:
    call = CliRunner().invoke
    answer = call(app, ["data", "draw", "faces", "--out", "some", "-n", "20", "size=16", "hair=bun", "smile=1"])
    assert answer.exit_code == 0
    assert answer.stdout.strip() == "some"
    assert len(list(Path("some/bun").glob("*.png"))) == 20
    assert isinstance(call(app, ["data", "draw", "faces", "--out", "some"]).exception, UsageError)
    assert isinstance(call(app, ["data", "draw", "digits"]).exception, UsageError)
