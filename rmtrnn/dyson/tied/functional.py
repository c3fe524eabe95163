"""Psi of tied weights in the coefficients of smooth self-energies: theory.md (15), (21).

    Psi = E log det(1 - Q h) + sum_k C_k,   C = tr(P Q)/sigma^2 (Gaussian), -log det(1 - P Q/sigma^2) (Haar),

P and Q the T x T self-energies of one weight matrix. Psi is stationary where (15) holds, and there Im
Psi(lambda + i0) = pi s_L P(s^2 > lambda). In the gauge of `time_basis` P = e^gamma p e^gamma, and C is that
of p and q with w_t = e^{gamma_p + gamma_q}/sigma at every step. For Haar weights C is itself a bordered
determinant, that of a chain with x_t = w_t y_t, so that its cost is linear in T as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rmtrnn.dyson.tied.bordered_green import Averages, block_diagonal
from rmtrnn.dyson.tied.chain import TiedChain
from rmtrnn.dyson.tied.curvature import curvature, pair_products, put_diagonal, smooth_curvature
from rmtrnn.dyson.tied.log_determinant import log_det_border
from rmtrnn.dyson.tied.time_basis import SelfEnergy


def gradient(chain: TiedChain, energy: SelfEnergy, found: Averages) -> np.ndarray:
    """grad Psi by the unknowns of ``energy``."""
    return _by_unknowns(energy, found.own, found.G) + _weights(chain, energy).gradient


def gradient_by_lambda(energy: SelfEnergy, found: Averages) -> np.ndarray:
    """d grad Psi/d log lambda at fixed self-energies."""
    return _by_unknowns(energy, found.own_lambda, found.G_lambda)


def hessian(chain: TiedChain, energy: SelfEnergy, log_lambda: complex) -> np.ndarray:
    """Second derivatives of Psi by the unknowns, complex symmetric."""
    return curvature(chain, energy, log_lambda) + _weights(chain, energy).hessian


def weight_value(chain: TiedChain, energy: SelfEnergy) -> complex:
    """sum_k C_k: Psi is that plus the mean of log det over the sites."""
    return _weights(chain, energy).value


def _by_unknowns(energy: SelfEnergy, own: np.ndarray, G: np.ndarray) -> np.ndarray:
    """Derivatives of E log det from the mean responses."""
    basis, families = energy.basis, len(energy.gauge)
    r = basis.r
    rows = []
    for f, one in enumerate(own.reshape(families, basis.steps)):
        block = G[f * r : (f + 1) * r, f * r : (f + 1) * r]
        rows += [-one @ basis.diagonal, -basis.share * block[basis.rows, basis.columns]]
    return np.concatenate(rows)


@dataclass(frozen=True)
class _Weights:
    """sum_k C_k with its first and second derivatives by all unknowns."""

    value: complex
    gradient: np.ndarray
    hessian: np.ndarray


def _weights(chain: TiedChain, energy: SelfEnergy) -> _Weights:
    K, size = chain.matrices, energy.basis.size
    total, slope = 0j, np.zeros(2 * K * size, dtype=complex)
    second = np.zeros((2 * K * size,) * 2, dtype=complex)
    for k in range(K):
        both = [k, K + k]
        pair = replace(energy, gauge=energy.gauge[both], d=energy.d[both], S=energy.S[both])
        w = np.exp(pair.gauge.sum(axis=0)) / np.sqrt(chain.sigma2[k])
        part = (_haar if chain.orthogonal[k] else _gaussian)(pair, w)
        index = (np.array(both)[:, None] * size + np.arange(size)).ravel()
        total += part.value
        slope[index] = part.gradient
        second[np.ix_(index, index)] = part.hessian
    return _Weights(total, slope, second)


def _gaussian(pair: SelfEnergy, w: np.ndarray) -> _Weights:
    """tr(w p w q): bilinear, with the matrix tr(w B_a w B_b) of the basis functions B."""
    basis = pair.basis
    nd, size = basis.n_diagonal, basis.size
    U, D, weighted = basis.smooth, basis.diagonal, (w**2)[:, None] * basis.diagonal
    A = U.T @ (w[:, None] * U)
    form = np.zeros((size, size))
    form[:nd, :nd] = D.T @ weighted
    form[:nd, nd:] = basis.share * (weighted.T @ (U[:, basis.rows] * U[:, basis.columns]))
    form[nd:, :nd] = form[:nd, nd:].T
    form[nd:, nd:] = pair_products(basis, A[:, :, None, None] * A[None, None])
    p, q = pair.unknowns.reshape(2, size)
    empty = np.zeros((size, size))
    return _Weights(
        complex(p @ form @ q), np.concatenate([form @ q, form @ p]), np.block([[empty, form], [form, empty]])
    )


def _haar(pair: SelfEnergy, w: np.ndarray) -> _Weights:
    """-log det(1 - w p w q), as the bordered determinant of a chain with x_t = w_t y_t at one site."""
    basis = pair.basis
    U, D, steps = basis.smooth, basis.diagonal, basis.steps
    p, q = pair.local
    pivot = 1.0 - w**2 * p * q
    local = np.array([[w**2 * q, w], [w, w**2 * p]]) / pivot  # response without border (2, 2, T)
    ports = np.einsum("gft,ti->figt", local, U).reshape(1, 2 * basis.r, 2 * steps)
    Z = np.einsum("gft,ti,tj->figj", local, U, U).reshape(1, 2 * basis.r, 2 * basis.r)
    S = block_diagonal(pair, 0)
    inner = np.linalg.inv(np.eye(len(S)) - Z @ S)
    full = inner @ ports
    response = ports[0].T @ S @ full[0]
    for f in range(2):
        for g in range(2):
            t = np.arange(steps)
            response[f * steps + t, g * steps + t] += local[f, g]
    total = np.log(pivot).sum() + log_det_border(Z, S)[0]
    G = inner @ Z
    second = smooth_curvature(pair, G, full, np.ones(1))
    if basis.n_diagonal:
        modes = np.kron(np.eye(2), D)
        put_diagonal(pair, second, modes.T @ response**2 @ modes)
    return _Weights(-total, -_by_unknowns(pair, np.diagonal(response), G[0]), -second)
