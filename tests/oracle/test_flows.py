"""Flows against calculus: Jacobians by autograd, inverses, integrals, splines by hand, a solvable equation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

import synthetic
from figment import use
from figment.core.data import Classes, Image, Spec, Vector
from figment.core.errors import UsageError
from figment.data.toys import ToyConfig
from figment.evaluate.likelihood import likelihood
from figment.models.flows.continuous import runge_kutta
from figment.models.flows.flow import Flow, FlowConfig, TransformName
from figment.models.flows.image import Levels
from figment.models.flows.splines import Spline
from short import learn, plan

LABEL = Classes(names=("a", "b", "c"), frequencies=(0.5, 0.25, 0.25))
TRANSFORMS = get_args(TransformName)
ROWS = [(transform, d) for transform in TRANSFORMS for d in (1, 2, 3, 5)]
PICTURES = [(1, 1, 1), (1, 9, 9), (3, 5, 4), (2, 1, 70), (1, 12, 7), (1, 64, 2)]


def flow(shape: tuple[int, ...], labelled: bool = True, **settings: Any) -> Flow:
    """A flow far from the identity, in float64."""
    x: Image | Vector
    if len(shape) == 3:
        x = Image(channels=shape[0], height=shape[1], width=shape[2])
    else:
        x = Vector(mean=shape[0] * (0.0,), scale=shape[0] * (1.0,))
    torch.manual_seed(0)
    model = FlowConfig(size="tiny", **settings).build(Spec(name="test", x=x, c={"label": LABEL} if labelled else {}))
    for parameter in model.parameters():
        parameter.data += 0.4 * torch.randn_like(parameter) / parameter[0].numel() ** 0.5
    for part in model.modules():
        if isinstance(part, Levels):
            part.counts.copy_(100 * torch.rand_like(part.counts) ** 4)
    return model.double().eval()


def drawn(model: Flow, count: int) -> tuple[Tensor, dict[str, Tensor]]:
    shape, generator = (count, *model.spec.x.shape), torch.Generator().manual_seed(1)
    if isinstance(model.spec.x, Image):
        x = 1.9 * torch.rand(shape, generator=generator, dtype=torch.float64) - 0.95
    else:
        x = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    return x, {"label": torch.arange(count) % 4} if model.spec.c else {}


def check_jacobian(model: Flow) -> None:
    """log p(x) = log N(z; 0, I) + log |det dz/dx|, the Jacobian by autograd, and x = decode(encode(x))."""
    x, c = drawn(model, 2)
    z, found = model.encode(x, c), model.log_prob(x, c)
    for i in range(len(x)):
        here = {key: value[i : i + 1] for key, value in c.items()}

        def code(v: Tensor, here: dict[str, Tensor] = here) -> Tensor:
            return model.encode(v.view(1, *model.spec.x.shape), here).flatten()

        jacobian = torch.autograd.functional.jacobian(code, x[i].flatten())
        normal = -0.5 * (z[i].square() + math.log(2 * math.pi)).sum()
        assert float(found[i].detach()) == pytest.approx(
            float((normal + torch.linalg.slogdet(jacobian)[1]).detach()), abs=1e-5
        )
    with torch.no_grad():
        torch.testing.assert_close(model.decode(z, c), x, atol=1e-5, rtol=0)
    assert float((z - x).abs().max().detach()) > 0.1, "the flow under test does nothing"


@pytest.mark.parametrize(("transform", "dimensions"), ROWS)
def test_log_density_of_rows_is_that_of_the_jacobian(transform: str, dimensions: int) -> None:
    check_jacobian(flow((dimensions,), transform=transform, layers=3, steps=24))


@pytest.mark.parametrize("shape", PICTURES)
def test_log_density_of_pictures_of_any_size_is_that_of_the_jacobian(shape: tuple[int, ...]) -> None:
    check_jacobian(flow(shape))


def mass(model: Flow, reach: float, count: int) -> float:
    """The integral of the density over [-reach, reach]^2, on a lattice."""
    axis = torch.linspace(-reach, reach, count)
    with torch.no_grad():
        total = sum(model.log_prob(x, {}).double().exp().sum() for x in torch.cartesian_prod(axis, axis).split(100_000))
    return float(total) * float(axis[1] - axis[0]) ** 2


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_densities_of_the_plane_integrate_to_one(transform: str) -> None:
    model = flow((2,), labelled=False, transform=transform, layers=3).float()
    reach, count = {"coupling": (12, 481), "continuous": (10, 161)}.get(transform, (6, 801))  # how far, how finely
    assert mass(model, reach, count) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_lightly_trained_flows_are_still_densities_with_inverses(transform: str) -> None:
    """Some steps on the moons bend the flow, and leave it exact: integral, Jacobian, inverse in single precision."""
    split = ToyConfig(name="moons", count=1600).build().train
    spec = split.spec.model_copy(update={"c": {}})
    torch.manual_seed(0)
    model = FlowConfig(size="tiny", layers=4, steps=6, transform=transform).build(spec)
    x, optimiser, losses = split.gather(np.arange(1600)).x, torch.optim.Adam(model.parameters(), 1e-2), []
    for batch in x.split(64):
        loss = -model.log_prob(batch, {}).mean()
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.1, "nothing was learned"
    assert mass(model.eval(), 6, 301) == pytest.approx(1, abs=1e-3)
    assert float(model.inverse_error(x, {})) < 1e-4
    check_jacobian(model.double())


@torch.no_grad()
def test_density_of_a_picture_of_two_pixels_integrates_to_one() -> None:
    """Over the square that 8-bit grey levels are spread on, [-1 - 1/255, 1 + 1/255]^2."""
    model = flow((1, 1, 2), labelled=False)
    edge = 1 + 1 / 255
    axis = (torch.arange(512, dtype=torch.float64) + 0.5) / 512 * 2 * edge - edge
    x = torch.cartesian_prod(axis, axis).view(-1, 1, 1, 2)
    mass = float(model.log_prob(x, {}).exp().mean()) * (2 * edge) ** 2
    assert mass == pytest.approx(1, abs=1e-3)


def test_a_spline_passes_through_its_knots_with_their_slopes() -> None:
    spline = Spline(3, -1.0, 2.0, tails=True)
    widths, heights = torch.tensor([0.2, 0.5, 0.3]), torch.tensor([0.6, 0.1, 0.3])
    floor = 1e-3  # of the lengths, and of the slopes
    logits = [((part - floor) / (1 - 3 * floor)).log() for part in (widths, heights)]
    slopes = torch.tensor([0.5, 3.0])
    raw = (slopes - floor).expm1().log() - math.log(math.expm1(1 - floor))
    knots = torch.tensor([-1.0, -0.4, 1.1, 2.0])
    y, log_slope = spline.forward(knots, torch.cat([*logits, raw]).expand(4, -1))
    torch.testing.assert_close(y, torch.tensor([-1.0, 0.8, 1.1, 2.0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(log_slope.exp(), torch.tensor([1.0, 0.5, 3.0, 1.0]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("tails", [True, False])
def test_splines_rise_from_end_to_end_and_invert(tails: bool) -> None:
    spline = Spline(8, 0.0, 1.0, tails)
    torch.manual_seed(0)
    theta = 3 * torch.randn(64, 1, spline.count, dtype=torch.float64)
    x = torch.linspace(-1 if tails else 0, 2 if tails else 1, 601, dtype=torch.float64).expand(64, -1)
    theta = theta.expand(-1, 601, -1)
    y, log_slope = spline.forward(x, theta)
    assert (y.diff(dim=1) > 0).all()
    torch.testing.assert_close(spline.inverse(y, theta), x, atol=1e-9, rtol=0)
    for end in (0.0, 1.0):
        torch.testing.assert_close(y[x == end], x[x == end])
    if tails:
        outside = (x < 0) | (x > 1)
        assert torch.equal(y[outside], x[outside])
        assert not log_slope[outside].any()
    y, log_slope = spline.forward(x, torch.zeros_like(theta))
    torch.testing.assert_close(y, x)
    torch.testing.assert_close(log_slope, torch.zeros_like(x))


def test_autoregressive_columns_see_those_before_them_alone() -> None:
    model = flow((5,), labelled=False, transform="autoregressive", layers=1)
    x, _ = drawn(model, 1)
    jacobian = torch.autograd.functional.jacobian(lambda v: model.encode(v[None], {})[0], x[0])
    assert not jacobian.triu(1).any()
    assert (jacobian.tril(-1) != 0).sum() == 10


def test_runge_kutta_is_of_fourth_order() -> None:
    """ds/dt = s cos t from s(0) = 1: s(2) = exp(sin 2)."""

    def error(steps: int) -> float:
        one = torch.ones((), dtype=torch.float64)
        (s,) = runge_kutta(lambda t, state: (state[0] * math.cos(t),), (one,), 0.0, 2.0, steps)
        return abs(float(s) - math.exp(math.sin(2)))

    assert error(20) < 1e-5
    assert error(10) / error(20) == pytest.approx(16, rel=0.2)


def test_hutchinsons_estimate_is_right_on_average() -> None:
    exact = flow((8,), labelled=False, transform="continuous", steps=2)
    wide = flow((9,), labelled=False, transform="continuous", steps=2)
    x, _ = drawn(wide, 1)
    jacobian = torch.autograd.functional.jacobian(lambda v: wide.encode(v[None], {})[0], x[0])
    normal = -0.5 * (wide.encode(x, {}).square() + math.log(2 * math.pi)).sum()
    truth = float((normal + torch.linalg.slogdet(jacobian)[1]).detach())
    torch.manual_seed(0)
    draws = wide.log_prob(x.expand(4000, -1), {}).detach()
    assert float(draws.std()) > 1e-3
    assert float(draws.mean()) == pytest.approx(truth, abs=4 * float(draws.std()) / 4000**0.5 + 0.02)
    x, _ = drawn(exact, 1)
    assert float(exact.log_prob(x.expand(2, -1), {}).detach().std()) == 0


def test_grey_levels_are_counted_while_a_run_begins_and_survive_a_resume(tmp_path: Path) -> None:
    data = synthetic.write("grey", tmp_path)
    dataset = data.build()
    folder = learn(plan("flow", data, 3), dataset, tmp_path / "run")
    model: Any = use.load(folder.path)
    levels = next(part for part in model.modules() if isinstance(part, Levels))
    assert float(levels.counts.sum()) == 3 * 8 * 64
    seen = np.unique(dataset.train.gather(np.arange(160)).x.add(1).mul(127.5).round().long().numpy())
    counted = levels.counts[0].nonzero()[:, 0].numpy()
    assert set(counted) <= set(seen)


def test_the_inverse_is_watched(tmp_path: Path) -> None:
    data = synthetic.write("plane", tmp_path)
    folder = learn(plan("flow", data, 4), data.build(), tmp_path / "run")
    assert 0 <= folder.read_metrics()[0]["inverse_error"] < 1e-4


def test_a_density_by_a_differential_equation_is_an_estimate(tmp_path: Path) -> None:
    dataset = synthetic.write("plane", tmp_path).build()
    for transform, kind in (("continuous", "estimate"), ("spline", "exact")):
        found = likelihood(FlowConfig(transform=transform, size="tiny").build(dataset.spec), dataset)
        assert found is not None
        assert found["kind"] == kind


def test_flows_of_rows_do_not_take_pictures() -> None:
    for transform in ("autoregressive", "continuous", "coupling"):
        with pytest.raises(UsageError, match="is for rows"):
            FlowConfig(transform=transform).build(synthetic.spec_of("grey"))
