"""Which kinds exist and where each lives. Data only: nothing is imported until a kind is asked for.

Third parties add kinds by entry points in the groups `figment.models` and `figment.data`.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module, metadata
from typing import Any

from figment.core.errors import UsageError, did_you_mean

MODELS = {
    "gaussian-mixture": "figment.models.classical.gaussian_mixture:GaussianMixtureConfig",
    "gda": "figment.models.classical.gda:GDAConfig",
    "naive-bayes": "figment.models.classical.naive_bayes:NaiveBayesConfig",
    "kde": "figment.models.classical.kde:KDEConfig",
    "ppca": "figment.models.classical.ppca:PPCAConfig",
    "autoencoder": "figment.models.autoencoders.autoencoder:AutoencoderConfig",
    "with-prior": "figment.models.autoencoders.with_prior:WithPriorConfig",
    "vae": "figment.models.autoencoders.vae:VAEConfig",
    "vq-vae": "figment.models.autoencoders.vq_vae:VQVAEConfig",
    "kl-autoencoder": "figment.models.autoencoders.kl_autoencoder:KLAutoencoderConfig",
    "rbm": "figment.models.energy.rbm:RBMConfig",
    "ebm": "figment.models.energy.ebm:EBMConfig",
    "gan": "figment.models.adversarial.gan:GANConfig",
    "pix2pix": "figment.models.translation.pix2pix:Pix2PixConfig",
    "cyclegan": "figment.models.translation.cyclegan:CycleGANConfig",
    "super-resolution": "figment.models.translation.super_resolution:SuperResolutionConfig",
    "colourise": "figment.models.translation.colourise:ColouriseConfig",
    "classifier": "figment.models.discriminative.classifier:ClassifierConfig",
    "segmenter": "figment.models.discriminative.segmenter:SegmenterConfig",
    "stylegan": "figment.models.adversarial.stylegan:StyleGANConfig",
    "flow": "figment.models.flows.flow:FlowConfig",
    "diffusion": "figment.models.diffusion.diffusion:DiffusionConfig",
    "latent-diffusion": "figment.models.diffusion.latent:LatentDiffusionConfig",
    "cascade": "figment.models.diffusion.cascade:CascadeConfig",
    "distilled": "figment.models.diffusion.distilled:DistilledConfig",
}
DATA = {
    "digits": "figment.data.digits:DigitsConfig",
    "faces": "figment.data.faces.dataset:FacesConfig",
    "toy": "figment.data.toys:ToyConfig",
    "images": "figment.data.images:ImagesConfig",
    "pairs": "figment.data.pairs:PairsConfig",
    "unpaired": "figment.data.unpaired:UnpairedConfig",
    "masks": "figment.data.masks:MasksConfig",
    "parquet": "figment.data.parquet:ParquetConfig",
    "hub": "figment.data.parquet:HubConfig",
}
GROUPS = {"model": MODELS, "data": DATA}


@cache
def _table(group: str) -> dict[str, str]:
    plugins = metadata.entry_points(group={"model": "figment.models", "data": "figment.data"}[group])
    return {**{entry.name: entry.value for entry in plugins}, **GROUPS[group]}


def kinds(group: str) -> list[str]:
    """The names in a group, in reading order."""
    return list(_table(group))


def load(group: str, kind: str) -> Any:
    """The config class of a kind. Raises UsageError with the nearest name where it is unknown."""
    target = _table(group).get(kind)
    if target is None:
        raise UsageError(f"There is no {group} kind '{kind}'. {did_you_mean(kind, kinds(group))}")
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)
