"""The kernels against torch's own terms: values, gradients, and gradients of gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import short
from figment import workbench
from figment.core.run import read_json
from figment.kernels import attention, compiled, tokens
from figment.kernels import normalisation as kernel
from figment.nn.dit import DiT, JointAttention
from figment.nn.normalisation import GroupNorm

needs_compiler = pytest.mark.skipif(compiled.library("normalisation") is None, reason="there is no compiler")


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
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_far_from_zero_silu_and_its_slope_are_exact(dtype: torch.dtype, close: float) -> None:
    norm = GroupNorm(1)
    x = torch.tensor([-200.0, -60.0, -1.0, 0.0, 1.0, 60.0, 200.0, 0.5]).view(1, 1, 2, 4).to(dtype)
    with torch.no_grad():
        norm.weight.fill_(5000.0)
    found = in_turn(norm, [x], torch.ones_like(x))
    exact = in_turn(norm.double(), [x.double()], torch.ones_like(x))  # doubles are not the kernel's
    torch.testing.assert_close(found[0].double(), exact[0], atol=1e-4, rtol=close)
    assert_near(found, exact, close)


class Dense:
    """A linear layer of given tensors."""

    def __init__(self, weight: Tensor, bias: Tensor):
        self.weight, self.bias = weight, bias

    def __call__(self, x: Tensor) -> Tensor:
        return torch.nn.functional.linear(x, self.weight, self.bias)


def in_turn(function: Any, inputs: list[Tensor], dy: Tensor) -> list[Tensor]:
    """A function's value and gradients."""
    inputs = [x.detach().requires_grad_() for x in inputs]
    y = function(*inputs)
    return [y, *torch.autograd.grad(y, inputs, dy.to(y.dtype))]


def assert_near(found: list[Tensor], expected: list[Tensor], close: float) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.double() - theirs.double()).norm() <= close * theirs.double().norm()


@needs_compiler
@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("shape", [(2, 256, 3, 32), (3, 37, 2, 20), (1, 5, 1, 6), (2, 64, 1, 64), (1, 1, 1, 2)])
@pytest.mark.parametrize("loud", [1.0, 30.0])
def test_attention_is_the_formula(unit: bool, shape: tuple[int, ...], loud: float) -> None:
    torch.manual_seed(0)
    examples, length, heads, width = shape
    qkv, dy = torch.randn(examples, length, 3 * heads * width).bfloat16(), torch.randn(examples, length, heads * width)
    qkv[..., : 2 * heads * width] *= loud**0.5
    dy = dy.bfloat16()

    def formula(qkv: Tensor) -> Tensor:
        q, k, v = qkv.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        if unit:
            q, k = (x / x.square().mean(-1, keepdim=True).sqrt() for x in (q, k))
        return ((q @ k.mT / width**0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)

    assert attention.usable(qkv, heads)
    found = in_turn(lambda x: attention.attended(x, heads, unit, formula), [qkv], dy)
    expected = in_turn(formula, [qkv.double()], dy)
    if length > 1:
        assert_near(found, expected, 1e-2 if unit else 1e-2 * loud**0.5)
    else:  # one token attends to itself alone: queries and keys get no gradient
        torch.testing.assert_close(found, [v.bfloat16() for v in expected], atol=1e-3, rtol=1e-2)


@needs_compiler
@pytest.mark.parametrize("threads", [1, 3])
def test_attention_keeps_examples_and_heads_apart(threads: int) -> None:
    torch.manual_seed(0)
    qkv = torch.randn(5, 9, 3 * 16).bfloat16()
    spoilt = qkv.clone()
    spoilt[3, 4, 2] = torch.nan  # a query of the first head
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        whole, y = (attention.attended(x, 2, True, torch.relu) for x in (qkv, spoilt))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(whole[2], attention.attended(qkv[2:3], 2, True, torch.relu)[0])
    assert y[3, 4, :8].isnan().all()
    assert y.isnan().sum() == 8


@needs_compiler
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("name", ["modulated", "passed", "gelu"])
def test_what_tokens_pass_through_is_the_formula(name: str, dtype: torch.dtype, close: float) -> None:
    torch.manual_seed(0)
    h, x, dy = (2 * torch.randn(3, 7, 50).to(dtype) + 1 for _ in range(3))
    scale, shift, weight, bias = torch.randn(3, 50), torch.randn(3, 50), torch.randn(50, 50) / 7, torch.randn(50)
    dense = [v.to(dtype) for v in (weight, bias)]

    def function(h: Tensor, *rest: Tensor) -> Tensor:
        if name == "modulated":
            return tokens.modulated(h, *rest)
        layer = Dense(*rest[-2:])
        return tokens.gelu(h, layer) if name == "gelu" else tokens.passed(h, rest[0], layer, rest[1])

    inputs = {"modulated": [h, scale, shift], "passed": [h, x, scale, *dense], "gelu": [h, *dense]}[name]
    found = in_turn(function, inputs, dy)
    exact = in_turn(function, [v.double() for v in inputs], dy)  # doubles are not the kernel's
    assert found[0].dtype == found[1].dtype == dtype
    assert_near(found, exact, close)


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_far_from_zero_gelu_is_exact(dtype: torch.dtype) -> None:
    x = torch.tensor([[[-1e4, -300.0, -30.0, -5.0, 0.0, 5.0, 300.0, 1e4]]], dtype=dtype)
    same = torch.nn.Linear(8, 8).to(dtype)
    with torch.no_grad():
        same.weight.copy_(torch.eye(8))
        same.bias.zero_()
    found = in_turn(lambda x: tokens.gelu(x, same), [x], torch.ones_like(x))
    exact = in_turn(lambda x: torch.nn.functional.gelu(x, approximate="tanh"), [x.double()], torch.ones_like(x))
    torch.testing.assert_close(found, [v.to(dtype) for v in exact])
    assert tokens.gelu(x * torch.nan, same).isnan().all()


@needs_compiler
def test_a_transformer_in_bf16_and_its_second_gradient_are_those_without_kernels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def found() -> list[Tensor]:
        torch.manual_seed(0)
        net = DiT(2, 2, 32, 2, 2, 16)
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        x, t = torch.randn(2, 2, 6, 8).requires_grad_(), torch.rand(2)
        with torch.autocast("cpu", torch.bfloat16):
            y = net(x, t)
        (g,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        return [y, g, *torch.autograd.grad(g.square().sum(), x)]

    with_kernels = found()
    monkeypatch.setattr(attention, "usable", lambda *_: False)
    monkeypatch.setattr(tokens, "usable", lambda *_: False)
    assert_near(with_kernels, found(), 3e-2)


@pytest.mark.parametrize("switch", [{"FIGMENT_KERNEL": "0"}, {"CXX": "/no/such/compiler"}, {"CXX": "false"}])
def test_without_it_all_goes_on(switch: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("FIGMENT_CACHE", str(tmp_path))
    for name, value in switch.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(compiled, "FOUND", {})
    norm, x, modulation = case(False, torch.float32)
    h = torch.randn(2, 5, 12).bfloat16()
    assert not (kernel.usable(x) or tokens.usable(h) or attention.usable(h, 2))
    assert norm(x, modulation).isfinite().all()
    with torch.autocast("cpu", torch.bfloat16):
        assert JointAttention(12, 2)(tokens.gelu(h, torch.nn.Linear(12, 12))).isfinite().all()
    assert compiled.in_use() == []


@needs_compiler
def test_a_run_tells_the_kernels_that_it_computed_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for switch, used in (("1", True), ("0", False)):
        monkeypatch.setattr(compiled, "FOUND", {})
        monkeypatch.setenv("FIGMENT_KERNEL", switch)
        folder = workbench.execute(short.plan("diffusion", "digits", 1), tmp_path / switch)
        assert ("normalisation" in read_json(folder.path / "env.json")["kernels"]) == used
