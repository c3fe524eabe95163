"""What a law of u = log s is: the protocol, its form for users, and expectations under it.

Letters: p, a probability.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from rmtrnn._core.status import Status


class LogForm(Protocol):
    """A law of u = log s as functions of float arrays, u = −∞ standing for s = 0.

    ``support`` are the intervals of the continuous part, ``atoms`` pairs (u, mass), both in increasing order.
    ``icdf(p)`` is the smallest u with cdf(u) ≥ p, ``expectation(f)`` is E[f(u)] for a function f of arrays.
    """

    @property
    def atoms(self) -> tuple[tuple[float, float], ...]: ...
    @property
    def support(self) -> tuple[tuple[float, float], ...]: ...

    def pdf(self, u: np.ndarray, /) -> np.ndarray: ...
    def cdf(self, u: np.ndarray, /) -> np.ndarray: ...
    def icdf(self, p: np.ndarray, /) -> np.ndarray: ...
    def expectation(self, f: Callable[[np.ndarray], np.ndarray], /) -> float: ...


class LogLaw(LogForm, Protocol):
    """What a `Spectrum` is made of: a `LogForm` that knows its moments, its error and how it was found.

    ``moment(k)`` is E[s^{2k}], ``variance()`` that of s²; ``mass`` is the computed total mass and ``error``
    the estimated largest error of the cdf; ``cause`` says in words what stood in the way, empty if nothing
    did. ``to_parts()`` gives JSON types and arrays to store.
    """

    @property
    def mass(self) -> float: ...
    @property
    def error(self) -> float: ...
    @property
    def status(self) -> Status: ...
    @property
    def cause(self) -> str: ...

    def moment(self, k: float) -> float: ...
    def variance(self) -> float: ...
    def to_parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]: ...


class LogView:
    """A law in u = log s, where nothing over- or underflows; for numbers and arrays, arguments checked."""

    def __init__(self, law: LogForm) -> None:
        self._law = law

    def pdf(self, u: Any) -> Any:
        """Density of u, without the atoms; 0 outside the support. ValueError for nan."""
        return elementwise(self._law.pdf, "u", u)

    def cdf(self, u: Any) -> Any:
        """P(log s ≤ u), atoms included. ValueError for nan."""
        return elementwise(self._law.cdf, "u", u)

    def icdf(self, p: Any) -> Any:
        """Smallest u with cdf(u) ≥ p; −∞ where the quantile of s is 0. ValueError unless 0 ≤ p ≤ 1."""
        return elementwise(self._law.icdf, "p", probability(p))

    def expectation(self, f: Callable[[np.ndarray], np.ndarray]) -> float:
        """E[f(u)], atoms included, for a function f of arrays that has a limit at −∞ if s = 0 has mass."""
        return self._law.expectation(f)

    @property
    def support(self) -> tuple[tuple[float, float], ...]:
        """Closed intervals of u that carry the continuous part; −∞ stands for s = 0."""
        return self._law.support

    @property
    def atoms(self) -> tuple[tuple[float, float], ...]:
        """Pairs (u, mass); u = −∞ stands for s = 0."""
        return self._law.atoms


def elementwise(
    function: Callable[[np.ndarray], np.ndarray], name: str, value: Any, *, dtype: type = float
) -> Any:
    """Apply a function of one-dimensional arrays to numbers and arrays alike; a number in gives a number out.

    TypeError unless ``value`` is real (or complex, where ``dtype`` is), ValueError if it is nan; both errors
    name the argument ``name``.
    """
    array = np.asarray(value)
    if array.dtype.kind not in ("iuf" if dtype is float else "iufc"):
        raise TypeError(
            f"{name}: expected {'real' if dtype is float else 'complex'} numbers, got {array.dtype}"
        )
    array = array.astype(dtype)
    if np.any(np.isnan(array)):
        raise ValueError(f"{name} = nan: must be a number")
    result = np.asarray(function(array.ravel())).reshape(array.shape)
    return dtype(result) if array.ndim == 0 else result


def probability(p: Any) -> Any:
    """Return ``p``; ValueError unless all its real numbers lie in [0, 1]."""
    array = np.asarray(p)
    if array.dtype.kind in "iuf" and not np.all((array >= 0) & (array <= 1)):
        raise ValueError(f"p = {p!r}: must be in [0, 1]")
    return p


def exponential(u: Any) -> Any:
    """e^u, silently ∞ or 0 beyond the range of doubles; the logarithm holds the value."""
    with np.errstate(over="ignore", under="ignore"):
        value = np.exp(u)
    return float(value) if np.ndim(value) == 0 else value


def logarithm(x: np.ndarray, law: LogForm) -> np.ndarray:
    """log x, −∞ for x ≤ 0, and an atom's own u where x is its location e^u, whatever log(e^u) rounds to."""
    with np.errstate(divide="ignore"):
        u = np.log(np.maximum(x, 0.0))
    for location, _ in law.atoms:
        u = np.where(x == exponential(location), location, u)
    return u


def lower_mass(law: LogForm) -> float:
    """The mass at s = 0."""
    return math.fsum(mass for u, mass in law.atoms if u == -math.inf)
