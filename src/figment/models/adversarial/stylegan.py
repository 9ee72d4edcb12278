"""A generator of styles: codes are bent into a space of styles, each layer of the picture follows its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, final

import pydantic
import torch
from torch import Tensor

from figment.core.config import Config
from figment.core.data import Batch, Image, Spec
from figment.core.model import HasPrior, HasSampling, Loss, Turn
from figment.core.noise import Noise
from figment.models.adversarial.game import Game, GameConfig
from figment.nn.style import StyleGenerator, StyleMapping, Synthesis


class StyleGANConfig(GameConfig):
    """Karras, Laine & Aila, "A style-based generator architecture for generative adversarial networks" (2019)."""

    kind: Literal["stylegan"] = "stylegan"
    accepts: ClassVar[tuple[type[Config], ...]] = (Image,)

    latent: int = pydantic.Field(64, ge=1, le=1024, description="numbers in a code")
    mapping: int = pydantic.Field(4, ge=1, le=16, description="layers from codes to styles")
    mixing: float = pydantic.Field(
        0.5, ge=0, le=1, description="share of training pictures whose finer layers follow another code's style"
    )
    path_length: float = pydantic.Field(
        0.1, ge=0, description="strength of the pull towards steps of a style that change every picture alike"
    )

    def build(self, spec: Spec) -> StyleGAN:
        spec = self.adapt(spec)
        return StyleGAN(self.fitted(spec), spec)


class StyleSampling(Config):
    truncation: float = pydantic.Field(
        1.0, ge=-1, le=2, description="how far styles lie from the mean one: below 1 better pictures and fewer kinds"
    )


@final
class StyleGAN(Game, HasSampling):
    """w = f(z, y), z ~ N(0, I); x = g(w_1 ... w_L, noise), all w_i = w, unless styles are mixed."""

    Sampling = StyleSampling
    training_only = (*Game.training_only, "length")
    generator: StyleGenerator
    EVERY: ClassVar[int] = 8  # updates of the generator between two looks at path lengths
    config: StyleGANConfig
    average: Tensor
    length: Tensor

    def __init__(self, config: StyleGANConfig, spec: Spec):
        assert isinstance(spec.x, Image)
        assert config.width is not None
        classes = spec.label.count if spec.label else 0
        super().__init__(
            config, spec, StyleGenerator(spec.x.shape, config.latent, config.width, config.mapping, classes)
        )
        self.register_buffer("average", torch.zeros(4 * config.width))  # of styles
        self.register_buffer("length", torch.zeros(()))  # mean length of paths

    @property
    def mapping(self) -> StyleMapping:
        return self.generator.mapping

    @property
    def synthesis(self) -> Synthesis:
        return self.generator.synthesis

    # -- training -------------------------------------------------------------------------------------------------

    def drawn(self, batch: Batch) -> Tensor:
        return self.painted(self.styles(batch))

    def styles(self, batch: Batch) -> Tensor:
        """Styles `(B, L, width)` of random codes; in a share `mixing` of them the layers from a random one on are
        another code's."""
        label, device, layers = batch.c.get("label"), batch.x.device, self.synthesis.layers
        codes = torch.randn(2, len(batch), self.config.latent, device=device)
        w = self.mapping(codes[0], label)[:, None].expand(-1, layers, -1)
        if not self.config.mixing:
            return w
        first = torch.randint(1, max(layers, 2), (len(batch), 1), device=device)
        first = torch.where(torch.rand(len(batch), 1, device=device) < self.config.mixing, first, layers)
        other = torch.arange(layers, device=device) >= first  # (B, L)
        return torch.where(other[..., None], self.mapping(codes[1], label)[:, None], w)

    def painted(self, w: Tensor) -> Tensor:
        return self.synthesis(w, torch.randn(len(w), self.synthesis.pixels, device=w.device))

    def generator_loss(self, batch: Batch, turn: Turn) -> Loss:
        """L_G, plus `path_length` E (|J^T y| - a)^2 on every eighth turn with weight 8, J the slope of the picture in
        its styles, y noise, a the running mean of lengths. Karras et al., "Analyzing and improving the image quality
        of StyleGAN" (2020)."""
        loss = super().generator_loss(batch, turn)
        if torch.is_grad_enabled():
            with torch.no_grad():
                label = batch.c.get("label")
                w = self.mapping(torch.randn(len(batch), self.config.latent, device=batch.x.device), label)
                self.average.lerp_(turn.mean(w.float().mean(0)), 0.01)
        if not self.config.path_length or turn.count % self.EVERY or not torch.is_grad_enabled():
            return loss
        w = self.styles(batch[: max(1, len(batch) // 2)])
        lengths = path_lengths(self.painted(w), w)
        mean = turn.mean(lengths.detach().mean())
        self.length.copy_(self.length.lerp(mean, 0.01) if turn.seen else mean)
        penalty = (lengths - self.length).square().mean()
        value = loss.value + self.EVERY * self.config.path_length * penalty
        return replace(loss, value=value, parts={**loss.parts, "path_length": mean})

    # -- drawing --------------------------------------------------------------------------------------------------

    def prior(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return noise.normal((self.config.latent,))

    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        """The picture of one style in all layers, without noise."""
        w = self.mapping(z, c.get("label"))[:, None].expand(-1, self.synthesis.layers, -1)
        return self.synthesis(w, w.new_zeros(len(w), self.synthesis.pixels))

    def truncated(self, w: Tensor, truncation: float) -> Tensor:
        """a + psi (w - a) for all layers: `(B, width)` -> `(B, L, width)`; a is the mean style."""
        return (self.average + truncation * (w - self.average))[:, None].expand(-1, self.synthesis.layers, -1)

    def mixed(self, coarse: Tensor, fine: Tensor, layer: int) -> Tensor:
        """Pictures whose layers below `layer` follow the styles `coarse` `(B, L, width)`, the others `fine`."""
        below = torch.arange(self.synthesis.layers, device=coarse.device)[:, None] < layer
        w = torch.where(below, coarse, fine)
        return self.synthesis(w, w.new_zeros(w.shape[0], self.synthesis.pixels))

    def sample(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return self.with_sampling(StyleSampling()).sample(c, noise)

    def with_sampling(self, sampling: Any) -> Truncated:
        return Truncated(self, sampling)


@final
class Truncated(HasPrior):
    """Samples whose styles are drawn together towards the mean one: psi = 1 leaves them, 0 makes all alike."""

    def __init__(self, model: StyleGAN, sampling: StyleSampling):
        self.model, self.sampling = model, sampling

    def prior(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return self.model.prior(c, noise)

    def sample(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        grain = noise.stream("decoder").normal((self.model.synthesis.pixels,))
        return self.model.synthesis(self.styles(self.prior(c, noise), c), grain)

    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return self.model.synthesis(self.styles(z, c), z.new_zeros(z.shape[0], self.model.synthesis.pixels))

    def styles(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        """Styles of codes `(B, latent)`, one for each layer: `(B, L, width)`."""
        return self.model.truncated(self.model.mapping(z, c.get("label")), self.sampling.truncation)


def path_lengths(x: Tensor, w: Tensor) -> Tensor:
    """|J^T y| `(B,)` of pictures x `(B, C, H, W)` computed from styles w `(B, L, width)`: the root of the mean square
    over layers, y normal noise of unit expected length; itself differentiable."""
    y = torch.randn_like(x) / (x.shape[2] * x.shape[3]) ** 0.5
    (slope,) = torch.autograd.grad((x * y).sum(), w, create_graph=True)
    return slope.float().square().sum(2).mean(1).add(1e-12).sqrt()
