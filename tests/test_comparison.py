"""Theory against sample: right theories agree, wrong ones do not, and the p-value has its stated level."""

import math

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn import comparison
from rmtrnn._core.status import Status
from rmtrnn.laws.tabulated import TabulatedLaw
from rmtrnn.sampling.sample import Sample
from rmtrnn.spectra.result import Spectrum

TANH = rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05)


@pytest.fixture(scope="module")
def tanh_sample():
    return rt.sample(TANH, T=4, N=256, trials=16, seed=3)


def test_right_theory_agrees_and_a_wrong_scale_does_not(tanh_sample):
    assert rt.compare(rt.spectrum(TANH, T=4), tanh_sample).agrees
    for factor in (1.06, 0.94):
        wrong = rt.spectrum(TANH.replace(sigma_w=1.05 * factor), T=4)
        report = rt.compare(wrong, tanh_sample, same_network=False)
        assert not report.agrees
        assert report.p_value < 1e-3


def test_wrong_shape_is_noticed(tanh_sample):
    """Orthogonal weights of the same scale: nearly the same m_1, another law."""
    other = rt.compare(rt.spectrum(TANH.replace(weights="orthogonal"), T=4), tanh_sample, same_network=False)
    assert not other.agrees
    assert other.kolmogorov > 0.05


@pytest.mark.parametrize("trials", [3, 8, 16])
def test_p_values_of_a_right_theory_are_not_too_small(trials):
    """Correlated normal modes, one slow direction common to all, as finite networks have them."""
    rng = np.random.default_rng(4)
    runs, level = 4000, 0.05
    slow = 4.0 * (-0.6) ** np.arange(comparison.TEST.modes)
    below = 0
    for _ in range(runs):
        modes = rng.standard_normal((comparison.TEST.modes, trials)) + np.outer(
            slow, rng.standard_normal(trials)
        )
        below += comparison._p_value(modes, 0.0) < level
    # Bonferroni is conservative, not more than fivefold here; 4 standard errors on the safe side.
    assert below / runs < level + 4 * math.sqrt(level * (1 - level) / runs)
    assert below / runs > level / 5


def test_a_granted_bias_is_granted_and_no_more():
    rng = np.random.default_rng(5)
    modes = rng.standard_normal((comparison.TEST.modes, 16))
    assert comparison._p_value(modes + 0.9, 1.0) > 0.01
    assert comparison._p_value(modes + 4.0, 1.0) < 0.01


def test_quantiles_of_the_theory_agree_and_shifted_ones_do_not():
    """The distances found are those of the shift."""
    spec = rt.spectrum(TANH, T=2)
    p = (np.arange(1000) + 0.5) / 1000
    exact = np.tile(spec.log_s.icdf(p), (4, 1)) + 1e-9 * np.arange(4)[:, None]
    right = rt.compare(spec, Sample(exact, TANH, 2, 1000, {}))
    assert right.agrees
    assert right.kolmogorov < 1.0 / 1000
    # |F_n − F| ≤ 1/(2n) everywhere, integrated over the range that the tails of the theory span.
    step_bound = 0.5 / 1000 * np.ptp(spec.log_s.icdf(np.array([1e-6, 1 - 1e-6])))
    assert right.wasserstein < step_bound
    moved = rt.compare(spec, Sample(exact + 0.05, TANH, 2, 1000, {}))
    assert not moved.agrees
    assert moved.wasserstein == pytest.approx(0.05, abs=step_bound)
    density = spec.log_s.pdf(np.linspace(spec.log_s.icdf(0.01), spec.log_s.icdf(0.999), 2000))
    assert moved.kolmogorov <= 0.05 * density.max() + 1.0 / 1000


def test_atoms_at_zero_are_counted():
    ens = rt.Ensemble(rt.VanillaRNN("relu"), sigma_w=math.sqrt(2.0))
    mc = rt.sample(ens, T=1, N=128, trials=12, seed=2, burn_in=30)
    report = rt.compare(rt.spectrum(ens, T=1), mc)
    assert report.zero_mass[0] == 0.5
    assert report.zero_mass[1] == np.isneginf(mc.log_s).mean()
    assert report.agrees
    assert math.isfinite(report.wasserstein)
    wrong = rt.compare(rt.spectrum(TANH, T=1), mc, same_network=False)
    assert not wrong.agrees
    assert wrong.kolmogorov > 0.45


def test_table_and_fields(tanh_sample):
    spec = rt.spectrum(TANH, T=4)
    report = rt.compare(spec, tanh_sample)
    text = str(report)
    assert "theory agrees with the sample" in text
    assert "nan" not in text and "largest" in text
    assert f"{report.kolmogorov:.3e}" in text
    first = report.moments[0]
    assert first.theory == spec.moment(1)
    assert first.z == pytest.approx((first.sample - first.theory) / first.error)


def test_a_theory_that_passes_by_its_own_error_alone_is_undecided(tanh_sample, monkeypatch):
    """A wrong theory that states a small error disagrees, one that states a large error is undecided."""
    wrong = rt.spectrum(TANH.replace(sigma_w=1.05 * 1.06), T=4)
    for error, verdict in ((0.0, "disagrees"), (1e-4, "disagrees"), (0.1, "undecided"), (1.0, "undecided")):
        monkeypatch.setattr(type(wrong), "error", error)
        report = rt.compare(wrong, tanh_sample, same_network=False)
        assert (report.verdict, report.agrees) == (verdict, False)
        assert ("NOT" in str(report)) and ("its own error" in str(report)) == (verdict == "undecided")
    right = rt.spectrum(TANH, T=4)
    monkeypatch.setattr(type(right), "error", 0.1)
    assert rt.compare(right, tanh_sample).verdict == "agrees"
    monkeypatch.setattr(type(right), "converged", False)
    assert rt.compare(right, tanh_sample).verdict == "undecided"


def test_extremes_lie_at_the_edges_on_the_tracy_widom_scale():
    """Mean of the largest value −1.2065, standard deviation 1.268, in units of the scale (β = 1)."""
    ens = rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=1.0)
    mc = rt.sample(ens, T=1, N=100, trials=64, seed=5, burn_in=0)
    smallest, largest = rt.compare(rt.spectrum(ens, T=1), mc).edges
    # Johnstone 2001: largest eigenvalue of X Xᵀ, entries of variance 1: 4N, scale 2^(4/3) N^(1/3).
    assert largest.scale == pytest.approx(2 ** (-5 / 3) * 100 ** (-2 / 3), rel=0.02)
    assert abs(largest.deviation + 1.2065) < 4 * 1.268 / 8
    assert largest.error == pytest.approx(1.268 * largest.scale / 8, rel=0.4)
    assert (smallest.edge, smallest.sample) == (-math.inf, mc.smallest.value)
    assert math.isnan(smallest.deviation)
    wrong = rt.compare(rt.spectrum(ens.replace(sigma_w=1.1), T=1), mc, same_network=False).edges[1]
    assert abs(wrong.deviation + 1.2065) > 8 * 1.268 / 8


def test_edges_that_are_atoms_have_no_scale():
    ens = rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=1.1, weights="orthogonal")
    edges = rt.compare(rt.spectrum(ens, T=5), rt.sample(ens, T=5, N=20, trials=2, burn_in=0)).edges
    for score in edges:
        assert score.edge == pytest.approx(5 * math.log(1.1))
        assert score.scale == 0.0 and math.isnan(score.deviation)


def test_bad_input_is_named(tanh_sample):
    spec = rt.spectrum(TANH, T=4)
    with pytest.raises(TypeError, match=r"^spec: expected"):
        rt.compare(tanh_sample, tanh_sample)
    with pytest.raises(TypeError, match=r"^mc: expected"):
        rt.compare(spec, spec)
    with pytest.raises(ValueError, match=r"^level = 1"):
        rt.compare(spec, tanh_sample, level=1.0)
    single = Sample(tanh_sample.log_s[:1], TANH, 4, 256, {})
    with pytest.raises(ValueError, match=r"^mc: has 1 trial"):
        rt.compare(spec, single)


def test_different_numbers_of_steps_are_refused():
    ens = rt.Ensemble("vanilla", sigma_b=0.3)
    mc = rt.sample(ens, T=2, N=16, trials=2)
    with pytest.raises(ValueError, match="T = 3 steps, mc a sample of T = 2"):
        rt.compare(rt.spectrum(ens, 3), mc)


def test_different_networks_are_refused_unless_wanted():
    ens = rt.Ensemble("vanilla", sigma_b=0.3)
    mc = rt.sample(ens, T=2, N=32, trials=4)
    assert rt.compare(rt.spectrum(ens.replace(tied=True), 2), mc).agrees  # one law for both
    other = rt.spectrum(ens.replace(sigma_w=1.5), 2)
    with pytest.raises(ValueError, match=r"sigma_w=1\.5.*same_network=False"):
        rt.compare(other, mc)
    assert not rt.compare(other, mc, same_network=False).agrees
    gated = rt.Ensemble("minimal", sigma_b=0.3)
    sample = Sample(mc.log_s, gated.replace(tied=True), 2, 32, {})
    law = Spectrum(TabulatedLaw([], atoms=[(0.0, 1.0)]), ensemble=gated, T=2, method="dyson")
    with pytest.raises(ValueError, match="must be the same network"):
        rt.compare(law, sample)


def test_a_law_that_was_not_found_is_undecided(tmp_path):
    ens = rt.Ensemble("minimal", sigma_b=0.3)
    mc = Sample(np.zeros((3, 8)), ens, 2, 8, {})
    lost = TabulatedLaw([], error=math.inf, status=Status.MAX_ITERATIONS)
    report = rt.compare(Spectrum(lost, ensemble=ens, T=2, method="dyson"), mc)
    assert (report.verdict, report.agrees, report.converged) == ("undecided", False, False)
    assert math.isnan(report.kolmogorov) and "NOT shown to agree" in str(report)
    assert rt.load(report.save(tmp_path / "report")).verdict == "undecided"
