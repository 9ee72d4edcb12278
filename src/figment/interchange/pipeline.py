"""Pipelines of diffusers that figment did not write: Stable Diffusion, and denoisers of pictures.

Their networks are run as they are; noise, samplers, guidance and negative prompts are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from inspect import isclass
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor, nn

from figment.core.data import Classes, Condition, Image, Latent, Spec
from figment.core.errors import InvalidCheckpoint, UsageError
from figment.core.model import CanDenoise, Denoised, HasSampling, Model, ModelConfig
from figment.core.noise import Noise
from figment.core.run import read_json
from figment.core.text import Bytes, Tokens
from figment.models.diffusion.latent import Coded, DrawnDecoded, SolvedDecoded
from figment.models.diffusion.prediction import Prediction, PredictionName
from figment.models.diffusion.sampling import Sampling, Solved, sampler
from figment.models.diffusion.schedule import Steps
from figment.models.diffusion.transition import Transition

NETWORKS = ("UNet2DModel", "UNet2DConditionModel")
USED = ("unet", "vae", "scheduler", "tokenizer", "text_encoder")
LEARNED = ("unet", "vae", "text_encoder")
IDLE = ("safety_checker", "feature_extractor", "image_encoder")
PREDICTIONS: dict[str, PredictionName] = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
LETTERS = 400  # bytes of a prompt; an encoder of 77 tokens reads no more


class PipelineConfig(ModelConfig):
    """A pipeline's folder: it is trained elsewhere."""

    kind: Literal["pipeline"] = "pipeline"
    accepts: ClassVar = (Image,)
    folder: str


def read(folder: Path) -> Pipeline:
    """The pipeline in a folder: a denoiser of pictures, or of an autoencoder's codes, told texts or nothing.

    Weights are safetensors only. Raises UsageError where it is of another make, InvalidCheckpoint where parts are
    missing or damaged.
    """
    index = read_json(folder / "model_index.json")
    parts = {name: made for name, made in index.items() if isinstance(made, list) and len(made) == 2}
    network = parts.get("unet", [None, None])[1]
    if network not in NETWORKS or (strange := [name for name in parts if name not in USED + IDLE and parts[name][1]]):
        of = f"its parts {', '.join(strange)}" if network in NETWORKS else "its network"
        raise UsageError(f"{folder}: {of} cannot be used. Pipelines of {' or '.join(NETWORKS)} can, with one encoder.")
    opened = {name: _opened(folder, name, *parts[name]) for name in USED if parts.get(name, [None, None])[1]}
    if obstacle := _obstacle(opened):
        raise UsageError(f"{folder}: {obstacle}")
    return Pipeline(folder, _Denoiser(folder.name, opened), opened.get("vae"))


def _obstacle(parts: Mapping[str, Any]) -> str | None:
    """What keeps these parts from being run together."""
    schedule, config = parts.get("scheduler"), parts["unet"].config
    if not isinstance(getattr(schedule, "betas", None), Tensor):
        return f"its scheduler {type(schedule).__name__} has no betas to read." if schedule else "it has no scheduler."
    if (predicts := schedule.config.get("prediction_type")) not in PREDICTIONS:  # type: ignore[union-attr]
        return f"its network predicts {predicts}, and only {', '.join(PREDICTIONS)} can be read."
    if config.in_channels != config.out_channels:
        return f"its network makes {config.out_channels} channels of {config.in_channels}, and is to make as many."
    if "encoder_hid_dim" in config and not {"tokenizer", "text_encoder"} <= parts.keys():
        return "its network is told texts, and it has no tokenizer and text_encoder."
    return None


def _opened(folder: Path, name: str, library: str, made: str) -> Any:
    """A part, as its own library reads it: no pickles, and no code of the folder's."""
    if library not in ("diffusers", "transformers"):
        raise UsageError(f"{folder}: {name} is of {library}, which is not run.")
    try:
        kind: Any = getattr(import_module(library), made, None)
    except ImportError:
        raise UsageError(f"this pipeline needs {library}: pip install 'figment[diffusers,text]'") from None
    fits = isclass(kind) and issubclass(kind, nn.Module) == (name in LEARNED)
    if not fits:
        raise UsageError(f"{folder}: its {name} is a {made}, which the {library} installed here cannot read as one.")
    if not (folder / name).is_dir():
        raise InvalidCheckpoint(f"{folder / name} cannot be read: there is no such folder.")
    weights = {"use_safetensors": True} if name in LEARNED else {}
    code = {"trust_remote_code": False} if library == "transformers" else {}
    try:
        part = kind.from_pretrained(folder / name, local_files_only=True, **weights, **code)
    except (OSError, ValueError, RuntimeError) as error:
        raise InvalidCheckpoint(f"{folder / name} cannot be read: {str(error).splitlines()[0]}") from None
    return part.eval().requires_grad_(False) if isinstance(part, nn.Module) else part


class _Denoiser(nn.Module, CanDenoise):
    """E[x | x_t, text] by a network of diffusers, whose step i is the time (i + 1) / T."""

    def __init__(self, name: str, parts: Mapping[str, Any]):
        super().__init__()
        self.unet, self.encoder, self._tokenizer = parts["unet"], parts.get("text_encoder"), parts.get("tokenizer")
        betas = parts["scheduler"].betas.double()
        self.schedule = Steps(tuple(betas.tolist()))
        self.prediction = Prediction(PREDICTIONS[parts["scheduler"].config.prediction_type])
        shape = (self.unet.config.sample_size,) * 2 if isinstance(self.unet.config.sample_size, int) else None
        height, width = shape or self.unet.config.sample_size
        form: Any = Latent if "vae" in parts else Image
        c: dict[str, Condition] = {}
        if self.encoder is not None:
            c["text"] = Tokens(tokenizer=Bytes(), length=LETTERS)
        elif count := getattr(self.unet.config, "num_class_embeds", None):
            c["label"] = Classes(names=tuple(map(str, range(count))), frequencies=(1.0,) * count)
        self.spec = Spec(name=name, x=form(channels=self.unet.config.in_channels, height=height, width=width), c=c)

    def prepared(self, c: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Texts as vectors `(B, L, E)`, each read once."""
        text = self.spec.text
        if text is None or "text" not in c or c["text"].is_floating_point():
            return dict(c)
        said = [text.text(row) for row in c["text"].cpu()]
        vectors = {prompt: self._read(prompt) for prompt in dict.fromkeys(said)}
        return {**c, "text": torch.stack([vectors[prompt] for prompt in said])}

    @cached_property
    def _silence(self) -> Tensor:
        return self._read("")

    @torch.no_grad()
    def _read(self, prompt: str) -> Tensor:
        assert self.encoder is not None and self._tokenizer is not None
        longest = self._tokenizer.model_max_length
        tokens = self._tokenizer(prompt, padding="max_length", max_length=longest, truncation=True, return_tensors="pt")
        return self.encoder(tokens["input_ids"].to(self.encoder.device))[0][0].float()

    def denoise(self, x_t: Tensor, t: Tensor, c: Mapping[str, Tensor]) -> Denoised:
        shape = (-1, *[1] * (x_t.ndim - 1))
        alpha, sigma = self.schedule.alpha(t).view(shape), self.schedule.sigma(t).view(shape)
        step = t * len(self.schedule.betas) - 1
        said: dict[str, Tensor] = {}
        if self.spec.text is not None:
            silence = self._silence.to(x_t.device).expand(len(x_t), -1, -1)
            words = self.prepared(c).get("text", silence)
            empty = (words == 0).flatten(1).all(1).view(-1, 1, 1)  # the null value, which its encoder does not know
            said["encoder_hidden_states"] = torch.where(empty, silence, words)
        elif self.spec.label is not None:
            said["class_labels"] = c["label"]
        guess = self.unet(x_t, step, **said).sample
        return Denoised(self.prediction.clean(guess, x_t, Transition(alpha, sigma, alpha * 0 + 1, sigma * 0)))


@final
class Pipeline(Model, HasSampling, Coded):
    """x = decode(z / scale), z drawn by the pipeline's denoiser; without an autoencoder, x is drawn.

    Rombach et al., "High-resolution image synthesis with latent diffusion models" (2022).
    """

    Sampling: ClassVar[type[Sampling]] = Sampling
    config: PipelineConfig

    def __init__(self, folder: Path, denoiser: _Denoiser, autoencoder: Any):
        form = denoiser.spec.x
        assert isinstance(form, Image | Latent)
        if autoencoder is not None:
            factor = 2 ** (len(autoencoder.config.block_out_channels) - 1)
            channels = autoencoder.config.out_channels
            form = Image(channels=channels, height=form.height * factor, width=form.width * factor)
        super().__init__(PipelineConfig(folder=str(folder)), denoiser.spec.model_copy(update={"x": form}))
        self.denoiser, self.autoencoder = denoiser, autoencoder

    def to_codes(self, x: Tensor) -> Tensor:
        if self.autoencoder is None:
            return x
        return self.autoencoder.encode(x).latent_dist.mean * self.autoencoder.config.scaling_factor

    def from_codes(self, z: Tensor) -> Tensor:
        if self.autoencoder is None:
            return z
        return self.autoencoder.decode(z / self.autoencoder.config.scaling_factor).sample

    def with_sampling(self, sampling: Any) -> DrawnDecoded | SolvedDecoded:
        if self.spec.label is not None and sampling.guidance != 1 and sampling.negative is None:
            raise UsageError(
                f"the network of {self.spec.name} knows no missing label, so guidance needs one to push away from: "
                "add --negative LABEL."
            )
        way = sampler(self.denoiser, self.denoiser.spec, sampling)
        return SolvedDecoded(self, way) if isinstance(way, Solved) else DrawnDecoded(self, way)

    def sample(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return self.with_sampling(Sampling()).sample(c, noise)

    @property
    def evaluations(self) -> int:
        return self.with_sampling(Sampling()).evaluations
