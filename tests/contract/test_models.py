"""What every kind promises for every form of data it accepts. A new kind is tested by its line in the registry."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import synthetic
from figment import registry, use, workbench
from figment.core import model as abilities
from figment.core.checkpoint import read_state
from figment.core.config import Config, parse
from figment.core.data import Batch, Dataset, Image, Latent, Vector
from figment.core.errors import UsageError
from figment.core.model import (
    CanDecode,
    CanEncode,
    CanSample,
    CanSegment,
    CanTranslate,
    Fits,
    HasBound,
    HasDirections,
    HasLogProb,
    HasPairs,
    HasSampling,
    Learns,
    Model,
    ModelConfig,
    density,
    with_sampling,
)
from figment.core.processes import Processes
from figment.core.run import Run, RunFolder
from figment.core.session import Session
from figment.core.stages import TwoStageConfig
from short import learn, plan, untimed

KINDS = registry.kinds("model")
FORMS = synthetic.FORMS


def config_class(kind: str) -> type[ModelConfig]:
    return registry.load("model", kind)


def accepted(ability: type = Model, form: str = "") -> list[Any]:
    """Each kind with the ability, with each form of data it accepts."""
    return [
        pytest.param(kind, one, id=f"{kind}-{one}")
        for kind in KINDS
        for one in synthetic.forms_for(config_class(kind))
        if issubclass(config_class(kind).model_class(), ability) and one.startswith(form)
    ]


EVERY = pytest.mark.parametrize(("kind", "form"), accepted())


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(kind, form) -> a run of a few steps and its data in memory; the file of the data is gone."""

    @cache
    def make(kind: str, form: str) -> tuple[RunFolder, Dataset]:
        folder = tmp_path_factory.mktemp(f"{kind}-{form}")
        data = synthetic.write(form, folder)
        dataset = data.build()
        run = workbench.execute(plan(kind, data), folder / "run")
        Path(data.path).unlink()
        return run, dataset

    return make


@pytest.fixture
def model(trained: Any, kind: str, form: str) -> Model:
    """The published model, read from its folder alone."""
    return use.load(trained(kind, form)[0].path)


@pytest.fixture
def batch(trained: Any, kind: str, form: str) -> Batch:
    return trained(kind, form)[1].held_out.gather(np.arange(6))


def few(model: Model) -> dict[str, Any]:
    """The choices that make sampling short."""
    return {"steps": 3} if isinstance(model, HasSampling) and "steps" in model.Sampling.model_fields else {}


def drawn(model: Model, n: int, **settings: Any) -> Tensor:
    return use.draw(model, n, **{"options": few(model), "precision": "fp32", **settings})[0]


# -- what comes out ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "form"), accepted(CanSample))
def test_samples_have_the_shape_of_the_data_and_depend_on_their_own_noise_alone(model: Any) -> None:
    eight = drawn(model, 8, seed=3)
    assert eight.shape == (8, *model.spec.x.shape)
    assert eight.dtype == torch.float32
    assert eight.isfinite().all()
    assert not torch.allclose(eight[0], eight[1])
    assert not torch.allclose(eight, drawn(model, 8, seed=4))
    torch.testing.assert_close(drawn(model, 8, seed=3, batch=3), eight, atol=1e-4, rtol=0)
    one_by_one = torch.cat([drawn(model, 1, seed=3, start=i) for i in range(8)])
    torch.testing.assert_close(one_by_one, eight, atol=1e-4, rtol=0)
    assert torch.equal(drawn(model, 8, seed=3), eight)


@pytest.mark.parametrize(("kind", "form"), accepted(CanSample))
def test_user_samples(model: Any) -> None:
    labelled = {} if model.spec.label is None else {"label": "b"}
    x = use.sample(model, 3, seed=0, **labelled, **few(model))
    if isinstance(model.spec.x, Image):
        channels, height, width = model.spec.x.shape
        assert (x.dtype, x.shape) == (np.uint8, (3, height, width, channels))
    else:
        assert (x.dtype, x.shape) == (np.float32, (3, model.spec.x.dimensions))
    if model.spec.label is None:
        with pytest.raises(UsageError, match=r"without labels|not told the labels"):
            use.sample(model, 3, label="b")


@pytest.mark.parametrize(("kind", "form"), accepted(CanTranslate))
@torch.no_grad()
def test_pictures_are_made_from_pictures_of_any_size(model: Any, batch: Batch) -> None:
    batch = batch.suited(model.spec)
    ways = [(model, *model.pair(batch))] if isinstance(model, HasPairs) else []
    if isinstance(model, HasDirections):
        there, back = model.ends(batch)
        ends = [(there, back), (back, there)]
        ways = [(model.towards(direction), *end) for direction, end in zip(model.directions, ends)]
        torch.testing.assert_close(model.translate(there), ways[0][0].translate(there))
        torch.testing.assert_close(model.translate(back, model.directions[1]), ways[1][0].translate(back))
        with pytest.raises(UsageError, match="A-to-B or B-to-A"):
            model.towards("A-to-C")
    assert ways
    for way, source, wanted in ways:
        made = way.translate(source)
        assert source.shape[1:] == way.source.shape
        assert made.shape == wanted.shape
        assert made.isfinite().all()
        torch.testing.assert_close(way.translate(source[:1]), made[:1], atol=1e-4, rtol=1e-4)
        height, width = source.shape[2:]
        wide = way.translate(torch.cat([source, source], 3)[..., :-1])
        scale = made.shape[3] // width
        assert wide.shape == (len(source), made.shape[1], height * scale, (2 * width - 1) * scale)


@pytest.mark.parametrize(("kind", "form"), accepted(CanSegment))
@torch.no_grad()
def test_classes_of_pixels_are_probabilities(model: Any, batch: Batch) -> None:
    likely = model.segment(batch.x)
    assert likely.shape == (len(batch), model.spec.c["mask"].count, *batch.x.shape[2:])
    torch.testing.assert_close(likely.exp().sum(1), torch.ones_like(likely[:, 0]))


@pytest.mark.parametrize(("kind", "form"), accepted(CanEncode))
@torch.no_grad()
def test_codes(model: Any, batch: Batch) -> None:
    z = model.encode(batch.x, batch.c)
    assert len(z) == len(batch)
    assert z.ndim in (2, 4)
    assert z.isfinite().all()
    torch.testing.assert_close(
        model.encode(batch.x[:1], {k: v[:1] for k, v in batch.c.items()}), z[:1], atol=1e-4, rtol=1e-4
    )
    if isinstance(model, CanDecode):
        again = use.reconstruct(model, batch.x, batch.c)
        assert again.shape == batch.x.shape
        assert again.isfinite().all()


@pytest.mark.parametrize(
    ("kind", "form"),
    sorted({p.id: p for a in (HasLogProb, HasBound) for p in accepted(a)}.values(), key=lambda p: p.id),
)
@torch.no_grad()
def test_likelihoods_are_nats_a_row_and_no_bound_exceeds_them(model: Any, batch: Batch) -> None:
    assert model.measure in ("mass", "density")
    functions = [getattr(model, name) for name in ("log_prob", "bound") if hasattr(model, name)]
    torch.manual_seed(0)
    values = [torch.stack([f(batch.x, batch.c) for _ in range(8)]) for f in functions]
    for value in values:
        assert value.shape == (8, len(batch))
        assert value.dtype == torch.float32
        assert value.isfinite().all()
        assert model.measure == "density" or (value < 0).all()
    if len(values) == 2:
        assert (values[1].mean(0) <= values[0].mean(0) + 3 * values[1].std(0)).all()


@pytest.mark.parametrize(("kind", "form"), accepted(HasLogProb, "plane"))
@torch.no_grad()
def test_densities_integrate_to_one_for_each_label_and_for_none(model: Any) -> None:
    axis = torch.linspace(-10, 10, 321)
    grid = torch.cartesian_prod(axis, axis)
    labels = [None] if model.spec.label is None else range(model.spec.label.count + 1)
    for label in labels:
        c = {} if label is None else {"label": torch.full((len(grid),), label)}
        mass = model.log_prob(grid, c).double().exp().sum() * (axis[1] - axis[0]) ** 2
        assert float(mass) == pytest.approx(1, abs=5e-3)


# -- learning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "form"), accepted(Learns))
def test_all_that_a_player_owns_moves_and_nothing_else(kind: str, form: str, tmp_path: Path) -> None:
    data = synthetic.write(form, tmp_path)
    run, dataset = plan(kind, data), data.build()
    model = workbench.build(run, dataset)
    if isinstance(run.model, TwoStageConfig):  # something to learn from, as a trained first stage has
        for part in model.get_submodule("first").parameters():
            part.data.add_(torch.randn_like(part), alpha=0.1)
    session = Session(run, dataset, model, Processes())
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    own = [(part, [*part.parameters()]) for part in model.modules()]
    frozen = [part for part, parameters in own if parameters and not any(p.requires_grad for p in parameters)]
    statistics = [buffer.clone() for part in frozen for buffer in part.buffers()]
    for progress in (0.0, 0.3, 0.6, 0.9):
        session.take_step(progress)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for seat in session.seats for name in seat.parameters}
    assert all(map(torch.equal, statistics, (buffer for part in frozen for buffer in part.buffers())))
    assert all(p.isfinite().all() for p in model.parameters())
    assert isinstance(model, Learns)
    names = [player.name for player in model.players()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("kind", "form"), accepted(Fits))
def test_closed_forms_keep_what_they_learn_in_buffers(kind: str, form: str, trained: Any, model: Any) -> None:
    fresh = model.config.build(model.spec)
    learned, new = dict(model.named_buffers()), dict(fresh.named_buffers())
    assert any(not torch.equal(learned[name], new[name]) for name in new)
    assert not any(p.requires_grad for p in model.parameters())
    assert trained(kind, form)[0].read_metrics()


# -- what is written --------------------------------------------------------------------------------------------------


@EVERY
def test_run_folder_and_values_read_back(kind: str, form: str, trained: Any, model: Model) -> None:
    folder, _ = trained(kind, form)
    run = folder.read_run()
    assert parse(Run, json.loads(run.model_dump_json())) == run
    assert parse(type(model.config), json.loads(model.config.model_dump_json())) == model.config
    assert not model.training
    assert type(model) is config_class(kind).model_class()
    stored = json.loads((folder.model / "config.json").read_text())["model"]
    assert stored["kind"] == kind
    assert folder.read_status()["state"] == "done"
    for line in folder.read_metrics():
        assert {"step", "seconds", "examples_per_second"} < line.keys()
        assert all(np.isfinite(value) for value in line.values())
    if isinstance(model, Learns):
        assert [line["step"] for line in folder.read_metrics()] == [2, 4]
    state = torch.get_rng_state()
    again = use.load(folder.model).state_dict()
    assert torch.equal(state, torch.get_rng_state())
    published = [name for name in again if not name.startswith(model.training_only or "-")]
    assert all(torch.equal(model.state_dict()[name], again[name]) for name in published)


def test_config_sizes_are_numbers_where_they_are_derived() -> None:
    """What `load` needs is stored resolved: a later default changes no old model."""
    for kind in KINDS:
        cls = config_class(kind)
        if issubclass(cls, TwoStageConfig) or "latent" not in cls.model_fields:
            continue
        built = cls().build(synthetic.spec_of("grey"))
        assert isinstance(built.config.model_dump()["latent"], int)


# -- resuming ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("kind", [k for k in KINDS if issubclass(config_class(k).model_class(), Learns)])
def test_a_resumed_run_is_the_unbroken_one(kind: str, accumulate: int, tmp_path: Path) -> None:
    forms = synthetic.forms_for(config_class(kind))
    form = next(f for f in ("odd-labelled", "plane-labelled", *synthetic.PARTNERED) if f in forms)
    data = synthetic.write(form, tmp_path)
    # 160 rows in batches of 48: an epoch ends inside a batch; the log's window is open at step 3
    run = plan(kind, data, 6, **{"training.accumulate": accumulate, "training.batch": 48})
    dataset = data.build()
    whole = learn(run, dataset, tmp_path / "whole")
    assert learn(run, dataset, tmp_path / "parts", stop=3).read_status()["state"] == "preempted"
    parts = learn(run, dataset, tmp_path / "parts")
    (files, state), (expected, wanted) = (read_state(max((f.checkpoints).iterdir())) for f in (parts, whole))
    assert files.keys() == expected.keys()
    assert {"weights", "average"} < files.keys()
    for name, tensors in expected.items():
        assert tensors.keys() == files[name].keys()
        differing = [key for key, tensor in tensors.items() if not torch.equal(tensor, files[name][key])]
        assert not differing
    assert untimed(parts) == untimed(whole)
    assert {**state, "seconds": 0} == {**wanted, "seconds": 0}


@pytest.mark.parametrize("kind", [k for k in KINDS if issubclass(config_class(k).model_class(), Fits)])
def test_closed_forms_come_out_the_same_twice(kind: str, trained: Any, tmp_path: Path) -> None:
    first, _ = trained(kind, "plane-labelled")
    data = synthetic.write("plane-labelled", tmp_path)
    second = workbench.execute(plan(kind, data), tmp_path / "run")
    one, two = (use.load(folder.path).state_dict() for folder in (first, second))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert untimed(first) == untimed(second)


# -- headers and settings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_taxonomy_follows_from_the_header(kind: str) -> None:
    cls = config_class(kind).model_class()
    names = set(abilities.abilities(cls))
    expected = (
        "tractable" if "HasLogProb" in names
        else "approximate" if names & {"HasBound", "HasEnergy", "CanDenoise"}
        else "implicit" if names & {"CanSample", "CanTranslate"} and "CanSegment" not in names
        else None
    )  # fmt: skip
    assert density(cls) == expected
    assert issubclass(cls, Learns) != issubclass(cls, Fits)
    assert not [sub for sub in cls.__subclasses__() if sub.__module__.startswith("figment")]


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_a_header_lists_can_be_asked_for(kind: str, trained: Any) -> None:
    form = synthetic.forms_for(config_class(kind))[-1]
    model = use.load(trained(kind, form)[0].path)
    if not isinstance(model, CanSample):
        with pytest.raises(UsageError, match="cannot draw samples") as told:
            use.sample(model, 1)
        assert ("with-prior" in str(told.value)) == isinstance(model, CanDecode)
    with pytest.raises(UsageError):
        with_sampling(model, {"no_such_choice": 1})


@pytest.mark.parametrize("kind", KINDS)
def test_data_that_does_not_fit_is_refused_by_name(kind: str) -> None:
    cls = config_class(kind)
    others = [synthetic.spec_of(f) for f in FORMS if cls.lack(synthetic.spec_of(f))]
    assert set(cls.accepts) <= {Image, Vector, Latent}
    for spec in others:
        with pytest.raises(UsageError, match="These do: "):
            cls().check(spec)


def configs() -> list[type[Config]]:
    samplings = [c.model_class().Sampling for c in map(config_class, KINDS) if issubclass(c.model_class(), HasSampling)]
    data = [registry.load("data", kind) for kind in registry.kinds("data") if kind != "synthetic"]
    return [Run.model_fields["training"].annotation, *map(config_class, KINDS), *samplings, *data]  # type: ignore[list-item]


@pytest.mark.parametrize("config", configs(), ids=lambda c: f"{c.__module__.rpartition('.')[2]}.{c.__name__}")
def test_every_setting_is_described(config: type[Config]) -> None:
    assert not [name for name, field in config.model_fields.items() if name != "kind" and not field.description]
