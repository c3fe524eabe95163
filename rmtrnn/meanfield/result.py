"""What a mean-field calculation returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rmtrnn._core.status import Status
from rmtrnn._core.validate import choice

Number = float | Mapping[str, float]
Trajectory = np.ndarray | Mapping[str, np.ndarray]


@dataclass(frozen=True, repr=False)
class MeanField:
    """Stationary mean field of an ensemble with weights redrawn at every step; theory.md (2)–(6).

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
    chi_star : slope of that map at c_star (its spectral radius for a state vector)
    timescale : −1/log chi_star in steps; inf where chi_star is 1 or more
    status, converged, residual : how the fixed points were found; residual is |F(Q) − Q| / Q, or that of c*,
        whichever is larger, recomputed from the returned values
    error : estimated absolute error of Q (the largest one for a state vector)
    Q_t, C_t, c_t : trajectories of E[h²], E[h_a h_b] and the correlation from Q0, C0 over ``steps`` steps
        (None without). Entry t belongs to the state h^t, entry 0 to the start; with one pre-activation
        c_t[t] is the correlation of e^{t+1}, which reads h^t

    error_t : estimated error of Q_t and C_t, the largest over time (0 for cells solved by moments)
    method : "moments" (exact but for rounding), or "population" (sampled: see ``error``; ``residual`` is then
        the relative drift of Q over the averaging window)

    Where the network has no stationary state (status DIVERGED) the stationary quantities are nan.
    """

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

    @property
    def converged(self) -> bool:
        """Whether all fixed points were found."""
        return self.status == Status.CONVERGED

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
        lines = [f"MeanField of {self.ensemble!r}"]
        lines += [f"  {name:<10}{_text(value)}   {meaning}" for name, value, meaning in rows]
        lines.append(f"  {self.status.message}; residual {self.residual:.1e}, error of Q {self.error:.1e}")
        return "\n".join(lines)


def _text(value: Number) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {number:.10g}" for name, number in value.items())
    return f"{value:.12g}"
