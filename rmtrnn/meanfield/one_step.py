"""The gain matrix of one step of a network whose linearisation is constant in time: theory.md (16).

One step is a chain of stages h_ℓ = (a_ℓ + Σ_k b_k W_k c_kᵀ) h_{ℓ−1}, closed by z h_0 = h_L. Take the output
y_κ = W_κ c_κᵀ h_{ℓ−1} of every weight matrix κ = (ℓ, k) as a source: at each site, with A = a_L ⋯ a_1,

    c_κᵀ h_{ℓ−1} = Σ_κ' r_κκ' y_κ',     r_κκ' = c_κᵀ [a_{ℓ−1}⋯a_1 (z − A)^{-1} a_L⋯a_{ℓ'+1} + direct] b_κ',

where "direct" = a_{ℓ−1}⋯a_{ℓ'+1} for ℓ' < ℓ. Independent weights turn a vector of mean square g_κ into one of
mean square σ_κ² g_κ, so the resolvent stays bounded exactly while the gain matrix

    K_κκ'(z) = E|r_κκ'(z)|² σ_κ'²

has spectral radius below 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from rmtrnn._core.arrays import PORTIONS


class StageAtSites(Protocol):
    """One stage at all sites: a (s_out, s_in, n), b (K, s_out, n), c (K, s_in, n), and σ_w² of its gates."""

    @property
    def a(self) -> np.ndarray: ...
    @property
    def b(self) -> np.ndarray: ...
    @property
    def c(self) -> np.ndarray: ...
    @property
    def sigma2(self) -> tuple[float, ...]: ...


class OneStep:
    """The gain matrix of one step of a network over a population of sites (``weights`` sum to 1).

    r_κκ'(z) is a rational function at each site, n(z)/det(z − A) with real coefficients n_j, so that

        E|r|² = Σ_ij Re(z^i z̄^j) E[n_i n_j / |det(z − A)|²],

    one matrix product for all z and κ, κ'.
    """

    def __init__(self, stages: Sequence[StageAtSites], weights: np.ndarray | None = None) -> None:
        if not stages:
            raise ValueError("stages: a step needs at least one stage")
        s, n = stages[0].a.shape[1:]
        if stages[-1].a.shape[0] != s:
            raise ValueError(f"stages: a step must return a state of the dimension {s} that it took")
        self.sigma2 = np.array([v for stage in stages for v in stage.sigma2])
        before, after = [np.repeat(np.eye(s)[:, :, None], n, axis=2)], []
        for stage in stages:
            before.append(_product(stage.a, before[-1]))
        after = [before[0]]
        for stage in reversed(stages):
            after.insert(0, _product(after[0], stage.a))
        reads = [np.einsum("kpn,pqn->kqn", stage.c, before[i]) for i, stage in enumerate(stages)]
        writes = [np.einsum("qpn,kpn->kqn", after[i + 1], stage.b) for i, stage in enumerate(stages)]
        self.determinant, adjugate = _resolvent(before[-1])
        numerator = _direct(stages, n) * self.determinant[:, None, None]
        numerator[:s] += np.einsum(
            "kpn,jpqn,lqn->jkln", np.concatenate(reads), adjugate, np.concatenate(writes), optimize=True
        )
        self.numerator = numerator  # (s + 1, K, K, n)
        w = np.full(n, 1.0 / n) if weights is None else np.asarray(weights, dtype=float)
        self._powers = [(i, j) for i in range(s + 1) for j in range(i + 1)]
        self._products = np.stack(
            [(1 + (i != j)) * w * numerator[i] * numerator[j] for i, j in self._powers]
        )  # (pairs, K, K, n)
        self.bare = np.linalg.eigvals(np.moveaxis(before[-1], 2, 0)).T  # eigenvalues of A at every site

    def gain(self, z: np.ndarray) -> np.ndarray:
        """Spectral radius of K(z) for an array of z; infinite where z is an eigenvalue of A at a site."""
        z = np.asarray(z, dtype=complex)
        pairs, k, _, n = self._products.shape
        table = self._products.reshape(-1, n).T
        result = []
        for part in np.array_split(z.ravel(), 1 + z.size * n // PORTIONS.memory):
            determinant = np.zeros((len(part), n), dtype=complex)
            for coefficient in self.determinant[::-1]:
                determinant = determinant * part[:, None] + coefficient
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                means = (1 / np.abs(determinant) ** 2 @ table).reshape(-1, pairs, k, k)
            factors = np.stack([np.real(part**i * np.conj(part) ** j) for i, j in self._powers], axis=1)
            power = np.einsum("zp,zpkl->zkl", factors, means) * self.sigma2
            finite = np.all(np.isfinite(power), axis=(1, 2))
            radius = np.full(len(part), math.inf)
            if np.any(finite):
                radius[finite] = np.max(np.abs(np.linalg.eigvals(power[finite])), axis=-1)
            result.append(radius)
        return np.concatenate(result).reshape(z.shape)


def _product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.einsum("pqn,qrn->prn", left, right)


def _direct(stages: Sequence[StageAtSites], n: int) -> np.ndarray:
    """c_κᵀ a_{ℓ−1}⋯a_{ℓ'+1} b_κ' for ℓ' < ℓ, as (K, K, n), zero otherwise."""
    starts = np.concatenate([[0], np.cumsum([len(stage.sigma2) for stage in stages])])
    direct = np.zeros((starts[-1], starts[-1], n))
    for source, stage in enumerate(stages):
        signal = stage.b
        for reader in range(source + 1, len(stages)):
            block = np.einsum("kpn,lpn->kln", stages[reader].c, signal)
            direct[starts[reader] : starts[reader + 1], starts[source] : starts[source + 1]] = block
            signal = np.einsum("qpn,lpn->lqn", stages[reader].a, signal)
    return direct


def _resolvent(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of det(z − a), (s + 1, n), and of adj(z − a), (s, s, s, n), lowest power of z first
    (Faddeev and LeVerrier)."""
    s, _, n = a.shape
    identity = np.repeat(np.eye(s)[:, :, None], n, axis=2)
    determinant, adjugate = np.zeros((s + 1, n)), np.zeros((s, s, s, n))
    determinant[s], adjugate[s - 1] = 1.0, identity
    for k in range(1, s + 1):
        product = _product(a, adjugate[s - k])
        determinant[s - k] = -np.einsum("ppn->n", product) / k
        if k < s:
            adjugate[s - k - 1] = product + determinant[s - k] * identity
    return determinant, adjugate
