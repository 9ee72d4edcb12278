"""A diffusion model as a folder of diffusers' pipeline, and back.

`unet/` is a `UNet2DModel`, `scheduler/` the schedule; `figment.json` keeps what diffusers has no place for. Writing it
needs the extra `diffusers`, reading it back does not.
"""

from __future__ import annotations

import hashlib
import importlib
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from figment import registry
from figment.core.checkpoint import load_model_tensors, read_tensors
from figment.core.config import parse
from figment.core.data import Image, Spec
from figment.core.errors import InvalidCheckpoint, UsageError
from figment.core.model import Model
from figment.core.run import read_json, write_json
from figment.models.diffusion.diffusion import Diffusion
from figment.models.diffusion.schedule import Steps
from figment.nn.normalisation import GroupNorm
from figment.nn.unet import UNet

NETWORK = "unet/diffusion_pytorch_model.safetensors"
LABELS = "labels.safetensors"  # what diffusers keeps as one table
OF_LABELS = ("label_embed", "network.condition_embed")
STEPS = 1000  # times that diffusers' networks count to
PREDICTIONS = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
RENAMED = [
    (r"^time_embed\.first", "time_embedding.linear_1"),
    (r"^time_embed\.second", "time_embedding.linear_2"),
    (r"^(down|up)\.", r"\1_blocks."),
    (r"^middle\.first", "mid_block.resnets.0"),
    (r"^middle\.second", "mid_block.resnets.1"),
    (r"^middle\.attention\.", "mid_block.attentions.0."),
    (r"^norm\.", "conv_norm_out."),
    (r"_blocks\.(\d+)\.blocks\.", r"_blocks.\1.resnets."),
    (r"^down_blocks\.(\d+)\.resample\.", r"down_blocks.\1.downsamplers.0.conv."),
    (r"^up_blocks\.(\d+)\.resample\.", r"up_blocks.\1.upsamplers.0.conv."),
    (r"(attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"\.project\.", ".to_out.0."),
    (r"\.(norm|conv)_(\d)\.", r".\1\2."),
    (r"\.modulation\.", ".time_emb_proj."),
    (r"\.shortcut\.", ".conv_shortcut."),
]


def write(model: Model, folder: str | Path) -> Path:
    """Writes a pipeline that computes the same function; returns its folder.

    Diffusers counts times from 0 to 999 where the schedule has steps: the first layer on the time's sines is turned by
    one step, which is exact. Raises UsageError where diffusers has no network, schedule or prediction of this kind.
    """
    folder = Path(folder)
    if obstacle := _obstacle(model):
        raise UsageError(f"diffusers cannot hold this model: {obstacle}")
    assert isinstance(model, Diffusion) and isinstance(model.spec.x, Image)
    library = _library()
    height, width = model.spec.x.height, model.spec.x.width
    unet = peer(_network(model), model.spec.x.channels, size=(height, width), labels=_labels(model))
    if isinstance(model.schedule, Steps):
        weight = unet.time_embedding.linear_1.weight
        weight.data = _turned(weight.data)
        scheduler: Any = library.DDIMScheduler(
            num_train_timesteps=STEPS,
            trained_betas=list(model.schedule.betas),
            prediction_type=PREDICTIONS[model.config.prediction],
            timestep_spacing="trailing",
            clip_sample=False,
        )
    else:
        scheduler = library.FlowMatchEulerDiscreteScheduler(num_train_timesteps=STEPS, shift=model.Sampling().shift)
    library.DDPMPipeline(unet, scheduler).save_pretrained(folder)
    write_json(folder / "figment.json", {"model": model.config.model_dump(), "spec": model.spec.model_dump()})
    if model.label_embed is not None:
        kept = {name: value for name, value in model.state_dict().items() if name.startswith(OF_LABELS)}
        safetensors.torch.save_file(kept, folder / LABELS)
    return folder


def read(folder: str | Path) -> Model:
    """The model of a folder that `write` wrote, or a pipeline of another's. Raises UsageError, InvalidCheckpoint."""
    folder = Path(folder)
    if not (folder / "figment.json").exists():
        from figment.interchange import pipeline

        return pipeline.read(folder)
    stored = read_json(folder / "figment.json")
    config = parse(registry.load("model", stored["model"]["kind"]), stored["model"])
    with torch.random.fork_rng([]):
        model = config.build(parse(Spec, stored["spec"]))
    theirs = read_tensors(folder / NETWORK)
    try:
        weights = {f"network.{name}": value for name, value in _own(model.network, theirs).items()}
    except KeyError as error:
        raise InvalidCheckpoint(f"{folder} lacks the weights {error}.") from None
    if isinstance(model.schedule, Steps):
        name = "network.time_embed.first.weight"
        weights[name] = _turned(weights[name], back=True)
    if model.label_embed is not None:
        weights |= read_tensors(folder / LABELS)
    load_model_tensors(model, weights)
    return model.eval()


def weights_of(folder: Path) -> str:
    """The sha256 of a pipeline's network."""
    with (folder / NETWORK).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def peer(
    net: UNet,
    channels: int,
    outputs: int | None = None,
    size: tuple[int, int] | None = None,
    labels: Tensor | None = None,
    attention: tuple[int, ...] = (),
) -> Any:
    """A `UNet2DModel` of the same function as `net` (its timestep is 1000 t); `labels` `(K, E)` embed its classes."""
    levels: Any = net.down
    down = ["AttnDownBlock2D" if i in attention else "DownBlock2D" for i in range(len(levels))]
    middle: Any = net.middle.attention
    unet = _library().UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=outputs or channels,
        block_out_channels=tuple(level.blocks[0].conv_2.out_channels for level in levels),
        layers_per_block=len(levels[0].blocks),
        down_block_types=tuple(down),
        up_block_types=tuple(name.replace("Down", "Up") for name in reversed(down)),
        attention_head_dim=middle.project.out_features // middle.heads,
        norm_num_groups=net.norm.groups,
        attn_norm_num_groups=net.norm.groups,
        resnet_time_scale_shift="scale_shift",
        num_class_embeds=None if labels is None else len(labels),
    )
    weights = _theirs(net)
    if labels is not None:
        weights["class_embedding.weight"] = labels
    unet.load_state_dict(weights)
    return unet.eval()


def _library() -> Any:
    try:
        return importlib.import_module("diffusers")
    except ImportError:
        raise UsageError("this needs diffusers: pip install 'figment[diffusers]'") from None


def _network(model: Diffusion) -> UNet:
    assert isinstance(model.network, UNet)
    return model.network


def _obstacle(model: Model) -> str | None:
    """Why diffusers has no place for a model; None where it has."""
    if not isinstance(model, Diffusion):
        return f"it is of kind '{model.config.kind}', not 'diffusion'."
    config, x = model.config, model.spec.x
    if not isinstance(x, Image):
        return "it is of rows, not of pictures."
    if model.spec.text or config.network != "unet":
        return "it reads captions, or is no U-Net, and UNet2DModel does neither."
    if config.patch != 1:
        return (
            f"its U-Net folds {config.patch} x {config.patch} pixels into channels (model.patch={config.patch}), which "
            "UNet2DModel does not. Train with model.patch=1, as sizes base and large have it, or export it --to onnx."
        )
    if x.height % (multiple := _network(model).multiple) or x.width % multiple:
        return f"UNet2DModel does not pad, and {x.height} x {x.width} is not a multiple of {multiple}."
    if config.variance == "learned":
        return "its network also says the variance of reverse steps (model.variance=learned)."
    if isinstance(model.schedule, Steps):
        if config.prediction not in PREDICTIONS or config.steps != STEPS:
            return f"with schedule={config.schedule} it takes prediction=eps, x0 or v and steps={STEPS}."
    elif config.prediction != "flow":
        return f"with schedule=straight it takes prediction=flow, not {config.prediction}."
    elif config.shift != 1:
        return f"with schedule=straight it takes no shift of its own (model.shift={config.shift:g})."
    groups = {module.groups for module in model.network.modules() if isinstance(module, GroupNorm)}
    return f"its group norms are of {sorted(groups)} groups, and must be of one number." if len(groups) > 1 else None


def _labels(model: Diffusion) -> Tensor | None:
    """What each label, and none, adds to the time's embedding: `(K + 1, E)`."""
    if model.label_embed is None:
        return None
    project = _network(model).condition_embed
    assert project is not None
    with torch.no_grad():
        return project(model.label_embed.weight)


def _turned(weight: Tensor, back: bool = False) -> Tensor:
    """W' such that W' s(i - 1) = W s(i), s(i) being cos(i f_j), then sin(i f_j): `(outputs, width)`."""
    cosines, sines = weight.double().chunk(2, dim=1)
    half = cosines.shape[1]
    angle = torch.exp(torch.arange(half, dtype=torch.float64) * (-math.log(1e4) / half)) * (-1 if back else 1)
    turned = cosines * angle.cos() + sines * angle.sin(), sines * angle.cos() - cosines * angle.sin()
    return torch.cat(turned, dim=1).to(weight.dtype)


def _name(own: str) -> str:
    for pattern, replacement in RENAMED:
        own = re.sub(pattern, replacement, own)
    return own


def _theirs(net: UNet) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for name, value in net.state_dict().items():
        name = _name(name)
        if ".qkv." in name:
            weights |= {name.replace("qkv", f"to_{part}"): v for part, v in zip("qkv", value.chunk(3))}
        elif not name.startswith("condition_embed"):
            weights[name] = value[..., None, None] if name.endswith("shortcut.weight") else value
    return weights


def _own(net: UNet, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for own, like in net.state_dict().items():
        name = _name(own)
        if ".qkv." in name:
            weights[own] = torch.cat([theirs[name.replace("qkv", f"to_{part}")] for part in "qkv"])
        elif not name.startswith("condition_embed"):
            weights[own] = theirs[name].reshape(like.shape)
    return weights
