"""A model as ONNX graphs: one file for each thing it does, in the units and ranges of the model.

`graphs.json` says what goes in and comes out. Writing needs the extra `onnx`; any runtime of ONNX reads it.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import methodcaller
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from figment.core.errors import UsageError
from figment.core.model import (
    CanClassify,
    CanDecode,
    CanDenoise,
    CanEncode,
    CanTranslate,
    HasDirections,
    HasPrior,
    HasSampling,
    Model,
)
from figment.core.noise import Noise
from figment.core.run import write_json

EXAMPLES = 2  # a batch of one would be taken for a constant
OPSET = 20
Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Graph:
    """An ability as a function of tensors: its inputs for a few examples, and what it makes of them and of the
    conditions among them."""

    ability: type
    name: str
    output: str
    inputs: Callable[[Any], Inputs]
    call: Callable[[Any, Inputs, Inputs], Tensor]


def _x(model: Model) -> Inputs:
    return {"x": torch.zeros(EXAMPLES, *model.spec.x.shape), **_conditions(model)}


def _z(model: Any) -> Inputs:
    c, noise = _conditions(model), Noise(0, range(EXAMPLES))
    z = model.prior(c, noise) if isinstance(model, HasPrior) else model.encode(_x(model)["x"], c)
    return {"z": z, **c}


def _conditions(model: Model) -> Inputs:
    return model.spec.conditions(Noise(0, range(EXAMPLES)))


def _translation(name: str, way: Callable[[Any], CanTranslate]) -> Graph:
    """What a model, or a way of it, makes of pictures."""
    return Graph(
        CanTranslate,
        name,
        "x",
        lambda model: {"source": torch.zeros(EXAMPLES, *way(model).source.shape)},
        lambda model, given, _: way(model).translate(given["source"]),
    )


GRAPHS = (
    Graph(CanEncode, "encode", "z", _x, lambda model, given, c: model.encode(given["x"], c)),
    Graph(CanDecode, "decode", "x", _z, lambda model, given, c: model.decode(given["z"], c)),
    Graph(
        CanDenoise,
        "denoise",
        "denoised",
        lambda model: {"x_t": (given := _x(model)).pop("x"), "t": torch.full((EXAMPLES,), 0.5), **given},
        lambda model, given, c: model.denoise(given["x_t"], given["t"], c).mean,
    ),
    _translation("translate", lambda model: model),
    Graph(
        CanClassify,
        "classify",
        "class_log_prob",
        lambda model: {"x": torch.zeros(EXAMPLES, *model.spec.x.shape)},
        lambda model, given, _: model.class_log_prob(given["x"]),
    ),
)


def graphs(model: Model) -> list[Graph]:
    """What a model is able to; of one that goes both ways, each by itself."""
    able = [graph for graph in GRAPHS if isinstance(model, graph.ability)]
    if not isinstance(model, HasDirections):
        return able
    ways = [_translation(f"translate-{way}", methodcaller("towards", way)) for way in model.directions]
    return [*(graph for graph in able if graph.ability is not CanTranslate), *ways]


class Function(nn.Module):
    """What a model does by its usual choices; what these choose, such as steps, is settled before a graph is drawn."""

    def __init__(self, model: Model, graph: Graph, names: list[str]):
        super().__init__()
        chosen = model.with_sampling(model.Sampling()) if isinstance(model, HasSampling) else model
        self.model, self.does = model, chosen if isinstance(chosen, graph.ability) else model
        self.graph, self.names = graph, names

    def forward(self, *inputs: Tensor) -> Tensor:
        given = dict(zip(self.names, inputs))
        c = {key: value for key, value in given.items() if key in self.model.spec.c}
        return self.graph.call(self.does, given, c)


def write(model: Model, folder: str | Path) -> list[Path]:
    """Writes `NAME.onnx` for each of encode, decode, denoise, translate (both ways, where there are two) and classify
    that a model is able to, and `graphs.json`; returns the graphs. Their first dimension is free: as many examples as
    one likes.

    Raises UsageError where a model can none of these, and where ONNX cannot say what it does.
    """
    folder, model = Path(folder), model.eval().float()
    able = graphs(model)
    if not able:
        does = ", ".join(graph.name for graph in GRAPHS)
        raise UsageError(f"'{model.config.kind}' has no graph to write: none of {does} is what it does.")
    folder.mkdir(parents=True, exist_ok=True)
    described = {graph.name: _write(model, graph, folder / f"{graph.name}.onnx") for graph in able}
    about = {"model": model.config.model_dump(), "spec": model.spec.model_dump(), "graphs": described}
    write_json(folder / "graphs.json", about)
    return [folder / f"{graph.name}.onnx" for graph in able]


def _write(model: Model, graph: Graph, path: Path) -> dict[str, Any]:
    with torch.no_grad(), _unchecked():
        inputs = graph.inputs(model)
        function, batch = Function(model, graph, list(inputs)), torch.export.Dim("batch")
        output = function(*inputs.values())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                logging.getLogger("torch.onnx").setLevel(logging.ERROR)
                program = torch.onnx.export(
                    function,
                    tuple(inputs.values()),
                    input_names=list(inputs),
                    output_names=[graph.output],
                    dynamic_shapes=(tuple({0: batch} for _ in inputs),),
                    opset_version=OPSET,
                    dynamo=True,
                    verbose=False,
                )
        except ImportError:
            raise UsageError("this needs onnx: pip install 'figment[onnx]'") from None
        except torch.onnx.errors.OnnxExporterError as error:
            raise UsageError(f"ONNX cannot say what {graph.name} of this model does: {_reason(error)}") from None
    assert program is not None
    forms = [value.shape for value in program.model.graph.inputs]
    if any(form is not None and isinstance(form[0], int) for form in forms):
        raise UsageError(f"ONNX holds {graph.name} of this model for batches of {EXAMPLES} only.")
    program.save(path, external_data=False)
    return {"inputs": {name: _form(value) for name, value in inputs.items()}, "outputs": {graph.output: _form(output)}}


@contextmanager
def _unchecked() -> Iterator[None]:
    """Distributions do not look at their parameters, which no graph can do."""
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(__debug__)


def _form(value: Tensor) -> dict[str, Any]:
    return {"type": str(value.dtype).removeprefix("torch."), "shape": ["batch", *value.shape[1:]]}


def _reason(error: Exception) -> str:
    operation = re.search(r"target=torch\.ops\.([\w.]+)\.\w+\]", str(error))
    return (
        f"it has no operation {operation[1]}." if operation else str(error.__cause__ or error).strip().splitlines()[0]
    )
