"""Pipelines that others wrote, run with our noise, samplers and guidance: the pictures are those of diffusers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from figment import samples, use
from figment.core.errors import InvalidCheckpoint, UsageError
from figment.core.noise import Noise
from figment.variations import vary

diffusers = pytest.importorskip("diffusers", reason="the pipelines are those of diffusers")
SIZES: dict[str, Any] = {"block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 8}
STEPS = 5


def scheduler(**settings: Any) -> Any:
    return diffusers.DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        timestep_spacing="trailing",
        **settings,
    )


@pytest.fixture(scope="module")
def stable(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Stable Diffusion in small, with random weights."""
    transformers = pytest.importorskip("transformers", reason="Stable Diffusion reads text with it")
    folder = tmp_path_factory.mktemp("stable")
    letters = [*"abcdefghijklmnopqrstuvwxyz", *(f"{letter}</w>" for letter in "abcdefghijklmnopqrstuvwxyz")]
    vocabulary = {piece: place for place, piece in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    torch.manual_seed(0)
    config = transformers.CLIPTextConfig(
        vocab_size=len(vocabulary), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=16, bos_token_id=52, eos_token_id=53,
    )  # fmt: skip
    pipeline = diffusers.StableDiffusionPipeline(
        vae=diffusers.AutoencoderKL(
            block_out_channels=(8, 16), norm_num_groups=4, latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        ),
        text_encoder=transformers.CLIPTextModel(config),
        tokenizer=transformers.CLIPTokenizer(
            str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16
        ),
        unet=diffusers.UNet2DConditionModel(
            sample_size=8, cross_attention_dim=16, attention_head_dim=8, **SIZES,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        ),
        scheduler=scheduler(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(folder / "pipeline")
    return pipeline, folder / "pipeline"


@pytest.mark.parametrize("words", [{}, {"guidance": 5.0}, {"guidance": 5.0, "negative": "blue"}])
def test_a_prompt_draws_the_picture_that_diffusers_draws(stable: Any, words: dict[str, Any]) -> None:
    theirs, folder = stable
    model, noise = use.load(folder), Noise(3, range(2))
    assert model.spec.x.shape == (3, 16, 16)
    sampler = {"sampler": "ddim", "grid": "uniform", "steps": STEPS, **words}
    ours, _ = use.draw(model, 2, seed=3, given=model.spec.given(prompt="a red cat"), options=sampler, precision="fp32")
    expected = theirs(
        "a red cat",
        negative_prompt=words.get("negative"),
        latents=noise.stream("prior").normal((4, 8, 8)),
        num_images_per_prompt=2,
        guidance_scale=words.get("guidance", 1.0),
        num_inference_steps=STEPS,
        output_type="pt",
    ).images
    torch.testing.assert_close(ours.clamp(-1, 1), expected * 2 - 1, rtol=0, atol=1e-3)


def test_it_draws_varies_and_remembers_how(stable: Any, tmp_path: Path) -> None:
    _, folder = stable
    (file,) = samples.save_samples(folder, tmp_path / "x.png", 2, prompt="a cat", options={"steps": 2})
    samples.redraw(folder, file, tmp_path / "again.png")
    assert file.read_bytes() == (tmp_path / "again.png").read_bytes()
    PIL.Image.new("RGB", (40, 30), (200, 30, 30)).save(tmp_path / "red.png")
    vary(use.load(folder), tmp_path / "red.png", tmp_path / "like.png", 0.5, prompt="a cat", options={"steps": 2})
    assert PIL.Image.open(tmp_path / "like.png").size == (16, 16)


def test_a_pipeline_of_pictures_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    unet = diffusers.UNet2DModel(sample_size=8, in_channels=1, out_channels=1, **SIZES, **blocks)
    diffusers.DDPMPipeline(unet, scheduler()).save_pretrained(tmp_path / "pipeline")
    x = use.sample(use.load(tmp_path / "pipeline"), n=3, steps=2)
    assert x.shape == (3, 8, 8, 1)
    assert x.dtype == np.uint8


def test_what_cannot_be_run_is_told(stable: Any, tmp_path: Path) -> None:
    _, folder = stable
    index = json.loads((folder / "model_index.json").read_text())

    def other(**parts: Any) -> Path:
        made = tmp_path / f"p{len(list(tmp_path.iterdir()))}"
        made.mkdir()
        for part in folder.iterdir():
            if part.is_dir():
                (made / part.name).symlink_to(part)
        (made / "model_index.json").write_text(json.dumps({**index, **parts}))
        return made

    with pytest.raises(UsageError, match="its network cannot be used"):
        use.load(other(unet=[None, None], transformer=["diffusers", "SD3Transformer2DModel"]))
    with pytest.raises(UsageError, match="text_encoder_2"):
        use.load(other(text_encoder_2=["transformers", "CLIPTextModelWithProjection"]))
    with pytest.raises(UsageError, match="of my_code, which is not run"):
        use.load(other(scheduler=["my_code", "Mine"]))
    with pytest.raises(UsageError, match="scheduler is a NoSuchScheduler"):
        use.load(other(scheduler=["diffusers", "NoSuchScheduler"]))
    with pytest.raises(UsageError, match="text_encoder is a AutoModel"):  # which would read pickles
        use.load(other(text_encoder=["transformers", "AutoModel"]))
    with pytest.raises(UsageError, match="has no scheduler"):
        use.load(other(scheduler=[None, None]))
    with pytest.raises(UsageError, match="no tokenizer and text_encoder"):
        use.load(other(tokenizer=[None, None], text_encoder=[]))
    wide = other()
    (wide / "scheduler").unlink()
    scheduler(prediction_type="flow_prediction").save_pretrained(wide / "scheduler")
    with pytest.raises(UsageError, match="predicts flow_prediction"):
        use.load(wide)
    empty = other()
    (empty / "unet").unlink()
    with pytest.raises(InvalidCheckpoint, match="unet cannot be read"):
        use.load(empty)
