"""Normalising flows: an invertible network that turns data into N(0, I), and so knows its density exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, final

import pydantic
import torch
from torch import Tensor

from figment.core.data import Batch, Image, Spec, Vector
from figment.core.errors import UsageError
from figment.core.model import CanEncode, HasLogProb, HasPrior, Learns, Loss, Model, ModelConfig, Player, Turn
from figment.core.noise import Noise
from figment.models.flows.autoregressive import Autoregressive
from figment.models.flows.continuous import Continuous
from figment.models.flows.coupling import Coupling, alternating
from figment.models.flows.image import COUNTED, Levels, pyramid
from figment.models.flows.splines import Spline
from figment.models.flows.transform import Affine, Chain, Transform
from figment.nn.embeddings import LabelEmbedding

TransformName = Literal["coupling", "spline", "autoregressive", "continuous"]
LABEL_WIDTH = 64  # dimensions of a label's embedding
WATCHED, EVERY = 16, 50  # examples whose inverse is checked, and updates from one check to the next
SIZED = ("width", "blocks", "bins")
ROWS = {"tiny": (64, 1, 16), "small": (64, 2, 16), "base": (128, 2, 16), "large": (256, 3, 16)}
PICTURES = {"tiny": (16, 1, 12), "small": (48, 2, 12), "base": (96, 3, 12), "large": (128, 4, 12)}
EDGE = 2.0**-40  # of [0, 1], left out at either end where it is laid over the normal distribution
REACH = 4.0  # standard deviations that splines bend; beyond them they are the identity


class FlowConfig(ModelConfig):
    """An invertible network, conditional on labels where the data has them."""

    accepts = (Image, Vector)
    conditions = ("label",)
    kind: Literal["flow"] = "flow"
    transform: Literal["auto"] | TransformName = pydantic.Field(
        "auto", description="affine or spline coupling, autoregressive splines, or an equation (pictures: spline)"
    )
    layers: int = pydantic.Field(4, ge=1, le=64, description="rows: couplings, or autoregressive layers")
    bins: int | None = pydantic.Field(None, ge=2, le=256, description="pieces of a spline (None: by size)")
    bound: float = pydantic.Field(3.0, gt=0, le=20, description="transform=coupling: largest log of a layer's scale")
    steps: int = pydantic.Field(8, ge=1, le=1000, description="transform=continuous: Runge-Kutta steps")
    width: int | None = pydantic.Field(None, ge=4, le=4096, description="features of the networks (None: by size)")
    blocks: int | None = pydantic.Field(None, ge=1, le=64, description="blocks of each network (None: by size)")
    drop_label: float = pydantic.Field(0.1, ge=0, lt=1, description="how often a label is left out in training")

    def build(self, spec: Spec) -> Flow:
        spec = self.adapt(spec)
        transform = "spline" if self.transform == "auto" else self.transform
        if isinstance(spec.x, Image) and transform != "spline":
            raise UsageError(f"model.transform={transform} is for rows; pictures take spline, on several scales.")
        sized = zip(SIZED, (PICTURES if isinstance(spec.x, Image) else ROWS)[self.size])
        resolved = {name: getattr(self, name) or value for name, value in sized}
        return Flow(self.model_copy(update={"transform": transform, **resolved}), spec)


@final
class Flow(Model, Learns, HasLogProb, HasPrior, CanEncode):
    """log p(x | c) = log N(f(x, c); 0, I) + log |det df/dx|, maximised.

    While it trains, `inverse_error` = max |f^-1(f(x)) - x| is watched. Rezende & Mohamed, "Variational inference with
    normalizing flows" (2015); Papamakarios et al., "Normalizing flows for probabilistic modeling and inference" (2021).
    """

    config: FlowConfig

    def __init__(self, config: FlowConfig, spec: Spec):
        super().__init__(config, spec)
        label = LABEL_WIDTH if spec.label else 0
        self.embedding = LabelEmbedding(spec.label.count + 1, label) if spec.label else None
        self.transform = _transform(config, spec, label)
        self.estimated = config.transform == "continuous"

    def players(self) -> Sequence[Player]:
        return [Player("flow", [self], self.loss)]

    def loss(self, batch: Batch, turn: Turn) -> Loss:
        x = self._spread(batch.x, turn)
        c = self.spec.nulled(batch.c, torch.rand(len(x), device=x.device) < self.config.drop_label)
        nll = -self.log_prob(x, c).mean()
        parts = {"nll": nll.detach()}
        if turn.count % EVERY == 0:
            parts["inverse_error"] = self.inverse_error(x[:WATCHED], {key: value[:WATCHED] for key, value in c.items()})
        return Loss(nll / self.spec.x.dimensions, parts)

    def _spread(self, x: Tensor, turn: Turn) -> Tensor:
        """Pictures spread over the width of a grey level; of the first ones the levels are counted."""
        if not isinstance(self.spec.x, Image):
            return x
        levels = next(part for part in self.transform.modules() if isinstance(part, Levels))
        if turn.count < COUNTED:
            levels.counts += turn.mean(levels.histogram(x))
        return x + (torch.rand_like(x) - 0.5) * (2 / 255)

    @torch.no_grad()
    def inverse_error(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        """max |decode(encode(x)) - x|, of x `(B, ...)`; at most 1000."""
        return (self.decode(self.encode(x, c), c) - x).abs().max().clamp(max=1e3)

    def _embed(self, c: Mapping[str, Tensor], like: Tensor) -> Tensor | None:
        """The embedded label `(B, E)` of each of `like` `(B, ...)`; the null label where none is given."""
        return None if self.embedding is None else self.embedding(self.spec.labels(c, like.shape[0], like.device))

    def log_prob(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        z, log_det = self.transform(x, self._embed(c, x))
        if isinstance(self.spec.x, Image):
            return log_det  # z is uniform
        return torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1) + log_det

    def encode(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            z, _ = self.transform(self._precise(x), self._embed(c, x))
        z = torch.special.ndtri(z.clamp(EDGE, 1 - EDGE)) if isinstance(self.spec.x, Image) else z
        return z.to(x.dtype)

    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        y = self._precise(z)
        y = torch.special.ndtr(y) if isinstance(self.spec.x, Image) else y
        with torch.autocast(z.device.type, enabled=False):
            return self.transform.inverse(y, self._embed(c, z)).to(z.dtype)

    def _precise(self, x: Tensor) -> Tensor:
        """Pictures in float64, where there is such a type: the curves of rare levels are steep."""
        return x.double() if isinstance(self.spec.x, Image) and x.device.type != "mps" else x

    def prior(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return noise.normal(self.spec.x.shape)


def _transform(config: FlowConfig, spec: Spec, label: int) -> Transform:
    """Rows -> a normal distribution; pictures -> a uniform one."""
    assert config.width and config.blocks and config.bins
    size, dimensions = (config.width, config.blocks, label), spec.x.dimensions
    if isinstance(spec.x, Image):
        unit = Spline(config.bins, 0.0, 1.0, tails=False)
        return Chain([Levels(spec.x.channels, spec.x.levels), pyramid(spec.x.shape, unit, *size)])
    curve = Affine(config.bound) if config.transform == "coupling" else Spline(config.bins, -REACH, REACH, tails=True)
    if config.transform == "continuous":
        return Continuous(dimensions, config.steps, *size)
    if config.transform == "autoregressive":
        forwards = torch.arange(dimensions)
        orders = [forwards if layer % 2 == 0 else forwards.flip(0) for layer in range(config.layers)]
        return Chain([Autoregressive(order, curve, *size) for order in orders])
    return Chain([Coupling(mask, curve, *size) for mask in alternating(dimensions, config.layers)])
