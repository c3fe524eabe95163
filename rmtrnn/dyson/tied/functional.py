"""Ψ of tied weights, its gradient, and the map whose fixed point solves theory.md (15).

With the propagators gamma of `site_matrices`, P = diag(self-energies of the y, 1) and Q = diag(self-energies
of the x, 1/λ),

    h = gamma P gamma^T,   R = (1 - Q h)^{-1},   g = E[h R],   k = E[gamma^T R Q gamma],          (20)

and E s²/(λ - s²) = tr_L g/(λ s_L).

For each weight matrix P = σ² g, Q = σ² k (Gaussian), P = g (σ² - Q P), Q = k (σ² - P Q)
(Haar), which needs no matrix root. These are the stationary points of

    Ψ = E log det(1 - Q h) + sum_k C_k,                                                         (21)

C = tr(P Q)/σ² (Gaussian) or -log det(1 - P Q/σ²) (Haar).

There Im Ψ(λ + i0) = π s_L P(s² > λ), so that an error of P and Q enters the distribution
function squared.
"""

from __future__ import annotations

import numpy as np

from rmtrnn.dyson.tied.site_matrices import SiteMatrices


def image(sites: SiteMatrices, energy: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The self-energies that g and k ask for: the right-hand side of (15)."""
    sigma2 = np.array(sites.sigma2)[:, None, None]
    new = sigma2 * found
    haar = np.flatnonzero(sites.orthogonal)
    if haar.size:
        one = np.eye(sites.steps)
        new[:, haar] = np.linalg.solve(one + found[:, haar] @ energy[::-1, haar], new[:, haar])
    return 0.5 * (new + np.swapaxes(new, -1, -2))


def gradient(sites: SiteMatrices, energy: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Gradient of (21) by P and Q, (2, K, T, T): a change d of them changes Ψ by tr(gradient d)."""
    own = energy[::-1] / np.array(sites.sigma2)[:, None, None]
    haar = np.flatnonzero(sites.orthogonal)
    if haar.size:
        own[:, haar] = np.linalg.solve(np.eye(sites.steps) - own[:, haar] @ energy[:, haar], own[:, haar])
    return own - found[::-1]


def weight_value(sites: SiteMatrices, energy: np.ndarray) -> complex:
    """sum_k C_k of (21), on the branch that is 0 at P = 0."""
    total = 0j
    for p, q, variance, haar in zip(*energy, sites.sigma2, sites.orthogonal, strict=True):
        z = np.linalg.eigvals(p @ q / variance)
        total += complex(-np.log(1.0 - z).sum() if haar else z.sum())
    return total
