"""Large lambda with one draw of the weights for all steps: two moments of s^2, and what a site adds to them.

As eps = e^{log_mean}/lambda -> 0 the strengths of (15) are P = P_0 + eps P_1, Q = eps Q_1, and with
Q_1+ = diag(Q_1, 1), h_0 = N diag(P_0, 1) N^T in the notation of `equations`,

    P_0 = sigma^2 E[h_0],      Q_1 = sigma^2 E[N^T Q_1+ N],
    P_1 = sigma^2 E[N P_1 N^T + h_0 Q_1+ h_0]   (- P_0 Q_1 P_0/sigma^2 for Haar weights),
    m_1 = tr_L E[h_0]/s_L,     m_2 = tr_L E[N P_1 N^T + h_0 Q_1+ h_0]/s_L.

N is causal: a step reads what earlier ones have written. So P_0 and P_1 follow row by row forwards in time,
Q_1 backwards, and no equation has to be solved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rmtrnn._core.arrays import namespace, to_host
from rmtrnn.dyson.pencil import Stage
from rmtrnn.dyson.tied.equations import TiedSites, blocks, spread_over

_FLOOR = 1e-300


@dataclass(frozen=True)
class AtInfinity:
    """P_0 and Q_1 (real), between the vectors that the weights touch."""

    P: np.ndarray
    Q: np.ndarray


def at_infinity(sites: TiedSites) -> AtInfinity:
    """The strengths to leading order at large lambda."""
    xp = namespace(sites.N)
    order = _order(sites)
    full = np.eye(sites.N.shape[2])
    full[: sites.touched, : sites.touched] = 0.0
    P = _row_by_row(sites, sites.N, full, order, np.zeros((sites.touched,) * 2))
    full = np.eye(sites.N.shape[1])
    full[: sites.touched, : sites.touched] = 0.0
    Q = _row_by_row(sites, xp.swapaxes(sites.N, 1, 2), full, order[::-1], np.zeros_like(P))
    return AtInfinity(P, Q)


def start(sites: TiedSites, log_lambda: complex) -> tuple[np.ndarray, np.ndarray]:
    """P and Q to leading order at large lambda."""
    found = at_infinity(sites)
    return found.P + 0j, found.Q * np.exp(sites.log_mean - log_lambda)


def first_moments(sites: TiedSites, strengths: AtInfinity) -> tuple[float, np.ndarray]:
    """log m_1, and the share of m_1 of every site relative to the mean."""
    xp = namespace(sites.N)
    last = sites.N[:, sites.touched :, :]
    own = to_host((last @ xp.asarray(_with_end(strengths.P, sites.s_in)) * last).sum(axis=(1, 2)))
    own = own / sites.s_out
    mean = float(to_host(sites.weights) @ own)
    return sites.log_mean + math.log(mean), own / mean


def moments(sites: TiedSites) -> tuple[float, float]:
    """log m_1 and m_2/m_1^2 of s^2, exact for these sites."""
    xp = namespace(sites.N)
    found = at_infinity(sites)
    P, Q = (xp.asarray(_with_end(*one)) for one in ((found.P, sites.s_in), (found.Q, sites.s_out)))

    def part(chunk: tuple[Any, Any]) -> Any:
        N, w = chunk
        h = xp.matmul(xp.matmul(N, P), xp.swapaxes(N, 1, 2))
        return xp.einsum("nij,n->ij", xp.matmul(xp.matmul(h, Q), h), w)

    source = to_host(sum(spread_over(xp, part, sites)))
    touched, last = slice(sites.touched), slice(sites.touched, None)
    grown = np.zeros((sites.touched,) * 2)
    for block, variance, haar in zip(blocks(sites), sites.sigma2, sites.orthogonal, strict=True):
        p, q = found.P[block, block], found.Q[block, block]
        grown[block, block] = variance * source[block, block] - (p @ q @ p / variance if haar else 0.0)
    P1 = _row_by_row(sites, sites.N, np.zeros((sites.N.shape[2],) * 2), _order(sites), grown)
    row = sites.N[:, last, :]
    carried = (row[:, :, touched] @ xp.asarray(P1) * row[:, :, touched]).sum(axis=(1, 2))
    m_2 = (float(to_host(sites.weights @ carried)) + float(np.trace(source[last, last]))) / sites.s_out
    log_m_1, _ = first_moments(sites, found)
    return log_m_1, m_2 * math.exp(2 * (sites.log_mean - log_m_1))


def _order(sites: TiedSites) -> list[int]:
    """The touched vectors in the order of time, and in one step in the order of the stages."""
    return [k * sites.steps + t for t in range(sites.steps) for k in range(len(sites.sigma2))]


def _row_by_row(
    sites: TiedSites, N: Any, full: np.ndarray, order: list[int], source: np.ndarray
) -> np.ndarray:
    """X = source + sigma^2 E[N diag(X, end) N^T] in the blocks; ``full`` holds the end."""
    xp = namespace(N)
    full = xp.asarray(full)
    weights = sites.weights[:, None]
    done: list[list[int]] = [[] for _ in sites.sigma2]
    for row in order:
        k = row // sites.steps
        done[k].append(row)
        reached = N[:, row, :] @ full * weights
        values = xp.matmul(N[:, done[k], :], reached[:, :, None])[:, :, 0].sum(axis=0)
        values = sites.sigma2[k] * values + xp.asarray(source[row, done[k]])
        full[row, done[k]] = values
        full[done[k], row] = values
    touched = slice(sites.touched)
    return to_host(full[touched, touched])


def _with_end(strength: np.ndarray, size: int) -> np.ndarray:
    """diag(strength, 1)."""
    full = np.eye(len(strength) + size)
    full[: len(strength), : len(strength)] = strength
    return full


def site_features(
    stages: Sequence[Stage], sites: TiedSites, strengths: AtInfinity, log_growth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What decides where a site counts: its share of m_1 (n,), and logarithms (features, n).

    The logarithms are those of the shares of m_1 that leave and enter the Jacobian at the site, and of the
    size (and determinant, where it is a matrix) of the product of its gates. ``sites`` and ``strengths`` say
    how the weights couple; the stages may be those of other sites.
    """
    per_step = len(stages) // sites.steps
    owners = [(level, k) for level in range(per_step) for k in range(len(stages[level].sigma2))]
    scale = np.exp(-0.5 * log_growth)
    n = stages[0].a.shape[2]
    left = np.zeros((sites.touched + sites.s_in, sites.s_out, n))  # rows x_L of N
    right = np.zeros((sites.touched + sites.s_out, sites.s_in, n))  # columns y_0 of N
    product = np.repeat(np.eye(sites.s_out)[:, :, None], n, axis=2)
    for position in reversed(range(len(stages))):
        step, level = divmod(position, per_step)
        product = product * scale[position]
        for index, (at, k) in enumerate(owners):
            if at == level:
                left[index * sites.steps + step] = np.einsum("oin,in->on", product, stages[position].b[k])
        product = np.einsum("oin,ijn->ojn", product, stages[position].a)
    left[sites.touched :] = np.moveaxis(product, 1, 0)
    right[sites.touched :] = product
    carried = np.repeat(np.eye(sites.s_in)[:, :, None], n, axis=2)
    for position, stage in enumerate(stages):
        step, level = divmod(position, per_step)
        for index, (at, k) in enumerate(owners):
            if at == level:
                right[index * sites.steps + step] = np.einsum("in,ijn->jn", stage.c[k], carried)
        carried = np.einsum("oin,ijn->ojn", stage.a, carried) * scale[position]
    own = _form(_with_end(strengths.P, sites.s_in), left)
    entering = _form(_with_end(strengths.Q, sites.s_out), right)
    logs = [np.log(own + _FLOOR), np.log(entering + _FLOOR), np.log((product**2).sum(axis=(0, 1)) + _FLOOR)]
    if sites.s_in == sites.s_out > 1:
        logs.append(np.log(np.abs(np.linalg.det(np.moveaxis(product, 2, 0))) + _FLOOR))
    return own, np.array(logs)


def _form(matrix: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """sum_i v_i^T M v_i per site, for vectors (rows, i, n)."""
    rows, count, n = vectors.shape
    flat = vectors.reshape(rows, count * n)
    return (flat * (matrix @ flat)).sum(axis=0).reshape(count, n).sum(axis=0)
