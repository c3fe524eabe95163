"""Bi-invariant laws of weight matrices by their singular values: W = σ_w U diag(s) Vᵀ, U and V Haar.

In the limit W is R-diagonal, and its law is that of s², here with mean 1 (Nica and Speicher 2006,
lecture 15).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rmtrnn._core import validate as _validate

LIBRARY = ("gaussian", "orthogonal")


NODES = 32
"""Quantiles that stand for a law that is not discrete: its cdf then errs by 1/64."""


@dataclass(frozen=True, repr=False)
class SingularValues:
    """Weights W = σ_w U diag(s) Vᵀ with independent Haar U and V and singular values of a given law.

    values : numbers ≥ 0, not all 0, or a law with ``icdf`` (`rmtrnn.free`): singular values of the law
    masses : positive, normalised to 1; None: equal

    Only the shape of the law counts: it is scaled to E[s²] = 1, and σ_w sets the scale, so that
    σ_w² = E[W_ij²] N as for Gaussian weights. ``scale`` is √E[s²] before. A law that is not discrete stands
    for its quantiles at 32 midpoints.

    >>> round(rt.SingularValues([1.0, 3.0]).scale ** 2, 9)
    5.0
    """

    values: tuple[float, ...]
    masses: tuple[float, ...]
    scale: float = field(compare=False)

    def __init__(self, values: Any, masses: Sequence[float] | None = None) -> None:
        if hasattr(values, "icdf"):
            values = values.icdf((np.arange(NODES) + 0.5) / NODES)
        found = [_validate.real("values", float(value), low=0.0) for value in np.ravel(values)]
        weights = np.full(len(found), 1.0) if masses is None else np.ravel(masses)
        weights = [_validate.real("masses", float(m), low=0.0, low_open=True) for m in weights]
        if not found or len(weights) != len(found):
            raise ValueError(f"masses: has {len(weights)} numbers for {len(found)} values")
        total = math.fsum(weights)
        merged = dict.fromkeys(sorted(found), 0.0)
        for value, mass in zip(found, weights, strict=True):
            merged[value] += mass / total
        scale = math.sqrt(math.fsum(mass * value**2 for value, mass in merged.items()))
        if scale == 0.0:
            raise ValueError("values: must not all be 0")
        if abs(scale - 1.0) < 1e-12:  # already scaled: a copy has the same digits
            scale = 1.0
        object.__setattr__(self, "values", tuple(value / scale for value in merged))
        object.__setattr__(self, "masses", tuple(merged.values()))
        object.__setattr__(self, "scale", scale)

    def __repr__(self) -> str:
        return f"rt.SingularValues({list(self.values)!r}, {list(self.masses)!r})"

    @property
    def spread(self) -> float:
        """Variance of s², scaled to mean 1: 1 for Gaussian weights, 0 for Haar weights."""
        return math.fsum(m * s**4 for s, m in zip(self.values, self.masses, strict=True)) - 1.0

    def quantiles(self, n: int) -> np.ndarray:
        """Return the n singular values of a matrix, at the probabilities (i + ½)/n."""
        steps = np.cumsum(self.masses)[:-1]
        return np.array(self.values)[np.searchsorted(steps, (np.arange(n) + 0.5) / n)]


def weights_law(name: str, value: Any) -> str | SingularValues:
    """Return one of `LIBRARY`, or the `SingularValues` of an object or of its record."""
    if isinstance(value, SingularValues):
        return value
    if isinstance(value, Mapping) and set(value) == {"values", "masses"}:
        return SingularValues(value["values"], value["masses"])
    if not isinstance(value, str):
        raise TypeError(f"{name} = {value!r}: expected one of {sorted(LIBRARY)} or SingularValues")
    return _validate.choice(name, value, LIBRARY)
