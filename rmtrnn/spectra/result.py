"""The law of the singular values of a T-step Jacobian: one interface over exact and tabulated laws."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rmtrnn._core import random as _random
from rmtrnn._core import storage as _storage
from rmtrnn._core import validate as _validate
from rmtrnn._core.status import Status
from rmtrnn.ensemble import Ensemble
from rmtrnn.laws.moments import Moments

# Where the laws that can be stored live; each has to_parts and from_parts.
_LAWS = {
    "TabulatedLaw": ("rmtrnn.laws.tabulated", "TabulatedLaw"),
    "VanillaLaw": ("rmtrnn.spectra.free_product", "VanillaLaw"),
}


class LogLaw(Protocol):
    """What a `Spectrum` is made of: a law of u = log s, u = −∞ standing for s = 0.

    Functions take and return float arrays. ``support`` are the intervals of the continuous part and
    ``atoms`` pairs (u, mass), in increasing order; ``moment(k)`` is E[s^{2k}], ``variance()`` that of s²;
    ``mass`` is the computed total mass and ``error`` the estimated largest error of the cdf.
    """

    @property
    def atoms(self) -> tuple[tuple[float, float], ...]: ...
    @property
    def support(self) -> tuple[tuple[float, float], ...]: ...
    @property
    def mass(self) -> float: ...
    @property
    def error(self) -> float: ...
    @property
    def status(self) -> Status: ...

    def pdf(self, u: np.ndarray) -> np.ndarray: ...
    def cdf(self, u: np.ndarray) -> np.ndarray: ...
    def icdf(self, p: np.ndarray) -> np.ndarray: ...
    def moment(self, k: float) -> float: ...
    def variance(self) -> float: ...
    def to_parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]: ...


class LogView:
    """The same law in u = log s, where nothing over- or underflows."""

    def __init__(self, law: LogLaw) -> None:
        self._law = law

    def pdf(self, u: Any) -> Any:
        """Density of u = log s, without the atoms; 0 outside the support."""
        return _elementwise(self._law.pdf, "u", u)

    def cdf(self, u: Any) -> Any:
        """P(log s ≤ u)."""
        return _elementwise(self._law.cdf, "u", u)

    def icdf(self, p: Any) -> Any:
        """Smallest u with P(log s ≤ u) ≥ p, 0 ≤ p ≤ 1; −∞ where the quantile of s is 0."""
        return _elementwise(self._law.icdf, "p", _probability(p))

    @property
    def support(self) -> tuple[tuple[float, float], ...]:
        """Intervals of u that carry the continuous part."""
        return self._law.support

    @property
    def atoms(self) -> tuple[tuple[float, float], ...]:
        """Pairs (u, mass); u = −∞ stands for s = 0."""
        return self._law.atoms


class Spectrum:
    """Limit law (N → ∞) of the singular values s of the Jacobian J_T = ∂h^T/∂h^0.

    All functions take s, not s²; ``moment`` and ``variance`` are those of s², as in lim tr (J Jᵀ)^k / N.
    Made by `rmtrnn.spectrum`.

    Attributes: ``ensemble``; ``T``, number of steps; ``method``, "s-transform" or
    "dyson"; ``tied``; ``status`` and ``converged``; ``error``, estimated largest error of
    the cdf; ``mass``, the total mass as computed (1 up to the error); ``log_s``, the same law in log s.
    """

    def __init__(self, law: LogLaw, *, ensemble: Ensemble, T: int, method: str) -> None:
        self._law = law
        self.ensemble = ensemble
        self.T = T
        self.method = method
        self.log_s = LogView(law)
        self._moments: dict[int, Moments] = {}

    @property
    def tied(self) -> bool:
        """Whether one draw of the weights serves all steps."""
        return self.ensemble.tied

    @property
    def status(self) -> Status:
        """How the computation ended; ``status.message`` says what to try."""
        return self._law.status

    @property
    def converged(self) -> bool:
        """Whether the law was computed to its tolerance."""
        return self._law.status is Status.CONVERGED

    @property
    def error(self) -> float:
        """Estimated largest error of the cdf."""
        return self._law.error

    @property
    def mass(self) -> float:
        """Total mass as computed, before any normalisation; its distance from 1 is part of ``error``."""
        return self._law.mass

    def pdf(self, s: Any) -> Any:
        """Density of s, without the atoms; 0 for s < 0. At s = 0, where it may be infinite, it is the
        value at the smallest positive double."""

        def density(s: np.ndarray) -> np.ndarray:
            result = np.zeros(s.shape)
            allowed = (s >= 0) & (s < math.inf)
            u = np.log(np.maximum(s[allowed], np.finfo(float).tiny))
            log_pdf = self._law.pdf(u)
            with np.errstate(over="ignore"):
                result[allowed] = np.where(log_pdf > 0, log_pdf * np.exp(-u), 0.0)
            return result

        return _elementwise(density, "s", s)

    def cdf(self, s: Any) -> Any:
        """P(singular value ≤ s); 0 for s < 0, the atom at 0 for s = 0."""

        def probability(s: np.ndarray) -> np.ndarray:
            with np.errstate(divide="ignore"):
                u = np.log(np.maximum(s, 0.0))
            return np.where(s < 0, 0.0, self._law.cdf(u))

        return _elementwise(probability, "s", s)

    def icdf(self, p: Any) -> Any:
        """Smallest s with P(singular value ≤ s) ≥ p, for 0 ≤ p ≤ 1 (ValueError outside)."""
        return _elementwise(lambda p: _exp(self._law.icdf(p)), "p", _probability(p))

    @property
    def support(self) -> tuple[tuple[float, float], ...]:
        """Intervals of s that carry the continuous part."""
        return tuple((float(_exp(a)), float(_exp(b))) for a, b in self._law.support)

    @property
    def atoms(self) -> tuple[tuple[float, float], ...]:
        """Pairs (location in s, mass), in increasing order."""
        return tuple((float(_exp(u)), mass) for u, mass in self._law.atoms)

    def moment(self, k: int) -> float:
        """k-th moment of s², k ≥ 0: lim tr (J Jᵀ)^k / N.

        For laws of the Dyson equation the first two come from recursions over the law of one site, which know
        the extreme upper tail that these moments depend on and a table of the density resolves only in part;
        `density_moment` is what the table gives.
        """
        k = _validate.integer("k", k, low=0)
        known = self._known(k)
        return self.density_moment(k) if known is None else known[0]

    def moment_error(self, k: int) -> float:
        """Estimated error of ``moment(k)``: 0 if exact to rounding, nan where there is no estimate."""
        k = _validate.integer("k", k, low=0)
        if k == 0 or self.method == "s-transform":
            return 0.0
        known = self._known(k)
        return math.nan if known is None else known[1]

    def density_moment(self, k: int) -> float:
        """k-th moment of s² as the integral over the law that ``pdf`` and ``cdf`` describe: a check on these.

        It differs from ``moment(k)`` where the table misses part of the upper tail. Samples from `rvs` have
        this moment.
        """
        k = _validate.integer("k", k, low=0)
        return 1.0 if k == 0 else self._law.moment(k)

    @property
    def variance(self) -> float:
        """Variance of s², from the same route as ``moment``."""
        known = self._known(2)
        if known is None:
            return self._law.variance()
        return self._moments[2].variance

    def _known(self, k: int) -> tuple[float, float] | None:
        """Moment k and its error without the table, if there is such a route."""
        if self.method != "dyson" or k not in (1, 2):
            return None
        if k not in self._moments:
            stored = getattr(self._law, "known", None)
            found = without_law(self.ensemble, self.T, k) if stored is None else stored
            if found is None:
                return None
            self._moments[k] = found
        return self._moments[k].moment(k)

    def rvs(self, n: int, rng: int | np.random.Generator | None = None) -> np.ndarray:
        """``n`` independent draws of s (not the singular values of one matrix: those repel)."""
        n = _validate.integer("n", n, low=0)
        return _exp(self._law.icdf(_random.generator(rng).random(n)))

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw the density; returns the axes. See `rmtrnn.plotting.plot_spectrum`."""
        # Loaded by name on use: plotting is the top layer, and matplotlib must not load before.
        return importlib.import_module("rmtrnn.plotting").plot_spectrum(self, ax=ax, **options)

    def __repr__(self) -> str:
        sides = ", ".join(f"[{a:.6g}, {b:.6g}]" for a, b in self.support) or "none"
        atoms = "".join(f", atom {mass:.6g} at {s:.6g}" for s, mass in self.atoms)
        ended = "converged" if self.converged else f"NOT converged ({self.status.message})"
        return (
            f"<Spectrum of {self.ensemble!r}, T={self.T}, method={self.method!r}: "
            f"s in {sides}{atoms}; cdf error {self.error:.1e}, {ended}>"
        )

    def to_dict(self) -> dict[str, Any]:
        """What was computed, as JSON types: the arguments, the status, the law's description (no arrays)."""
        return {
            "ensemble": self.ensemble.to_dict(),
            "T": self.T,
            "method": self.method,
            "law": {"class": type(self._law).__name__} | self._law.to_parts()[0],
        }

    def save(self, path: str | Path) -> Path:
        """Write npz + JSON (no pickle); read it back with `rmtrnn.load`. Returns the path written."""
        return _storage.write(path, "spectrum", self.to_dict(), self._law.to_parts()[1])

    @classmethod
    def restore(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Spectrum:
        """Build the spectrum again from what `save` wrote (`rmtrnn.load` calls this)."""
        ensemble = Ensemble.from_dict(meta["ensemble"])
        home, name = _LAWS[_validate.choice("law", meta["law"]["class"], _LAWS)]
        law = getattr(importlib.import_module(home), name).from_parts(meta["law"], arrays)
        return cls(law, ensemble=ensemble, T=meta["T"], method=meta["method"])


def without_law(ens: Ensemble, T: int, k: int) -> Moments | None:
    """Moments of redrawn weights by the routes of `site_moments`; for k = 1 the ratio may be nan.

    None for the kept weights of a gated cell: these routes need fresh ones.
    """
    routes = importlib.import_module("rmtrnn.spectra.site_moments")  # it imports the laws itself
    if not routes.has_recursion(ens):
        return None
    return routes.first_moment(ens, T) if k == 1 else routes.exact_moments(ens, T)


def _elementwise(function: Any, name: str, value: Any) -> Any:
    """Apply an array function to numbers and arrays alike; a number in gives a float out."""
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name}: expected real numbers, got {array.dtype}")
    array = array.astype(float)
    if np.any(np.isnan(array)):
        raise ValueError(f"{name} = nan: must be a number")
    result = function(np.atleast_1d(array)).reshape(array.shape)
    return float(result) if array.ndim == 0 else result


def _probability(p: Any) -> Any:
    array = np.asarray(p)
    if array.dtype.kind in "iuf" and not np.all((array >= 0) & (array <= 1)):
        raise ValueError(f"p = {p!r}: must be in [0, 1]")
    return p


def _exp(u: Any) -> Any:
    """e^u with overflow to infinity and underflow to 0, both silent: log_s holds the value."""
    with np.errstate(over="ignore", under="ignore"):
        return np.exp(u)
