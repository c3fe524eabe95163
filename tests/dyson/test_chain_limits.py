"""The untied Dyson solver against closed forms and against the free product (theory.md (9), (12)-(14))."""

from __future__ import annotations

import numpy as np
import pytest
from reference import fuss_catalan

from rmtrnn.dyson.continuation import continue_in_argument
from rmtrnn.dyson.negative_axis import solve_on_negative_axis
from rmtrnn.dyson.newton import evaluate, newton
from rmtrnn.dyson.pencil import Chain, Stage
from rmtrnn.dyson.recursive_green import green_averages
from rmtrnn.dyson.self_energy import Points, SelfEnergy


def one_dimensional(a, b, sigma2, orthogonal, steps):
    """A chain of equal stages with site dimension 1 and c = 1."""
    a, b = np.atleast_1d(a).astype(float), np.atleast_1d(b).astype(float)
    return [Stage(a[None, None], b[None, None], np.ones((1, 1, a.size)), (sigma2,), (orthogonal,))] * steps


def solve(chain, u):
    log_lambda = 2 * np.asarray(u, dtype=float)
    start = solve_on_negative_axis(chain, log_lambda)
    assert start.ok.all()
    near = continue_in_argument(chain, log_lambda, start, 0.02)
    assert near.ok.all()
    found = newton(chain, chain, near.sigma, Points.real(log_lambda), 1e-11, 60)
    assert found.converged.all()
    return evaluate(chain, chain, found.sigma, log_lambda, 1e-9)


@pytest.mark.parametrize("steps", [1, 2, 5, 40])
@pytest.mark.equation(13, 14)
def test_linear_gaussian_is_fuss_catalan(steps):
    chain = Chain(one_dimensional(0.0, 1.0, 1.0, False, steps))
    u, density = fuss_catalan.points(steps, np.linspace(0.05, 0.95, 9))
    found = solve(chain, u)
    np.testing.assert_allclose(found.density, density, rtol=1e-9)


@pytest.mark.parametrize("steps", [1, 4, 16])
@pytest.mark.parametrize("orthogonal", [False, True])
@pytest.mark.equation(9, 13, 14)
def test_vanilla_equals_free_product(steps, orthogonal):
    """a = 0 with b = phi'(e) at quadrature nodes against (9), continued from large |w| on its own path."""
    if orthogonal and steps == 1:
        pytest.skip("the law of D^2 itself, see the test of b = 0 type laws")
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    keep = weights > 1e-14
    nodes, weights = nodes[keep], weights[keep] / weights[keep].sum()
    d2 = 1 / np.cosh(0.7 * nodes) ** 4
    sigma2 = 1.3
    chain = Chain(one_dimensional(np.zeros_like(d2), np.sqrt(d2), sigma2, orthogonal, steps), weights)
    u = 0.5 * chain.log_mean + np.array([-0.9, -0.5, -0.2, 0.1]) * (1 if orthogonal else np.sqrt(steps))
    found = solve(chain, u)
    m = np.array([free_product_m(2 * v, d2, weights, sigma2, steps, orthogonal) for v in u])
    np.testing.assert_allclose(found.density, -2 / np.pi * m.imag, rtol=1e-8, atol=1e-12)


def free_product_m(log_lambda, d2, weights, sigma2, steps, orthogonal):
    """Solve (9) for w by Newton in log w along arg lambda = pi/2 ... 0 from large |lambda|."""

    def equation(log_w):
        w = np.exp(log_w)
        m = np.sum(weights * d2 / (w - d2))
        dm = -np.sum(weights * d2 * w / (w - d2) ** 2)
        power = 1 if orthogonal else 1 + m
        value = steps * (log_w + np.log(sigma2)) + (steps - 1) * np.log(m / (1 + m))
        slope = steps + (steps - 1) * dm / (m * (1 + m))
        if not orthogonal:
            value, slope = value + steps * np.log(power), slope + steps * dm / power
        return value, slope, m

    target = log_lambda + 40 + 0.5j * np.pi
    log_w = target - np.log(sigma2) * steps - (steps - 1) * np.log(np.sum(weights * d2))
    path = np.concatenate(
        [
            log_lambda + np.linspace(40, 0, 800) + 0.5j * np.pi,
            log_lambda + 1j * np.linspace(0.5 * np.pi, 0, 400),
        ]
    )
    m = 0j
    for goal in path:
        for _ in range(30):
            value, slope, m = equation(log_w)
            difference = (value.imag - goal.imag + np.pi) % (2 * np.pi) - np.pi
            step = (value.real - goal.real + 1j * difference) / slope
            log_w -= step
            if abs(step) < 1e-13:
                break
    assert m.imag <= 1e-9
    return m


def gaussian_shift(alpha, beta, u):
    """Density in u of the singular values of alpha + beta W, Gaussian, from its cubic.

    With Hermitised resolvent h = tr x(x^2 - X X^T)^{-1}: h ((x - beta^2 h)^2 - alpha^2) = x - beta^2 h.
    """
    out = []
    for x in np.exp(u):
        b2 = beta**2
        # (x - b2 h)((x - b2 h) h - 1) = alpha^2 h
        poly = np.array([b2**2, -2 * x * b2, x**2 + b2 - alpha**2, -x])
        roots = np.roots(poly)
        out.append(2 / np.pi * x * max(abs(roots.imag)))
    return np.array(out)


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 1.0), (1.0, 0.3), (0.9, 0.9)])
@pytest.mark.equation(13, 14)
def test_constant_gate_gaussian_is_the_cubic(alpha, beta):
    chain = Chain(one_dimensional(alpha, beta, 1.0, False, 1))
    u = np.log(np.linspace(max(alpha - beta, 0) + 0.25 * beta, alpha + 0.8 * beta, 7))
    np.testing.assert_allclose(solve(chain, u).density, gaussian_shift(alpha, beta, u), rtol=1e-8)


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 1.0), (1.0, 0.3)])
@pytest.mark.equation(13, 14)
def test_constant_gate_haar_is_the_circle(alpha, beta):
    """Singular values of alpha + beta O: the law of |alpha + beta e^{i t}|, t uniform."""
    chain = Chain(one_dimensional(alpha, 1.0, beta**2, True, 1))
    s = np.linspace(abs(alpha - beta) + 0.1 * beta, alpha + 0.9 * beta, 9)
    cosine = (s**2 - alpha**2 - beta**2) / (2 * alpha * beta)
    found = solve(chain, np.log(s))
    np.testing.assert_allclose(found.survival, np.arccos(cosine) / np.pi, atol=1e-9)


@pytest.mark.equation(14, "Psi")
def test_distribution_function_is_the_integral_of_the_density():
    """Im Psi against quadrature of (14), for two gates and a two-dimensional state."""
    rng = np.random.default_rng(3)
    n = 40
    stages = [
        Stage(
            rng.normal(size=(2, 2, n)),
            rng.normal(size=(2, 2, n)),
            rng.normal(size=(2, 2, n)),
            (0.7, 0.4),
            (False, True),
        ),
        Stage(
            rng.normal(size=(2, 2, n)),
            rng.normal(size=(1, 2, n)),
            rng.normal(size=(1, 2, n)),
            (0.5,),
            (True,),
        ),
    ]
    chain = Chain(stages)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    low, high = 0.5 * chain.log_mean - 1.2, 0.5 * chain.log_mean - 0.4
    u = np.concatenate([[low, high], 0.5 * (low + high) + 0.5 * (high - low) * nodes])
    found = solve(chain, u)
    area = 0.5 * (high - low) * weights @ found.density[2:]
    assert found.survival[0] - found.survival[1] == pytest.approx(area, abs=1e-8)


@pytest.mark.equation("Psi")
def test_hessian_is_the_derivative_of_the_diagonal_green_function():
    rng = np.random.default_rng(5)
    n = 6
    stages = [
        Stage(
            rng.normal(size=(3, 1, n)),
            rng.normal(size=(2, 3, n)),
            rng.normal(size=(2, 1, n)),
            (0.7, 0.4),
            (False, True),
        ),
        Stage(
            rng.normal(size=(1, 3, n)),
            rng.normal(size=(1, 1, n)),
            rng.normal(size=(1, 3, n)),
            (0.5,),
            (True,),
        ),
    ]
    chain = Chain(stages)
    coefficients = rng.uniform(0.1, 0.5, 6) * np.exp(-1j * rng.uniform(0.2, 2.8, 6))
    points = Points(np.array([0.3]), np.array([0.4]))

    def both(values):
        here = green_averages(chain, SelfEnergy.of(values[None]), points)
        return np.concatenate([here.k[0], here.g[0]])

    hessian = green_averages(chain, SelfEnergy.of(coefficients[None]), points, hessian=True).hessian[0]
    h = 1e-6
    for j in range(6):
        up, down = coefficients.copy(), coefficients.copy()
        up[j] += h
        down[j] -= h
        np.testing.assert_allclose(hessian[j], (both(up) - both(down)) / (2 * h), rtol=1e-6, atol=1e-8)
