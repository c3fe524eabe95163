"""Weights with a law of singular values: matrices, two moments against samples, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from reference.kolmogorov import distance

import rmtrnn as rt
from rmtrnn.sampling.random_matrices import random_matrix
from rmtrnn.spectra import free_product
from rmtrnn.spectra.free_product import NODES

LAW = rt.SingularValues([1.0, 4.0], [0.85, 0.15])
ENS = rt.Ensemble("minimal", sigma_w=4.0, sigma_v=1.2, R=0.5, weights=LAW)


def test_matrices_have_the_singular_values():
    w = random_matrix(LAW, 40, 2.0, 0)
    np.testing.assert_allclose(np.linalg.svd(w, compute_uv=False)[::-1], 2.0 * LAW.quantiles(40), atol=1e-12)
    assert abs(w.mean()) < 0.05 and not np.allclose(w, w.T)


def test_limits():
    assert rt.SingularValues([3.0]).spread == pytest.approx(0.0, abs=1e-12)
    s = np.sqrt(rt.free.MarchenkoPastur().icdf((np.arange(400) + 0.5) / 400))
    assert rt.SingularValues(s).spread == pytest.approx(1.0, abs=5e-3)
    haar, one = (ENS.replace(weights=weights) for weights in ("orthogonal", rt.SingularValues([1.0])))
    exact, found = (rt.spectra.second_moment(ens, 2, sites=2048) for ens in (haar, one))
    assert found.ratio == pytest.approx(exact.ratio, rel=1e-9)


def test_two_moments_of_sampled_networks():
    linear = rt.Ensemble(rt.VanillaRNN("linear"), weights=LAW)  # s² of W itself: m_2 = 1 + spread
    assert rt.spectra.second_moment(linear, 1, sites=512).ratio == pytest.approx(1 + LAW.spread)
    drawn = rt.sample(linear, 2, N=200, trials=8, burn_in=0).moment(2)
    exact = rt.spectra.second_moment(linear, 2, sites=512)
    m_2 = exact.ratio * np.exp(2 * exact.log_m1)
    assert m_2 == pytest.approx(1 + 2 * LAW.spread)  # theory.md (11)
    assert abs(drawn.value - m_2) < 4 * drawn.error + 0.02 * m_2
    gaussian = rt.spectra.second_moment(linear.replace(weights="gaussian"), 2)
    assert abs(drawn.value - gaussian.ratio) > 10 * drawn.error


VANILLA = rt.Ensemble("vanilla", sigma_w=1.4, sigma_b=0.3, weights=LAW)


def test_vanilla_law_is_the_free_power_of_one_step():
    """Equal singular values are Haar weights, whose law is exact; moments are those of theory.md (11)."""
    haar, one = (VANILLA.replace(weights=weights) for weights in ("orthogonal", rt.SingularValues([2.0])))
    exact, found = rt.spectrum(haar, 3), rt.spectrum(one, 3)
    u = exact.log_s.icdf(np.linspace(0.02, 0.98, 25))
    assert np.abs(found.log_s.cdf(u) - exact.log_s.cdf(u)).max() < found.error < 1e-4
    assert found.method == "s-transform" and found.support[0][1] == pytest.approx(
        exact.support[0][1], rel=1e-6
    )
    law, dyson = rt.spectrum(VANILLA, 3), rt.spectrum(VANILLA, 3, "dyson", population=4096)
    u = law.log_s.icdf(np.linspace(0.02, 0.98, 25))
    assert np.abs(dyson.log_s.cdf(u) - law.log_s.cdf(u)).max() < dyson.error + law.error
    assert law.moment(1) == pytest.approx(dyson.moment(1)) and law.variance == pytest.approx(dyson.variance)


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("name", "factor"), [("halvings", 3), ("halvings", 1 / 3), ("per_panel", 3), ("per_panel", 1 / 3)]
)
def test_nodes_may_be_moved_by_three(name, factor, monkeypatch):
    law, moved = rt.spectrum(VANILLA, 4), replace(NODES, **{name: round(factor * getattr(NODES, name))})
    u = law.log_s.icdf(np.linspace(0.02, 0.98, 25))
    before = law.log_s.cdf(u)
    monkeypatch.setattr(free_product, "NODES", moved)
    again = rt.spectrum(VANILLA, 4)
    assert np.abs(again.log_s.cdf(u) - before).max() < again.error + law.error


@pytest.mark.parametrize("T", [30, pytest.param(100, marks=pytest.mark.sweep)])
def test_long_vanilla_laws_are_those_of_samples(T):
    mc, law = rt.sample(VANILLA, T, N=100, trials=4), rt.spectrum(VANILLA, T)
    assert rt.compare(law, mc).agrees and law.error < 1e-4
    for weights in ("gaussian", "orthogonal"):
        assert distance(rt.spectrum(VANILLA.replace(weights=weights), T).log_s, mc.log_s) > 0.1


def test_what_has_no_nodes_goes_to_the_dyson_equation():
    for ens in (
        VANILLA.replace(weights=rt.SingularValues([0.0, 1.0])),
        VANILLA.replace(sigma_b=0.0, sigma_w=0.5),
    ):
        assert rt.spectrum(ens, 2, population=512).method == "dyson"
        with pytest.raises(ValueError, match="slopes without atoms"):
            rt.spectrum(ens, 2, method="s-transform")


def test_files_print_and_refusals():
    assert rt.Ensemble.from_dict(ENS.to_dict()) == ENS and eval(repr(ENS), {"rt": rt}) == ENS
    with pytest.raises(ValueError, match="weights = "):
        rt.highprec.density(rt.Ensemble("vanilla", weights=LAW), 2, 0.1)
    with pytest.raises(ValueError, match="needs normal biases"):
        rt.spectrum(rt.Ensemble("vanilla", weights=LAW), 2, method="s-transform")
    with pytest.raises(ValueError, match="must not all be 0"):
        rt.SingularValues([0.0])
