"""Lyapunov spectra: the law of lim (log s)/T as N → ∞ and then T → ∞.

Vanilla networks have a closed form (`rmtrnn.free.exponents`). Gated ones are solved at T = ∞: far from both
ends of the chain the self-energies of the matrix Dyson equation depend on t − s alone, in a gauge e^{μt}
(`rmtrnn.dyson.stationary`), with untied as with tied weights. No limit in T is left to be extrapolated.

Letters: T, the number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from rmtrnn._core import validate as _validate
from rmtrnn._core.progress import Report, shown
from rmtrnn._core.result import Result, stored
from rmtrnn._core.status import Status
from rmtrnn.cells.classes import require_one_class
from rmtrnn.dyson.stationary.law import stationary_law
from rmtrnn.ensemble import Ensemble
from rmtrnn.free.exponents import ExponentLaw
from rmtrnn.laws.quantile_law import QuantileLaw
from rmtrnn.meanfield.periodic_process import GROUPS
from rmtrnn.spectra.free_product import VanillaLaw
from rmtrnn.spectra.vanilla_moments import has_free_factors, preactivation_variance


@stored("lyapunov spectrum")
@dataclass(frozen=True, eq=False)
class LyapunovSpectrum(Result):
    """Limit law of the Lyapunov exponents of a random network, in 1/step, natural logarithm.

    ``spectrum``: the law, with ``pdf``, ``cdf``, ``icdf``, ``support``, ``atoms``, ``mean``, ``rvs``;
    ``error``: estimated error of its cdf, ``largest_error`` of its upper end, ``errors`` of its numbers by
    name; ``method``: "s-transform" or "dyson". Made by `rmtrnn.lyapunov`.

    >>> linear = rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=1.0, weights="orthogonal")
    >>> abs(round(float(rt.lyapunov(linear).largest), 9))
    0.0
    """

    remedies: ClassVar[Mapping[Status, str]] = {Status.MAX_ITERATIONS: "try more sites="}

    spectrum: ExponentLaw | QuantileLaw
    ensemble: Ensemble
    method: str
    error: float
    status: Status
    largest_error: float = 0.0
    cause: str = ""
    number_errors: Mapping[str, float] | None = None

    @property
    def errors(self) -> dict[str, float]:
        """Errors of ``largest``, ``unstable_fraction``, ``entropy_rate``, ``kaplan_yorke`` and ``mean``.

        By the Dyson equation: what the numbers become if all shares of the path are off by their errors in
        the same direction, and the upper end by its own. In closed form: those of a cdf off by ``error``.
        """
        if self.number_errors is not None:
            return {"largest": self.largest_error, **self.number_errors}
        top, D = max(self.largest, 0.0), self.kaplan_yorke
        last = float(self.spectrum.icdf(1.0 - D)) if 0.0 < D < 1.0 else -math.inf
        sizes = {"unstable_fraction": 1.0, "entropy_rate": top, "kaplan_yorke": 1.0 - top / last, "mean": 0.0}
        return {"largest": self.largest_error} | {name: self.error * size for name, size in sizes.items()}

    @property
    def largest(self) -> float:
        """Largest exponent; ½ log χ of the mean field."""
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
        numbers = (
            "largest",
            "largest_error",
            "unstable_fraction",
            "kaplan_yorke",
            "entropy_rate",
            "error",
            "errors",
        )
        ended = {"converged": self.converged, "message": self.message}
        values = {name: getattr(self, name) for name in numbers} | {"mean": self.spectrum.mean}
        return {"ensemble": self.ensemble.to_dict(), "method": self.method} | values | ended

    def _parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The closed form is exact, so its parameters are all there is to store of it."""
        meta: dict[str, Any] = {"ensemble": self.ensemble.to_dict()}
        if not isinstance(self.spectrum, QuantileLaw):
            return meta, {}
        meta |= {"error": self.error, "status": int(self.status), "largest": self.largest}
        meta |= {"largest_error": self.largest_error, "cause": self.cause, "law_error": self.spectrum.error}
        meta |= {"number_errors": None if self.number_errors is None else dict(self.number_errors)}
        return meta, {"levels": self.spectrum.levels, "quantiles": self.spectrum.quantiles}

    @classmethod
    def restore(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> LyapunovSpectrum:
        """Build the result again from what `save` wrote (`rmtrnn.load` calls this)."""
        ensemble = Ensemble.from_dict(meta["ensemble"])
        if not arrays:
            return _closed_form(ensemble)
        error = meta.get("law_error", meta["error"])
        law = QuantileLaw(arrays["levels"], arrays["quantiles"], meta["largest"], error)
        status, largest_error = Status(meta["status"]), meta["largest_error"]
        cause, numbers = meta.get("cause", ""), meta.get("number_errors")
        return cls(law, ensemble, "dyson", meta["error"], status, largest_error, cause, numbers)

    def __reduce__(self) -> tuple[Any, ...]:
        return LyapunovSpectrum.restore, self._parts()

    def __repr__(self) -> str:
        return (
            f"<LyapunovSpectrum of {self.ensemble}: largest {self.largest:.6g}, "
            f"{self.unstable_fraction:.4%} positive, {self.message}>"
        )


def lyapunov(
    ens: Ensemble,
    *,
    period: int | None = None,
    sites: int | None = None,
    seed: int = 0,
    tolerance: float | None = None,
    executor: Executor | None = None,
    progress: bool | Report | None = None,
) -> LyapunovSpectrum:
    """Law of the Lyapunov exponents lim (log s_i(J_T))/T of a random network: N → ∞, then T → ∞.

    Vanilla cells: with S the S-transform of the law of s² of one step (theory.md (8), (9)) a share p of all
    exponents exceeds −½ log S(−p): `rmtrnn.free.exponents`, eq. (*). The same for tied and untied weights, as
    theory.md (9) is. Gated cells: the stationary limit of theory.md (13) and (15), `rmtrnn.dyson.stationary`,
    for untied and tied weights of any law. It takes about a minute. For finite times use
    `rmtrnn.spectrum(ens, T).log_s`, divided by T; for networks of finite N `rmtrnn.sample_lyapunov`.

    ens : `Ensemble`
    period : even integer ≥ 16, steps to which time is closed; must be longer than the memory of the network.
        None: twice the memory of what the gates read, 32 to 128
    sites : 8 times a power of two, at least 32, on which the equation is solved; None: by the cost
    seed : of the sites; progress : None, True, or callable (done, total, label)
    tolerance : relative error in (0, 1) of the largest exponent of tied weights. Further sets of sites are
        added until ``largest_error``, three standard errors, is as small, 32 sets at most. None: none are.
        0.01 took a GRU with a largest exponent of 0.043 150 CPU seconds more
    executor : as for `rmtrnn.sample`; solves the further sets of sites at the same time
        Vanilla cells need none of these six.

    Returns a `LyapunovSpectrum`. ``error`` is the largest of three standard errors over eight groups of sites
    and of the change that half the period makes; ``errors`` has those of the single numbers. Raises TypeError
    if ``ens`` is no Ensemble, ValueError for a bad argument or a cell whose gates do not read the state,
    `ConvergenceError` where the network has no stationary state.

    >>> lya = rt.lyapunov(rt.Ensemble("vanilla", sigma_w=3.0))
    >>> round(lya.largest, 4), round(lya.unstable_fraction, 4), round(lya.kaplan_yorke, 4)
    (0.3102, 0.1529, 0.2877)
    """
    _validate.instance("ens", ens, Ensemble)
    require_one_class(ens.cell, "rt.sample_lyapunov")
    if period is not None and _validate.integer("period", period, low=16, high=1024) % 2:
        raise ValueError(f"period = {period}: must be even")
    if sites is not None:
        _validate.power_of_two("sites", sites, low=4 * GROUPS, high=2**16, times=GROUPS)
    if tolerance is not None:
        _validate.real("tolerance", tolerance, low=0.0, high=1.0, low_open=True, high_open=True)
    if has_free_factors(ens):
        return _closed_form(ens)
    with shown(progress):
        found = stationary_law(ens, period, sites, seed, tolerance, executor)
    return LyapunovSpectrum(
        found.law, ens, "dyson", found.error, found.status, found.largest_error, found.cause, found.errors
    )


def _closed_form(ens: Ensemble) -> LyapunovSpectrum:
    variance, status = preactivation_variance(ens)
    law = ExponentLaw(VanillaLaw(ens, 1, variance).squares)
    return LyapunovSpectrum(law, ens, "s-transform", law.error, status)
