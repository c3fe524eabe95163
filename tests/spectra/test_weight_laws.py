"""Weights with a law of singular values: matrices, two moments against samples, and what is refused."""

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.sampling.random_matrices import random_matrix

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


def test_files_print_and_refusals():
    assert rt.Ensemble.from_dict(ENS.to_dict()) == ENS and eval(repr(ENS), {"rt": rt}) == ENS
    with pytest.raises(ValueError, match="weights = "):
        rt.highprec.density(rt.Ensemble("vanilla", weights=LAW), 2, 0.1)
    with pytest.raises(ValueError, match="needs normal biases"):
        rt.spectrum(rt.Ensemble("vanilla", weights=LAW), 2, method="s-transform")
    with pytest.raises(ValueError, match="must not all be 0"):
        rt.SingularValues([0.0])
