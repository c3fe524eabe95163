"""The exact spectrum of vanilla networks: a free multiplicative power (theory.md (9)-(11)).

J_T = D_T W_T ⋯ D_1 W_1 with D_t = diag φ'(e^t), e ~ N(μ_b, q*). The diagonal matrices are asymptotically free
from the weights, so the law of s² is

    σ_w^{2T} · (law of φ'(e)²)^{⊠T} ⊠ MP^{⊠T} (Gaussian)   or   σ_w^{2T} · (law of φ'(e)²)^{⊠T} (orthogonal),

and σ_w^{2T} · (law of φ'(e)² ⊠ law of s_W²)^{⊠T} for weights with singular values σ_w s_W.

Tied weights have the same law. Write W = U H with U Haar and free from H and from all D_t together (the D_t
of one site are correlated through the state and the bias; that does not matter). Moving every U to the right,
J_T = D_T · (U H D_{T−1} U⁻¹) · (U² H D_{T−2} U⁻²) ⋯ (U^{T−1} H D_1 U^{1−T}) · (U^T H U^{-T}) · U^T, and the
conjugates of one algebra by different powers of a Haar unitary that is free from it are free from each other.
So J_T J_Tᵀ is a product of free factors with the same S-transforms as for untied weights. Only the powers of
U matter here: with a gate's additive term, A_t + B_t W, the argument fails, and there tied and untied spectra
differ. The D_t do depend on W, but only through T vectors W h, which fix W on T of N dimensions: no effect on
the limit law. The variance q* is the same too, since W h has variance σ_w² E[h²] in either case.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rmtrnn import free
from rmtrnn._core.status import Status
from rmtrnn.ensemble import Ensemble
from rmtrnn.free.quadrature_base import power_of_nodes
from rmtrnn.laws.expectation import expectation
from rmtrnn.spectra.vanilla_moments import slope_law
from rmtrnn.weight_laws import SingularValues


@dataclass(frozen=True)
class NodeSettings:
    """Of the nodes that stand for one step with `SingularValues` weights: see `free.quadrature_base`.

    ``halvings`` of the panels in p towards an end; ``per_panel`` nodes; ``compared`` quantiles for the error.
    tests/spectra/test_weight_laws.py moves them by three.
    """

    halvings: int = 20
    per_panel: int = 8
    compared: int = 49


NODES = NodeSettings()


def _power_of_step(slopes: Any, weights: SingularValues, T: int, per_panel: int) -> Any:
    """(law of φ'(e)² ⊠ law of the squared singular values)^{⊠T}, T > 1 the number of steps."""
    squares = free.Discrete([s**2 for s in weights.values], list(weights.masses))
    return power_of_nodes(slopes @ squares, T, NODES.halvings, per_panel)


class VanillaLaw:
    """The free product as a law of u = log s (the exact form of `LogLaw`).

    ``T`` is the number of steps, ``q`` the variance of the pre-activation and ``status`` how it was found.
    """

    def __init__(self, ens: Ensemble, T: int, q: float, status: Status = Status.CONVERGED) -> None:
        (name,) = ens.cell.gates
        gate = ens.gate(name)
        self._ensemble, self._T, self._q, self._status = ens, T, q, status
        self._log_scale = 2 * T * math.log(gate.sigma_w)
        if gate.singular_values is not None:
            law = _power_of_step(slope_law(ens, q), gate.singular_values, T, NODES.per_panel)
        else:
            law = slope_law(ens, q) ** T
            if gate.weights == "gaussian":
                law = law @ free.MarchenkoPastur() ** T
        self._law = law.dilate(log_c=self._log_scale)

    @property
    def squares(self) -> Any:
        """The law of s², an object of `rmtrnn.free`."""
        return self._law

    @property
    def atoms(self) -> tuple[tuple[float, float], ...]:
        return tuple((0.5 * v, mass) for v, mass in self._law.log.atoms)

    @property
    def support(self) -> tuple[tuple[float, float], ...]:
        return tuple((0.5 * a, 0.5 * b) for a, b in self._law.log.support)

    @property
    def error(self) -> float:
        return float(self._law.error) + self._error_of_nodes

    @functools.cached_property
    def _error_of_nodes(self) -> float:
        """What half the nodes change of the cdf, more than what the nodes miss; 0 for library weights."""
        (name,) = self._ensemble.cell.gates
        weights = self._ensemble.gate(name).singular_values
        if weights is None:
            return 0.0
        fewer = _power_of_step(slope_law(self._ensemble, self._q), weights, self._T, NODES.per_panel // 2)
        v = self._law.log.icdf(np.linspace(0.0, 1.0, NODES.compared + 2)[1:-1])
        changed = fewer.dilate(log_c=self._log_scale).log.cdf(v)
        return float(np.max(np.abs(changed - self._law.log.cdf(v)))) + 2.0**-NODES.halvings

    @property
    def status(self) -> Status:
        """How q was found, or what the second look at the law says."""
        return self._law.status if self._status is Status.CONVERGED else self._status

    @property
    def cause(self) -> str:
        """What the second look found."""
        return self._law.cause

    @property
    def mass(self) -> float:
        """Atoms and the integral of the density, which the cdf is computed without."""
        return float(self._law.integrated_mass)

    def expectation(self, f: Callable[[np.ndarray], np.ndarray]) -> float:
        """E[f(u)]."""
        return expectation(self, f)

    def pdf(self, u: np.ndarray) -> np.ndarray:
        return 2 * self._law.log.pdf(2 * u)

    def cdf(self, u: np.ndarray) -> np.ndarray:
        return self._law.log.cdf(2 * u)

    def icdf(self, p: np.ndarray) -> np.ndarray:
        """Quantile of u at the probability p."""
        return 0.5 * self._law.log.icdf(p)

    def moment(self, k: float) -> float:
        with np.errstate(over="ignore", under="ignore"):
            return float(np.exp(self._law.log.moment(k)))

    def variance(self) -> float:
        """Theory.md (11)."""
        return float(self._law.variance)

    def to_parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The recipe: the law is exact, so its parameters are all there is to store."""
        recipe = {"ensemble": self._ensemble.to_dict(), "T": self._T, "q": self._q}
        return recipe | {"status": int(self._status), "error": self.error}, {}

    @classmethod
    def from_parts(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> VanillaLaw:
        """Build the law again from what `to_parts` gave."""
        return cls(Ensemble.from_dict(meta["ensemble"]), meta["T"], meta["q"], Status(meta["status"]))
