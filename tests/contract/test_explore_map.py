"""`figment explore RUN map` and `attribute` on every family that decodes, and on data with factors, folders, points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from typer.testing import CliRunner

import short
from figment import workbench
from figment.cli.explore import app
from figment.core.errors import UsageError
from figment.core.run import to_json
from figment.data.faces.dataset import FacesConfig
from figment.data.faces.folder import write
from figment.explorer import attribute
from figment.explorer import map as action
from figment.explorer.files import divide
from figment.explorer.scene import Scene, explore
from figment.pixels import inversion

KINDS = ("autoencoder", "vae", "with-prior", "gaussian-mixture", "gan", "diffusion")
FEW = {"diffusion": {"steps": 2}}


@pytest.fixture(scope="module", autouse=True)
def _hasty() -> Any:
    """Few items where encoding is a search or a path: what it finds is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"POOL": 4, "SCOUTING": 1, "STEPS": 1}.items():
            patch.setattr(inversion, name, value)
        for module, table in ((action, "ITEMS"), (action, "DRAWS"), (attribute, "EXAMPLES")):
            patch.setattr(module, table, {"encoder": 200, "equation": 60, "search": 60})
        patch.setattr(attribute, "MEASURED", {"encoder": 10, "equation": 0, "search": 0})
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("map")


def trained(root: Path, kind: str, data: Any, **settings: Any) -> Path:
    """A run of a few steps, made once."""
    path = root / "-".join([kind, getattr(data, "kind", str(data)), *map(str, settings.values())]).replace(":", "-")
    return path if path.exists() else workbench.execute(short.plan(kind, data, **settings), path).path


@pytest.fixture(scope="module")
def faces(root: Path) -> Path:
    data = FacesConfig(size=16, count=200)
    return trained(root, "vae", data, **{"model.latent": 4, "model.conditional": False})


def checked(found: Any) -> Any:
    assert min(found.picture.size) > 100
    assert len({colour for _, colour in found.picture.getcolors(1 << 24) or []}) > 10
    return json.loads(to_json(found.figures))


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_has_a_map_and_directions(kind: str, root: Path) -> None:
    scene = Scene(trained(root, kind, "digits"), sampling=FEW.get(kind))
    figures = checked(explore(scene, "map", (), {}))
    assert 0 <= figures["gaps"] <= 1 and figures["region"] == ("box" if kind == "autoencoder" else "prior")
    assert sum(figures["areas"].values()) == pytest.approx(1) and len(figures["areas"]) == 10
    assert bool(figures["remarks"]) == (scene.model.spec.label is not None)
    edited = checked(explore(scene, "attribute", ["3"], {"count": 2, "steps": 3}))
    assert 0 <= edited["auroc"] <= 1 and edited["weights"] == [-2, 0, 2]


@pytest.mark.parametrize("kind", ["autoencoder", "vae"])
def test_a_plane_shows_what_it_decodes_to(kind: str, root: Path) -> None:
    scene = Scene(trained(root, kind, "digits", **{"model.latent": 2}))
    figures = checked(explore(scene, "map", (), {"cells": 4, "items": 50}))
    assert figures["dimensions"] == 2 and figures["items"] == 50 and figures["jump"]["over_mean"] >= 1


def test_rows_of_numbers_have_a_map_too(root: Path) -> None:
    scene = Scene(trained(root, "vae", "toy:moons", **{"model.latent": 2}))
    assert checked(explore(scene, "map", (), {"cells": 5}))["dimensions"] == 2
    with pytest.raises(UsageError, match="shows pictures"):
        explore(scene, "attribute", ["0"], {})


def test_factors_colour_the_map_and_give_directions(faces: Path) -> None:
    scene = Scene(faces)
    for name in ("smile", "glasses"):
        figures = checked(explore(scene, "map", (), {"color": name}))
        assert figures["coloured_by"] == name and ("areas" in figures) == (name == "glasses")
    smile = checked(explore(scene, "attribute", ["smile"], {"image": "held:3", "steps": 3}))
    assert smile["others_held_fixed"] and smile["unit"] == pytest.approx(0.5, abs=0.05)
    round_ = checked(explore(scene, "attribute", ["glasses=round"], {"steps": 3}))
    assert round_["unit"] == 0.5 and len(round_["oracle"]["mean"]) == 3 and len(round_["oracle"]["kept"]) == 10


def test_what_is_not_there_is_named(faces: Path, root: Path, tmp_path: Path) -> None:
    scene = Scene(faces)
    for words, settings, message in (
        ([], {}, "name one. faces knows smile"),
        (["smiles"], {}, "Did you mean 'smile'"),
        (["glasses"], {}, "glasses=round"),
        (["smile"], {"positive": "a"}, "both --positive"),
        ([], {"positive": str(tmp_path), "negative": str(tmp_path)}, "0 pictures are too few"),
    ):
        with pytest.raises(UsageError, match=message):
            explore(scene, "attribute", words, settings)
    with pytest.raises(UsageError, match="Did you mean 'smile'"):
        explore(scene, "map", (), {"color": "smil"})
    with pytest.raises(UsageError, match=r"^'clusters': .*integer.*, or 'mean-shift' \(given: 'many'\)$"):
        explore(scene, "map", (), {"clusters": "many"})
    with pytest.raises(UsageError, match="no use for 'smile'"):
        explore(scene, "map", ["smile"], {})
    with pytest.raises(UsageError, match="one latent"):
        explore(Scene(trained(root, "vae", "digits", **{"model.latent": 1})), "map", (), {})


def test_a_factor_of_one_level_is_nothing_to_hold_fixed_or_to_turn(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", 40, {"size": 12, "background": "mint"})
    scene = Scene(workbench.execute(short.plan("vae", str(folder)), tmp_path / "run").path)
    assert explore(scene, "attribute", ["smile"], {"steps": 3, "count": 2}).figures["others_held_fixed"]
    for name in ("background=mint", "background"):
        with pytest.raises(UsageError, match=r"on one side of it|none of that name"):
            explore(scene, "attribute", [name], {})


def test_few_examples_are_of_both_sides() -> None:
    target = torch.tensor([float("nan")] * 3 + [1.0] * 6 + [0.0] * 91)
    kept = attribute._kept(target, 10)
    assert kept.tolist() == sorted(kept.tolist())
    assert sorted(target[kept].tolist()) == [0.0] * 5 + [1.0] * 5
    assert attribute._kept(target, 1000).tolist() == list(range(3, 100))


def test_a_level_is_a_name_and_no_setting() -> None:
    assert divide("attribute", ["hair=long", "count=3", "steps=5"], {}) == ({"count": 3, "steps": 5}, {}, ["hair=long"])
    assert divide("attribute", ["steps=5"], {"positive": "a"}) == ({"steps": 5, "positive": "a"}, {}, [])


def test_folders_of_examples_give_a_direction(root: Path, tmp_path: Path) -> None:
    """Bright against dark pictures: the codes of a model that has hardly learned still tell them apart."""
    generator = np.random.default_rng(0)
    for name, light in (("bright", 200), ("dark", 40)):
        (tmp_path / name).mkdir()
        for i in range(12):
            pixels = (light + generator.normal(size=(8, 8)) * 10).clip(0, 255).astype(np.uint8)
            PIL.Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    run, out = trained(root, "autoencoder", "digits"), tmp_path / "edited.png"
    sides = ["--positive", tmp_path / "bright", "--negative", tmp_path / "dark"]
    words = ["explore", run, "attribute", *sides, "--out", out]
    result = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["auroc"] == 1 and figures["attribute"] == "bright against dark" and out.exists()


def test_white_codes_keep_their_distance(root: Path) -> None:
    """Edited noise of a GAN has the norm of noise; edited means of a VAE go where the direction leads."""
    seen: list[torch.Tensor] = []
    for kind in ("gan", "vae"):
        scene = Scene(trained(root, kind, "digits"))
        code = scene.codec.prior([0, 1])
        step = attribute.direction(torch.randn(50, code.z.shape[1]), torch.arange(50) % 2 * 1.0)
        decode = scene.codec.decode
        scene.codec.decode = lambda codes, decode=decode: seen.append(codes.z) or decode(codes)  # type: ignore[method-assign]
        assert attribute.swept(scene, code, step, torch.tensor([-2.0, 0.0, 2.0])).shape[:2] == (2, 3)
        ratio = seen[-1].norm(dim=1).view(2, 3) / code.z.norm(dim=1, keepdim=True)
        assert torch.allclose(ratio[:, 1], torch.ones(2))
        assert torch.allclose(ratio, torch.ones(2, 3), atol=1e-4) == (kind == "gan")


def test_groups_found_without_labels_colour_the_map(root: Path) -> None:
    scene = Scene(trained(root, "gaussian-mixture", "digits"))
    found = explore(scene, "map", (), {"clusters": 10, "items": 400}).figures["clusters"]
    assert found["count"] == 10
    assert found["purity"] > 0.6
    assert found["mutual_information"] > 0.5
    untold = explore(scene, "map", (), {"clusters": "mean-shift", "items": 200}).figures
    assert untold["clusters"]["count"] >= 1
    assert untold["coloured_by"] == "clusters"
    assert explore(scene, "map", (), {"clusters": 3, "color": "label"}).figures["coloured_by"] == "label"
