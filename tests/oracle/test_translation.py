"""Translation: what a patch sees, colours, measures by hand, readers of pairs and masks, files of any size."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from figment import translations as files
from figment.core.data import Image, Spec
from figment.core.errors import DataError, UsageError
from figment.core.model import Turn
from figment.data import faces, parse
from figment.data.faces.tasks import TASKS
from figment.evaluate.translation import overlaps, slope, ssim, translation
from figment.models.adversarial.objectives import OBJECTIVES
from figment.models.adversarial.patches import judged
from figment.models.translation.colourise import CHROMA, ColouriseConfig
from figment.models.translation.cyclegan import CycleGANConfig
from figment.models.translation.palette import Palette
from figment.models.translation.super_resolution import SuperResolutionConfig, shrunk
from figment.nn.patch import PatchDiscriminator, field
from figment.pixels.colour import from_lab, grey_of, lab


@pytest.mark.parametrize(("halvings", "side"), [(1, 16), (2, 34), (3, 70), (4, 142)])
def test_a_logit_sees_its_patch_and_all_of_it(halvings: int, side: int) -> None:
    """The fields of Isola et al. 2017: 16, 70 (and 34, 142 between and beyond)."""
    assert field(halvings) == side
    torch.manual_seed(0)
    network = PatchDiscriminator(1, 4, halvings)
    x = torch.randn(1, 1, 2 * side, 2 * side, requires_grad=True)
    logits = network(x)
    (seen,) = torch.autograd.grad(logits[0, logits.shape[1] // 2, logits.shape[2] // 2], x)
    for axis in (2, 3):
        there = seen[0, 0].abs().sum(3 - axis).nonzero().flatten()
        assert int(there[-1] - there[0]) + 1 == side
        assert len(there) == side


@pytest.mark.parametrize("size", [(1, 1), (3, 20), (6, 6)])
def test_the_smallest_pictures_have_a_logit(size: tuple[int, int]) -> None:
    assert PatchDiscriminator(2, 4, 1)(torch.zeros(3, 2, *size)).shape[1:].numel() >= 1


def test_slopes_of_patches_by_hand() -> None:
    """Four logits of slope 2 at the same pixel: 4 each, whatever they agree on; 4 of their mean."""
    torch.manual_seed(0)
    x = torch.zeros(20_000, 1, 2, 2)

    def judge(x: Tensor) -> Tensor:
        return 2 * x[:, 0, :1, :1].expand(-1, 2, 2)

    def slope_of(whole: bool) -> float:
        game = OBJECTIVES["non-saturating"]
        return float(judged(game, judge, x, x, Turn(0, 0.0), gamma=1.0, lazy=1, whole=whole).parts["slope"])

    assert slope_of(whole=False) == pytest.approx(4, rel=0.03)
    assert slope_of(whole=True) == 4


@pytest.mark.parametrize(("side", "halvings"), [(8, 1), (16, 1), (32, 2), (64, 3), (256, 3)])
def test_unpaired_pictures_are_judged_whole_up_to_70_pixels(side: int, halvings: int) -> None:
    form = Image(channels=1, height=side, width=side)
    config = CycleGANConfig()
    assert config.resolved(Spec(name="made", x=form, c={"other": form}))["field"] == halvings
    assert field(halvings) >= min(side, 70)


def test_colours_come_back_and_grey_keeps_the_lightness() -> None:
    x = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0)) * 2 - 1
    seen = lab(x)
    torch.testing.assert_close(from_lab(seen[:, :1], seen[:, 1:]), x, atol=1e-4, rtol=0)
    grey = grey_of(x)
    torch.testing.assert_close(lab(grey.expand(-1, 3, -1, -1))[:, :1], seen[:, :1], atol=0.4, rtol=0)  # of 8 bits
    torch.testing.assert_close(grey_of(grey.expand(-1, 3, -1, -1)), grey)


def test_colours_are_as_exact_where_networks_compute_in_bf16() -> None:
    x = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0)) * 2 - 1
    known = lab(x)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(lab(x), known)
        torch.testing.assert_close(from_lab(known[:, :1], known[:, 1:]), x, atol=1e-4, rtol=0)


def test_a_colour_is_the_mean_of_the_four_around_it() -> None:
    palette = Palette()
    x = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0)) * 2 - 1
    chroma = lab(x)[:, 1:] / CHROMA
    index, weight = palette.corners(chroma)
    assert weight.min() >= 0
    torch.testing.assert_close(weight.sum(1), torch.ones(2, 5, 7))
    p = torch.zeros(2, len(palette), 5, 7).scatter_add(1, index, weight)
    torch.testing.assert_close(palette.mean(p.log(), temperature=1, rarity=0), chroma, atol=1e-6, rtol=0)
    least = -(p * p.log().nan_to_num(neginf=0)).sum(1).mean()
    torch.testing.assert_close(palette.surprise(p.clamp(min=1e-12).log(), chroma), least)
    palette.count(chroma[:1], Turn(0, 0.0))
    palette.count(chroma[1:], Turn(1, 0.5))
    torch.testing.assert_close(palette.share, p.mean((0, 2, 3)))


def test_rare_colours_gain_and_likely_ones_win() -> None:
    """Of two colours, one nine times as usual as the other, and likely as they are usual."""
    palette = Palette()
    palette.share[:2] = torch.tensor([0.9, 0.1])
    logits = torch.full((1, len(palette), 1, 1), -1e4)
    logits[:, :2] = palette.share[:2].log()[None, :, None, None]

    def first(temperature: float, rarity: float) -> float:
        mean, (a, b) = palette.mean(logits, temperature, rarity)[0, :, 0, 0], palette.colours[:2]
        return float(((mean - b) @ (a - b)) / (a - b).square().sum())

    assert first(1, 0) == pytest.approx(0.9, abs=1e-3)
    assert first(1, 1) == pytest.approx(0.5, abs=1e-3)
    assert first(1, 0.5) == pytest.approx(0.75, abs=1e-3)
    assert first(0.5, 0) == pytest.approx(0.81 / 0.82, abs=1e-3)


def test_similarity_of_structure_by_hand() -> None:
    x = torch.rand(2, 3, 16, 12) * 2 - 1
    torch.testing.assert_close(ssim(x, x), torch.ones(2))
    flat, other = torch.full((1, 1, 16, 16), 0.5), torch.full((1, 1, 16, 16), -0.25)
    a = 0.02**2
    expected = (2 * 0.5 * -0.25 + a) / (0.5**2 + 0.25**2 + a)
    torch.testing.assert_close(ssim(flat, other), torch.tensor([expected]))
    assert ssim(x, x + 0.3 * torch.randn_like(x)).max() < 0.95


def test_measures_of_a_ramp() -> None:
    ramp = torch.linspace(-1, 1, 9).expand(4, 1, 9, 9)
    torch.testing.assert_close(slope(ramp), torch.full((4,), 0.25))
    figures = translation([(ramp, ramp + 0.1, ramp)])
    assert figures["l1"] == pytest.approx(0.05)
    assert figures["psnr"] == pytest.approx(10 * math.log10(4 / 0.01), abs=1e-3)
    assert figures["copied"]["l1"] == 0


def test_overlaps_by_hand() -> None:
    found = overlaps(torch.tensor([[6, 2, 0], [1, 3, 0], [0, 0, 0]]), ("a", "b", "none"))
    assert found["accuracy"] == 0.75
    assert found["classes"] == {"a": {"iou": 6 / 9, "dice": 12 / 15}, "b": {"iou": 0.5, "dice": 6 / 9}}
    assert found["iou"] == pytest.approx((6 / 9 + 0.5) / 2)


def test_super_resolution_starts_as_bicubic_and_shrinks_what_it_enlarges() -> None:
    form = Image(channels=3, height=12, width=8)
    model = SuperResolutionConfig(scale=4, size="tiny").build(Spec(name="made", x=form))
    x = torch.rand(2, 3, 3, 2) * 2 - 1
    torch.testing.assert_close(model.translate(x), F.interpolate(x, (12, 8), mode="bicubic", align_corners=False))
    assert model.source.shape == (3, 3, 2)
    flat = torch.full((1, 3, 12, 8), 127 / 127.5 - 1)
    torch.testing.assert_close(shrunk(flat, 4), flat[:, :, :3, :2])
    with pytest.raises(UsageError, match="too small"):
        SuperResolutionConfig(scale=8).build(Spec(name="made", x=Image(channels=1, height=4, width=4)))


def test_colours_need_colours() -> None:
    with pytest.raises(UsageError, match="no colours"):
        ColouriseConfig().check(Spec(name="made", x=Image(channels=1, height=8, width=8)))


# -- data -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_faces_have_twins(task: Any) -> None:
    dataset = parse(f"faces:{task}", {"count": 16}).build()
    batch = dataset.train.gather(np.arange(16))
    values = batch.c["attributes"].numpy()
    for end, given in (("source", batch.c["image"]), ("target", batch.x)):
        drawn = getattr(TASKS[task], end)(values, 32)
        np.testing.assert_array_equal(np.rint((given.permute(0, 2, 3, 1).numpy() + 1) * 127.5), drawn)
    assert not torch.equal(batch.c["image"].expand_as(batch.x), batch.x)


def test_faces_have_masks() -> None:
    batch = parse("faces:parts", {"count": 16}).build().train.gather(np.arange(16))
    assert (batch.c["mask"].numpy() == faces.segmentation(batch.c["attributes"].numpy())).all()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve faces with outlines, one picture without a partner, and one whose partner is broken."""
    from figment.data.faces.folder import write

    out = write(tmp_path / "made", 12, {"size": 16}, form="pairs")
    PIL.Image.new("RGB", (16, 16)).save(out / "A" / "alone.png")
    (out / "A" / "broken.png").write_bytes(b"no picture")
    PIL.Image.new("RGB", (16, 16)).save(out / "B" / "broken.png")
    return out


@pytest.mark.parametrize("backwards", [False, True])
def test_pairs_are_matched_by_name(folder: Path, backwards: bool) -> None:
    dataset = parse(f"pairs:{folder}", {"backwards": backwards}).build()
    assert "1 pictures without a partner" in dataset.notes[0]
    values = faces.factors(0, range(12))
    drawn, lines = faces.paint(values, 16), 255 - faces.edges(values, 16)[..., None]
    pairs = {x.tobytes(): s.tobytes() for x, s in zip(*((lines, drawn) if backwards else (drawn, lines)))}
    count = 0
    for split in dataset.splits.values():
        batch = split.gather(np.arange(len(split)))
        image = dataset.spec.c["image"]
        assert isinstance(image, Image)
        for x, s in zip(dataset.spec.x.to_user(batch.x), image.to_user(batch.c["image"])):
            assert pairs.pop(x.tobytes()) == s.tobytes()
            count += 1
    assert count == 12


def test_masks_are_read_as_classes(tmp_path: Path) -> None:
    from figment.data.faces.folder import write

    out = write(tmp_path / "made", 12, {"size": 16}, form="masks")
    dataset = parse(f"masks:{out}").build()
    assert dataset.spec.c["mask"].names == faces.SEGMENTS  # type: ignore[union-attr]
    parts = faces.segmentation(faces.factors(0, range(12)), 16)
    drawn = {x.tobytes(): m for x, m in zip(faces.paint(faces.factors(0, range(12)), 16), parts)}
    batch = dataset.train.gather(np.arange(len(dataset.train)))
    for x, m in zip(dataset.spec.x.to_user(batch.x), batch.c["mask"].numpy()):
        np.testing.assert_array_equal(drawn[x.tobytes()], m)
    for file in (out / "masks").iterdir():  # the same in colours, without names
        PIL.Image.open(file).convert("RGB").save(file)
    (out / "classes.txt").unlink()
    coloured = parse(f"masks:{out}").build()
    assert len(coloured.spec.c["mask"].names) == len(np.unique(parts))  # type: ignore[union-attr]


def test_a_folder_without_pairs_says_so(tmp_path: Path) -> None:
    (tmp_path / "A").mkdir()
    PIL.Image.new("L", (8, 8)).save(tmp_path / "A" / "x.png")
    with pytest.raises(DataError, match="B/NAME with a partner A/NAME"):
        parse(f"pairs:{tmp_path}").build()
    with pytest.raises(UsageError, match="no folder"):
        parse("pairs:nowhere")


# -- files ------------------------------------------------------------------------------------------------------------


def test_large_pictures_go_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SuperResolutionConfig(scale=2, size="tiny").build(Spec(name="made", x=Image(channels=1, height=8, width=8)))
    torch.nn.init.normal_(model.generator.picture_out.weight, std=0.1)  # type: ignore[union-attr,arg-type]
    x = torch.rand(1, 1, 50, 70) * 2 - 1
    whole = files.translated(model, x)
    monkeypatch.setattr(files, "TILE", 24)
    monkeypatch.setattr(files, "MARGIN", 16)
    torch.testing.assert_close(files.translated(model, x), whole, atol=2e-2, rtol=0)


def test_a_folder_is_translated_file_by_file(tmp_path: Path) -> None:
    model = ColouriseConfig(size="tiny").build(Spec(name="made", x=Image(channels=3, height=8, width=8)))
    (tmp_path / "in" / "deep").mkdir(parents=True)
    PIL.Image.new("RGB", (13, 9), "red").save(tmp_path / "in" / "a.jpg")
    PIL.Image.new("L", (5, 30)).save(tmp_path / "in" / "deep" / "b.png")
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    PIL.Image.new("RGB", (6, 7)).save(tmp_path / "in" / "a.bmp")
    said: list[str] = []
    written = files.translate(model, tmp_path / "in", tmp_path / "out", announce=said.append)
    assert [line.partition(":")[0] for line in said] == ["left out, broken.png"]
    sizes = {path.relative_to(tmp_path / "out").as_posix(): PIL.Image.open(path).size for path in written}
    assert sizes == {"a.jpg.png": (13, 9), "a.bmp.png": (6, 7), "deep/b.png": (5, 30)}
    for given, out in (("nowhere.png", "x.png"), ("in/a.jpg", "x"), ("in", "x.png")):
        with pytest.raises(UsageError):
            files.translate(model, tmp_path / given, tmp_path / out)
