"""Pictures of two kinds without pairs: what stands beside what, the pool, and the measures by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

import short
from figment.core.errors import UsageError
from figment.core.model import Turn
from figment.core.processes import Processes
from figment.core.session import Session
from figment.data import faces, parse
from figment.data.check import check, render
from figment.data.faces.factors import COLUMN
from figment.data.unpaired import UnpairedSplit, sides
from figment.evaluate import unpaired
from figment.models.translation.pool import Pool
from figment.workbench import build


def folder(root: Path, size: tuple[int, int], shades: range, label: str = "") -> Path:
    """Pictures of one grey each."""
    (root / label).mkdir(parents=True)
    for shade in shades:
        PIL.Image.new("L", size, shade).save(root / label / f"{shade}.png")
    return root


def test_each_picture_of_b_meets_new_ones_of_a(tmp_path: Path) -> None:
    """Rows of A are drawn anew for each seed, all of them in the end; gathered, they stay."""
    a, b = folder(tmp_path / "dark, old", (8, 8), range(12)), folder(tmp_path / "light", (8, 8), range(200, 240))
    train = parse(f"unpaired:{a},{b}").build().train
    assert isinstance(train, UnpairedSplit)
    rows = np.arange(len(train))
    first, second, again = (train.gather(rows, seed) for seed in (1, 2, 1))
    assert torch.equal(first.x, second.x)
    assert torch.equal(first.c["other"], again.c["other"])
    assert not torch.equal(first.c["other"], second.c["other"])
    assert torch.equal(train.gather(rows).c["other"], train.gather(rows).c["other"])
    seen = torch.cat([train.gather(rows, seed).c["other"] for seed in range(9)])
    assert len(seen.unique()) == len(train.a)
    assert seen.max() < -0.8 < 0.5 < first.x.min()


def test_a_batch_is_a_function_of_seed_and_step(tmp_path: Path) -> None:
    run = short.plan("cyclegan", "faces:glasses", **{"data.count": 64})
    dataset = run.data.build()
    one, other = (Session(run, dataset, build(run, dataset), Processes("cpu")).batch(3) for _ in range(2))
    assert torch.equal(one.x, other.x)
    assert torch.equal(one.c["other"], other.c["other"])


def test_both_come_to_one_size_and_are_told_apart(tmp_path: Path) -> None:
    a = folder(folder(tmp_path / "a", (20, 12), range(30), "x"), (20, 12), range(30), "y")
    b = folder(folder(tmp_path / "b", (16, 16), range(30), "x"), (16, 16), range(30), "y")
    dataset = parse(f"unpaired:{a},{b}").build()
    assert dataset.spec.x.shape == dataset.spec.c["other"].shape == (1, 12, 12)  # type: ignore[union-attr]
    assert set(dataset.spec.c) == {"label", "other", "other_label"}
    assert [side.spec.name for side in sides(dataset)] == ["a", "b"]
    report = check(parse(f"unpaired:{a},{b}"))
    assert (report["other"]["sizes"], report["sizes"], report["usable"]) == ({"20x12": 60}, {"16x16": 60}, True)
    assert [line for line in render(report).splitlines() if len(line) == 1] == ["A", "B"]
    for text, said in ((f"unpaired:{a}", "names one place"), (f"unpaired:{a},{tmp_path}/c", "There is no"),
                       (f"unpaired:digits,{b}", "There is no 'digits'")):  # fmt: skip
        with pytest.raises(UsageError, match=said):
            parse(text).build()


def test_drawn_faces_with_glasses_and_others_without() -> None:
    dataset = parse("faces:glasses", {"count": 64}).build()
    assert check(parse("faces:glasses", {"count": 64}))["captions"]["pictures"] == sum(
        map(len, dataset.splits.values())
    )
    batch = dataset.train.gather(np.arange(len(dataset.train)))
    worn, bare = (batch.c[key][:, COLUMN["glasses"]] for key in ("attributes", "other_attributes"))
    assert (worn > 0).all()
    assert (bare == 0).all()
    drawn = faces.paint(batch.c["other_attributes"].numpy())
    np.testing.assert_array_equal(dataset.spec.x.to_user(batch.c["other"]), drawn)


def test_a_pool_keeps_the_last_and_gives_half() -> None:
    pool, made = Pool(4, (1, 1, 1)), torch.arange(6.0).view(6, 1, 1, 1)
    assert torch.equal(pool.mixed(made), made)
    pool.add(made[:3])
    assert set(pool.mixed(torch.full((400, 1, 1, 1), 9.0)).unique().tolist()) == {0, 1, 2, 9}
    pool.add(made[3:])
    assert sorted(pool.pictures.flatten().tolist()) == [2, 3, 4, 5]
    torch.manual_seed(0)
    assert 0.4 < (pool.mixed(torch.full((1000, 1, 1, 1), 9.0)) == 9).float().mean() < 0.6
    pool.add(torch.arange(10.0, 20).view(10, 1, 1, 1))
    assert sorted(pool.pictures.flatten().tolist()) == [16, 17, 18, 19]
    none = Pool(0, (1, 1, 1))
    none.add(made)
    assert torch.equal(none.mixed(made), made)


def test_the_pool_holds_what_all_processes_made() -> None:
    run = short.plan("cyclegan", "faces:glasses", **{"data.count": 64, "data.size": 8})
    dataset = run.data.build()
    model: Any = build(run, dataset)
    batch = dataset.train.gather(np.arange(4)).suited(model.spec)
    model.discriminator_loss(batch, Turn(0, 0.0, gather=lambda x: torch.cat([x, x + 1])))
    assert int(model.pool_a.count) == 8
    torch.testing.assert_close(model.pool_b.pictures[4:8], model.pool_b.pictures[:4] + 1)
    with torch.no_grad():
        model.discriminator_loss(batch, Turn(0, 0.0))
    assert int(model.pool_a.count) == 8


def test_what_an_oracle_reads_in_perfect_translations() -> None:
    """Faces drawn again with the glasses changed: all switched, all else kept; left as they are, none is."""
    dataset = parse("faces:glasses", {"count": 400}).build()
    given, wanted = (side.held_out.gather(np.arange(10)) for side in sides(dataset))
    values = given.c["attributes"].numpy().copy()
    values[:, COLUMN["glasses"]] = 1
    drawn = torch.from_numpy(faces.paint(values).transpose(0, 3, 1, 2).copy() / 127.5 - 1)
    figures = unpaired._factors(drawn, given, wanted, dataset)
    assert figures["switched"] == {"glasses": 1.0}
    assert figures["least_kept"] > 0.9
    assert unpaired._factors(given.x, given, wanted, dataset)["switched"] == {"glasses": 0.0}
    assert unpaired._factors(torch.rand(10, 3, 32, 32) * 2 - 1, given, wanted, dataset)["least_kept"] < 0.2
