"""The moment maps of affine cells, batched over parameter points: theory.md (2)–(5) for any expansion.

Moments of the site-state are kept as arrays S[i, j] over (1, s_1, …, s_n), so that S[0, j] = E[s_j] and
S[i, j] = E[s_i s_j] (one replica) or E[s_i^a s_j^b] (two); the input as X[p, p'] over (1, x). Points come
last.

Letters: Sigma, the correlation of two inputs; q, the variance of a pre-activation.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rmtrnn.meanfield.expansion import Expansion, GateFunctions, Term
from rmtrnn.numerics.gaussian_quadrature import gaussian_expectation, gaussian_pair_expectation

Matrices = list[np.ndarray]


@dataclass(frozen=True)
class Parameters:
    """Arrays over points: (K, n) for the gates, (2, 2, n) for the input moments over (1, x)."""

    gain: np.ndarray  # σ_w²
    drive: np.ndarray  # σ_v² R + σ_b²
    shared_drive: np.ndarray  # σ_v² R Σ + σ_b², the part of two replicas
    mean: np.ndarray  # μ_b
    input: np.ndarray
    shared_input: np.ndarray

    @staticmethod
    def build(
        sigma_w: np.ndarray,
        sigma_v: np.ndarray,
        mu_b: np.ndarray,
        sigma_b: np.ndarray,
        R: np.ndarray,
        Sigma: np.ndarray,
        input_mean: np.ndarray,
    ) -> Parameters:
        """From the ensemble's parameters: gates (K, n), the input's R, Σ and E[x] (n,)."""
        one = np.ones_like(R)
        return Parameters(
            gain=sigma_w**2,
            drive=sigma_v**2 * R + sigma_b**2,
            shared_drive=sigma_v**2 * R * Sigma + sigma_b**2,
            mean=mu_b,
            input=np.array([[one, input_mean], [input_mean, R]]),
            shared_input=np.array([[one, input_mean], [input_mean, R * Sigma]]),
        )

    def take(self, index: np.ndarray) -> Parameters:
        """The chosen points."""
        return Parameters(*(getattr(self, name)[..., index] for name in self.__dataclass_fields__))

    @property
    def size(self) -> int:
        """Number of points."""
        return self.mean.shape[-1]


class MomentMap:
    """One step of the moments of an affine cell, for one or two replicas, with its derivative."""

    def __init__(self, expansion: Expansion, parameters: Parameters) -> None:
        self.expansion = expansion
        self.parameters = parameters
        self.components = len(expansion.update)
        self._one = (Term(1.0, 0, 0, (0,) * len(expansion.functions)),)

    def take(self, index: np.ndarray) -> MomentMap:
        """The map at the chosen points."""
        return MomentMap(self.expansion, self.parameters.take(index))

    def variances(self, S: np.ndarray, slopes: bool = False) -> tuple[np.ndarray, Matrices]:
        """q_k (K, n) and E[f_m f_n] (functions, functions, n) of every gate; theory.md (2)."""
        p = self.parameters
        q: list[np.ndarray] = []
        G: Matrices = []
        for k, functions in enumerate(self.expansion.functions):
            inputs = self.expansion.inputs[k]
            q.append(p.gain[k] * self._mean_product(inputs, inputs, S, p.input, G) + p.drive[k])
            G.append(self._single(k, functions, self._summed(k, q), slopes))
        return np.array(q).reshape(-1, p.size), G

    def step(self, S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The moments one step later, and q."""
        q, G = self.variances(S)
        return self.advance_one(S, G), q

    def advance_one(self, S: np.ndarray, G: Matrices) -> np.ndarray:
        """The moments one step later, from moments S and the gates' expectations."""
        return self._advance(S, self.parameters.input, G)

    def correlations(self, S: np.ndarray, q: np.ndarray, slopes: bool = False) -> tuple[np.ndarray, Matrices]:
        """Correlation (K, n) of (e_k^a, e_k^b) and E[f_m(e_a) f_n(e_b)], from pair moments S and q."""
        p = self.parameters
        rho: list[np.ndarray] = []
        shared: list[np.ndarray] = []
        P: Matrices = []
        for k, functions in enumerate(self.expansion.functions):
            inputs = self.expansion.inputs[k]
            shared.append(
                p.gain[k] * self._mean_product(inputs, inputs, S, p.shared_input, P) + p.shared_drive[k]
            )
            rho.append(_correlation(shared[k], q[k]))
            variance = self._summed(k, q)
            together = _correlation(self._summed(k, shared), variance)
            P.append(self._pair(k, functions, variance, together, slopes))
        return np.array(rho).reshape(-1, p.size), P

    def pair_step(self, S: np.ndarray, q: np.ndarray) -> np.ndarray:
        """The pair moments one step later, from pair moments S and variances q."""
        _, P = self.correlations(S, q)
        return self.advance_pair(S, P)

    def advance_pair(self, S: np.ndarray, P: Matrices) -> np.ndarray:
        """The pair moments one step later, from pair moments S and the gates' pair expectations."""
        return self._advance(S, self.parameters.shared_input, P)

    def first_moments(self, S: np.ndarray, G: Matrices) -> tuple[np.ndarray, np.ndarray]:
        """E[s'] = α E[s] + β at fixed pre-activation laws: α (s, s, n), β (s, n)."""
        states = range(self.components)
        X = self.parameters.input
        alpha = [
            [self._mean_product(self.expansion.by_state(terms, j), self._one, S, X, G) for j in states]
            for terms in self.expansion.update
        ]
        beta = [
            self._mean_product(tuple(t for t in terms if not t.state), self._one, S, X, G)
            for terms in self.expansion.update
        ]
        return np.array(alpha), np.array(beta)

    def transfer(self, S: np.ndarray, X: np.ndarray, G: Matrices) -> np.ndarray:
        """The linear map dS → dS' of second moments, as matrices (n, s², s²): theory.md (5), by Price.

        With one-replica moments it carries the site-averaged matrix M = J Jᵀ of the untied Jacobian over
        one step: dF = A ds + Σ_k B_k de_k, where de_k is Gaussian of variance σ_w,k² E|dr_k|²,
        independent of everything else at the site.
        """
        e, s = self.expansion, self.components
        by_state = [[e.by_state(terms, j) for j in range(s)] for terms in e.update]
        by_gate = [[e.by_gate(terms, k) for k in range(len(e.functions))] for terms in e.update]
        inputs = self._input_slopes(S, X, G)
        matrix = np.zeros((self.parameters.size, s, s, s, s))
        for i, j in itertools.product(range(s), repeat=2):
            for k, l in itertools.product(range(s), repeat=2):
                matrix[:, i, j, k, l] = self._mean_product(by_state[i][k], by_state[j][l], S, X, G)
            for k, gained in enumerate(inputs):
                product = self._mean_product(by_gate[i][k], by_gate[j][k], S, X, G)
                matrix[:, i, j] += product[:, None, None] * gained
        return matrix.reshape(self.parameters.size, s**2, s**2)

    def _input_slopes(self, S: np.ndarray, X: np.ndarray, G: Matrices) -> list[np.ndarray]:
        """σ_w,k² E|dr_k|², r_k the input of gate k, as linear forms on M, each (n, s, s).

        The input of a gate in a later stage depends on the state, and on the gates of earlier stages.
        """
        e, s = self.expansion, self.components
        forms: list[np.ndarray] = []
        for k, terms in enumerate(e.inputs):
            form = np.zeros((self.parameters.size, s, s))
            for i, j in itertools.product(range(s), repeat=2):
                form[:, i, j] = self._mean_product(e.by_state(terms, i), e.by_state(terms, j), S, X, G)
            for earlier, gained in enumerate(forms):
                slope = e.by_gate(terms, earlier)
                form += self._mean_product(slope, slope, S, X, G)[:, None, None] * gained
            forms.append(self.parameters.gain[k][:, None, None] * form)
            forms[k] = self._summed(k, forms)
        return forms

    def _summed(self, k: int, values: Any) -> np.ndarray:
        """The sum over the gates that the functions of gate k take together; most take one."""
        total = values[k]
        for other in self.expansion.summed[k][:-1]:
            total = total + values[other]
        return total

    def _single(self, k: int, functions: GateFunctions, q: np.ndarray, slopes: bool) -> np.ndarray:
        """E[f_m f_n] of gate k, with an adaptive rule."""
        return _single(functions, q, self._summed(k, self.parameters.mean), slopes)

    def _pair(
        self, k: int, functions: GateFunctions, q: np.ndarray, rho: np.ndarray, slopes: bool
    ) -> np.ndarray:
        """E[f_m(e_a) f_n(e_b)] of gate k, with an adaptive rule."""
        return _pair(functions, q, rho, self._summed(k, self.parameters.mean), slopes)

    def _advance(self, S: np.ndarray, X: np.ndarray, G: Matrices) -> np.ndarray:
        """S' from S: second moments with X and G; the means come out of the same formula."""
        size = self.components + 1
        following = np.ones((size, size, S.shape[-1]))
        rows = (self._one, *self.expansion.update)
        for i in range(size):
            for j in range(i, size):
                following[i, j] = self._mean_product(rows[i], rows[j], S, X, G)
                following[j, i] = following[i, j]
        return following

    def _mean_product(
        self, left: Sequence[Term], right: Sequence[Term], S: np.ndarray, X: np.ndarray, G: Matrices
    ) -> np.ndarray:
        """E[left · right], left of replica a and right of replica b where S, X and G are those of a pair."""
        total = np.zeros(S.shape[-1])
        for t in left:
            for r in right:
                product: Any = t.coefficient * r.coefficient * S[t.state, r.state] * X[t.power, r.power]
                for k, (m, n) in enumerate(zip(t.factors, r.factors, strict=True)):
                    if m or n:
                        product = product * G[k][m, n]
                total = total + product
        return total


def _correlation(shared: np.ndarray, q: np.ndarray) -> np.ndarray:
    """shared/q within [−1, 1]; 1 where q = 0."""
    ratio = np.where(q > 0, shared / np.where(q > 0, q, 1.0), 1.0)
    return np.clip(ratio, -1.0, 1.0)


def _single(functions: GateFunctions, q: np.ndarray, mean: np.ndarray, slopes: bool) -> np.ndarray:
    """E[f_m f_n] for e ~ N(mean, q)."""
    count = functions.total if slopes else functions.values
    rows, columns = np.triu_indices(count)

    def products(e: np.ndarray) -> np.ndarray:
        values = functions.evaluate(e)
        return values[rows] * values[columns]

    return _symmetric(gaussian_expectation(products, q, mean, functions.kinks).value, count)


def _pair(
    functions: GateFunctions, q: np.ndarray, rho: np.ndarray, mean: np.ndarray, slopes: bool
) -> np.ndarray:
    """E[f_m(e_a) f_n(e_b)], symmetric because the two replicas are exchangeable."""
    count = functions.total if slopes else functions.values
    rows, columns = np.triu_indices(count)
    expectation = gaussian_pair_expectation(
        lambda e: functions.evaluate(e)[rows],
        lambda e: functions.evaluate(e)[columns],
        q,
        rho,
        mean,
        functions.kinks,
    )
    return _symmetric(expectation.value, count)


def _symmetric(upper: np.ndarray, count: int) -> np.ndarray:
    rows, columns = np.triu_indices(count)
    matrix = np.empty((count, count, *upper.shape[1:]))
    matrix[rows, columns] = upper
    matrix[columns, rows] = upper
    return matrix
