"""What a model is: networks, an objective, and the abilities its class header lists."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, get_type_hints

import pydantic
import torch
from torch import Tensor, nn

from figment.core.config import Config, Kinded, Size, parse
from figment.core.data import Batch, Dataset, Image, Spec
from figment.core.errors import UsageError
from figment.core.noise import Noise

if TYPE_CHECKING:
    from torch.distributions import Distribution

Measure = Literal["mass", "density"]
Projection = Callable[[Tensor], Tensor]  # orthogonal, of x `(B, ...)`: P P x = P x, and <P x, y> = <x, P y>
MISSING = {
    "image": "a picture to start from for each, as pairs:FOLDER and faces:edges-to-photo have",
    "other": "pictures of another kind beside them, as unpaired:A,B and faces:glasses have",
    "mask": "a mask for each picture, as masks:FOLDER and faces:parts have",
    "label": "labels (sub-folders are labels)",
    "text": "captions, as captions.jsonl in a folder of pictures has them",
}


class ModelConfig(Kinded):
    """A model before it meets data: `build(spec)` gives the network its shapes; nothing the data knows is asked."""

    group: ClassVar[str] = "model"
    accepts: ClassVar[tuple[type[Config], ...]]  # the types of `spec.x` this kind models
    conditions: ClassVar[tuple[str, ...]] = ()  # the keys of `spec.c` it can be conditioned on
    requires: ClassVar[tuple[str, ...]] = ()  # those it cannot do without

    size: Size = pydantic.Field("small", description="the one dial: width and depth of all networks")
    conditional: bool = pydantic.Field(True, description="learn p(x | label) where the data has labels; false: p(x)")

    def build(self, spec: Spec) -> Model:
        raise NotImplementedError  # pragma: no cover - every registered kind overrides this

    @classmethod
    def model_class(cls) -> type[Model]:
        """The class `build` returns, read from its annotation: abilities are known before anything is built."""
        return get_type_hints(cls.build)["return"]

    def check(self, spec: Spec) -> None:
        """Raises UsageError, naming the kinds that fit, where this kind does not model such data."""
        lack = self.lack(spec)
        if lack is None:
            return
        from figment import registry

        fits = [kind for kind in registry.kinds("model") if registry.load("model", kind).lack(spec) is None]
        raise UsageError(f"'{self.kind}' does not learn from {lack} ({spec.name}). These do: {', '.join(fits)}.")

    @classmethod
    def lack(cls, spec: Spec) -> str | None:
        """What keeps this kind from such data; None where nothing does."""
        if not isinstance(spec.x, cls.accepts):
            return f"{spec.x.kind} data"
        missing = next((key for key in cls.requires if key not in spec.c), None)
        return f"data without {MISSING.get(missing, missing)}" if missing else None

    def adapt(self, spec: Spec) -> Spec:
        """The part of a spec that this model uses: x, and the conditions it is to learn from. Raises UsageError."""
        self.check(spec)
        wanted = {*self.requires, *(self.conditions if self.conditional else ())}
        return spec.told_only(wanted)


@dataclass(frozen=True)
class Turn:
    """What an objective may know of time: this player's updates so far, and how much of its span is over.

    `mean` averages a tensor over all processes, `gather` joins their rows `(B, ...)` in order of rank: a loss that
    changes a buffer must do it from such values. `rows` are the examples of the training split. A turn's batch comes in
    `parts` micro-batches, of which this is number `part`.
    """

    count: int
    progress: float
    mean: Callable[[Tensor], Tensor] = lambda value: value
    rows: int = 1
    gather: Callable[[Tensor], Tensor] = lambda value: value
    part: int = 0
    parts: int = 1

    @property
    def seen(self) -> int:
        """Micro-batches that this player has seen before: a running mean of all gives this one 1 / (seen + 1)."""
        return self.count * self.parts + self.part


@dataclass(frozen=True)
class Loss:
    """A scalar to minimise (mean over the batch) and its named parts for the log (detached scalars)."""

    value: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Player:
    """Modules trained together on one loss. One network is a one-player game, a GAN two.

    `every`: acts on steps divisible by it. `rate`: its learning rate relative to `training.lr`.
    `ema`: whether its published weights are averaged. `span`: the part of the run in which it moves, its schedules'
    whole time.
    """

    name: str
    modules: Sequence[nn.Module]
    loss: Callable[[Batch, Turn], Loss]
    every: int = 1
    rate: float = 1.0
    ema: bool = True
    span: tuple[float, float] = (0.0, 1.0)

    def parameters(self) -> list[nn.Parameter]:
        unique: dict[int, nn.Parameter] = {}
        for module in self.modules:
            for parameter in module.parameters():
                unique.setdefault(id(parameter), parameter)
        return list(unique.values())


class Model(nn.Module, ABC):
    """Networks plus an objective. Final subclasses list their abilities in their header.

    `training_only` names buffers and sub-modules (prefixes) that go to checkpoints but never to `model/`.
    """

    training_only: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: ModelConfig, spec: Spec):
        super().__init__()
        self.config, self.spec = config, spec

    def prepared(self, c: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The conditions as the model takes them with the least work, again and again: texts as vectors, which mix."""
        return dict(c)

    def shed(self) -> Self:
        """Itself without the modules that only training needs: what is published and used."""
        for name in [name for name, _ in self.named_children() if name in self.training_only]:
            delattr(self, name)
        return self

    @property
    def device(self) -> torch.device:
        tensors: Iterator[Tensor] = chain(self.parameters(), self.buffers())
        return next((tensor.device for tensor in tensors), torch.device("cpu"))


class Learns(ABC):
    """Trained in steps by the one loop."""

    @abstractmethod
    def players(self) -> Sequence[Player]:
        """Who plays, in the order in which they move within a step."""


@dataclass(frozen=True)
class Budget:
    """What a closed-form `fit` may use: rows at most, seconds at most (None: as long as it takes), and a seed."""

    rows: int = 50_000
    seconds: float | None = None
    seed: int = 0


class Fits(ABC):
    """Closed form: learns from the data at once and keeps its results as buffers."""

    @abstractmethod
    def fit(self, data: Dataset, budget: Budget) -> Iterator[Mapping[str, float]]:
        """Yields figures for the log as it goes (`{"nll": ...}`); done when exhausted."""


class CanSample(ABC):
    @abstractmethod
    def sample(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        """x ~ p(x | c): `(B, ...)` in model range, one for each of `noise`."""

    @property
    def evaluations(self) -> int:
        """Network evaluations a sample costs."""
        return 1


class CanEncode(ABC):
    @abstractmethod
    def encode(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        """The code z `(B, d)` (or `(B, c, h, w)`) of x."""


class CanDecode(ABC):
    @abstractmethod
    def decode(self, z: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        """x `(B, ...)` from a code: the mean, where decoding is a distribution."""


class HasPosterior(CanEncode):
    @abstractmethod
    def posterior(self, x: Tensor, c: Mapping[str, Tensor]) -> Distribution:
        """q(z | x, c): a diagonal normal with batch shape `(B, d)`."""

    def encode(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        return self.posterior(x, c).mean


class HasPrior(CanDecode, CanSample):
    @abstractmethod
    def prior(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        """z ~ p(z | c) `(B, d)`."""

    def sample(self, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        return self.decode(self.prior(c, noise), c)


class HasLogProb(ABC):
    measure: ClassVar[Measure] = "density"
    estimated: bool = False  # whether log_prob is a numerical estimate, as that of a differential equation is

    @abstractmethod
    def log_prob(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        """log p(x | c) `(B,)` nats, exact unless `estimated`, of x in model range."""


class HasBound(ABC):
    measure: Measure = "density"

    @abstractmethod
    def bound(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        """A (possibly random) lower bound of log p(x | c) in expectation: `(B,)` nats, of x in model range."""


class HasImportance(HasBound):
    @abstractmethod
    def log_weights(self, x: Tensor, c: Mapping[str, Tensor], draws: int) -> Tensor:
        """log p(x, z | c) - log q(z | x, c) at `draws` codes z ~ q of each example, encoded once: `(draws, B)` nats.

        E_q of their exponential is p(x | c).
        """


class HasMasses(ABC):
    """Where `measure` is mass: x is made of D symbols that are independent given a code and conditions."""

    @abstractmethod
    def log_masses(self, z: Tensor | None, c: Mapping[str, Tensor], count: int) -> Tensor:
        """log P(x_d = s | z, c) of each of S levels, `(count, D, S)`; z `(count, k)`, None where there are no codes."""


class HasEnergy(ABC):
    @abstractmethod
    def energy(self, x: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        """-log p(x | c) up to a constant `(B,)`."""


class EstimatesLogProb(HasEnergy):
    measure: Measure = "density"

    @abstractmethod
    def log_prob_estimator(self) -> Callable[[Tensor, Mapping[str, Tensor]], Tensor]:
        """log p(x | c) `(B,)` nats as a function of x in model range and c; its constants are estimated here, once."""


class HasFlowLikelihood(ABC):
    @abstractmethod
    def flow_log_likelihood(self, x: Tensor, c: Mapping[str, Tensor], steps: int) -> Tensor:
        """An estimate of log p(x | c) `(B,)` nats, a density or mass as the bound is, by so many steps from data to
        noise along the probability flow."""


@dataclass(frozen=True)
class Denoised:
    """E[x | x_t, c], and Var[x | x_t, c] where it is known: `(B, ...)`.

    `posterior` is p(x_i | x_t, c) of each value alone, where that is known: see figment.models.diffusion.mixture.
    """

    mean: Tensor
    variance: Tensor | None = None
    posterior: Any = None


class CanDenoise(ABC):
    schedule: Any  # alpha(t), sigma(t): see figment.models.diffusion.schedule

    @abstractmethod
    def denoise(self, x_t: Tensor, t: Tensor, c: Mapping[str, Tensor]) -> Denoised:
        """E[x | x_t, c] where x_t = alpha(t) x + sigma(t) noise; t `(B,)`, 0 is data, 1 is noise."""

    def prepared(self, c: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The conditions as `denoise` takes them with the least work, for many evaluations: texts as vectors, which
        also mix."""
        return dict(c)


class CanJump(ABC):
    schedule: Any  # alpha(t), sigma(t): see figment.models.diffusion.schedule

    @abstractmethod
    def jump(self, x_s: Tensor, s: Tensor, t: Tensor, c: Mapping[str, Tensor]) -> Tensor:
        """x_t from x_s `(B, ...)` in one evaluation, s > t `(B,)`; at t = 0 a drawing of x, not E[x | x_s]."""


class CanComplete(ABC):
    @abstractmethod
    def complete(self, x: Tensor, known: Projection, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        """y ~ p(y | known(y) = known(x), c): `(B, ...)` in model range; no more of x is used than known(x)."""


class CanVary(ABC):
    @abstractmethod
    def vary(self, x: Tensor, strength: float, c: Mapping[str, Tensor], noise: Noise) -> Tensor:
        """y like x, both `(B, ...)` in model range: x hidden in noise for a share `strength` in (0, 1] of the way from
        data, and drawn again from there as p(x | c) has it; 1 forgets x."""


class CanTranslate(ABC):
    """Makes a picture from another."""

    @property
    @abstractmethod
    def source(self) -> Image:
        """The form of what it starts from: of its size in training; other sizes do as well."""

    @abstractmethod
    def translate(self, source: Tensor) -> Tensor:
        """`(B, C, h, w)` of any size -> `(B, C', H, W)`, both in model range."""


class HasPairs(CanTranslate):
    """Learned from examples that have both pictures, given or computed."""

    @abstractmethod
    def pair(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What examples start from `(B, C, h, w)`, and what they should become `(B, C', H, W)`."""


class HasDirections(CanTranslate):
    """Goes from pictures of one kind to another and back; by itself, the first of its `directions`."""

    directions: ClassVar[tuple[str, str]]

    @abstractmethod
    def towards(self, direction: str) -> CanTranslate:
        """The model in one of its directions."""

    @abstractmethod
    def ends(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What each direction starts from `(B, C, H, W)`: pictures that do not belong together."""

    @property
    def source(self) -> Image:
        return self.towards(self.directions[0]).source

    def translate(self, source: Tensor, direction: str | None = None) -> Tensor:
        return self.towards(direction or self.directions[0]).translate(source)


class CanSegment(HasPairs):
    @abstractmethod
    def segment(self, x: Tensor) -> Tensor:
        """log p(class of pixel i, j | x) `(B, K, H, W)` of a picture of any size."""


class CanClassify(ABC):
    @abstractmethod
    def class_log_prob(self, x: Tensor) -> Tensor:
        """log p(y | x) `(B, K)`."""


class HasFeatures(ABC):
    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """A description `(B, F)` of x."""


class HasSampling(CanSample):
    """A family with choices at sampling time: `Sampling` is their frozen config, the command line's keys.

    `invertible` are the choices under which `encode` and `decode` undo each other best, where any do; `completion`
    those under which it completes.
    """

    Sampling: ClassVar[type[Config]]
    completion: ClassVar[Mapping[str, Any]] = {}
    invertible: ClassVar[Mapping[str, Any]] = {}

    @abstractmethod
    def with_sampling(self, sampling: Any) -> CanSample:
        """A final wrapper that samples so, and encodes / decodes where the sampler is deterministic."""


def size_of(model: Model) -> int:
    """How many numbers a model has learned: its parameters, and the buffers of one that is fitted in closed form."""
    learned: Iterator[Tensor] = chain(model.parameters(), model.buffers() if isinstance(model, Fits) else ())
    return sum(tensor.numel() for tensor in learned if tensor.is_floating_point())


ABILITIES: tuple[type, ...] = (
    CanSample, CanEncode, CanDecode, HasPosterior, HasPrior, HasLogProb, HasMasses, HasBound, HasImportance, HasEnergy,
    EstimatesLogProb, HasFlowLikelihood, CanDenoise, CanJump, CanComplete, CanVary, CanTranslate, HasPairs,
    HasDirections, CanSegment, CanClassify, HasFeatures, HasSampling,
)  # fmt: skip


def abilities(model: object | type) -> list[str]:
    """The names of the abilities a model's class lists."""
    cls = model if isinstance(model, type) else type(model)
    return [ability.__name__ for ability in ABILITIES if issubclass(cls, ability)]


def density(model: object | type) -> Literal["tractable", "approximate", "implicit"] | None:
    """Goodfellow's taxonomy, computed from abilities ("NIPS 2016 tutorial: Generative adversarial networks")."""
    cls = model if isinstance(model, type) else type(model)
    if issubclass(cls, HasLogProb):
        return "tractable"
    if issubclass(cls, HasBound | HasEnergy | CanDenoise):
        return "approximate"
    implicit = issubclass(cls, CanSample) or (issubclass(cls, CanTranslate) and not issubclass(cls, CanSegment))
    return "implicit" if implicit else None


def with_sampling(model: Any, options: Mapping[str, Any]) -> Any:
    """The model as a sampler with these choices. Raises UsageError where it has none of that name."""
    if isinstance(model, HasSampling):
        return model.with_sampling(parse(model.Sampling, options))
    if options:
        raise UsageError(
            f"'{model.config.kind}' has no choices at sampling time (given: {', '.join(options)}). "
            "Leave them out, or take a family that has them: diffusion."
        )
    if not isinstance(model, CanSample):
        if isinstance(model, CanTranslate):
            instead = "it starts from a picture. Give it one: figment translate RUN PICTURE --out PATH"
        elif isinstance(model, CanDecode):
            instead = "it has codes, but no density of them: figment train with-prior model.first=RUN gives it one."
        else:
            instead = "nothing in it makes x. `figment list models` says which families do (CanSample)."
        raise UsageError(f"'{model.config.kind}' cannot draw samples: {instead}")
    return model
