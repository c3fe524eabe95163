"""Large λ with tied weights: two moments of s², and what a site adds to them.

As epsilon = e^{log_mean}/λ -> 0 the self-energies of (15) are P = P_0 + epsilon P_1, Q = epsilon Q_1,
and with Q_1+ = diag(Q_1, 1), h_0 = gamma diag(P_0, 1) gamma^T in the notation of `functional`,

    P_0 = σ² E[h_0],      Q_1 = σ² E[gamma^T Q_1+ gamma],
    P_1 = σ² E[gamma P_1 gamma^T + h_0 Q_1+ h_0]   (- P_0 Q_1 P_0/σ² for Haar weights),
    m_1 = tr_L E[h_0]/s_L,     m_2 = tr_L E[gamma P_1 gamma^T + h_0 Q_1+ h_0]/s_L.

gamma is causal: a step reads what earlier ones have written. So P_0 and P_1 follow row by row forwards in
time, Q_1 backwards, and no equation has to be solved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rmtrnn._core.arrays import namespace, to_host, total
from rmtrnn.dyson.pencil import Stage
from rmtrnn.dyson.tied.read_chain import Ports
from rmtrnn.dyson.tied.site_matrices import SiteMatrices, ports_of_stages

_FLOOR = 1e-300  # a logarithm is taken of what may vanish


@dataclass(frozen=True)
class LargeLambda:
    """P_0 (``y``) and Q_1 (``x``) between all ports, real, and log m_1 and m_2/m_1^2 of the law."""

    y: np.ndarray
    x: np.ndarray
    log_m1: float
    ratio: float

    def energy(self, sites: SiteMatrices, log_lambda: complex) -> np.ndarray:
        """Self-energies (2, K, T, T) of (15) to leading order."""
        both = self.y + 0j, self.x * np.exp(sites.log_mean - log_lambda)
        return np.array([[matrix[block, block] for block in sites.blocks()] for matrix in both])


def large_lambda(sites: SiteMatrices) -> LargeLambda:
    """Solve (15) to first order in 1/λ; exact for these sites."""
    xp, weights = sites.xp, sites.own_weights
    nothing = xp.zeros((sites.ports,) * 2)
    backwards = xp.swapaxes(sites.gamma, 1, 2)
    P0 = _row_by_row(sites, sites.gamma, _with_end(nothing, sites.s_in), False, nothing)
    Q1 = _row_by_row(sites, backwards, _with_end(nothing, sites.s_out), True, nothing)
    P, Q = _with_end(P0, sites.s_in), _with_end(Q1, sites.s_out)

    def part(some: slice, weights: Any) -> tuple[Any, Any]:
        gamma = sites.gamma[some]
        h = gamma @ P @ xp.swapaxes(gamma, 1, 2)
        end = h[:, sites.ports :, sites.ports :]
        return xp.einsum("nij,n->ij", h @ Q @ h, weights), xp.einsum("nii,n->", end, weights)

    parts = sites.over_sites(sites.ports + sites.s_in, part)
    source, first = (total([one[i] for one in parts]) for i in range(2))
    grown = nothing.copy()
    for block, variance, haar in zip(sites.blocks(), sites.sigma2, sites.orthogonal, strict=True):
        p, q = P0[block, block], Q1[block, block]
        grown[block, block] = variance * source[block, block] - (p @ q @ p / variance if haar else 0.0)
    end = xp.zeros((sites.gamma.shape[2],) * 2)
    P1 = _row_by_row(sites, sites.gamma, end, False, grown)
    row = sites.gamma[:, sites.ports :, : sites.ports]
    carried = weights @ ((row @ P1) * row).sum(axis=(1, 2))
    second = carried + xp.trace(source[sites.ports :, sites.ports :])
    first, second = (float(one) / sites.s_out for one in to_host(xp.stack([first, second])))
    y, x = to_host(xp.stack([P0, Q1]))
    return LargeLambda(y, x, sites.log_mean + math.log(first), second / first**2)


def _row_by_row(sites: SiteMatrices, gamma: Any, full: Any, backwards: bool, source: Any) -> Any:
    """X = source + σ² E[gamma diag(X, end) gamma^T] in the blocks; ``full`` is diag(0, end)."""
    xp, steps = sites.xp, sites.steps
    full, weights = full.copy(), sites.own_weights[:, None]
    order = [(t, k) for t in range(steps) for k in range(sites.matrices)]
    for t, k in order[::-1] if backwards else order:
        row, first = k * steps + t, k * steps
        done = slice(row, first + steps) if backwards else slice(first, row + 1)
        reached = gamma[:, row, :] @ full * weights
        values = xp.matmul(gamma[:, done, :], reached[:, :, None])[:, :, 0].sum(axis=0)
        values = sites.sigma2[k] * values + source[row, done]
        full[row, done] = values
        full[done, row] = values
    return full[: sites.ports, : sites.ports]


def _with_end(matrix: Any, size: int) -> Any:
    """diag(matrix, 1)."""
    full = namespace(matrix).eye(len(matrix) + size)
    full[: len(matrix), : len(matrix)] = matrix
    return full


def site_features(
    stages: Sequence[Stage], sites: SiteMatrices, far: LargeLambda
) -> tuple[np.ndarray, np.ndarray]:
    """Find what decides where a site counts in (15): its share of m_1 (n,), and logarithms (features, n).

    The logarithms are those of the shares of m_1 that leave and enter the Jacobian at the site, and of the
    size (and determinant, where it is a matrix) of the product of its gates. The shares are relative to m_1.
    ``far`` comes from ``sites``; the stages may be those of other sites.
    """
    ports = ports_of_stages(stages, sites.steps)
    scale = np.exp(-0.5 * sites.log_growth)
    rows, product = _rows_of_end(stages, ports, scale, sites)
    columns = _columns_of_start(stages, ports, scale, sites, product)
    mean = math.exp(far.log_m1 - sites.log_mean)
    own = _form(_with_end(far.y, sites.s_in), rows) / mean
    entering = _form(_with_end(far.x, sites.s_out), columns) / mean
    logs = [np.log(own + _FLOOR), np.log(entering + _FLOOR), np.log((product**2).sum(axis=(0, 1)) + _FLOOR)]
    if sites.s_in == sites.s_out > 1:
        logs.append(np.log(np.abs(np.linalg.det(np.moveaxis(product, 2, 0))) + _FLOOR))
    return own / own.mean(), np.array(logs)


def _rows_of_end(
    stages: Sequence[Stage], ports: Ports, scale: np.ndarray, sites: SiteMatrices
) -> tuple[np.ndarray, np.ndarray]:
    """Rows x_L of gamma, theory.md (20), from the last step back, and the product of all gates."""
    n = stages[0].a.shape[2]
    rows = np.zeros((sites.ports + sites.s_in, sites.s_out, n))
    product = np.repeat(np.eye(sites.s_out)[:, :, None], n, axis=2)
    for position in reversed(range(len(stages))):
        product = product * scale[position]
        for port, j in ports[position]:
            rows[port] = np.einsum("oin,in->on", product, stages[position].b[j])
        product = np.einsum("oin,ijn->ojn", product, stages[position].a)
    rows[sites.ports :] = np.moveaxis(product, 1, 0)
    return rows, product


def _columns_of_start(
    stages: Sequence[Stage], ports: Ports, scale: np.ndarray, sites: SiteMatrices, product: np.ndarray
) -> np.ndarray:
    """Columns y_0 of gamma, theory.md (20), from the first step on; the last are all gates, ``product``."""
    n = stages[0].a.shape[2]
    columns = np.zeros((sites.ports + sites.s_out, sites.s_in, n))
    columns[sites.ports :] = product
    carried = np.repeat(np.eye(sites.s_in)[:, :, None], n, axis=2)
    for position, stage in enumerate(stages):
        for port, j in ports[position]:
            columns[port] = np.einsum("in,ijn->jn", stage.c[j], carried)
        carried = np.einsum("oin,ijn->ojn", stage.a, carried) * scale[position]
    return columns


def _form(matrix: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """sum_i v_i^T M v_i per site, for vectors (rows, i, n)."""
    rows, count, n = vectors.shape
    flat = vectors.reshape(rows, count * n)
    return (flat * (matrix @ flat)).sum(axis=0).reshape(count, n).sum(axis=0)
