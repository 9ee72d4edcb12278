"""Codes: paths between them, sums of them, walks along one of them, their neighbours, and the search for them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from figment.core.data import Batch, Classes, Image, Spec
from figment.core.errors import UsageError
from figment.core.model import CanDecode, CanEncode, HasPosterior, HasPrior
from figment.core.noise import Noise
from figment.latent import codes as module
from figment.latent.arithmetic import combine, parse_sum
from figment.latent.codes import Code, Codec, psnr
from figment.latent.interpolate import even_times, jump, linear, path, spherical, step_sizes
from figment.latent.neighbours import nearest_rows
from figment.latent.operations import operations
from figment.latent.traverse import axes_of, change, walk
from figment.nn.generator import Generator
from figment.pixels import inversion
from figment.pixels.inversion import distance, off_sphere

SPEC = Spec(
    name="made up",
    x=Image(channels=1, height=4, width=4),
    c={"label": Classes(names=("a", "b", "c"), frequencies=(0.5, 0.25, 0.25))},
)
SPREAD = torch.tensor([0.1, 2.0, 0.5, 1.0])


class Plane(CanEncode, CanDecode):
    """Four latents that turn into pixels by an orthonormal matrix, whatever the label."""

    spec, device = SPEC, torch.device("cpu")

    def __init__(self) -> None:
        self.basis = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(0))).Q[:, :4]

    def encode(self, x: Tensor, c: object) -> Tensor:
        return x.flatten(1) @ self.basis

    def decode(self, z: Tensor, c: object) -> Tensor:
        return (z @ self.basis.T).view(-1, 1, 4, 4)


class Sure(Plane, HasPosterior):
    """The same with a posterior whose KL to the prior is known: latent 2 is the prior itself, whatever x is."""

    def posterior(self, x: Tensor, c: object) -> Normal:
        mean, spread = x.flatten(1) @ self.basis, torch.full((len(x), 4), 0.5)
        mean[:, 2], spread[:, 2] = 0.0, 1.0
        return Normal(mean, spread)


class Drawing(HasPrior):
    """A generator with fixed random weights."""

    spec, device = SPEC, torch.device("cpu")

    def __init__(self) -> None:
        with torch.random.fork_rng([]):
            torch.manual_seed(1)
            self.generator = Generator(SPEC.x.shape, 6, 8, 3)

    def prior(self, c: object, noise: Noise) -> Tensor:
        return noise.normal((6,))

    def decode(self, z: Tensor, c: dict[str, Tensor]) -> Tensor:
        return self.generator(z, c["label"])


def codes(*rows: list[float], label: int = 0) -> Code:
    return Code(torch.tensor(rows), {"label": SPEC.label.soft(torch.full((len(rows),), label))})


@pytest.fixture
def some() -> Batch:
    z = torch.randn(400, 4, generator=torch.Generator().manual_seed(3)) * SPREAD
    return Batch(Plane().decode(z, {}), {"label": torch.zeros(400, dtype=torch.int64)}, torch.arange(400).numpy())


def test_paths_meet_their_ends_and_spheres_are_kept() -> None:
    a, b = torch.tensor([3.0, 0.0, 0.0]), torch.tensor([0.0, 3.0, 0.0])
    t = torch.tensor([0.0, 0.25, 0.5, 1.0])
    for between in (linear, spherical):
        assert torch.equal(between(a, b, t)[0], a)
        assert torch.equal(between(a, b, t)[-1], b)
    torch.testing.assert_close(linear(a, b, t)[1], torch.tensor([2.25, 0.75, 0.0]))
    turned = 3 * torch.tensor([math.cos(math.pi / 8), math.sin(math.pi / 8), 0])
    torch.testing.assert_close(spherical(a, b, t)[1], turned)
    torch.testing.assert_close(spherical(a, b, t).norm(dim=1), torch.full((4,), 3.0))
    for opposite in (a, -a):  # no plane to turn in
        torch.testing.assert_close(spherical(a, opposite, t), linear(a, opposite, t))


def test_a_path_mixes_labels_and_moves_evenly() -> None:
    way = path(codes([0.0, 0, 0, 0]), codes([4.0, 0, 0, 0], label=2), 5, on_sphere=False)
    torch.testing.assert_close(way.c["label"][1], torch.tensor([0.75, 0, 0.25, 0]))
    sizes = step_sizes(Codec(Plane()).decode(way))
    torch.testing.assert_close(sizes, torch.full((4,), 0.25))  # one unit of z over sixteen pixels
    assert jump(Codec(Plane()).decode(way)) == pytest.approx(1)


def test_times_of_even_change_undo_a_change_of_pace() -> None:
    t = torch.linspace(0, 1, 401)
    x = (t**3)[:, None]  # slow, then fast
    even = even_times(t, x, 9)
    torch.testing.assert_close(even**3, torch.linspace(0, 1, 9), atol=1e-4, rtol=0)
    assert jump((even**3)[:, None]) < 1.01
    assert jump(x[::50]) > 2.5
    assert even[[0, -1]].tolist() == [0, 1]


def test_sums_are_read() -> None:
    assert parse_sum(["a", "+", "b", "-", "c"]) == ([1, 1, -1], ["a", "b", "c"])
    assert parse_sum(["-", "2*a:1", "+", "0.5*b"]) == ([-2, 0.5], ["a:1", "b"])
    for wrong in ("", "a b", "a + + b", "a +", "+"):
        with pytest.raises(UsageError):
            parse_sum(wrong.split())


def test_what_is_added_and_taken_away_changes_nothing() -> None:
    terms = Code.joined([codes([1.0, 2, 3, 4]), codes([5.0, -1, 0, 2], label=1), codes([5.0, -1, 0, 2], label=1)])
    same = combine(Codec(Plane()), terms, [1, 1, -1])
    torch.testing.assert_close(same.z, terms.z[:1])
    torch.testing.assert_close(same.c["label"], terms.c["label"][:1])
    summed = combine(Codec(Plane()), terms, [1, 1, 0.5])
    torch.testing.assert_close(summed.z[0], torch.tensor([8.5, 0.5, 3.0, 7.0]))
    torch.testing.assert_close(summed.c["label"][0], torch.tensor([0.4, 0.6, 0, 0]))


def test_sums_of_white_codes_keep_the_length_of_the_first() -> None:
    terms = Code(torch.randn(3, 6), {"label": SPEC.label.soft(torch.tensor([0, 1, 2]))})
    torch.testing.assert_close(combine(Codec(Drawing()), terms, [1, 1, -1]).z.norm(), terms.z[0].norm())


def test_latents_are_ordered_by_their_use(some: Batch) -> None:
    axes = axes_of(Codec(Plane()), some, codes([0.0] * 4))
    assert axes.latents == [1, 3, 2, 0]
    torch.testing.assert_close(axes.spread, SPREAD[[1, 3, 2, 0]], rtol=0.1, atol=0)
    assert axes.measure == "variance"
    sure = axes_of(Codec(Sure()), some, codes([0.0] * 4))
    assert sure.measure == "kl"
    assert sure.latents == [1, 3, 0, 2]
    mean_square = some.x.flatten(1).matmul(Plane().basis).square().mean(0)
    expected = 0.5 * (mean_square + 0.25 - 1 - math.log(0.25))
    torch.testing.assert_close(sure.use[:3], expected[[1, 3, 0]])
    assert abs(float(sure.use[3])) < 1e-6


def test_a_walk_moves_one_coordinate(some: Batch) -> None:
    base, values = codes([0.3, -0.2, 0.1, 0.7]), (-3.0, 0.0, 3.0)
    axes = axes_of(Codec(Sure()), some, base)
    steps = walk(base, axes, values).z.unflatten(0, (4, 3))
    for k, latent in enumerate(axes.latents):
        others = [j for j in range(4) if j != latent]
        torch.testing.assert_close(steps[k][:, latent], torch.tensor(values))
        torch.testing.assert_close(steps[k][:, others], base.z[:, others].expand(3, -1))


def test_what_a_dead_latent_changes_is_nothing() -> None:
    x = torch.zeros(2, 3, 1, 2, 2)
    x[1, 2] = 0.5
    torch.testing.assert_close(change(x), torch.tensor([0.0, 0.25]))


def test_nearest_rows_are_those_of_a_full_search() -> None:
    generator = torch.Generator().manual_seed(5)
    queries, rows = (torch.randn(count, 7, generator=generator) for count in (4, 50))
    blocks = [(start, rows[start : start + 13]) for start in range(0, 50, 13)]
    found, far = nearest_rows(queries, blocks, 6)
    expected = torch.cdist(queries.double(), rows.double()).topk(6, largest=False)
    assert torch.equal(found, expected.indices)
    torch.testing.assert_close(far, expected.values)


def test_signal_to_noise_in_decibels() -> None:
    x = torch.zeros(2, 1, 2, 2)
    y = torch.stack([x[0] + 0.2, x[0]])
    torch.testing.assert_close(psnr(x, y), torch.tensor([20.0, 120.0]))


def test_a_codec_encodes_what_it_decodes() -> None:
    codec, code = Codec(Plane(), batch=3), codes(*torch.randn(7, 4).tolist())
    again = codec.encode(codec.decode(code), {"label": torch.zeros(7, dtype=torch.int64)})
    torch.testing.assert_close(again.z, code.z)
    assert torch.equal(again.c["label"], code.c["label"])
    assert torch.equal(codec.encode(codec.decode(code), {}).c["label"][:, -1], torch.ones(7))  # unknown is the null


@pytest.mark.parametrize("known", [True, False])
def test_a_search_finds_the_code_of_a_drawn_picture(known: bool) -> None:
    codec = Codec(Drawing(), seed=2)
    drawn = codec.prior(range(100, 104))
    x = codec.decode(drawn)
    found = codec.encode(x, drawn.c if known else {})
    assert float(psnr(codec.decode(found), x).min()) > 30
    if known:
        assert torch.equal(found.c["label"], drawn.c["label"])
    assert torch.equal(found.c["label"][:, -1], torch.zeros(4))
    torch.testing.assert_close(found.c["label"].sum(1), torch.ones(4))
    assert not found.z.requires_grad


def test_the_distance_of_a_search_forgives_small_shifts() -> None:
    x = torch.full((1, 1, 16, 16), -1.0)
    x[..., 4:8, 4:8] = 1
    near, far = x.roll(1, -1), x.roll(8, -1)
    assert float(distance(x, x)) == 0
    assert float(distance(x, near)) < 0.5 * float(distance(x, far))
    assert float(off_sphere(torch.ones(1, 9))) == 0
    assert float(off_sphere(torch.zeros(1, 9))) == 1


def test_what_has_no_codes_says_who_has() -> None:
    class Bare:
        spec, device = SPEC, torch.device("cpu")

        class config:
            kind = "bare"

    with pytest.raises(UsageError, match="autoencoder"):
        Codec(Bare())


def test_of_slow_codes_as_many_items_as_their_operations_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search takes so many evaluations of a generator, each counted by its products of matrices."""
    assert operations(lambda: torch.ones(7, 3) @ torch.ones(3, 5)) == 2 * 7 * 3 * 5
    searched = Codec(Drawing())
    once = operations(lambda: Drawing().decode(torch.zeros(1, 6), searched.conditions({}, 1)))
    monkeypatch.setattr(module, "OPERATIONS", 50 * inversion.EVALUATIONS * once)
    assert [searched.affordable(most) for most in (30, 60)] == [30, 50]
    assert searched.affordable(60, fewest=55) == 55
    assert Codec(Plane()).affordable(2000) == 2000
