"""What pictures and rows are compared in: a classifier's features, a fixed network's, Inception's, or the rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from figment.core.data import Dataset, Image, Spec
from figment.core.errors import UsageError, did_you_mean
from figment.evaluate import cache, classifier
from figment.nn.features import SHIPPED, Features, Plain, fitted, resized, rgb, shipped

NAMES = {
    "classifier": "a plain convolutional classifier, trained once on the labels of the training split",
    "classifier-residual": "the same with a residual network: a second opinion",
    "fixed": "one network for all pictures, shipped with figment",
    "inception": "Inception-v3 of torch-fidelity (pip install figment[fidelity])",
    "coordinates": "the standardised rows themselves",
}
RECIPE = 2  # raised when training of the classifiers changes, so that cached ones are left behind
BATCH = 512


@dataclass(frozen=True)
class FeatureNet:
    """Maps x in model range `(N, ...)` to float32 features `(N, F)`, on the CPU, a batch at a time.

    `accuracy` is that of its classifier on the held-out split, where it has one; `key` names it in the cache.
    """

    name: str
    key: str
    embed: Callable[[Tensor], Tensor]
    head: Callable[[Tensor], Tensor] | None = None
    accuracy: float | None = None

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        return torch.cat([self.embed(part).float().cpu() for part in x.split(BATCH)])

    @torch.no_grad()
    def read(self, features: Tensor) -> Tensor:
        """log p(label | features) `(N, K)`. Raises UsageError where there is no classifier."""
        if self.head is None:
            raise UsageError(f"the features '{self.name}' read no labels: use --features classifier on labelled data.")
        return self.head(features).log_softmax(1)

    def classify(self, x: Tensor) -> Tensor:
        """log p(label | x) `(N, K)`."""
        return self.read(self(x))


def features_for(
    dataset: Dataset, name: str | None = None, progress: Callable[[float], None] | None = None
) -> FeatureNet:
    """The features to measure a dataset's models in; by default what its data allows.

    Labelled pictures: `classifier`, trained where the cache has none (`progress` hears the share done). Unlabelled
    ones: `fixed`. Rows: `coordinates`. Raises UsageError for a name that is unknown or does not fit.
    """
    pictures, labelled = isinstance(dataset.spec.x, Image), _enough_labels(dataset)
    name = name or ("coordinates" if not pictures else "classifier" if labelled else "fixed")
    if name not in NAMES:
        raise UsageError(f"There are no features '{name}'. {did_you_mean(name, NAMES)}")
    if pictures == (name == "coordinates"):
        fits = "fixed, inception, classifier" if pictures else "coordinates"
        raise UsageError(f"The features '{name}' do not fit {dataset.spec.x.kind} data. These do: {fits}.")
    if name.startswith("classifier"):
        if dataset.spec.label is None:
            raise UsageError(f"'{name}' needs labels, and {dataset.spec.name} has none: use --features fixed.")
        return _classifier(dataset, name, progress)
    return {"coordinates": _coordinates, "fixed": fixed, "inception": inception}[name]()


def _enough_labels(dataset: Dataset) -> bool:
    label = dataset.spec.label
    return label is not None and label.count >= 2 and len(dataset.train) >= max(200, 20 * label.count)


def _coordinates() -> FeatureNet:
    return FeatureNet("coordinates", "coordinates", lambda x: x)


def _classifier(dataset: Dataset, name: str, progress: Callable[[float], None] | None) -> FeatureNet:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    architecture: Any = "residual" if name.endswith("residual") else "plain"
    key = cache.key(RECIPE, name, dataset.content, dataset.spec.x.model_dump(), len(dataset.train))
    kept = cache.read(key)
    if kept is None:
        network, accuracy = classifier.train(architecture, dataset, device, progress)
        cache.write(key, network.state_dict(), {"accuracy": accuracy, "features": name, "data": dataset.spec.name})
    else:
        tensors, figures = kept
        network, accuracy = classifier.build(architecture, dataset), figures["accuracy"]
        network.load_state_dict(tensors)
        network.to(device)
    return _on_pictures(name, key, network, dataset.spec, accuracy)


def _on_pictures(name: str, key: str, network: Features, spec: Spec, accuracy: float) -> FeatureNet:
    assert isinstance(spec.x, Image)
    size, device = fitted(spec.x.height, spec.x.width), network.head_out.weight.device

    def embed(x: Tensor) -> Tensor:
        small = resized(x.float().clamp(-1, 1), *size)
        return network.trunk(small.to(device, memory_format=torch.channels_last))

    return FeatureNet(name, key, embed, lambda features: network.head_out(features.to(device)).cpu(), accuracy)


def fixed() -> FeatureNet:
    """The network shipped with figment: pictures of any size, brought to 32x32 RGB. See docs/features.md."""
    network = shipped()

    def embed(x: Tensor) -> Tensor:
        return network(rgb(resized(x.float().clamp(-1, 1), 32, 32)).to(memory_format=torch.channels_last))

    return FeatureNet("fixed", _hash(), embed)


def _hash() -> str:
    import hashlib

    return hashlib.sha256(SHIPPED.read_bytes()).hexdigest()[:24]


def layers() -> FeatureNet:
    """All that the shipped network hears of a picture: the means over places of its layers' maps, which know of colours
    and textures what its features have mostly forgotten, and its features."""
    network = shipped()
    assert isinstance(network.trunk, Plain)
    maps, last = network.trunk.maps, fixed().embed

    def embed(x: Tensor) -> Tensor:
        small = rgb(resized(x.float().clamp(-1, 1), 32, 32)).contiguous(memory_format=torch.channels_last)
        return torch.cat([*(part.mean((2, 3)) for part in maps(small)), last(x)], dim=1)

    return FeatureNet("layers of fixed", f"layers-{_hash()}", embed)


def inception() -> FeatureNet:
    """The 2048 features of Inception-v3 that published FIDs are computed in. Raises UsageError without torch-fidelity.

    Szegedy et al., "Rethinking the Inception architecture for computer vision" (2016).
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        raise UsageError("--features inception needs torch-fidelity: pip install 'figment[fidelity]'") from None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).to(device).eval()
    except OSError as error:
        raise UsageError(f"--features inception: its weights could not be fetched ({error}).") from None

    def embed(x: Tensor) -> Tensor:
        pixels = rgb(x.float().clamp(-1, 1)).add(1).mul(127.5).round().to(torch.uint8)
        return torch.cat([network(part)[0] for part in pixels.to(device).split(64)])

    return FeatureNet("inception", "inception-v3-compat-2048", embed)
