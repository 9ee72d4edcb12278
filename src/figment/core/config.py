"""Frozen, strict values that say what to do: the base of every model, data, training and sampling config."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

import pydantic

from figment import registry
from figment.core.errors import UsageError, did_you_mean

Size = Literal["tiny", "small", "base", "large"]
Place = Annotated[str, pydantic.AfterValidator(lambda path: str(Path(path).absolute()))]  # the same from any folder
C = TypeVar("C", bound="Config")


class Config(pydantic.BaseModel):
    """A frozen value with bounds and a description on every field; unknown keys are refused."""

    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=(), arbitrary_types_allowed=False
    )

    def override(self, assignments: Mapping[str, Any]) -> Self:
        """A copy with dotted keys replaced: `run.override({"model.latent": 32})`.

        Raises UsageError naming the key, what was wrong with it, and what exists.
        """
        tree = self.model_dump(mode="json")
        for key, value in assignments.items():
            *parents, leaf = key.split(".")
            node = tree
            for depth, parent in enumerate(parents):
                inner = node.get(parent)
                if not isinstance(inner, dict):
                    where = ".".join(parents[:depth]) or type(self).__name__
                    raise UsageError(f"'{key}': {where} has no group '{parent}'. {did_you_mean(parent, node)}")
                node = inner
            if leaf not in node:
                where = ".".join(parents) or type(self).__name__
                raise UsageError(f"'{key}': {where} has no '{leaf}'. {did_you_mean(leaf, node)}")
            node[leaf] = value
        return parse(type(self), tree)


class Kinded(Config):
    """A config whose `kind` is its stable name on disk; `group` says in which registry table it stands."""

    group: ClassVar[str]
    kind: str

    @classmethod
    def resolve(cls, value: Any) -> Any:
        """Turns `{"kind": ..., ...}` into the registered config; leaves ready configs alone."""
        if not isinstance(value, Mapping):
            return value
        kind = value.get("kind")
        if not isinstance(kind, str):
            raise UsageError(f"a {cls.group} needs a 'kind'. {did_you_mean('', registry.kinds(cls.group))}")
        return parse(registry.load(cls.group, kind), value)


def is_folder(place: str) -> bool:
    """Whether there is such a folder."""
    return Path(place).is_dir()


def parse(config: type[C], value: Mapping[str, Any]) -> C:
    """Validates plain data against a config class. Raises UsageError with the path of each fault."""
    try:
        return config.model_validate(value)
    except pydantic.ValidationError as error:
        raise UsageError("\n".join(_faults(config, error))) from None


def _faults(config: type[Config], error: pydantic.ValidationError) -> Iterable[str]:
    """A sentence for each field that is wrong, also where its value fits none of several types."""
    values: dict[str, tuple[Any, list[str]]] = {}
    for fault in error.errors():
        if fault["type"] == "extra_forbidden":
            *parents, leaf = map(str, fault["loc"])
            path = ".".join([*parents, leaf])
            yield f"'{path}' is not a setting here. {did_you_mean(leaf, _group(config, parents).model_fields)}"
        elif not fault["loc"]:  # settings that exclude each other
            yield fault["msg"].removeprefix("Value error, ")
        else:
            place = ".".join(_place(config, fault["loc"])) or config.__name__
            values.setdefault(place, (fault["input"], []))[1].append(fault["msg"])
    for place, (value, messages) in values.items():
        message = messages[0] + "".join(f", or {other.removeprefix('Input should be ')}" for other in messages[1:])
        yield f"'{place}': {message} (given: {value!r:.120})"


def _place(config: type[Config], path: Iterable[str | int]) -> list[str]:
    """The fields that a path begins with; what follows names one of several types that a field may have."""
    place: list[str] = []
    for part in path:
        if isinstance(part, str) and part not in _group(config, place).model_fields:
            break
        place.append(str(part))
    return place


def _group(config: type[Config], path: Iterable[str]) -> type[Config]:
    """The config class that a path of fields leads to, as far as the fields are configs."""
    for name in path:
        inner = config.model_fields[name].annotation if name in config.model_fields else None
        config = inner if isinstance(inner, type) and issubclass(inner, Config) else config
    return config


def parse_assignments(words: Iterable[str]) -> dict[str, Any]:
    """Reads `KEY=VALUE` words; a value is read as JSON where it is JSON, `1,2` as two numbers, all else as text."""
    assignments: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key or not key.replace(".", "").replace("_", "").isalnum():
            raise UsageError(f"'{word}' is not KEY=VALUE, such as model.latent=32 or training.lr=1e-3.")
        assignments[key] = _read(text)
    return assignments


def _read(text: str) -> Any:
    import json

    for form in (text, f"[{text}]"):
        try:
            value = json.loads(form)
        except (ValueError, RecursionError):
            continue
        if form == text or (len(value) > 1 and all(type(part) in (int, float) for part in value)):
            return value
    return text
