"""Jacobians of finite networks whose weights have a part of low rank, by their definition."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

import rmtrnn as rt
from rmtrnn.sampling.random_matrices import random_matrix


def pair(n: int, overlap: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors u and v that sum to zero, with v · u = ``overlap``."""
    u, w = (x - x.mean() for x in rng.standard_normal((2, n)))
    u /= np.linalg.norm(u)
    w -= u * (u @ w)
    return u, overlap * u + np.sqrt(1.0 - overlap**2) * w / np.linalg.norm(w)


def jacobian(
    ens: rt.Ensemble,
    extra: Mapping[str, np.ndarray],
    n: int,
    rng: np.random.Generator,
    T: int,
    steps: int = 40,
) -> np.ndarray:
    """Jacobian of the last T of some steps of a network with W + ``extra`` by gate."""
    gates, size = ens.cell.gates, len(ens.cell.state)

    def draw() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        laws = {g: ens.gate(g) for g in gates}
        w = {
            g: random_matrix(law.weights, n, law.sigma_w, rng) + extra.get(g, 0.0) for g, law in laws.items()
        }
        return w, {g: law.mu_b + law.sigma_b * rng.standard_normal(n) for g, law in laws.items()}

    w, bias = draw()
    site, product = 0.3 * rng.standard_normal((size, n)), np.eye(size * n)
    for step in range(steps):
        if not ens.tied:
            w, bias = draw()
        x = ens.sample_input(rng, n)
        for stage, numeric in zip(ens.cell.stages, ens.cell.numeric(np).stages, strict=True):
            names = [gate.name for gate in stage.gates]
            read = numeric.read(site)
            drive = np.sqrt(ens.R) * rng.standard_normal((len(names), n))
            e = np.array(
                [w[g] @ read[k] + ens.gate(g).sigma_v * drive[k] + bias[g] for k, g in enumerate(names)]
            )
            if step >= steps - T:
                a, b, c = numeric.linearize(site, x, e)
                blocks = np.einsum("ijn,nm->injm", a, np.eye(n))
                for k, g in enumerate(names):
                    blocks += np.einsum("in,nm,jm->injm", b[k], w[g], c[k])
                product = blocks.reshape(a.shape[0] * n, a.shape[1] * n) @ product
            site = numeric.update(site, x, e)
    return product
