"""Models in the forms of other libraries: the same function there, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import short
from figment import samples, use, workbench
from figment.core.data import Classes, Image, Spec
from figment.core.errors import FigmentError, UsageError
from figment.core.model import HasDirections
from figment.core.run import read_json
from figment.interchange import diffusers as ours
from figment.interchange import hub, onnx
from figment.models.diffusion.diffusion import Diffusion, DiffusionConfig

STEPS = 10


def model(labels: int = 0, **config: Any) -> Diffusion:
    """With weights that all matter."""
    classes = Classes(names=tuple(map(str, range(labels))), frequencies=(1.0,) * labels)
    spec = Spec(name="p", x=Image(channels=3, height=8, width=12), c={"label": classes} if labels else {})
    torch.manual_seed(0)
    made = DiffusionConfig(size="tiny", **{"patch": 1, **config}).build(spec).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return made


def decoded(of: Any, z: torch.Tensor, c: dict[str, torch.Tensor]) -> torch.Tensor:
    grid = "shifted" if of.config.schedule == "straight" else "uniform"
    return of.with_sampling(of.Sampling(sampler="ddim", steps=STEPS, grid=grid)).decode(z, c)


@pytest.mark.parametrize("labels", [0, 50])
@pytest.mark.parametrize(
    "config",
    [{}, {"schedule": "linear", "prediction": "eps"}, {"schedule": "cosine", "prediction": "v"}],
    ids=["flow", "eps", "v"],
)
def test_diffusers_draws_the_same_picture(labels: int, config: dict[str, Any], tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers", reason="the folder is for diffusers to load")
    mine = model(labels, **config)
    pipeline = diffusers.DiffusionPipeline.from_pretrained(ours.write(mine, tmp_path / "pipeline"))
    z, c = torch.randn(3, 3, 8, 12), {"label": torch.tensor([0, 7, labels])} if labels else {}
    expected, scheduler, x = decoded(mine, z, c), pipeline.scheduler, z
    times = {"sigmas": [1 - i / STEPS for i in range(STEPS)]} if mine.config.schedule == "straight" else {}
    scheduler.set_timesteps(**(times or {"num_inference_steps": STEPS}))
    with torch.no_grad():
        for t in scheduler.timesteps:
            given = {"class_labels": c["label"]} if labels else {}
            x = scheduler.step(pipeline.unet(x, t, **given).sample, t, x).prev_sample
    scale = float(expected.abs().max())
    torch.testing.assert_close(x / scale, expected / scale, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        decoded(ours.read(tmp_path / "pipeline"), z, c) / scale, expected / scale, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"patch": 2}, "model.patch=1"),
        ({"schedule": "linear"}, "prediction=eps"),
        ({"schedule": "linear", "prediction": "eps", "steps": 200}, "steps=1000"),
        ({"prediction": "v"}, "prediction=flow"),
        ({"schedule": "linear", "prediction": "mu"}, "prediction=eps"),
        ({"schedule": "linear", "prediction": "eps", "variance": "learned"}, "model.variance=learned"),
        ({"shift": 3.0}, "model.shift=3"),
        ({"multipliers": (1, 2, 2, 2)}, "not a multiple of 8"),
    ],
)
def test_what_diffusers_has_no_place_for_is_told(config: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=reason):
        ours.write(model(**config), tmp_path)


def test_a_folder_draws_as_its_run_does(tmp_path: Path) -> None:
    pytest.importorskip("diffusers", reason="writing the folder needs diffusers")
    run = workbench.execute(short.plan("diffusion", "digits", **{"model.patch": 1}), tmp_path / "run")
    ours.write(use.load(run.path), tmp_path / "pipeline")
    drawn = [samples.save_samples(path, tmp_path / f"{path.name}.npz", 3) for path in (run.path, tmp_path / "pipeline")]
    a, b = (torch.from_numpy(np.load(file[0])["samples"]).int() for file in drawn)
    assert int((a - b).abs().max()) <= 1


def test_the_hub_is_given_the_model_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[tuple[str, Any]] = []

    class Api:
        def create_repo(self, name: str, exist_ok: bool) -> None:
            asked.append(("create", name))

        def upload_folder(self, repo_id: str, folder_path: Path, commit_message: str) -> str:
            asked.append((repo_id, sorted(file.name for file in folder_path.iterdir())))
            return f"address/{repo_id}"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    run = workbench.execute(short.plan("ppca", "digits"), tmp_path / "run")
    assert hub.publish(run.path, "me/mine") == "address/me/mine"
    assert asked[0] == ("create", "me/mine")
    assert {"config.json", "spec.json", "manifest.json", "model.safetensors"} <= set(asked[1][1])
    with pytest.raises(UsageError, match="owner/name"):
        hub.publish(run.path, "mine")
    with pytest.raises(UsageError, match="no finished model"):
        hub.publish(tmp_path, "me/mine")

    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(Api, "create_repo", refuse)
    with pytest.raises(FigmentError, match="no network"):
        hub.publish(run.path, "me/mine")


@pytest.mark.parametrize(
    ("kind", "data", "graphs"),
    [
        ("vae", "digits", ["encode", "decode"]),
        ("classifier", "digits", ["classify"]),
        ("distilled", "toy:moons", ["decode"]),
    ],
)
def test_another_runtime_computes_the_same(kind: str, data: str, graphs: list[str], tmp_path: Path) -> None:
    """At a batch size that was not seen when the graph was written."""
    pytest.importorskip("onnxscript", reason="writing graphs needs onnx and onnxscript")
    runtime = pytest.importorskip("onnxruntime", reason="the graphs are for a runtime to load")
    made = use.load(workbench.execute(short.plan(kind, data), tmp_path / "run").path)
    assert [path.stem for path in onnx.write(made, tmp_path / "graphs")] == graphs
    about = read_json(tmp_path / "graphs" / "graphs.json")
    for graph in onnx.graphs(made):
        inputs = {name: torch.cat([value, value, value[:1]]) for name, value in graph.inputs(made).items()}
        inputs = {name: torch.rand_like(v) if v.is_floating_point() else v for name, v in inputs.items()}
        assert list(about["graphs"][graph.name]["inputs"]) == list(inputs)
        session = runtime.InferenceSession(tmp_path / "graphs" / f"{graph.name}.onnx")
        (got,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        with torch.no_grad():
            expected = onnx.Function(made, graph, list(inputs))(*inputs.values())
        torch.testing.assert_close(torch.from_numpy(got), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_both_ways_of_a_model_that_goes_both_have_a_graph() -> None:
    run = short.plan("cyclegan", "faces:glasses", **{"data.count": 40, "data.size": 16})
    model = workbench.build(run, run.data.build()).eval()
    assert isinstance(model, HasDirections)
    graphs = onnx.graphs(model)
    assert [graph.name for graph in graphs] == ["translate-A-to-B", "translate-B-to-A"]
    for graph, way in zip(graphs, model.directions):
        source = graph.inputs(model)["source"].uniform_(-1, 1)
        torch.testing.assert_close(graph.call(model, {"source": source}, {}), model.translate(source, way))


def test_what_onnx_has_no_word_for_is_told(tmp_path: Path) -> None:
    rbm = use.load(workbench.execute(short.plan("rbm", "digits"), tmp_path / "run").path)
    with pytest.raises(UsageError, match="'rbm' has no graph"):
        onnx.write(rbm, tmp_path / "graphs")
