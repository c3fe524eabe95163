"""The law of the singular values of a T-step Jacobian: one interface over exact and tabulated laws.

Letters: T, the number of steps; p, a probability.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from rmtrnn._core import random as _random
from rmtrnn._core import validate as _validate
from rmtrnn._core.arrays import check_memory
from rmtrnn._core.result import Result, optional, stored
from rmtrnn._core.status import Status
from rmtrnn.ensemble import Ensemble
from rmtrnn.free.s_transform_series import MOMENT_SECONDS
from rmtrnn.laws.moments import Moments
from rmtrnn.laws.protocol import LogLaw, LogView, elementwise, exponential, logarithm, probability
from rmtrnn.laws.tabulated import TabulatedLaw
from rmtrnn.meanfield.result import named
from rmtrnn.meanfield.solve import by_state
from rmtrnn.spectra.free_product import VanillaLaw
from rmtrnn.spectra.measured import Measured
from rmtrnn.spectra.site_moments import known_moments

USABLE = 0.1  # largest error of the cdf of a law that counts as found: a tenth of the distribution
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # of `to_dict`, of samples too
_LAWS = {law.__name__: law for law in (TabulatedLaw, VanillaLaw)}


@stored("spectrum")
class Spectrum(Result):
    """Limit law (N → ∞) of the singular values s of the Jacobian J_T = ∂h^T/∂h^0.

    All functions take s, not s²; ``moment`` and ``variance`` are those of s², as in lim tr (J Jᵀ)^k / N.
    Made by `rmtrnn.spectrum`.

    Attributes: ``ensemble``; ``T``, number of steps; ``method``, "s-transform" or
    "dyson"; ``tied``; ``status`` and ``converged``; ``error``, estimated largest error of
    the cdf; ``mass``, the total mass as computed (1 up to the error); ``log_s``, the same law in log s.
    """

    remedies: ClassVar[Mapping[Status, str]] = {
        Status.MAX_ITERATIONS: "try a larger population=, a smaller tol=, or fewer steps T="
    }

    def __init__(
        self,
        law: LogLaw,
        *,
        ensemble: Ensemble,
        T: int,
        method: str,
        moments: Callable[[int], Moments | None] | None = None,
        Q0: float | dict[str, float] | None = None,
    ) -> None:
        """``moments(k)``: the first k = 1 or 2 moments of s², found without the law; None where it cannot."""
        self._Q0 = Q0
        self._law, self._ensemble, self._T, self._method = law, ensemble, T, method
        self._log_s = LogView(law)
        self._find = moments
        self._moments: dict[int, Moments | None] = {}

    @property
    def ensemble(self) -> Ensemble:
        """The random network."""
        return self._ensemble

    @property
    def T(self) -> int:
        """Number of steps."""
        return self._T

    @property
    def Q0(self) -> float | dict[str, float] | None:
        """E[h²] where the T steps start, by state name if several; None: the stationary state."""
        return self._Q0

    @property
    def method(self) -> str:
        """How the law was found: "s-transform", "dyson" or "free approximation"."""
        return self._method

    @property
    def log_s(self) -> LogView:
        """The same law in log s, where nothing over- or underflows."""
        return self._log_s

    @property
    def tied(self) -> bool:
        """Whether one draw of the weights serves all steps."""
        return self.ensemble.tied

    @property
    def status(self) -> Status:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How the computation ended; ``message`` says what to try. A law whose ``error`` exceeds 10 % is not
        converged, whatever its solver says."""
        found = self._law.status
        return Status.MAX_ITERATIONS if found is Status.CONVERGED and not self.error <= USABLE else found

    @property
    def cause(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What stood in the way of the solver, in words."""
        return self._law.cause

    @property
    def error(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
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

        return elementwise(density, "s", s)

    def cdf(self, s: Any) -> Any:
        """P(singular value ≤ s); 0 for s < 0, the atom at 0 for s = 0."""

        def below(s: np.ndarray) -> np.ndarray:
            return np.where(s < 0, 0.0, self._law.cdf(logarithm(s, self._law)))

        return elementwise(below, "s", s)

    def icdf(self, p: Any) -> Any:
        """Smallest s with P(singular value ≤ s) ≥ p, for 0 ≤ p ≤ 1 (ValueError outside)."""
        return elementwise(lambda p: exponential(self._law.icdf(p)), "p", probability(p))

    def quantile(self, p: float) -> Measured:
        """``icdf(p)`` with its error: how far it moves when the cdf moves by ``error``."""
        return self.log_quantile(p).exponential()

    def log_quantile(self, p: float) -> Measured:
        """The same for log s, which neither over- nor underflows.

        The error is infinite for p ≤ ``error``: the law may lack a lower tail of that mass.
        """
        p = _validate.real("p", p, low=0.0, high=1.0)
        if not math.isfinite(self.error):
            return Measured(math.nan, math.nan)
        moved = (min(max(p + d, 0.0), 1.0) for d in (-self.error, 0.0, self.error))
        low, value, high = (float(self.log_s.icdf(q)) for q in moved)
        if value == -math.inf:
            return Measured(value, 0.0 if high == value else math.inf)
        if p <= self.error:
            return Measured(value, math.inf)
        rounding = 4 * float(np.finfo(float).eps) * (1 + abs(value))
        return Measured(value, max(value - low, high - value) + rounding)

    @property
    def support(self) -> tuple[tuple[float, float], ...]:
        """Intervals of s that carry the continuous part."""
        return tuple((exponential(a), exponential(b)) for a, b in self._law.support)

    @property
    def atoms(self) -> tuple[tuple[float, float], ...]:
        """Pairs (location in s, mass), in increasing order."""
        return tuple((exponential(u), mass) for u, mass in self._law.atoms)

    def moment(self, k: int) -> float:
        """k-th moment of s², k ≥ 0: lim tr (J Jᵀ)^k / N.

        For laws of the Dyson equation the first two come from recursions over the law of one site, which know
        the extreme upper tail that these moments depend on and a table of the density resolves only in part;
        `density_moment` is what the table gives. nan where no sites can be afforded: tied gated weights of
        some hundred steps.
        """
        k = _validate.cost("k", _validate.integer("k", k, low=0), MOMENT_SECONDS)
        known = self._known(k)
        return self.density_moment(k) if known is None else known.moment(k)[0]

    def moment_error(self, k: int) -> float:
        """Estimated error of ``moment(k)``: 0 if exact to rounding, nan where there is no estimate."""
        k = _validate.cost("k", _validate.integer("k", k, low=0), MOMENT_SECONDS)
        if k == 0 or self.method == "s-transform":
            return 0.0
        known = self._known(k)
        return math.nan if known is None else known.moment(k)[1]

    def density_moment(self, k: int) -> float:
        """k-th moment of s² as the integral over the law that ``pdf`` and ``cdf`` describe: a check on these.

        It differs from ``moment(k)`` where the table misses part of the upper tail. Samples from `rvs` have
        this moment.
        """
        k = _validate.cost("k", _validate.integer("k", k, low=0), MOMENT_SECONDS)
        return 1.0 if k == 0 else self._law.moment(k)

    @property
    def variance(self) -> float:
        """Variance of s², from the same route as ``moment``."""
        known = self._known(2)
        return self._law.variance() if known is None else known.variance

    def _known(self, k: int) -> Moments | None:
        """The first k moments without the law, if there is such a route."""
        if self._find is None or k not in (1, 2):
            return None
        if k not in self._moments:
            self._moments[k] = self._find(k)
        return self._moments[k]

    def rvs(self, n: int, rng: int | np.random.Generator | None = None) -> np.ndarray:
        """``n`` independent draws of s (not the singular values of one matrix: those repel)."""
        n = _validate.integer("n", n, low=0)
        check_memory("n", n, 4 * 8.0 * n)  # the draws, their quantiles, and copies on the way
        return exponential(self._law.icdf(_random.generator(rng).random(n)))

    def __repr__(self) -> str:
        sides = ", ".join(f"[{a:.6g}, {b:.6g}]" for a, b in self.support) or "none"
        atoms = "".join(f", atom {mass:.6g} at {s:.6g}" for s, mass in self.atoms)
        start = "" if self.Q0 is None else f", Q0={self.Q0!r}"
        ended = "converged" if self.converged else f"NOT converged ({self.message})"
        return (
            f"<Spectrum of {self.ensemble}, T={self.T}{start}, method={self.method!r}: "
            f"s in {sides}{atoms}; cdf error {self.error:.1e}, {ended}>"
        )

    def to_dict(self) -> dict[str, Any]:
        """Status, support, atoms, moments of s² and quantiles as plain numbers.

        The moments of gated cells are computed on the first call (see ``moment``).
        """
        log_quantiles = {f"{p:g}": float(self.log_s.icdf(p)) for p in QUANTILES}
        return {
            "ensemble": self.ensemble.to_dict(),
            "T": self.T,
            "Q0": self.Q0,
            "method": self.method,
            "converged": self.converged,
            "status": self.status.name.lower(),
            "message": self.message,
            "error": self.error,
            "mass": self.mass,
            "support": [list(interval) for interval in self.support],
            "log_support": [list(interval) for interval in self.log_s.support],
            "atoms": [list(atom) for atom in self.atoms],
            "moments": {str(k): self.moment(k) for k in (1, 2)},
            "variance": self.variance,
            "quantiles": {f"{p:g}": float(self.icdf(p)) for p in QUANTILES},
            "log_quantiles": log_quantiles,
        }

    def to_pandas(self, points: int = 200) -> Any:
        """A table of ``points`` quantiles: p, s, log s, the density of log s and its cdf. Needs pandas."""
        points = _validate.integer("points", points, low=1)
        check_memory("points", points, 8 * 8.0 * points)
        p = (np.arange(points) + 0.5) / points
        u = self.log_s.icdf(p)
        density, cdf = self.log_s.pdf(u), self.log_s.cdf(u)
        return optional("pandas").DataFrame(
            {"p": p, "s": exponential(u), "log_s": u, "pdf_log_s": density, "cdf": cdf}
        )

    def to_xarray(self, points: int = 200) -> Any:
        """The table of `to_pandas` as a Dataset over p. Needs pandas and xarray."""
        optional("xarray")
        attributes = {"ensemble": repr(self.ensemble), "T": self.T}
        return self.to_pandas(points).set_index("p").to_xarray().assign_attrs(attributes)

    def _parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        description, arrays = self._law.to_parts()
        law = {"class": type(self._law).__name__} | description
        meta = {"ensemble": self.ensemble.to_dict(), "T": self.T, "method": self.method, "law": law}
        return meta if self.Q0 is None else meta | {"Q0": self.Q0}, arrays

    @classmethod
    def restore(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Spectrum:
        """Build the spectrum again from what `save` wrote (`rmtrnn.load` calls this)."""
        law = _LAWS[_validate.choice("law", meta["law"]["class"], _LAWS)].from_parts(meta["law"], arrays)
        ensemble = Ensemble.from_dict(meta["ensemble"])
        if meta["method"] == "dyson" and isinstance(law, TabulatedLaw):
            return dyson_spectrum(law, ensemble, meta["T"], meta.get("Q0"))
        return cls(law, ensemble=ensemble, T=meta["T"], method=meta["method"], Q0=meta.get("Q0"))

    def __reduce__(self) -> tuple[Any, ...]:
        return Spectrum.restore, self._parts()


def dyson_spectrum(
    law: TabulatedLaw, ens: Ensemble, T: int, Q0: float | Mapping[str, float] | None = None
) -> Spectrum:
    """The spectrum of a law of the Dyson equation, with its moments from the law of one site."""
    names = [symbol.name for symbol in ens.cell.state]
    start = by_state("Q0", Q0, names, low=0.0)
    moments = known_moments(ens, T, start) if law.known is None else lambda k: law.known
    value = None if start is None else named(names, start)
    return Spectrum(law, ensemble=ens, T=T, method="dyson", moments=moments, Q0=value)
