"""What every result offers: how it ended, plain numbers, a table, a file, a picture for notebooks."""

from __future__ import annotations

import functools
import html
import importlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from rmtrnn._core import records, storage
from rmtrnn._core.registry import DRAW, RESTORE
from rmtrnn._core.status import Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Kind = TypeVar("Kind", bound="type[Result]")


class Result:
    """Base of every result. A subclass is a frozen dataclass under `stored`, or overrides `_parts`.

    ``status`` says how the computation ended, ``error`` estimates the error of its main number.
    """

    kind: ClassVar[str] = ""
    remedies: ClassVar[Mapping[Status, str]] = {}
    """What to try, by status; arguments of the function that made the result are written ``name=``."""
    status: Status
    error: float
    cause: str = ""
    """What stood in the way, in words, where that is known: e.g. a mean field that did not converge."""

    @property
    def converged(self) -> bool:
        """Whether the result meets its tolerance."""
        return self.status == Status.CONVERGED

    @property
    def message(self) -> str:
        """How the computation ended; where it did not converge, why, if that is known, and what to try."""
        why = "" if self.converged else self.cause
        return "; ".join(part for part in (why, explained(self.status, self.remedies)) if part)

    def to_dict(self) -> dict[str, Any]:
        """The result as plain numbers, strings, lists and dictionaries."""
        ended = {"converged": self.converged, "message": self.message}
        return records.plain(records.fields_of(self) | ended)

    def to_pandas(self) -> Any:
        """One row, a column for each number (``q.r`` for the q of gate r): concatenate them for a sweep.

        Needs pandas (ImportError says how to get it).
        """
        return optional("pandas").DataFrame([_columns(self.to_dict())])

    def to_xarray(self) -> Any:
        """The table of `to_pandas` as a Dataset; over their own axes for a phase diagram and a sample.

        Needs pandas and xarray (ImportError says how to get them).
        """
        optional("xarray")
        return self.to_pandas().to_xarray()

    def plot(self, ax: Axes | None = None, **options: Any) -> Axes:
        """Draw the result by the function of `rmtrnn.plotting` for its kind; returns the axes.

        Raises TypeError where there is no picture of this kind of result.
        """
        try:
            draw = DRAW.find(self.kind)
        except KeyError:
            raise TypeError(f"there is no picture of a {type(self).__name__}") from None
        return draw(self, ax=ax, **options)

    def save(self, path: str | Path) -> Path:
        """Write npz + JSON (no pickle); read it back with `rmtrnn.load`. Returns the path written."""
        return storage.write(path, self.kind, *self._parts())

    def _parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What is stored: JSON types, and arrays by name."""
        arrays: dict[str, np.ndarray] = {}
        fields = records.fields_of(self)
        return {key: records.encode(value, arrays, key) for key, value in fields.items()}, arrays

    @classmethod
    def restore(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
        """Build the result again from what `save` wrote (`rmtrnn.load` calls this)."""
        return cls(**{key: records.decode(value, arrays) for key, value in meta.items()})

    def _compared(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What two equal results share: all but ``provenance``, which tells one run from another."""
        meta, arrays = self._parts()
        return {key: value for key, value in meta.items() if key != "provenance"}, arrays

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        (meta, arrays), (meta_other, arrays_other) = self._compared(), other._compared()
        return (
            meta == meta_other
            and arrays.keys() == arrays_other.keys()
            and all(_equal(array, arrays_other[name]) for name, array in arrays.items())
        )

    def __hash__(self) -> int:
        return hash((type(self), json.dumps(self._compared()[0], sort_keys=True)))

    def _repr_html_(self) -> str:
        """A small table for notebooks."""
        rows = {key: value for key, value in _columns(self.to_dict()).items() if value is not None}
        return table(type(self).__name__, rows)


def stored(kind: str) -> Callable[[Kind], Kind]:
    """Class decorator: results of the class can be saved, and read by `rmtrnn.load` under ``kind``."""

    def named(cls: Kind) -> Kind:
        cls.kind = kind
        records.record(kind)(cls)
        RESTORE.register(kind, functools.partial(_restore, cls))
        return cls

    return named


def _restore(cls: Any, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    return cls.restore(meta, arrays)


def explained(status: Status, remedies: Mapping[Status, str]) -> str:
    """The message of a status with the remedy that a function offers."""
    remedy = remedies.get(status, "")
    return f"{status.message}; {remedy}" if remedy else status.message


def optional(name: str) -> ModuleType:
    """A package that is not required; ImportError says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{name} is not installed; install it, or rmtrnn[tables]") from error


def table(title: str, rows: Mapping[str, Any]) -> str:
    """An HTML table of names and values."""
    body = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th><td>{html.escape(_short(value))}</td></tr>"
        for name, value in rows.items()
    )
    return f"<table><caption>{html.escape(title)}</caption>{body}</table>"


def _columns(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """The scalars, the ensemble's among them but not the equations of its cell."""
    found = records.flat(numbers)
    return {key: value for key, value in found.items() if not key.startswith("ensemble.cell.")}


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
