"""The kernel of group normalisation against torch's own terms: values, gradients, and gradients of gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from figment.kernels import normalisation as kernel
from figment.nn.normalisation import GroupNorm

needs_compiler = pytest.mark.skipif(kernel.library() is None, reason="there is no compiler")


def case(last: bool, dtype: torch.dtype, shape: tuple[int, ...] = (3, 32, 5, 7)) -> tuple[GroupNorm, Tensor, Tensor]:
    torch.manual_seed(0)
    norm = GroupNorm(shape[1])
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = (2 * torch.randn(shape) + 5).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    return norm, x.requires_grad_(), torch.randn(shape[0], 2 * shape[1], requires_grad=True)


def gradients(norm: GroupNorm, x: Tensor, modulation: Tensor | None) -> list[Tensor]:
    y = norm(x, modulation)
    wanted = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype)
    inputs = [x, norm.weight, norm.bias, *([] if modulation is None else [modulation])]
    return [y, *torch.autograd.grad(y, inputs, wanted)]


@needs_compiler
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("activate", [False, True])
@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_values_and_gradients_are_those_of_the_formula(
    last: bool, activate: bool, modulated: bool, dtype: torch.dtype, close: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    norm, x, modulation = case(last, dtype)
    norm.activate = activate
    found = gradients(norm, x, modulation if modulated else None)
    assert found[0].dtype == found[1].dtype == dtype
    assert found[0].is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    monkeypatch.setattr(kernel, "usable", lambda x: False)
    expected = gradients(norm, x.detach().float().requires_grad_(), modulation if modulated else None)
    for ours, theirs in zip(found, expected):
        torch.testing.assert_close(ours.float(), theirs, atol=close * float(theirs.detach().abs().max()), rtol=0)


@needs_compiler
@pytest.mark.parametrize("last", [False, True])
def test_a_gradient_can_be_differentiated(last: bool) -> None:
    torch.manual_seed(0)
    norm = GroupNorm(4).double()
    x = torch.randn(2, 4, 3, 3)
    x = x.contiguous(memory_format=torch.channels_last) if last else x

    def slope(norm: GroupNorm, x: Tensor) -> Tensor:
        (g,) = torch.autograd.grad(norm(x).pow(2).sum(), x, create_graph=True)
        return g.square().sum()

    exact = x.double().requires_grad_()  # doubles are not the kernel's
    (expected,) = torch.autograd.grad(slope(norm, exact), exact)
    norm.float()
    x.requires_grad_()
    (found,) = torch.autograd.grad(slope(norm, x), x)
    torch.testing.assert_close(found.double(), expected, atol=1e-3, rtol=1e-3)


@needs_compiler
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("last", [False, True])
def test_what_is_not_finite_stays_so_and_examples_do_not_mix(last: bool, threads: int) -> None:
    norm, x, _ = case(last, torch.bfloat16, (9, 16, 4, 4))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        whole, alone = norm(x), [norm(x[i : i + 1]) for i in range(9)]
        with torch.no_grad():
            x[4, 3, 2, 1] = torch.nan
        spoilt = norm(x)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(whole, torch.cat(alone))
    assert spoilt[4].isnan().any()
    assert not spoilt[[i for i in range(9) if i != 4]].isnan().any()


@needs_compiler
def test_far_from_zero_silu_is_exact() -> None:
    norm = GroupNorm(1)
    x = torch.tensor([-200.0, -60.0, -1.0, 0.0, 1.0, 60.0, 200.0, 0.5]).view(1, 1, 2, 4)
    with torch.no_grad():
        norm.weight.fill_(500.0)
        y, z = norm(x), norm.weight * (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(y, torch.nn.functional.silu(z), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("switch", [{"FIGMENT_KERNEL": "0"}, {"CXX": "/no/such/compiler"}, {"CXX": "false"}])
def test_without_it_all_goes_on(switch: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("FIGMENT_CACHE", str(tmp_path))
    for name, value in switch.items():
        monkeypatch.setenv(name, value)
    kernel.library.cache_clear()
    try:
        norm, x, modulation = case(False, torch.float32)
        assert not kernel.usable(x)
        assert norm(x, modulation).isfinite().all()
    finally:
        monkeypatch.undo()
        kernel.library.cache_clear()
