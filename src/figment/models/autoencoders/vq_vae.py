"""A code of symbols: the encoder's vectors become the nearest of a codebook, and a second player learns their prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, final

import pydantic
import torch
from torch import Tensor
from torch.nn import functional as F

from figment.core.data import Batch, Image, Spec
from figment.core.model import CanEncode, HasBound, HasPrior, Learns, Loss, Model, ModelConfig, Player, Turn
from figment.core.noise import Noise
from figment.models.autoencoders.observations import observation
from figment.nn.backbone import width_and_blocks
from figment.nn.causal import CausalGrid
from figment.nn.convolution import Decoder, Encoder, Pyramid

CODES = {"tiny": 32, "small": 128, "base": 256, "large": 512}
PRIOR = {"tiny": (32, 2), "small": (64, 5), "base": (128, 8), "large": (256, 12)}  # width, layers
MEMORY = 0.99  # of the running means that codebook vectors are
DEAD = 0.1  # share of an even part of a batch's vectors below which a codebook vector is replaced


class VQVAEConfig(ModelConfig):
    """x -> a grid of symbols -> x, and p(symbols | y)."""

    accepts = (Image,)
    conditions = ("label",)
    kind: Literal["vq-vae"] = "vq-vae"
    codes: int | None = pydantic.Field(None, ge=2, le=65_536, description="vectors in the codebook (None: by size)")
    dimensions: int = pydantic.Field(16, ge=1, le=1024, description="numbers in a vector of the codebook")
    commitment: float = pydantic.Field(0.25, ge=0, le=100, description="pull of the encoder towards the codebook")
    revive: bool = pydantic.Field(True, description="put codebook vectors that are hardly used where the data is")
    width: int | None = pydantic.Field(None, ge=4, le=4096, description="channels at full size (None: by size)")
    blocks: int | None = pydantic.Field(None, ge=1, le=64, description="residual blocks a level (None: by size)")
    prior_width: int | None = pydantic.Field(None, ge=4, le=4096, description="channels of the prior (None: by size)")
    prior_layers: int | None = pydantic.Field(None, ge=1, le=64, description="layers of the prior (None: by size)")
    settled: float = pydantic.Field(
        0.35, gt=0, lt=1, description="share of the run after which symbols stay as they are, and their prior learns"
    )
    drop_label: float = pydantic.Field(0.1, ge=0, lt=1, description="how often a label is left out in training")

    def build(self, spec: Spec) -> VQVAE:
        spec = self.adapt(spec)
        (width, blocks), (prior_width, prior_layers) = width_and_blocks(spec.x.shape, self.size), PRIOR[self.size]
        resolved = {
            "codes": self.codes or CODES[self.size],
            "width": self.width or width,
            "blocks": self.blocks or blocks,
            "prior_width": self.prior_width or prior_width,
            "prior_layers": self.prior_layers or prior_layers,
        }
        return VQVAE(self.model_copy(update=resolved), spec)


@final
class VQVAE(Model, Learns, HasPrior, HasBound, CanEncode):
    """Minimises -log p(x | e_k) / D + weight ||z - e_k||^2, z the encoder's vectors, k = argmin_j ||z - e_j|| at every
    place of the grid; the gradient passes from e_k to z as if they were one. The codebook e_j is the running mean of
    the z nearest to it. Then another player learns p(k | y) = prod_i p(k_i | k_<i, y): of symbols that still change
    their meaning it would learn little.

    log p(x | e_k) + log p(k) bounds log p(x). Van den Oord, Vinyals & Kavukcuoglu, "Neural discrete representation
    learning" (2017).
    """

    config: VQVAEConfig
    codebook: Tensor
    usage: Tensor

    def __init__(self, config: VQVAEConfig, spec: Spec):
        super().__init__(config, spec)
        assert isinstance(spec.x, Image) and config.codes and config.width and config.blocks
        assert config.prior_width and config.prior_layers
        self.observation = observation("bernoulli" if spec.x.binary else "gaussian", "global", spec.x, spec.name)
        self.measure = self.observation.measure
        self.grid, size = Pyramid(*spec.x.shape[1:], config.width).bottom, (config.width, config.blocks)
        self.encoder = Encoder(spec.x.shape, config.dimensions, *size, flat=False)
        self.decoder = Decoder(config.dimensions, spec.x.shape, *size, flat=False)
        classes = spec.label.count + 1 if spec.label else 0
        self.symbols = CausalGrid(config.codes, self.grid, config.prior_width, config.prior_layers, classes)
        self.register_buffer("codebook", torch.randn(config.codes, config.dimensions))
        self.register_buffer("usage", torch.zeros(config.codes))  # z a batch that each vector is the mean of

    # -- symbols --------------------------------------------------------------------------------------------------

    def indices(self, x: Tensor) -> Tensor:
        """The symbols k of x: int64 `(B, h, w)`."""
        return self._nearest(self.encoder(x))

    def _nearest(self, z: Tensor) -> Tensor:
        flat = z.permute(0, 2, 3, 1).flatten(0, 2).float()
        with torch.autocast(z.device.type, enabled=False):
            distance = self.codebook.square().sum(1) - 2 * flat @ self.codebook.T
        return distance.argmin(1).view(z.shape[0], *self.grid)

    def lookup(self, indices: Tensor) -> Tensor:
        """e_k of symbols `(B, h, w)`: `(B, c, h, w)`."""
        return self.codebook[indices].permute(0, 3, 1, 2)

    def log_prior(self, indices: Tensor, label: Tensor | None) -> Tensor:
        """log p(k | y) `(B,)` nats."""
        logits = self.symbols(indices, label)
        return -F.cross_entropy(logits.flatten(0, 2), indices.flatten(), reduction="none").view(len(indices), -1).sum(1)

    def _label(self, c: Mapping[str, Tensor], count: int) -> Tensor | None:
        return None if self.spec.label is None else self.spec.labels(c, count, self.codebook.device)

    # -- learning -------------------------------------------------------------------------------------------------

    def players(self) -> Sequence[Player]:
        autoencoder = [self.encoder, self.decoder, self.observation]
        settled = self.config.settled
        return [
            Player("autoencoder", autoencoder, self.loss, ema=False, span=(0.0, settled)),
            Player("prior", [self.symbols], self.prior_loss, span=(settled, 1.0)),
        ]

    def loss(self, batch: Batch, turn: Turn) -> Loss:
        z = self.encoder(batch.x)
        if turn.count == 0:
            self._renew(z, turn)
        k = self._nearest(z.detach())
        e = self.lookup(k)
        y = self.decoder(z + (e - z).detach())
        nll = -self.observation.log_likelihood(batch.x, y).mean()
        distance = (z - e).square().sum(1).mean()
        self.observation.fit(batch.x, y.detach(), turn)
        share = self._follow(z.detach(), k, turn)
        perplexity = torch.special.entr(share).sum().exp()
        parts = {"nll": nll, "distance": distance, "perplexity": perplexity, "used": perplexity / len(share)}
        value = nll / self.spec.x.dimensions + self.config.commitment * distance
        return Loss(value, {name: part.detach() for name, part in parts.items()})

    def prior_loss(self, batch: Batch, turn: Turn) -> Loss:
        with torch.no_grad():
            k = self.indices(batch.x)
        c = self.spec.nulled(batch.c, torch.rand(len(k), device=k.device) < self.config.drop_label)
        nll = -self.log_prior(k, self._label(c, len(k))).mean()
        return Loss(nll / k[0].numel(), {"nll": nll.detach()})

    @torch.no_grad()
    def _follow(self, z: Tensor, k: Tensor, turn: Turn) -> Tensor:
        """Moves the codebook to the running means of the vectors z `(B, c, h, w)` with symbols k; the shares of z that
        each has `(K,)`."""
        flat, chosen = z.permute(0, 2, 3, 1).flatten(0, 2).float(), F.one_hot(k.flatten(), len(self.codebook)).float()
        count, total = turn.mean(chosen.sum(0)), turn.mean(chosen.T @ flat)
        usage = MEMORY * self.usage + (1 - MEMORY) * count
        moved = (MEMORY * self.usage[:, None] * self.codebook + (1 - MEMORY) * total) / usage[:, None].clamp(min=1e-9)
        self.codebook.copy_(moved.where(usage[:, None] > 1e-9, self.codebook))
        self.usage.copy_(usage)
        if self.config.revive:
            self._renew(z, turn)
        return count / count.sum()

    @torch.no_grad()
    def _renew(self, z: Tensor, turn: Turn) -> None:
        """Puts codebook vectors that are hardly used at z of the batch, drawn evenly."""
        flat = z.permute(0, 2, 3, 1).flatten(0, 2).float()
        even = len(flat) / len(self.usage)
        drawn = turn.mean(flat[torch.randint(len(flat), (len(self.usage),), device=flat.device)])
        dead = self.usage < DEAD * even
        self.codebook.copy_(torch.where(dead[:, None], drawn, self.codebook))
        self.usage.copy_(torch.where(dead, even, self.usage))

    # -- what it is for -------------------------------------------------------------------------------------------

    def encode(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return self.lookup(self.indices(x))

    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return self.observation.mean(self.decoder(z))

    def prior(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        """Vectors of symbols drawn in reading order, each from one uniform number: `(B, c, h, w)`."""
        (height, width), label = self.grid, self._label(c, len(noise))
        chance, k = noise.uniform(self.grid), torch.zeros(len(noise), *self.grid, dtype=torch.int64)
        k = k.to(self.codebook.device)
        for i in range(height):
            for j in range(width):
                edges = self.symbols(k[:, : i + 1], label)[:, i, j].softmax(1).cumsum(1)
                passed = torch.searchsorted(edges, chance[:, i, j, None] * edges[:, -1:], right=True)[:, 0]
                k[:, i, j] = passed.clamp(max=edges.shape[1] - 1)
        return self.lookup(k)

    def bound(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        """log p(x | e_k) + log p(k | y) at the symbols k of x: one term of the sum over k that p(x | y) is."""
        k = self.indices(x)
        y = self.decoder(self.lookup(k))
        return self.observation.log_likelihood(x, y) + self.log_prior(k, self._label(c, len(x)))
