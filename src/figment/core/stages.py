"""Models that stand on a trained one: the first stage is part of the second's config, and its weights part of it."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

import pydantic
import torch

from figment import registry
from figment.core.config import Config
from figment.core.data import Spec
from figment.core.errors import UsageError
from figment.core.model import Model, ModelConfig

AnyModel = Annotated[pydantic.SerializeAsAny[ModelConfig], pydantic.BeforeValidator(ModelConfig.resolve)]
UNTRAINED = ""


class FirstStage(Config):
    """A model inside another's config: its resolved config, its data's spec, and the sha256 of its weights."""

    model: AnyModel
    spec: Spec
    weights: str

    def build(self) -> Model:
        """The model, frozen; its weights come with those of the second stage."""
        return self.model.build(self.spec).shed().eval().requires_grad_(False)


def _read(value: Any) -> Any:
    if isinstance(value, str) and value in registry.kinds("model"):
        value = {"kind": value}
    return ModelConfig.resolve(value) if isinstance(value, dict) and "kind" in value else value


First = Annotated[FirstStage | pydantic.SerializeAsAny[ModelConfig] | str, pydantic.BeforeValidator(_read)]


class TwoStageConfig(ModelConfig):
    """A model config with another inside.

    `first` is a ModelConfig (of this model's size; trained first, within the same budget), the path of a run to
    reuse, or, once resolved by `with_first`, a FirstStage.
    """

    first_share: ClassVar[float] = 0.8  # of the minutes that go to a first stage trained along the way
    first: First

    @pydantic.model_validator(mode="before")
    @classmethod
    def _size_first(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        first = _read(value.get("first", cls.model_fields["first"].default))
        size = value.get("size", cls.model_fields["size"].default)
        return {**value, "first": first.model_copy(update={"size": size}) if isinstance(first, ModelConfig) else first}

    def shares(self, minutes: float | None) -> tuple[float | None, float | None]:
        """A run's minutes, split between its first stage and its second; a first stage that is there takes none."""
        if minutes is None or not isinstance(self.first, ModelConfig):
            return None, minutes
        return self.first_share * minutes, (1 - self.first_share) * minutes

    @abstractmethod
    def check_first(self, first: Model) -> None:
        """Raises UsageError where a model cannot be the first stage."""

    def with_first(self, first: Model, spec: Spec) -> Model:
        """The second stage, for data of this spec, on a trained first: config embedded and
        resolved, weights copied and frozen. Raises UsageError as `staged` does."""
        stage = FirstStage(model=first.config, spec=first.spec, weights=fingerprint(first))
        model = self.model_copy(update={"first": stage}).build(spec)
        model.get_submodule("first").load_state_dict(first.state_dict())
        return model

    def staged(self, spec: Spec) -> tuple[Self, Model]:
        """The config with its first stage resolved for this data, and that stage as built (not yet with weights).

        Raises UsageError where it was trained on data of another form, is still only the path of a run, or is no
        model that can be a first stage.
        """
        stage = self.first
        if isinstance(stage, str):
            raise UsageError(f"model.first={stage} is neither a finished run nor a kind of model.")
        if isinstance(stage, ModelConfig):
            stage = FirstStage(model=stage.build(spec).config, spec=spec, weights=UNTRAINED)
        if stage.spec.x != spec.x or stage.spec.shared(spec) != stage.spec.c.keys() & spec.c.keys():
            what = "another form" if stage.spec.x != spec.x else "other labels, or other words in its captions"
            raise UsageError(f"the first stage was trained on '{stage.spec.name}', which has {what}: train it anew.")
        first = stage.build()
        self.check_first(first)
        return self.model_copy(update={"first": stage}), first


def fingerprint(model: Model) -> str:
    """sha256 of a model's weights: names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
