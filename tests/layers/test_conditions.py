"""Conditions: soft labels interpolate, and a model told not to be conditional knows none."""

from __future__ import annotations

import pytest
import torch

from figment.core.data import Classes, Image, Spec
from figment.core.model import CanDenoise, ModelConfig
from figment.models.adversarial.gan import GANConfig
from figment.models.autoencoders.autoencoder import AutoencoderConfig
from figment.models.autoencoders.vae import VAEConfig
from figment.models.diffusion.diffusion import DiffusionConfig

SPEC = Spec(
    name="made",
    x=Image(channels=1, height=7, width=9),
    c={"label": Classes(names=("a", "b", "c"), frequencies=(0.5, 0.25, 0.25))},
)
CONFIGS = [VAEConfig(size="tiny", latent=3), GANConfig(size="tiny"), DiffusionConfig(size="tiny")]


@pytest.mark.parametrize("config", CONFIGS)
def test_soft_labels_of_one_class_are_that_class(config: ModelConfig):
    torch.manual_seed(0)
    model, y = config.build(SPEC).eval(), torch.tensor([0, 1, 1])
    assert model.spec.label is not None
    hard, soft = {"label": y}, {"label": model.spec.label.soft(y)}
    z, t = torch.randn(3, 64), torch.rand(3)

    def called(c):
        if isinstance(model, CanDenoise):
            return model.denoise(z[:, :63].view(3, 1, 7, 9), t, c).mean
        return model.decode(z[:, : model.config.latent], c)

    torch.testing.assert_close(called(hard), called(soft))


def test_the_null_of_soft_labels_is_the_null_of_labels():
    y, mask = torch.tensor([0, 1, 1]), torch.tensor([True, False, True])
    assert SPEC.label is not None
    soft = SPEC.nulled({"label": SPEC.label.soft(y)}, mask)["label"]
    assert soft.argmax(1).tolist() == SPEC.nulled({"label": y}, mask)["label"].tolist() == [3, 1, 3]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_model_told_not_to_be_conditional_knows_no_label(config: ModelConfig):
    free = config.model_copy(update={"conditional": False}).build(SPEC)
    assert free.spec.c == {}
    assert sum(p.numel() for p in free.parameters()) < sum(p.numel() for p in config.build(SPEC).parameters())


def test_an_autoencoder_is_never_conditional():
    assert AutoencoderConfig(size="tiny").build(SPEC).spec.c == {}
