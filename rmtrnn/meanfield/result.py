"""What a mean-field calculation returns.

Letters: Q, the second moment of the state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from rmtrnn._core.result import Result, stored
from rmtrnn._core.status import Status
from rmtrnn._core.validate import choice

UNBOUNDED = 1e12
"""A second moment beyond this has no stationary value. States and weights are of order 1; the moments of a
network that grows without bound pass any such number within some hundred steps."""

Number = float | Mapping[str, float]
Trajectory = np.ndarray | Mapping[str, np.ndarray]


@stored("mean field")
@dataclass(frozen=True, repr=False, eq=False)
class MeanField(Result):
    """Stationary mean field of an ensemble: theory.md (2)–(6) untied, (18)–(19) tied.

    Attributes
    ----------
    ensemble : Ensemble
    Q : second moment E[h²] of the stationary state; a number, or a mapping by state name for a state vector
    q : variance of the pre-activation around its mean μ_b; a number, or a mapping by gate name
    C_star : overlap E[h_a h_b] to which two replicas tend from C0; number, or mapping by state name
    c_star : their correlation. For a cell with one pre-activation e (vanilla, minimalRNN) that of (e_a, e_b),
        the c of theory.md (5); otherwise C_star/Q, a number or a mapping by state name
    chi : growth per step of the mean squared singular value of the Jacobian; slope of the map of E[h_a h_b]
        at equal replicas
    chi_star : slope of that map at c_star, negative where the overlap changes sides at every step; for a
        state vector the eigenvalue of largest modulus
    timescale : −1/log |chi_star| in steps; inf where that is 1 or more
    status, converged, residual : how the fixed points were found; residual is |F(Q) − Q| / Q, or that of c*,
        whichever is larger, recomputed from the returned values
    error : estimated absolute error of Q (the largest one for a state vector)
    Q_t, C_t, c_t : trajectories of E[h²], E[h_a h_b] and the correlation from Q0, C0 over ``steps`` steps
        (None without). Entry t belongs to the state h^t, entry 0 to the start; with one pre-activation
        c_t[t] is the correlation of e^{t+1}, which reads h^t

    error_t : estimated error of Q_t and C_t, the largest over time (0 for cells solved by moments)
    method : "moments" (exact but for rounding), "population" (sampled: see ``error``; ``residual`` is then
        the relative drift of Q over the averaging window), or "spectra" (tied: `rmtrnn.meanfield.tied_field`;
        ``residual`` is the last change of the power spectra, relative to the variance)
    theory : "untied" (weights drawn anew at every step) or "tied" (drawn once)
    errors : absolute errors by quantity ("Q", "q", "chi", "c_star", "chi_star"), where they are known
    covariances : tied: autocovariances by name of state and gate, see `autocovariance`
    note : what limits the result, in words

    Where the network has no stationary state (status DIVERGED) the stationary quantities are nan.

    >>> mf = rt.mean_field(rt.Ensemble("vanilla", sigma_w=0.9, sigma_b=0.2))
    >>> mf.converged, mf.theory
    (True, 'untied')
    """

    remedies: ClassVar[Mapping[Status, str]] = {
        Status.MAX_ITERATIONS: "where the state is sampled, try a larger sites=; another start: Q0="
    }

    ensemble: Any
    Q: Number
    q: Number
    c_star: Number
    chi: float
    chi_star: float
    timescale: float
    status: Status
    residual: float
    error: float
    Q_t: Trajectory | None = None
    c_t: Trajectory | None = None
    C_t: Trajectory | None = None
    C_star: Number = float("nan")
    error_t: float = 0.0
    method: str = "moments"
    theory: str = "untied"
    errors: Mapping[str, float] = field(default_factory=dict)
    covariances: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False)
    note: str = ""

    @property
    def lyapunov(self) -> float:
        """Largest Lyapunov exponent per step, ½ log χ (N → ∞ at fixed T, then T → ∞); −inf where χ = 0."""
        with np.errstate(divide="ignore"):
            return float(0.5 * np.log(self.chi))

    @property
    def timescales(self) -> dict[str, float]:
        """Three time scales in steps; theory.md section 7.

        "difference": −1/log χ, decay of a small difference of two equal replicas. "correlation": −1/log χ at
        c*, return of the replicas' overlap to its fixed point, the ``timescale``. "autocovariance" (tied):
        half the sum over lags of the decaying part of the first state's autocovariance, relative to its
        variance; nan where it is not known.
        """
        found = {"difference": float(timescale(self.chi)), "correlation": self.timescale}
        return found | {"autocovariance": _decay(next(iter(self.covariances.values()), np.zeros(0)))}

    def autocovariance(self, name: str | None = None) -> np.ndarray:
        """Autocovariance in time of a tied network's state or gate, over lags 0, 1, 2, …

        A state: E[h^t h^{t+lag}]. A gate: the covariance of its pre-activation, theory.md (18). ``name``: of
        a state or a gate; default the first state. ValueError for another name, and for untied weights, whose
        pre-activations are independent in time.
        """
        if not self.covariances:
            raise ValueError(
                f"autocovariance: not known for theory {self.theory!r} here; "
                "use mean_field(ens.replace(tied=True)), in a stationary state"
            )
        name = next(iter(self.covariances)) if name is None else name
        return self.covariances[choice("name", name, tuple(self.covariances))]

    def q_of(self, gate: str) -> float:
        """Variance of the pre-activation of ``gate``; ValueError for an unknown name."""
        choice("gate", gate, self.ensemble.cell.gates)
        return float(self.q[gate]) if isinstance(self.q, Mapping) else float(self.q)

    def __repr__(self) -> str:
        rows = [
            ("Q", self.Q, "second moment of the state"),
            ("q", self.q, "variance of the pre-activation"),
            ("c_star", self.c_star, "correlation of two replicas"),
            ("chi", self.chi, "growth of the mean squared singular value"),
            ("chi_star", self.chi_star, "slope of the correlation map at c_star"),
            ("timescale", self.timescale, "steps"),
        ]
        lines = [f"MeanField of {self.ensemble}, {self.theory} weights"]
        lines += [
            f"  {name:<10}{_text(value, self.errors.get(name, 0.0))}   {meaning}"
            for name, value, meaning in rows
        ]
        lines.append(f"  {self.message}; residual {self.residual:.1e}, error of Q {self.error:.1e}")
        lines += [f"  {self.note}"] if self.note else []
        return "\n".join(lines)


def timescale(chi: Any) -> Any:
    """ξ = −1/log |χ| in steps (docs/theory.md (6)); inf where |χ| ≥ 1. χ < 0 turns the sign at every step."""
    size = np.abs(chi)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(size < 1.0, -1.0 / np.log(size), np.where(np.isnan(size), np.nan, np.inf))


def named(names: Any, values: np.ndarray) -> Any:
    """One value for one name, else a mapping by name."""
    entries = [value if np.ndim(value) else float(value) for value in values]
    return entries[0] if len(entries) == 1 else dict(zip(names, entries, strict=True))


def ratio(C: np.ndarray, Q: np.ndarray) -> np.ndarray:
    """C/Q; where Q = 0 the replicas are equal, and the correlation is 1."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(Q == 0.0, 1.0, C / Q)


def _decay(covariance: np.ndarray) -> float:
    """Half the sum over lags of what decays of an autocovariance, relative to lag 0; in steps."""
    if covariance.size < 2 or covariance[0] <= 0.0:
        return float("nan")
    rest = covariance[covariance.size // 2 :].mean()
    decaying = covariance[: covariance.size // 2] - rest
    return float(decaying.sum() - 0.5 * decaying[0]) / float(covariance[0])


def _text(value: Number, error: float) -> str:
    """The number or the numbers, with their error where it is known."""
    if isinstance(value, Mapping):
        text = ", ".join(f"{name}: {number:.10g}" for name, number in value.items())
    else:
        text = f"{value:.12g}"
    return f"{text} ± {error:.1g}" if error > 0 else text
