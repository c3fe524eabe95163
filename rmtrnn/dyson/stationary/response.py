"""Responses of the sites between the ports of the weight matrices, in the gauge e^{μt}.

With x_t = e^{μt} x̃_t, and α, β likewise, the map (*) of `sites` closed to a period of L steps gives β̃ = H α̃,

    H = e^{−μ} C S M^{−1} B + D,      M = 1 − e^{−μ} A S,      (S x)_t = x_{t−1},                          (*)

and −∂H/∂μ = e^{−μ} C S M^{−2} B. Both are kept in the real Fourier basis of the period, in which every
self-energy that depends on t − s alone is diagonal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rmtrnn.dyson.stationary.sites import SiteSteps
from rmtrnn.meanfield.tied_solver import DEFAULT

PORTION = 2**20  # numbers of the matrices that are inverted at once: 8 MiB, some levels of cache


@dataclass(frozen=True)
class Modes:
    """The real Fourier basis of a period, in bands of frequencies.

    ``basis`` (L, L), orthonormal rows; ``band`` (L,) of each mode; ``size``: modes of each band. Weights that
    are drawn anew have self-energies without correlations in time: one band.
    """

    basis: np.ndarray
    band: np.ndarray
    size: np.ndarray

    @classmethod
    def of(cls, L: int, *, tied: bool) -> Modes:
        """Bands as wide as the nodes of the tied mean field are apart, at least one frequency."""
        frequency = (np.arange(L) + 1) // 2
        angle = 2.0 * np.pi * np.outer(frequency, np.arange(L)) / L
        basis = np.where(
            (np.arange(L) % 2 == 1)[:, None] | (frequency == 0)[:, None], np.cos(angle), np.sin(angle)
        )
        basis /= np.linalg.norm(basis, axis=1)[:, None]
        edges = [0]
        while tied and edges[-1] <= L // 2:
            edges.append(max(edges[-1] + 1, round(edges[-1] * (1.0 + DEFAULT.node_distance))))
        band = np.searchsorted(edges, frequency, side="right") - 1
        return cls(basis, band, np.bincount(band))

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Means over the bands (..., bands) of values at the modes (..., L)."""
        return self.total(values) / self.size

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sums over the bands."""
        starts = np.cumsum(self.size) - self.size
        return np.add.reduceat(values, starts, axis=-1)


@dataclass(frozen=True)
class Response:
    """H and −∂H/∂μ of all sites, (n, d L, K L), and tr (1 − M^{−1}) (n,)."""

    H: np.ndarray
    slope: np.ndarray
    trace: np.ndarray

    def of(self, sites: slice) -> Response:
        """Those of some of the sites."""
        return Response(self.H[sites], self.slope[sites], self.trace[sites])


def respond(steps: SiteSteps, modes: Modes, mu: float) -> Response:
    """Eq. (*) at all sites."""
    return Response(*_by_portions(steps, modes, mu, _respond))


def causal_response(steps: SiteSteps, modes: Modes, mu: float) -> np.ndarray:
    """H of (*) with M^{−1} cut off after L steps, Σ_{k<L} (e^{−μ} A S)^k, (n, d L, K L).

    It has no pole where a site by itself grows like e^{μL} around the period. Means of H² need that.
    """
    (H,) = _by_portions(steps, modes, mu, _respond_once)
    return H


def _by_portions(steps: SiteSteps, modes: Modes, mu: float, part: Any) -> list[np.ndarray]:
    size = max(1, PORTION // (steps.period * steps.A.shape[1]) ** 2)
    parts = [part(steps.of(slice(i, i + size)), modes, mu) for i in range(0, steps.n, size)]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def _once_around(steps: SiteSteps, mu: float) -> np.ndarray:
    """e^{−μ} A S, (n, L s, L s)."""
    L, s, n = steps.period, steps.A.shape[1], steps.n
    here = np.arange(L)
    step = np.zeros((n, L, s, L, s))
    step[:, here, :, here - 1, :] = np.exp(-mu) * steps.A.transpose(0, 3, 1, 2)
    return step.reshape(n, L * s, L * s)


def _respond_once(steps: SiteSteps, modes: Modes, mu: float) -> tuple[np.ndarray]:
    step = _once_around(steps, mu)
    one = np.eye(step.shape[1])
    series = np.linalg.inv(one - step) @ (one - np.linalg.matrix_power(step, steps.period))
    return (_in_modes(_response_of(steps, series, mu), modes),)


def _respond(steps: SiteSteps, modes: Modes, mu: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    inverse = np.linalg.inv(np.eye(steps.period * steps.A.shape[1]) - _once_around(steps, mu))
    slope = _between_ports(steps, inverse @ inverse, mu)
    trace = inverse.shape[1] - np.trace(inverse, axis1=1, axis2=2)
    return _in_modes(_response_of(steps, inverse, mu), modes), _in_modes(slope, modes), trace


def _response_of(steps: SiteSteps, inverse: np.ndarray, mu: float) -> np.ndarray:
    H, here = _between_ports(steps, inverse, mu), np.arange(steps.period)
    H[:, :, here, :, here] += steps.D.transpose(0, 3, 1, 2)
    return H


def _between_ports(steps: SiteSteps, Z: np.ndarray, mu: float) -> np.ndarray:
    """e^{−μ} C S Z B, (n, d, L, K, L)."""
    L, s, n = steps.period, steps.A.shape[1], steps.n
    before = Z.reshape(n, L, s, L, s)[:, np.arange(L) - 1]
    half = np.einsum("tdin,ntiuj->ndtuj", steps.C, before, optimize=True)
    return np.exp(-mu) * np.einsum("ndtuj,ujkn->ndtku", half, steps.B, optimize=True)


def _in_modes(H: np.ndarray, modes: Modes) -> np.ndarray:
    n, d, L, K, _ = H.shape
    right = np.matmul(H.reshape(n * d, L, K * L).reshape(-1, L), modes.basis.T).reshape(n, d, L, K * L)
    return np.matmul(modes.basis, right).reshape(n, d * L, K * L)
