"""`figment anomaly`: its score, its heat map, and the items it judges."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import PIL.Image
import pytest
import torch
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

import figment.cli.anomaly  # noqa: F401 - adds the command
from figment.cli.commands import app
from figment.core.data import Image, Spec, Vector
from figment.core.errors import DataError, UsageError
from figment.data import parse
from figment.data.items import items
from figment.evaluate.memorisation import auroc
from figment.explorer.anomaly import heat
from figment.explorer.scene import Scene
from figment.workbench import train


def test_auroc_counts_ties_half() -> None:
    normal, strange = torch.randint(0, 9, (200,)).double(), torch.randint(3, 12, (90,)).double()
    truth = np.repeat([0, 1], [200, 90])
    assert auroc(normal, strange) == pytest.approx(roc_auc_score(truth, torch.cat([normal, strange]).numpy()))


def test_heat_is_where_a_picture_differs() -> None:
    x = torch.zeros(2, 3, 56, 40)
    y = x.clone()
    y[1, :, 10, 30] = 1
    maps = heat(x, y)
    assert maps.shape == (2, 56, 40)
    assert float(maps[0].abs().max()) == 0
    assert divmod(int(maps[1].argmax()), 40) == (10, 30)
    assert float(maps[1].sum()) == pytest.approx(1, rel=1e-3)  # blurred, none of it lost
    assert float(maps[1].max()) < 0.1


def folder(path: Path) -> Path:
    """Three pictures of other sizes and modes, a broken one, and labels by folder."""
    generator = np.random.default_rng(0)
    for name, size in {"a/one.png": (20, 9, 3), "a/two.jpg": (11, 30), "b/three.png": (8, 8)}.items():
        (path / name).parent.mkdir(exist_ok=True, parents=True)
        PIL.Image.fromarray(generator.integers(0, 255, size, dtype=np.uint8)).save(path / name)
    (path / "b" / "broken.png").write_bytes(b"no picture")
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_items_of_any_size_come_with_their_names(packed: bool, tmp_path: Path) -> None:
    source = folder(tmp_path / "pictures")
    if packed:
        with ZipFile(tmp_path / "pictures.zip", "w") as archive:
            for file in sorted(source.rglob("*.*")):
                archive.write(file, file.relative_to(source))
        source = tmp_path / "pictures.zip"
    spec = Spec(name="run", x=Image(channels=1, height=8, width=6))
    total, _, found = items(parse(str(source)), spec)
    parts = list(found)
    labels = {name: label for part in parts for name, label in zip(part.names, part.labels)}
    assert labels == {"a/one.png": "a", "a/two.jpg": "a", "b/three.png": "b"}
    assert [name for part in parts for name in part.faults] == ["b/broken.png"]
    assert total == 4
    assert all(part.x.shape[1:] == (1, 8, 6) and part.x.abs().max() <= 1 for part in parts)
    assert items(parse(str(source), {"only": "b"}), spec)[:2] == (2, {"b"})


def test_a_folder_without_splits_is_split_as_training_on_it_does(tmp_path: Path) -> None:
    """Whatever size the data has: what a run held out is judged, and nothing that it has seen."""
    mine, generator = tmp_path / "mine", np.random.default_rng(0)
    for i in range(60):
        (mine / "ab"[i % 2]).mkdir(exist_ok=True, parents=True)
        pixels = generator.integers(0, 255, (12, 9), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(mine / "ab"[i % 2] / f"{i}.png")
    (mine / "a" / "broken.png").write_bytes(b"no picture")
    run = train("ppca", parse(str(mine), {"size": 6}), tmp_path / "run", steps=1)
    dataset = run.read_run().data.build()
    scene = Scene(run.path)
    for split in ("train", "test"):
        total, _, found = items(scene.alike(parse(str(mine))), dataset.spec, split)
        part = torch.cat([each.x for each in found])
        expected = dataset.splits[split].gather(np.arange(len(dataset.splits[split]))).x
        assert total == len(part) == len(expected)
        assert sorted(map(tuple, part.flatten(1).tolist())) == sorted(map(tuple, expected.flatten(1).tolist()))
    with pytest.raises(DataError, match="no items to be judged in a split 'valid'"):
        items(scene.alike(parse(str(mine))), dataset.spec, "valid")


def test_items_that_do_not_fit_are_a_usage_error(tmp_path: Path) -> None:
    rows = Spec(name="run", x=Vector(mean=(0.0, 0.0), scale=(1.0, 1.0)))
    with pytest.raises(UsageError, match="no picture file"):
        items(parse(str(folder(tmp_path))), rows)
    with pytest.raises(UsageError, match="shape"):
        items(parse("digits"), rows)
    with pytest.raises(DataError, match="no items to be judged in a split 'valid'"):
        items(parse("digits"), parse("digits").build().spec, "valid")


def test_the_command_finds_the_digit_left_out(tmp_path: Path) -> None:
    run = train("autoencoder", parse("digits", {"without": "0"}), tmp_path / "run", steps=150, model__size="tiny",
                model__latent=6, training__previews=0)  # fmt: skip
    out = tmp_path / "strange.png"
    result = CliRunner().invoke(
        app, ["anomaly", str(run.path), "digits", "--split", "test", "--out", str(out), "--json"]
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["normal"] == list("123456789")
    assert found["auroc"] > 0.9
    scores = found["scores"]
    assert scores == sorted(scores, key=lambda row: -row["score"])
    assert {row["split"] for row in scores} == {"test"} and len(scores) == found["items"]
    assert all(row["anomalous"] == (row["percentile"] > 95) for row in scores)
    assert [row["label"] for row in scores[:10]].count("0") >= 7
    assert set(found["by_score"]) == {"reconstruction", "distance", "rarity", "strangeness"} == set(scores[0]["by"])
    assert found["by_score"]["strangeness"]["auroc"] == found["auroc"]
    assert PIL.Image.open(out).size[0] > 500
    with pytest.raises(UsageError, match="--normal ten: the data has no such label"):
        CliRunner().invoke(app, ["anomaly", str(run.path), "digits", "--normal", "ten"], catch_exceptions=False)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "one.png").write_bytes(b"no picture")
    told = CliRunner().invoke(app, ["anomaly", str(run.path), str(tmp_path / "broken"), "--out", str(out)])
    assert isinstance(told.exception, DataError) and "one.png: not a picture" in str(told.exception)


@pytest.mark.parametrize("kind", ["vae", "with-prior"])
def test_every_family_with_an_encoder_judges_rows(kind: str, tmp_path: Path) -> None:
    run = train(kind, "toy:moons", tmp_path / "run", steps=30, model__size="tiny", training__previews=0)
    out = tmp_path / "x.png"
    result = CliRunner().invoke(app, ["anomaly", str(run.path), "toy:rings", "--split", "test", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "auroc_against_held_out" in result.stdout
    gan = train("gan", "toy:moons", tmp_path / "gan", steps=2, model__size="tiny", training__previews=0)
    result = CliRunner().invoke(app, ["anomaly", str(gan.path), "toy:rings"])
    assert isinstance(result.exception, UsageError) and "autoencoder" in str(result.exception)
