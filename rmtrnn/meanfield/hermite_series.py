"""The moment maps for many points at once: fixed quadrature nodes, and two replicas by Hermite series.

With f(μ + √q z) = Σ_l a_l he_l(z) in normalised Hermite polynomials, E[f(e_a) g(e_b)] = Σ_l a_l b_l ρ^l
(Mehler): after one pass for the coefficients, a step of the overlap costs a short power series instead of a
two-dimensional integral. What the series leaves out is at most |ρ|^L times the missing part of E[f²].

Letters: q, the variance of a pre-activation.
"""

from __future__ import annotations

import numpy as np

from rmtrnn.meanfield.expansion import Expansion, GateFunctions
from rmtrnn.meanfield.moment_map import MomentMap, Parameters
from rmtrnn.numerics.gaussian_quadrature import batched_nodes, shared_nodes


class NodeMap(MomentMap):
    """The one-replica map on fixed quadrature nodes: fast, and to be checked with `MomentMap` afterwards."""

    def __init__(self, expansion: Expansion, parameters: Parameters, halvings: int = 2) -> None:
        super().__init__(expansion, parameters)
        self.halvings = halvings

    def take(self, index: np.ndarray) -> NodeMap:
        """The map at the chosen points."""
        return NodeMap(self.expansion, self.parameters.take(index), self.halvings)

    def _single(self, k: int, functions: GateFunctions, q: np.ndarray, slopes: bool) -> np.ndarray:
        mean, count = self._summed(k, self.parameters.mean), functions.total if slopes else functions.values
        if functions.kinks:
            e, weight = batched_nodes(q, mean, functions.kinks, self.halvings)
            values = functions.evaluate(e)[:count]
            left = np.moveaxis(values * weight, 0, 1)
            return np.moveaxis(left @ np.moveaxis(values, 0, -1), 0, -1)
        result = np.empty((count, count, q.size))
        for index, e, weight in shared_nodes(q, mean, self.halvings):
            values = functions.evaluate(e)[:count]
            products = (values[:, None] * values[None, :]).reshape(count**2, -1)
            result[..., index] = (products @ weight.T).reshape(count, count, -1)
        return result


class SeriesMap(MomentMap):
    """The two-replica map at fixed variances, by Hermite series of a given length."""

    def __init__(
        self,
        expansion: Expansion,
        parameters: Parameters,
        coefficients: list[np.ndarray],
    ) -> None:
        super().__init__(expansion, parameters)
        self.coefficients = coefficients  # per gate (functions, length, n)

    @staticmethod
    def build(map: MomentMap, q: np.ndarray, length: int) -> SeriesMap:
        """The series of all functions and slopes of all gates at variances q (K, n)."""
        # The last polynomials oscillate with the wave number √length: fourfold terms need twice the nodes.
        halvings = {128: 3, 512: 4}.get(length, 5)
        coefficients = [
            _hermite(functions, q[k], map.parameters.mean[k], length, halvings)
            for k, functions in enumerate(map.expansion.functions)
        ]
        return SeriesMap(map.expansion, map.parameters, coefficients)

    def take(self, index: np.ndarray) -> SeriesMap:
        """The map at the chosen points."""
        chosen = [a[..., index] for a in self.coefficients]
        return SeriesMap(self.expansion, self.parameters.take(index), chosen)

    def remainder(self, G: list[np.ndarray], rho: np.ndarray) -> np.ndarray:
        """Largest share (n,) of an E[f²] (from G, with slopes) that the series may miss at rho (K, n)."""
        worst = np.zeros(self.parameters.size)
        for k, a in enumerate(self.coefficients):
            full = np.einsum("mmn->mn", G[k])
            missing = np.maximum(full - np.sum(a * a, axis=1), 0.0)
            with np.errstate(invalid="ignore", divide="ignore"):
                share = np.where(full > 0, missing / full, 0.0)
            worst = np.maximum(worst, np.max(share, axis=0) * np.abs(rho[k]) ** a.shape[1])
        return worst

    def _pair(
        self, k: int, functions: GateFunctions, q: np.ndarray, rho: np.ndarray, slopes: bool
    ) -> np.ndarray:
        a = self.coefficients[k][: functions.total if slopes else functions.values]
        count, length, n = a.shape
        powers = np.cumprod(np.vstack([np.ones((1, n)), np.broadcast_to(rho, (length - 1, n))]), axis=0)
        left = np.transpose(a * powers, (2, 0, 1))
        return np.moveaxis(left @ np.transpose(a, (2, 1, 0)), 0, -1).reshape(count, count, n)


def _hermite(
    functions: GateFunctions, q: np.ndarray, mean: np.ndarray, length: int, halvings: int
) -> np.ndarray:
    """Coefficients a_l = E[f(e) he_l(z)], he_l = He_l/√l!, of all functions: (functions, length, n)."""
    e, weight = batched_nodes(q, mean, functions.kinks, halvings)
    deviation = np.sqrt(q)[:, None]
    z = np.where(deviation > 0, (e - mean[:, None]) / np.where(deviation > 0, deviation, 1.0), 0.0)
    weighted = np.moveaxis(functions.evaluate(e) * weight, 0, 1)
    coefficients = np.empty((len(q), weighted.shape[1], length))
    before, now = np.zeros_like(z), np.ones_like(z)
    for l in range(length):
        coefficients[:, :, l] = (weighted @ now[:, :, None])[:, :, 0]
        before, now = now, (z * now - np.sqrt(l) * before) / np.sqrt(l + 1.0)
    return np.transpose(coefficients, (1, 2, 0))
