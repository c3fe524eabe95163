"""Lyapunov spectra: the law of lim (log s)/T as N → ∞ and then T → ∞.

Vanilla networks have a closed form (`rmtrnn.free.exponents`). For gated cells with untied weights the
quantiles of log s at T, 2T and 4T are extrapolated. A stationary chain has u_T(p) = λ(p) T + c(p) + d(p)/T:
what the two ends of the chain add to log s is c, and their overlap dies out. With v = u/T,

    λ = (8 v_{4T} − 6 v_{2T} + v_T)/3,        error = |λ − (2 v_{4T} − v_{2T})| + …,                       (*)

Richardson's extrapolation of two orders. The error is the last correction plus those of the quantiles.

Letters: T, the number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from rmtrnn._core import validate as _validate
from rmtrnn._core.result import Result, stored
from rmtrnn._core.status import ConvergenceError, Status
from rmtrnn.cells import VanillaRNN
from rmtrnn.dyson.quantiles import LogQuantiles, log_quantiles
from rmtrnn.ensemble import Ensemble
from rmtrnn.free.exponents import ExponentLaw
from rmtrnn.laws.quantile_law import QuantileLaw
from rmtrnn.meanfield import mean_field
from rmtrnn.spectra.free_product import VanillaLaw
from rmtrnn.spectra.vanilla_moments import has_free_factors, preactivation_variance

LEVELS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98, 0.99)  # of the quantiles


@stored("lyapunov spectrum")
@dataclass(frozen=True, eq=False)
class LyapunovSpectrum(Result):
    """Limit law of the Lyapunov exponents of a random network, in 1/step, natural logarithm.

    ``spectrum``: the law, with ``pdf``, ``cdf``, ``icdf``, ``support``, ``atoms``, ``mean``, ``rvs``;
    ``error``: estimated error of its cdf; ``method``: "s-transform" or "dyson". Made by `rmtrnn.lyapunov`.

    >>> linear = rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=1.0, weights="orthogonal")
    >>> abs(round(float(rt.lyapunov(linear).largest), 9))
    0.0
    """

    remedies: ClassVar[Mapping[Status, str]] = {Status.MAX_ITERATIONS: "try a larger population="}

    spectrum: ExponentLaw | QuantileLaw
    ensemble: Ensemble
    method: str
    error: float
    status: Status

    @property
    def largest(self) -> float:
        """Largest exponent, ½ log χ."""
        return self.spectrum.largest

    @property
    def unstable_fraction(self) -> float:
        """P(exponent > 0)."""
        return self.spectrum.unstable_fraction

    @property
    def kaplan_yorke(self) -> float:
        """Kaplan–Yorke dimension over N: D with ∫_0^D (exponent at rank p) dp = 0."""
        return self.spectrum.kaplan_yorke

    @property
    def entropy_rate(self) -> float:
        """E[max(exponent, 0)], nats per unit and step."""
        return self.spectrum.entropy_rate

    def to_dict(self) -> dict[str, Any]:
        """The arguments, the numbers and how the computation ended, as JSON types."""
        numbers = ("largest", "unstable_fraction", "kaplan_yorke", "entropy_rate", "error")
        ended = {"converged": self.converged, "message": self.message}
        values = {name: getattr(self, name) for name in numbers} | {"mean": self.spectrum.mean}
        return {"ensemble": self.ensemble.to_dict(), "method": self.method} | values | ended

    def _parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The closed form is exact, so its parameters are all there is to store of it."""
        meta: dict[str, Any] = {"ensemble": self.ensemble.to_dict()}
        if not isinstance(self.spectrum, QuantileLaw):
            return meta, {}
        meta |= {"error": self.error, "status": int(self.status), "largest": self.largest}
        return meta, {"levels": self.spectrum.levels, "quantiles": self.spectrum.quantiles}

    @classmethod
    def restore(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> LyapunovSpectrum:
        """Build the result again from what `save` wrote (`rmtrnn.load` calls this)."""
        ensemble = Ensemble.from_dict(meta["ensemble"])
        if not arrays:
            return _closed_form(ensemble)
        law = QuantileLaw(arrays["levels"], arrays["quantiles"], meta["largest"], meta["error"])
        return cls(law, ensemble, "dyson", meta["error"], Status(meta["status"]))

    def __reduce__(self) -> tuple[Any, ...]:
        return LyapunovSpectrum.restore, self._parts()

    def __repr__(self) -> str:
        return (
            f"<LyapunovSpectrum of {self.ensemble}: largest {self.largest:.6g}, "
            f"{self.unstable_fraction:.4%} positive, {self.message}>"
        )


def lyapunov(ens: Ensemble, *, T: int = 32, population: int = 16384, seed: int = 0) -> LyapunovSpectrum:
    """Law of the Lyapunov exponents lim (log s_i(J_T))/T of a random network: N → ∞, then T → ∞.

    Vanilla cells: with S the S-transform of the law of s² of one step (theory.md (8), (9)) a share p of all
    exponents exceeds −½ log S(−p): `rmtrnn.free.exponents`, eq. (*). The same for tied and untied weights, as
    theory.md (9) is. Gated cells with untied weights: the extrapolation (*) of this module, from the matrix
    Dyson equation at T, 2T and 4T steps. The largest exponent is ½ log χ in both cases. For finite times use
    `rmtrnn.spectrum(ens, T).log_s`, divided by T; for networks of finite N `rmtrnn.sample_lyapunov`.

    ens : `Ensemble`; gated cells must be untied.
    T : integer ≥ 24, the shortest chain that is extrapolated; population, seed : sites of the Dyson equation,
        see `rmtrnn.dyson.quantiles.log_quantiles`. Vanilla cells need none of these.

    Returns a `LyapunovSpectrum`. Raises TypeError if ``ens`` is no Ensemble, ValueError for a bad argument or
    a gated cell with tied weights (use `rmtrnn.sample_lyapunov`), `ConvergenceError` where the network has no
    stationary state.

    >>> lya = rt.lyapunov(rt.Ensemble("vanilla", sigma_w=3.0))
    >>> round(lya.largest, 4), round(lya.unstable_fraction, 4), round(lya.kaplan_yorke, 4)
    (0.3102, 0.1529, 0.2877)
    """
    _validate.instance("ens", ens, Ensemble)
    T = _validate.integer("T", T, low=24)
    if has_free_factors(ens):
        return _closed_form(ens)
    is_vanilla = isinstance(ens.cell, VanillaRNN)  # tied and untied exponents are the same
    if ens.tied and not is_vanilla:
        raise ValueError(
            f"ens.tied = True: must be False for the gated cell {ens.cell.name!r}, whose exponents with tied "
            "weights have no theory here yet. rt.mean_field(ens).lyapunov is the largest one; use "
            "rt.sample_lyapunov(ens, N, steps) for the others"
        )
    redrawn = ens.replace(tied=False)
    chains = [log_quantiles(redrawn, T * 2**k, LEVELS, population=population, seed=seed) for k in range(3)]
    law = _extrapolated(chains, T, 0.5 * math.log(mean_field(ens).chi))
    converged = all(chain.converged for chain in chains)
    status = Status.CONVERGED if converged else Status.MAX_ITERATIONS
    return LyapunovSpectrum(law, ens, "dyson", law.error, status)


def _closed_form(ens: Ensemble) -> LyapunovSpectrum:
    variance, status = preactivation_variance(ens)
    law = ExponentLaw(VanillaLaw(ens, 1, variance).squares)
    return LyapunovSpectrum(law, ens, "s-transform", law.error, status)


def _extrapolated(chains: list[LogQuantiles], T: int, largest: float) -> QuantileLaw:
    """Eq. (*); the error in u becomes one of the cdf by the density, 1/u'(p)."""
    short, middle, long = (chain.log_s / (T * 2**k) for k, chain in enumerate(chains))
    limit = (8.0 * long - 6.0 * middle + short) / 3.0
    quantiles = np.array([chain.error / (T * 2**k) for k, chain in enumerate(chains)])
    error = np.abs(limit - (2.0 * long - middle)) + np.array([1.0, 6.0, 8.0]) @ quantiles / 3.0
    below = limit < largest  # the exact edge; others exceed it by no more than their errors
    if not np.all(np.diff(limit[below]) > 0.0):
        raise ConvergenceError(
            f"the quantiles extrapolated from T = {T} are out of order by their errors; "
            "try a larger population or a larger T"
        )
    slope = np.gradient(limit, np.array(LEVELS))
    return QuantileLaw(np.array(LEVELS)[below], limit[below], largest, float(np.max(error / slope)))
