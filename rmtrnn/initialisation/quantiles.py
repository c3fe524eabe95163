"""Quantiles of the singular values of sampled networks: of ∂h^T/∂x^{T−k} and of the k-step Jacobian.

The mean square does not say how many directions carry it. The quantiles come from networks of N units with
the weights of the ensemble; the products of their step Jacobians are split as in `rmtrnn.sampling.products`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rmtrnn.ensemble import Ensemble
from rmtrnn.initialisation.networks import NetworkBatch, Points, Size
from rmtrnn.isometry_report import PROBABILITIES
from rmtrnn.sampling.products.side_by_side import LogProducts


class Quantiles(NamedTuple):
    """Log quantiles at `PROBABILITIES`, each (3, lags); −inf where a singular value is 0."""

    lags: np.ndarray
    to_input: np.ndarray
    to_state: np.ndarray


def sampled_quantiles(ens: Ensemble, lags: np.ndarray, N: int, trials: int, seed: int) -> Quantiles:
    """Pool the log singular values of ``trials`` networks of N units at ``lags`` (ascending)."""
    found = [_one(ens, lags, N, seed + trial) for trial in range(trials)]
    pooled = [
        [
            np.quantile(np.concatenate(values), PROBABILITIES, method="lower")
            for values in zip(*side, strict=True)
        ]
        for side in zip(*found, strict=True)
    ]
    to_input, to_state = (np.array(side).T for side in pooled)
    return Quantiles(lags, to_input, to_state)


def _one(ens: Ensemble, lags: np.ndarray, N: int, seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Log singular values at all lags along the input and along the state, of one network."""
    batch = NetworkBatch(ens, int(lags[-1]), seed, Size(units=N, directions=N))
    points = Points.of(ens)
    s, wanted = len(ens.cell.state), set(lags.tolist())
    by_state, by_input = LogProducts(1, s * N), _InputProduct(s, N)
    inputs: list[np.ndarray] = []
    states: list[np.ndarray] = []
    for k, jacobian in enumerate(batch.jacobians(points, int(lags[-1]))):
        if k > 0:
            by_state.multiply(jacobian)
        by_input.multiply(jacobian, first=k == 0)
        if k in wanted:
            inputs.append(by_input.logs())
            states.append(_values(by_state, s * N))
    return inputs, states


def _values(product: LogProducts, n: int) -> np.ndarray:
    found = product.log_singular_values()[0]
    return np.full(n, -np.inf) if found is None else found


class _InputProduct:
    """∂h^T/∂x^{T−k} of one network, the last state component by the input.

    One state component: as a graded product, to high relative accuracy. Several: as a plain matrix, in which
    what is below `SMALLEST` of the largest singular value counts as 0.
    """

    SMALLEST = 1e-13  # of rounding errors of a plain product of matrices of some hundred rows

    def __init__(self, s: int, n: int) -> None:
        self._s, self._n = s, n
        self._graded = LogProducts(1, n) if s == 1 else None
        self._plain, self._log = np.zeros((1, s * n, n)), 0.0

    def multiply(self, jacobian: Any, *, first: bool) -> None:
        """Apply one step; the ``first`` one is a function of nothing, ∂h/∂x."""
        if self._graded is not None:
            factor = jacobian(None) if first else jacobian
            if first and not np.any(factor):
                factor = np.zeros((1, self._n, self._n))
            self._graded.multiply(factor)
            return
        self._plain = jacobian(None) if first else jacobian(self._plain)
        size = float(np.abs(self._plain).max())
        if 0.0 < size < np.inf:
            self._plain, self._log = self._plain / size, self._log + np.log(size)

    def logs(self) -> np.ndarray:
        """Log singular values, ascending."""
        if self._graded is not None:
            return _values(self._graded, self._n)
        values = np.linalg.svd(self._plain[0, -self._n :], compute_uv=False)[::-1]
        values = np.where(values > self.SMALLEST * values[-1], values, 0.0)
        with np.errstate(divide="ignore"):
            return np.log(values) + self._log
