"""Psi of tied weights against the dense equations (15) and against differences."""

from __future__ import annotations

import numpy as np
import pytest
from dense_reference import overlaps
from test_bordered_green import CASES, dense_parts, random_energy

from rmtrnn.dyson.tied.bordered_green import averages
from rmtrnn.dyson.tied.chain import TiedChain
from rmtrnn.dyson.tied.functional import _gaussian, _haar, gradient
from rmtrnn.dyson.tied.time_basis import TimeBasis


@pytest.mark.parametrize("part", [_gaussian, _haar])
@pytest.mark.parametrize(("steps", "modes"), [(9, 3), (3, 3)])
def test_weight_function_and_its_derivatives(part, steps, modes):
    rng = np.random.default_rng(5)
    pair, w = random_energy(TimeBasis.legendre(steps, modes), 1, rng), rng.uniform(0.3, 0.8, size=steps)
    p, q = pair.dense() * np.exp(-pair.gauge)[:, :, None] * np.exp(-pair.gauge)[:, None, :]
    z = w[:, None] * p @ (w[:, None] * q)
    found = part(pair, w)
    exact = np.trace(z) if part is _gaussian else -np.log(np.linalg.eigvals(np.eye(steps) - z)).sum()
    assert found.value == pytest.approx(exact, rel=1e-10)
    x, step = pair.unknowns, 1e-6
    shifted = [[part(pair.with_unknowns(x + s * e), w) for s in (step, -step)] for e in np.eye(x.size)]
    slope = [(up.value - down.value) / (2 * step) for up, down in shifted]
    second = [(up.gradient - down.gradient) / (2 * step) for up, down in shifted]
    np.testing.assert_allclose(found.gradient, slope, atol=1e-7 * np.abs(slope).max())
    np.testing.assert_allclose(found.hessian, second, atol=1e-7 * np.abs(second).max())


@pytest.mark.parametrize("case", CASES[1:2] + CASES[4:], ids=lambda case: case[0].__name__)
def test_stationary_point_in_the_complete_basis_solves_the_dense_equations(case):
    """P = g (sigma^2 - Q P), Q = k (sigma^2 - P Q) for Haar, P = sigma^2 g, Q = sigma^2 k for Gaussian.

    At given P and Q grad Psi is what these equations miss, in the basis.
    """
    build, steps, _ = case
    rng = np.random.default_rng(6)
    chain = TiedChain(build(steps, 4, rng), steps)
    energy = random_energy(TimeBasis.legendre(steps, steps), chain.matrices, rng)
    P, Q = dense_parts(chain, energy)
    point = 0.5 + 0.6j
    g, k, _ = overlaps(chain.stages, steps, P, Q, point, chain.weights)
    slope, size, basis = (
        gradient(chain, energy, averages(chain, energy, point)),
        energy.basis.size,
        energy.basis,
    )
    for i, (variance, haar) in enumerate(zip(chain.sigma2, chain.orthogonal, strict=True)):
        one = np.eye(steps)
        inner_p = np.linalg.inv(variance * one - Q[i] @ P[i]) if haar else one / variance
        inner_q = np.linalg.inv(variance * one - P[i] @ Q[i]) if haar else one / variance
        for family, missing in ((i, inner_p @ Q[i] - k[i]), (chain.matrices + i, inner_q @ P[i] - g[i])):
            factor = np.exp(energy.gauge[family])
            projected = basis.smooth.T @ (factor[:, None] * missing * factor) @ basis.smooth
            expected = basis.share * projected[basis.rows, basis.columns]
            np.testing.assert_allclose(
                slope[family * size : (family + 1) * size], expected, rtol=1e-8, atol=1e-10
            )
