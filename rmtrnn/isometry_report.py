"""isometry: how far the T-step Jacobian of a random network is from an orthogonal matrix.

Letters: T, the number of steps; p, a probability.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rmtrnn._core import validate as _validate
from rmtrnn._core.progress import Report, shown
from rmtrnn._core.result import Result, stored
from rmtrnn._core.status import CONFIDENCE, Status
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield import MeanField
from rmtrnn.meanfield.expansion import expansion_of
from rmtrnn.meanfield.growth import single_replica_mean_field
from rmtrnn.spectra import Spectrum, minimal_rnn, second_moment, spectrum
from rmtrnn.spectra.measured import Measured
from rmtrnn.spectra.vanilla_moments import has_free_factors

PROBABILITIES = (0.05, 0.5, 0.95)
_EPS = float(np.finfo(float).eps)
_NOT_KNOWN = math.nan


@stored("isometry")
@dataclass(frozen=True, eq=False)
class Isometry(Result):
    """How close the singular values s of J_T are to 1. Made by `rmtrnn.isometry`.

    Attributes
    ----------
    ensemble, T
    m_1 : mean of s²; 1 is necessary for isometry, and far from sufficient
    variance : of s²
    growth : pairs (t, variance of s² after t steps) for t = 1, 2, 4, …, T; only (T, variance) for gated cells
        with tied weights
    log_quantiles : {0.05, 0.5, 0.95: log s}
    condition_number : s_max/s_min over the support of the limit law, atoms included; inf where it reaches
        s = 0, as it does for every saturating activation, however rarely. The error is nan for laws from the
        Dyson equation, whose support is known only as far as the solver resolved it
    distance : √E[(s − 1)²], the root mean square distance of s from 1. It is the distance of J_T from the
        nearest orthogonal matrix, ‖J_T − O‖_F/√N (that matrix is the polar factor of J_T), so it is 0 exactly
        for an isometry, 1 for J_T = 0, and unlike the condition number it is not ruled by the one worst s
    method : how the spectrum was found
    status, converged : of the spectrum
    error : estimated error of its cdf

    >>> report = rt.isometry(rt.Ensemble("vanilla", sigma_w=0.9, sigma_b=0.2), T=4)
    >>> report.converged
    True
    """

    ensemble: Ensemble
    T: int
    m_1: Measured
    variance: Measured
    growth: tuple[tuple[int, Measured], ...]
    log_quantiles: Mapping[float, Measured]
    condition_number: Measured
    distance: Measured
    method: str
    status: Status
    error: float
    cause: str = ""

    remedies = Spectrum.remedies

    def to_dict(self) -> dict[str, Any]:
        """Every number with its error, the quantiles of s and of log s."""
        quantiles = {f"{p:g}": value._asdict() for p, value in self.quantiles.items()}
        return super().to_dict() | {"quantiles": quantiles}

    @property
    def quantiles(self) -> dict[float, Measured]:
        """Quantiles of s; they may underflow to 0, `log_quantiles` do not."""
        return {p: value.exponential() for p, value in self.log_quantiles.items()}

    @property
    def range(self) -> tuple[float, float]:
        """5 % and 95 % quantiles of s."""
        quantiles = self.quantiles
        return quantiles[PROBABILITIES[0]].value, quantiles[PROBABILITIES[-1]].value

    def within(self, band: tuple[float, float]) -> bool:
        """Whether the 5–95 % range of s lies in ``band``; False for a spectrum that did not converge."""
        return self.converged and band[0] <= self.range[0] and self.range[1] <= band[1]

    def __repr__(self) -> str:
        low, high = self.range
        found = f"5-95 % of s {low:.4g} to {high:.4g}"
        return f"<Isometry of {self.ensemble!r}, T={self.T}: {found}, {self.message}>"

    def __str__(self) -> str:
        logs = {p: q.value for p, q in self.log_quantiles.items()}
        rows = [
            ("m_1", str(self.m_1), "mean of s²"),
            ("variance", str(self.variance), "of s²"),
            *((f"{100 * p:g} % of s", str(q), f"log s = {logs[p]:.6g}") for p, q in self.quantiles.items()),
            ("condition", str(self.condition_number), "s_max/s_min of the limit law"),
            ("distance", str(self.distance), "√E[(s − 1)²], to the nearest orthogonal matrix"),
        ]
        growth = ", ".join(f"{v.value:.4g} at T = {t}" for t, v in self.growth)
        lines = [f"Isometry of {self.ensemble}, T = {self.T}"]
        lines += [f"  {name:<12}{value:<26}{meaning}" for name, value, meaning in rows]
        lines.append(f"  {'growth':<12}variance of s²: {growth}")
        lines.append(f"  spectrum: {self.method}, {self.message}, cdf error {self.error:.1e}")
        return "\n".join(lines)


def isometry(
    ens: Ensemble, T: int, spec: Spectrum | None = None, *, progress: bool | Report | None = None
) -> Isometry:
    """Measure how far the T-step Jacobian is from an isometry: theory.md section 5.

    m_1 and the variance of s² are those of theory.md (11) for vanilla cells, of the closed recursion of
    `rmtrnn.spectra.minimal_rnn` for the minimalRNN, and of `rmtrnn.spectra.second_moment` (sampled sites,
    cost T²) for other cells with untied weights; for gated cells with tied weights they come from the
    spectrum, as do quantiles, condition number and distance for all.

    Parameters
    ----------
    ens : Ensemble
    T : int ≥ 1
    spec : Spectrum, optional
        The spectrum if it is known, ``rmtrnn.spectrum(ens, T, ...)`` with options of your own.
    progress : None, True, or callable (done, total, label)

    Returns an `Isometry`; look at its ``converged`` and at the error beside every number.

    Raises TypeError or ValueError for bad arguments, `ConvergenceError` if there is no stationary state.

    >>> rt.isometry(rt.Ensemble(rt.VanillaRNN("linear"), weights="orthogonal"), T=10).m_1.value
    1.0
    """
    _validate.instance("ens", ens, Ensemble)
    T = _validate.cost("T", _validate.integer("T", T, low=1), 1e-3)
    if spec is not None and (spec.ensemble != ens or spec.T != T):
        raise ValueError(f"spec: is of {spec.ensemble!r}, T = {spec.T}; must be of ens = {ens!r}, T = {T}")
    with shown(progress):
        return _measured(ens, T, spectrum(ens, T) if spec is None else spec)


def _measured(ens: Ensemble, T: int, spec: Spectrum) -> Isometry:
    growth = variance_growth(ens, T)
    known = bool(growth)
    m_1 = growth[-1][1] if known else _spectral(spec, 1)
    variance = growth[-1][2] if known else _spectral(spec, 2)
    return Isometry(
        ensemble=ens,
        T=T,
        m_1=m_1,
        variance=variance,
        growth=tuple((t, v) for t, _, v in growth) if known else ((T, variance),),
        log_quantiles={p: spec.log_quantile(p) for p in PROBABILITIES},
        condition_number=_condition(spec),
        distance=_distance(spec),
        method=spec.method,
        status=spec.status,
        error=spec.error,
        cause=spec.cause,
    )


def variance_growth(ens: Ensemble, T: int) -> list[tuple[int, Measured, Measured]]:
    """(t, m_1, variance of s²) for t = 1, 2, 4, …, T without the spectrum; empty where only it can tell."""
    steps = [2**k for k in range(T.bit_length()) if 2**k < T] + [T]
    if has_free_factors(ens):
        found = [second_moment(ens, t) for t in steps]
        rows = zip(steps, found, strict=True)
        return [(t, _rounded(m.m_1, t), _rounded(m.variance, t)) for t, m in rows]
    if ens.tied:
        return []
    field = single_replica_mean_field(ens)
    if minimal_rnn.applies(ens):
        return _minimal_growth(ens, field, T, steps)
    return [_sampled_growth(ens, field, t) for t in steps]


def _minimal_growth(
    ens: Ensemble, field: MeanField, T: int, steps: list[int]
) -> list[tuple[int, Measured, Measured]]:
    m_1, m_2 = minimal_rnn.moments_of(ens, field, T)
    # The recursion inherits the relative error of q*, and adds rounding at every step.
    slack = 1.0 + (field.error + field.residual) / (_EPS * max(field.q_of("e"), _EPS))
    return [
        (t, _rounded(m_1[t - 1], t * slack), _rounded(m_2[t - 1] - m_1[t - 1] ** 2, t * slack)) for t in steps
    ]


def _sampled_growth(ens: Ensemble, field: MeanField, t: int) -> tuple[int, Measured, Measured]:
    found = second_moment(ens, t, field=field)
    m_1 = Measured(found.m_1, CONFIDENCE * found.error[0] * found.m_1)
    if len(ens.cell.state) == 1 and expansion_of(ens) is not None:
        m_1 = _rounded(field.chi**t, t)  # theory.md (6), exact for one state component
    relative = CONFIDENCE * (2 * found.error[0] * (found.ratio - 1) + found.error[1])
    return t, m_1, Measured(m_1.value**2 * (found.ratio - 1), m_1.value**2 * relative)


def _rounded(value: float, steps: float) -> Measured:
    """A value with the rounding error of ``steps`` multiplications."""
    return Measured(float(value), float(abs(value) * 16 * _EPS * (1 + steps)))


def _spectral(spec: Spectrum, order: int) -> Measured:
    """m_1 (order 1) or the variance of s² (order 2) from the spectrum, and its error.

    Without an estimate: an error ε of the cdf moves E[f] by at most ε times the variation of f over
    the support.
    """
    if not math.isfinite(spec.error):
        return Measured(_NOT_KNOWN, _NOT_KNOWN)
    top = max((b for _, b in spec.support), default=0.0) ** 2
    m_1, error = spec.moment(1), spec.moment_error(1)
    if math.isnan(m_1):
        return Measured(_NOT_KNOWN, _NOT_KNOWN)
    if order == 1:
        return Measured(m_1, error if math.isfinite(error) else spec.error * top)
    error = spec.moment_error(2) + 2 * m_1 * error
    return Measured(
        spec.variance, error if math.isfinite(error) else spec.error * (m_1**2 + (top - m_1) ** 2)
    )


def _condition(spec: Spectrum) -> Measured:
    ends = [*spec.log_s.support, *((u, u) for u, _ in spec.log_s.atoms)]
    if not ends or not math.isfinite(spec.error):
        return Measured(_NOT_KNOWN, _NOT_KNOWN)
    low, high = min(a for a, _ in ends), max(b for _, b in ends)
    if low == -math.inf:
        return Measured(math.inf, 0.0 if spec.method == "s-transform" else _NOT_KNOWN)
    with np.errstate(over="ignore"):
        value = float(np.exp(high - low))
    return Measured(value, 1e-10 * value if spec.method == "s-transform" else _NOT_KNOWN)


def _distance(spec: Spectrum) -> Measured:
    """√E[(s − 1)²], and how far an error of the cdf may move it."""
    if not math.isfinite(spec.error):
        return Measured(_NOT_KNOWN, _NOT_KNOWN)
    square = spec.log_s.expectation(lambda u: np.expm1(u) ** 2)
    distance, slack = math.sqrt(max(square, 0.0)), spec.error + abs(spec.mass - 1.0)
    top = max((b for _, b in spec.support), default=1.0)
    error = slack * (1.0 + max(top - 1.0, 0.0) ** 2)
    return Measured(
        distance, min(error / (2 * distance), math.sqrt(error)) if distance > 0 else math.sqrt(error)
    )
