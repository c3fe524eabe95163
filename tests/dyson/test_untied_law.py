"""Laws of gated cells with untied weights: against sampled matrices and exact special cases."""

from __future__ import annotations

import numpy as np
import pytest
from reference.kolmogorov import distance

import rmtrnn as rt
from rmtrnn.dyson.chain_law import chain_law
from rmtrnn.dyson.pencil import Chain, Stage
from rmtrnn.dyson.placement import Levels


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("T", [1, 3])
@pytest.mark.equation(13, 14)
def test_minimal_rnn_against_matrices(T, weights):
    """N = 400 x 4: the sample's own distance is about 0.015; a sample of another ensemble is told apart."""
    ens = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5, weights=weights)
    spec = rt.spectrum(ens, T, "dyson", population=4096)
    sample = rt.sample(ens, T=T, N=400, trials=4, seed=1).log_s
    assert distance(spec.log_s, sample) < 0.03
    wrong = rt.sample(ens.replace(mu_b=0.5), T=T, N=400, trials=4, seed=1).log_s
    assert distance(spec.log_s, wrong) > 0.06


@pytest.mark.equation(6)
def test_first_moment_is_the_growth_rate():
    ens = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5)
    spec = rt.spectrum(ens, 5, "dyson", population=4096)
    assert spec.density_moment(1) == pytest.approx(rt.mean_field(ens).chi ** 5, rel=5e-3)


def test_gates_alone_are_the_law_of_their_product():
    """b = 0: the Jacobian is diagonal."""
    rng = np.random.default_rng(0)
    a = rng.uniform(0.2, 1.0, size=(3, 4000))
    a[1, :1000] = 0.0
    stages = [
        Stage(row[None, None], np.zeros((1, 1, 4000)), np.ones((1, 1, 4000)), (1.0,), (False,)) for row in a
    ]
    law, _ = chain_law(Chain(stages))
    with np.errstate(divide="ignore"):
        exact = np.sort(np.log(a.prod(axis=0)))
    assert law.cdf(exact[[0, 999]]) == pytest.approx([0.25, 0.25])
    u = exact[1000:][::50]
    found = law.cdf(u)
    np.testing.assert_allclose(found, (exact[None] <= u[:, None]).mean(axis=1), atol=1.01 / 4000)


@pytest.mark.parametrize("bad", [{"population": 1000}, {"population": 128}, {"tol": 0.0}, {"max_points": 3}])
def test_bad_accuracy_arguments(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        rt.spectrum(rt.Ensemble("minimal", mu_b=1.0, sigma_v=1.0), 1, "dyson", **bad)


def test_where_no_point_can_be_solved_nothing_is_returned_as_converged(monkeypatch):
    solved = Levels.solve_anywhere

    def none_of(levels, u):
        found = solved(levels, u)
        return found.at(np.zeros(found.u.size, dtype=bool))

    monkeypatch.setattr(Levels, "solve_anywhere", none_of)
    spec = rt.spectrum(rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5), 2, population=1024)
    assert not spec.converged
    assert spec.error == np.inf
    assert np.isnan(spec.cdf(1.0))
    assert np.isnan(spec.icdf(0.5))


def test_a_narrow_law_between_the_points_of_the_scan_is_found():
    """All values lie within a factor of 1.9; the middle of the panel that holds them cannot be solved."""
    ens = rt.Ensemble("minimal", sigma_w=1.0, sigma_v=1.39, mu_b=5.0, R=0.46, weights="orthogonal")
    spec = rt.spectrum(ens, 8, population=8192, tol=2e-3, max_points=64)
    assert spec.converged
    assert spec.error < 0.02
    s = rt.sample(ens, 8, N=256, trials=4, seed=3).log_s
    assert distance(spec.log_s, s) < 0.02
