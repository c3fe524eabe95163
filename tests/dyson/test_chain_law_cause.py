"""Saturated gates: named where their law was not found; where they carry nearly all, the law is theirs."""

import math

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn._core.status import Status
from rmtrnn.dyson.diagonal_jacobian import diagonal_law
from rmtrnn.dyson.inversion.assembly import assemble
from rmtrnn.dyson.inversion.solution import Solution
from rmtrnn.dyson.newton import stays_inside
from rmtrnn.dyson.pencil import Chain, Stage
from rmtrnn.dyson.self_energy import SelfEnergy


def test_saturated_gates_are_named(tmp_path):
    saturated = rt.Ensemble("leaky", sigma_w=1.37, sigma_b=0.8, mu_b=7.5, R=0.4)
    spec = rt.spectrum(saturated, 1, population=512)
    assert not spec.converged
    assert "saturated at 100% of the sites" in spec.message and "|mu_b|" in spec.message
    spec.save(tmp_path / "law.npz")
    assert rt.load(tmp_path / "law.npz").message == spec.message


def test_a_law_between_the_points_is_none():
    """No point lies inside the support: the error is infinite, not nan."""
    points, none = np.linspace(-1.0, 0.0, 8), np.zeros(8)
    real = SelfEnergy(np.ones((8, 1)) + 0j, np.ones((8, 1)) + 0j)
    above = (points < -0.5).astype(float)
    solved = Solution(2 * points, real, above, none, none, none, np.zeros(8, dtype=int), np.zeros((8, 16)))
    law, _ = assemble(np.full(16, 1 / 16), solved, 1, atom=0.0)
    assert law.error == math.inf and law.status is Status.MAX_ITERATIONS


def test_open_gates_are_not():
    spec = rt.spectrum(rt.Ensemble("leaky", sigma_w=1.37, sigma_b=0.8, R=0.4), 1, population=512)
    assert spec.converged and "saturated" not in spec.message


@pytest.mark.parametrize("coupling", [1e-7, 1e-5, 1e-3])
def test_the_gates_alone_err_by_less_than_their_bound(coupling):
    """Sampled J = diag(a) + coupling b W c against the law of a, n = 800."""
    rng = np.random.default_rng(0)
    n = 800
    a, b, c = rng.uniform(0.5, 1.0, n), rng.standard_normal(n), rng.standard_normal(n)
    stage = Stage(a[None, None], coupling * b[None, None], c[None, None], (1.0,), (False,))
    law, parts = diagonal_law(Chain([stage]), 1)
    J = np.diag(a) + coupling * b[:, None] * rng.standard_normal((n, n)) / math.sqrt(n) * c
    sampled = np.sort(np.log(np.linalg.svd(J, compute_uv=False)))
    off = np.abs(law.cdf(sampled) - (np.arange(n) + 0.5) / n).max()
    assert off <= law.error + 0.5 / n
    assert parts.solver < 6 * coupling ** (2 / 3) + 10 / n  # density 2: the least over η is 3.8 δ^(2/3)


def test_long_memory_about_a_mean_that_is_not_zero():
    """h ≈ 1 with a memory of 3000 steps: J = diag(σ(g)) + …, log s = log σ(8 + z)."""
    spec = rt.spectrum(rt.Ensemble("ugrnn", mu_b=8.0), 1, population=16384)
    p = np.array([0.05, 0.5, 0.95])
    exact = -np.log1p(np.exp(-8.0 - np.array([-1.6448536, 0.0, 1.6448536])))
    off = np.abs(spec.log_s.cdf(exact) - p).max()
    assert off < spec.error + 0.01 and spec.error < 0.05


def test_a_step_across_the_real_axis_is_seen():
    coefficients = np.array([[1.0 - 1e-3j, -1.0 - 1e-3j]])
    small, large = np.array([[4e-4j, 4e-4j]]), np.array([[0j, 2e-3j]])
    assert stays_inside(coefficients, small, 1e-12).all()
    assert not stays_inside(coefficients, large, 1e-12).any()
