"""Values as JSON types with arrays beside them, and back: what a saved result is made of.

Only what is registered here can be built from a file: numbers, strings, tuples, mappings, arrays, `Status`,
and the classes that `record` or `register` named.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from rmtrnn._core.registry import KINDS
from rmtrnn._core.status import Status

Class = TypeVar("Class", bound=type)
_TAG = "rmtrnn"


class Kind(NamedTuple):
    """A class in a file: ``take(object)`` is what is stored of it, ``build`` makes it again from that."""

    name: str
    tag: str
    take: Callable[[Any], dict[str, Any]]
    build: Callable[[dict[str, Any]], Any]


_BY_CLASS: dict[type, Kind] = {}


def register(name: str, cls: type, to_json: Callable[..., Any], from_json: Callable[..., Any]) -> None:
    """Let objects of ``cls`` be stored as the plain JSON of ``to_json(object)``."""
    _enter(cls, Kind(name, "json", to_json, from_json))


def record(name: str) -> Callable[[Class], Class]:
    """Decorator: store a dataclass or NamedTuple by its fields."""

    def named(cls: Class) -> Class:
        _enter(cls, Kind(name, "record", fields_of, lambda fields: cls(**fields)))
        return cls

    return named


def _enter(cls: type, kind: Kind) -> None:
    _BY_CLASS[cls] = kind
    KINDS.register(kind.name, kind)


def fields_of(value: Any) -> dict[str, Any]:
    """The fields of a dataclass or NamedTuple that its constructor takes, by name."""
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
    return dict(value._asdict())


def encode(value: Any, arrays: dict[str, np.ndarray], path: str = "") -> Any:
    """``value`` in JSON types; its arrays go to ``arrays`` under their paths. TypeError for other classes."""
    if value is None or (isinstance(value, bool | str | int) and not isinstance(value, Status)):
        return value
    if isinstance(value, np.generic):
        return encode(value.item(), arrays, path)
    if isinstance(value, float):
        return value if math.isfinite(value) else {_TAG: "float", "value": str(value)}
    if isinstance(value, Status):
        return {_TAG: "status", "value": value.name}
    if isinstance(value, np.ndarray):
        arrays[path] = value
        return {_TAG: "array", "value": path}
    if type(value) in _BY_CLASS:
        kind = _BY_CLASS[type(value)]
        inner = kind.take(value)
        if kind.tag == "record":
            inner = {key: encode(item, arrays, f"{path}.{key}") for key, item in inner.items()}
        return {_TAG: kind.tag, "kind": kind.name, "value": inner}
    if isinstance(value, Mapping):
        pairs = [[encode(k, arrays), encode(v, arrays, f"{path}.{k}")] for k, v in value.items()]
        return {_TAG: "mapping", "value": pairs}
    if isinstance(value, list | tuple):
        return {_TAG: "tuple", "value": [encode(v, arrays, f"{path}.{i}") for i, v in enumerate(value)]}
    raise TypeError(f"{path}: a {type(value).__name__} cannot be stored")


def decode(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The value that `encode` was given, lists as tuples; ValueError or LookupError if malformed."""
    if not isinstance(value, dict):
        return value
    tag, inner = value[_TAG], value["value"]
    if tag == "float":
        return float(inner)
    if tag == "status":
        return Status[inner]
    if tag == "array":
        return arrays[inner]
    if tag == "mapping":
        return {decode(k, arrays): decode(v, arrays) for k, v in inner}
    if tag == "tuple":
        return tuple(decode(item, arrays) for item in inner)
    if tag == "json":
        return KINDS.find(value["kind"]).build(inner)
    if tag == "record":
        return KINDS.find(value["kind"]).build({key: decode(item, arrays) for key, item in inner.items()})
    raise ValueError(f"unknown tag {tag!r}")


def plain(value: Any) -> Any:
    """``value`` as numbers, strings, lists, dictionaries with string keys; NaN and infinity stay floats.

    A complex number is the list of its parts.
    """
    if isinstance(value, Status):
        return value.name.lower()
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if dataclasses.is_dataclass(value) or hasattr(value, "_asdict"):
        return {key: plain(item) for key, item in fields_of(value).items()}
    if isinstance(value, Mapping):
        return {_key(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, complex):
        return [value.real, value.imag]
    return value


def _key(key: Any) -> str:
    return f"{key:g}" if isinstance(key, float) else str(key)


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The scalars of nested dictionaries, under names joined by dots; lists are left out."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            found |= flat(item, f"{prefix}{key}.")
        elif not isinstance(item, list):
            found[prefix + key] = item
    return found
