"""`figment explore`: every action on every family that decodes, from the words of a command to files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from typer.testing import CliRunner

import short
import synthetic
from figment import use, workbench
from figment.cli.explore import app
from figment.cli.progress import flat
from figment.core.data import Spec, Vector
from figment.core.errors import DataError, UsageError
from figment.data import parse
from figment.data.faces.dataset import FacesConfig
from figment.data.faces.folder import write
from figment.explorer import ACTIONS, action, inputs, probe
from figment.explorer.points import plane
from figment.explorer.scene import Scene, explore
from figment.latent import codes
from figment.latent.operations import operations
from figment.pictures import read_recipe
from figment.pixels import inverse, inversion

KINDS = ("autoencoder", "vae", "with-prior", "gaussian-mixture", "gan", "stylegan", "diffusion")
FEW = {"diffusion": {"steps": 3}}
WORDS = {"arithmetic": ("held:1", "+", "0.5*label:3", "-", "held:2")}
MINE = ("reconstruct", "interpolate", "traverse", "arithmetic", "neighbours")


@pytest.fixture(scope="module", autouse=True)
def _hasty() -> Any:
    """Searches of few steps: what they find is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"POOL": 6, "SCOUTING": 2, "STEPS": 2}.items():
            patch.setattr(inversion, name, value)
        patch.setattr(inverse, "LESSONS", 2)
        for name in ("MEAN_OF", "MEAN_OF_FEW"):
            patch.setattr(inputs, name, 3)
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One run of a few steps a family, on the digits."""
    root = tmp_path_factory.mktemp("explore")
    return {kind: workbench.execute(short.plan(kind, "digits"), root / kind).path for kind in KINDS}


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("explore")
    return workbench.execute(short.rows(root)[0], root / "points").path


def called(*words: object) -> Any:
    """`figment explore WORDS` in this process: its answer, or the error it ends with."""
    result = CliRunner().invoke(app, ["explore", *map(str, words)])
    if isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.parametrize("name", MINE)
@pytest.mark.parametrize("kind", KINDS)
def test_every_action_on_every_family(kind: str, name: str, runs: dict[str, Path]) -> None:
    scene = Scene(runs[kind], sampling=FEW.get(kind))
    settings = {"steps": 3} if name in ("interpolate", "traverse") else {}
    found = explore(scene, name, WORDS.get(name, ()), settings)
    assert min(found.picture.size) > 50
    assert len({colour for _, colour in found.picture.getcolors(1 << 24) or []}) > 2
    json.dumps(found.figures, allow_nan=False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_morph_begins_and_ends_with_the_reconstructions(kind: str, runs: dict[str, Path]) -> None:
    scene = Scene(runs[kind], sampling=FEW.get(kind))
    words = ["held:0", "held:5"]
    for spherical in (False, True):
        ends = explore(scene, "interpolate", words, {"steps": 3, "spherical": spherical}).figures["pairs"]
        whole = explore(scene, "reconstruct", words).figures["each"]
        assert ends["held:0 > held:5"]["end_psnr"] == pytest.approx(list(whole.values()), abs=0.02)


def test_long_paths_tell_how_far_they_are_and_end_alike(runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []

    @contextmanager
    def watch(label: str, total: int) -> Iterator[Any]:
        yield told.append

    scene = Scene(runs["diffusion"], sampling=FEW["diffusion"], watch=watch)
    batch = scene.held_out(6)
    whole = scene.codec.encode(batch.x, batch.c).z
    monkeypatch.setattr(codes, "A_WHILE", 2.5 * scene.codec._operations)
    parts = scene.codec.encode(batch.x, batch.c).z
    assert told == [6, 2, 2, 2]
    torch.testing.assert_close(parts, whole, atol=1e-4, rtol=1e-4)


def test_training_on_takes_so_many_steps_as_there_are_operations_for(
    runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"seeds": 2, "labels": 20, "rows": 100, "held_out": 50}
    scene = Scene(runs["autoencoder"])
    once = operations(lambda: scene.model.encode(scene.held_out(1).x, {}))
    monkeypatch.setattr(probe, "trained_accuracy", lambda *_, steps, **__: steps / 1000)
    for steps, expected in ((3, 20), (40, 40), (1e6, 150)):
        monkeypatch.setattr(probe, "OPERATIONS", (steps + 0.5) * 2 * 2 * 20 * 3 * once)
        found = explore(scene, "probe", (), settings).figures["trained_on"]
        assert found["steps"] == expected
        assert found["pretrained"]["accuracy"] == expected / 1000
    assert explore(scene, "probe", (), {**settings, "steps": 7}).figures["trained_on"]["steps"] == 7


def test_styles_are_mixed_where_there_are_some(runs: dict[str, Path]) -> None:
    scene = Scene(runs["stylegan"])
    figures = explore(scene, "mix", (), {"n": 20, "count": 3}).figures
    assert 0 <= figures["kept_by_fine"] <= 1
    assert figures["path_length"]["w"] > 0
    assert explore(scene, "mix", ["held:1", "sample:0"], {"n": 20, "layer": 2}).figures["layer"] == 2
    with pytest.raises(UsageError, match="it has 3 layers"):
        explore(scene, "mix", (), {"layer": 3})
    with pytest.raises(UsageError, match="figment train stylegan"):
        explore(Scene(runs["gan"]), "mix")


@pytest.mark.parametrize("kind", ["diffusion", "latent-diffusion"])
def test_prompts_are_mixed_as_codes_are(kind: str, tmp_path: Path) -> None:
    """Between two prompts only what the model is told changes; the same prompt twice changes nothing."""
    told = {} if kind == "latent-diffusion" else {"model.condition": "text"}
    data = parse("faces", {"count": 64, "size": 16})
    scene = Scene(workbench.execute(short.plan(kind, data, **told), tmp_path / "run").path, sampling={"steps": 2})
    two = ["prompt:a face with glasses", "prompt:a face in a red shirt"]
    codes = [item.code for item in (inputs.read(scene, word) for word in two)]
    torch.testing.assert_close(codes[0].z, codes[1].z)
    assert not torch.allclose(codes[0].c["text"], codes[1].c["text"])
    found = explore(scene, "interpolate", two, {"steps": 3})
    assert "a face with glasses > a face in a red shirt" in found.figures["pairs"]
    mixed = explore(scene, "interpolate", [two[0], "held:0"], {"steps": 3})
    assert min(mixed.picture.size) > 50
    apart = Scene(scene.run, sampling={"steps": 2, "apart": True})
    with pytest.raises(UsageError, match=r"no word is read beside another.*of=change"):
        explore(apart, "attention", (), {"prompt": "red glasses"})
    told = explore(apart, "attention", (), {"prompt": "red glasses", "of": "change", "count": 1}).figures["words"]
    assert [part["word"] for part in told] == ["red", "glasses"]


def test_what_is_added_and_taken_away_gives_the_first_picture(runs: dict[str, Path]) -> None:
    for kind in ("vae", "gan"):
        scene = Scene(runs[kind])
        words = ["sample:4", "+", "held:1", "-", "held:1"]
        figures = explore(scene, "arithmetic", words).figures
        assert explore(scene, "arithmetic", [" ".join(words)]).figures == figures  # a sum in quotes
        assert figures["psnr_to_terms"]["sample:4"] > 50, kind


@pytest.mark.parametrize("kind", ["vae", "gan", "stylegan"])
def test_the_same_is_added_to_samples_of_the_first_label(runs: dict[str, Path], kind: str) -> None:
    """A label taken away and given back is nothing, and of styles the sum is where it should be."""
    scene = Scene(runs[kind])
    found = explore(scene, "arithmetic", ["sample:0", "+", "label:3", "-", "label:3"], {"n": 5}).figures
    assert sum(found["read_as"].values()) == pytest.approx(1)
    assert found["summed"] == ("styles" if kind == "stylegan" else "codes")
    assert found["psnr_to_terms"]["sample:0"] > 50


def test_words_name_pictures(runs: dict[str, Path], tmp_path: Path) -> None:
    scene = Scene(runs["vae"])
    held, digits = scene.dataset.held_out, scene.dataset.train
    x = held.gather(np.array([2])).x
    file = tmp_path / "held=2.png"  # with a sign that settings have
    PIL.Image.fromarray(scene.dataset.spec.x.to_user(x)[0, :, :, 0]).save(file)
    chosen = inputs.choose(scene, ["held:2", "2", str(file), "train:7", "sample:3", "label:4"])
    assert torch.equal(chosen.x[0], chosen.x[1])
    torch.testing.assert_close(chosen.x[2], chosen.x[0])
    assert torch.equal(chosen.x[3], digits.gather(np.array([7])).x[0])
    drawn, _ = use.draw(scene.model, 1, start=3, precision="fp32")
    torch.testing.assert_close(chosen.x[4:5], drawn)
    assert chosen.code.c["label"][5].argmax() == 4
    assert chosen.code.c["label"][2, -1] == 1  # no one said what the file shows
    assert chosen.names == ("held:2", "held:2 (2)", "held=2.png", "train:7", "sample:3", "label:4")


def test_default_pictures_are_of_all_labels(runs: dict[str, Path]) -> None:
    scene = Scene(runs["autoencoder"])
    rows = [int(word.removeprefix("held:")) for word in inputs.varied(scene, 20)]
    labels = scene.dataset.held_out.gather(np.array(rows)).c["label"]
    assert labels.tolist() == [*range(10), *range(10)]


def test_labels_of_other_data_are_not_taken_for_those_of_the_model(runs: dict[str, Path]) -> None:
    scene = Scene(runs["diffusion"])
    assert len(scene.held_out(3).c["label"]) == 3
    label = scene.dataset.spec.c["label"].model_copy(update={"names": tuple("abcdefghij")})
    scene.dataset = replace(scene.dataset, spec=scene.dataset.spec.model_copy(update={"c": {"label": label}}))
    assert scene.held_out(3).c == {}
    assert "psnr" in explore(scene, "reconstruct", ["held:0"]).figures


def test_files_and_figures_of_a_command(runs: dict[str, Path]) -> None:
    out = Path("strip.webp")
    words = ("held:0", "held:5", "--steps", 4, "--spherical", "--out", out, "--json")
    figures = json.loads(called(runs["gan"], "interpolate", *words).stdout)
    assert figures["pictures"] == ["strip.png", "strip.webp"]
    assert figures["spherical"] is True
    recipe = read_recipe("strip.png")
    assert recipe["words"] == ["held:0", "held:5"]
    assert recipe["settings"] == {"steps": 4, "spherical": True}
    with PIL.Image.open(out) as film:
        assert film.n_frames == 2 * 4 - 2  # there and back
        assert json.loads(film.getexif()[0x010E]) == recipe
    guided = ("sampling.steps=2", "sampler=ddim", "guidance=2", "negative=1")
    text = called(runs["diffusion"], "reconstruct", "held:0", *guided)
    assert "psnr" in text.stdout
    summed = called(runs["vae"], "arithmetic", "held:0", "+", "0.5*held:1", "-", "held:2", "--json")
    assert json.loads(summed.stdout)["weights"] == {"held:0": 1, "held:1": 0.5, "held:2": -1}
    assert Path(f"{runs['diffusion'].name}-reconstruct.png").exists()


def test_rows_are_drawn_in_the_plane(points: Path) -> None:
    for name in ("reconstruct", "interpolate"):
        assert min(explore(Scene(points), name).picture.size) > 300
    for name in ("traverse", "neighbours"):
        with pytest.raises(UsageError, match="rows of numbers"):
            explore(Scene(points), name)


def test_longer_rows_are_drawn_as_lines() -> None:
    spec = Spec(name="rows", x=Vector(mean=(0.0,) * 3, scale=(1.0,) * 3))
    scene: Any = SimpleNamespace(model=SimpleNamespace(spec=spec))
    assert min(plane(scene, [torch.randn(4, 3), torch.randn(2, 3)], torch.randn(2, 3)).size) > 200


def test_data_that_has_moved_is_named_anew_and_comes_to_the_size_of_the_model(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    write(here, 40, {"size": 16})
    run = workbench.execute(short.plan("autoencoder", parse(str(here), {"size": 8})), tmp_path / "run").path
    here.rename(there)
    with pytest.raises(DataError, match="--data"):
        explore(Scene(run), "reconstruct")
    assert Scene(run, data=str(there)).dataset.spec.x.shape == (3, 8, 8)
    assert Scene(run, data="faces").alike(FacesConfig(count=20)).build().spec.x.shape == (3, 8, 8)


def test_colour_pictures_that_are_not_square(tmp_path: Path) -> None:
    data = synthetic.write("odd", tmp_path)
    run = workbench.execute(short.plan("autoencoder", data), tmp_path / "run").path
    for name in MINE:
        assert explore(Scene(run), name, ("held:0",) if name == "arithmetic" else (), {}).picture.mode == "RGB"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("reconstrct",), "Did you mean 'reconstruct'"),
        (("reconstruct", "held:100000"), "there are"),
        (("reconstruct", "nothing.png"), "held:N"),
        (("reconstruct", "label:eleven"), "no label 'eleven'"),
        (("reconstruct", "--spherical"), "no such choice"),
        (("reconstruct", "sample:0"), "no samples"),
        (("reconstruct", "guidance=2"), "no choices at sampling time"),
        (("reconstruct", "held:0", "count=0"), "greater than or equal to 1"),
        (("interpolate", "held:0"), "two"),
        (("interpolate", "held:0", "held:1", "--out", "x.jpg"), ".png"),
        (("reconstruct", "--out", "x.webp"), "no film"),
        (("traverse", "stpes=3"), "its own: image, steps"),
        (("reconstruct", "--out", "red.png/x.png"), "nothing can be written"),
        (("reconstruct", "--out", "shut.png"), "is a folder"),
        (("arithmetic", "held:0", "held:1"), "operator"),
        (("attribute", "--positive", "nowhere", "--negative", "shut.png"), "nowhere is no folder"),
        (("attribute", "--positive", "shut.png", "--negative", "shut.png"), "0 pictures are too few"),
        (("traverse", "held:0"), "--image"),
        (("reconstruct", "broken.png"), "not a picture"),
        (("reconstruct", "red.png"), "in colour"),
    ],
)
def test_mistakes_are_told(words: tuple[str, ...], said: str, runs: dict[str, Path]) -> None:
    Path("broken.png").write_bytes(b"this is no picture")
    PIL.Image.new("RGB", (9, 9), "red").save("red.png")
    Path("shut.png").mkdir(exist_ok=True)
    with pytest.raises(UsageError, match=said):
        called(runs["autoencoder"], *words)


def test_what_is_named_twice_is_counted_twice(runs: dict[str, Path]) -> None:
    """Figures of items of one name do not cover each other; those of an action not the list of written files."""
    run = runs["autoencoder"]
    summed = json.loads(called(run, "arithmetic", "held:1", "-", "0.5*held:1", "--json").stdout)
    assert summed["weights"] == {"held:1": 1, "held:1 (2)": -0.5}
    Path("a").mkdir(exist_ok=True)
    for path in (Path("9.png"), Path("a/9.png")):
        PIL.Image.new("L", (8, 8), 90).save(path)
    assert set(json.loads(called(run, "reconstruct", "9.png", "a/9.png", "--json").stdout)["each"]) == {
        "9.png",
        "9.png (2)",
    }
    stored = json.loads(called(run, "compress", "count=8", "rows=50", "--json").stdout)
    assert stored["measured"] == 8 and all(map(Path.exists, map(Path, stored["pictures"])))


def test_strips_go_into_the_noise_and_back(runs: dict[str, Path], tmp_path: Path) -> None:
    """Of a held-out picture and of a file; little noise comes back to the picture, a family without noise says so."""
    own = tmp_path / "own.png"
    PIL.Image.fromarray(np.full((20, 30), 90, np.uint8)).save(own)
    words = ["held:2", str(own), "steps=4", "until=0.1", "between=2", "--json"]
    found = json.loads(called(runs["diffusion"], "strips", *words).stdout)
    assert found["times"] == pytest.approx([0, 0.1 / 3, 0.2 / 3, 0.1])
    assert found["steps_back"] == 6
    assert len(found["guess_psnr"]) == 3
    assert set(found["back_psnr"]) == {"held:2", "own.png"}
    assert min(found["back_psnr"].values()) > 10
    with pytest.raises(UsageError, match="adds no noise"):
        explore(Scene(runs["vae"]), "strips", (), {})


def test_terms_of_a_bound_are_those_of_a_denoiser(runs: dict[str, Path]) -> None:
    found = json.loads(called(runs["diffusion"], "terms", "steps=5", "count=4", "--json").stdout)
    assert [len(terms) for terms in found["terms"].values()] == [6, 6]
    assert found["total"]["beta"] == pytest.approx(sum(found["terms"]["beta"]))
    with pytest.raises(UsageError, match="is none: take diffusion"):
        explore(Scene(runs["vae"]), "terms", (), {})


def test_several_figures_are_printed_in_few_characters() -> None:
    told = dict(flat({"ends": [16.512345, 17.0], "files": ["a.png", "b.webp"], "none": [], "unknown": None}))
    assert told == {"ends": "16.51, 17", "files": "a.png, b.webp", "none": "-", "unknown": "-"}
    long = dict(flat({"use": {f"z{k}": k / 2 for k in range(100)}}))
    assert list(long)[-2:] == ["use.z11", "use. ..."] and long["use. ..."].startswith("88 more")


def test_actions_are_listed_and_have_settings() -> None:
    text = CliRunner().invoke(app, ["explore", "--help"], terminal_width=200).output
    for name in ACTIONS:
        assert name in text
        fields = action(name).Options.model_fields
        assert all(field.description for field in fields.values()), name
