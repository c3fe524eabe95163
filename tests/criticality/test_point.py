"""Isometry and critical initialisation: closed forms, the spectrum behind them, and solves in boxes."""

import math

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.criticality.point import NoCriticalPointError
from rmtrnn.spectra import second_moment
from rmtrnn.spectra.minimal_rnn import CriticalFamily, minimal_moments

PUBLISHED = rt.Ensemble("minimal", sigma_w=6.8917, sigma_v=1.3923, R=0.46, weights="orthogonal")


def critical_tanh(q, weights="orthogonal", R=0.46):
    """σ_w² = 1/E[φ'²] and σ_v², by an integration of its own."""
    z, w = np.polynomial.hermite_e.hermegauss(80)
    w = w / w.sum()
    phi = np.tanh(math.sqrt(q) * z)
    sigma_w2 = 1 / np.sum(w * (1 - phi**2) ** 2)
    sigma_v2 = (q - sigma_w2 * np.sum(w * phi**2)) / R
    return rt.Ensemble(
        "vanilla", sigma_w=math.sqrt(sigma_w2), sigma_v=math.sqrt(sigma_v2), R=R, weights=weights
    )


class TestIsometry:
    def test_linear_orthogonal_network_is_an_isometry(self):
        report = rt.isometry(rt.Ensemble(rt.VanillaRNN("linear"), weights="orthogonal"), 50)
        assert report.range == (1.0, 1.0) and report.within((0.99, 1.01))
        assert report.variance.value == 0.0 and report.condition_number.value == 1.0
        assert report.distance.value <= report.distance.error < 1e-7

    def test_marchenko_pastur(self):
        """One step of a linear Gaussian network: s has the quarter-circle law on [0, 2]."""
        report = rt.isometry(rt.Ensemble(rt.VanillaRNN("linear")), 1)
        mean = 8 / (3 * math.pi)  # E[s]
        assert report.distance.value == pytest.approx(math.sqrt(2 - 2 * mean), abs=1e-12)
        assert report.m_1.value == pytest.approx(1, abs=1e-13)
        assert report.variance.value == pytest.approx(1, abs=1e-13)
        assert report.condition_number.value == math.inf
        s = report.quantiles[0.95].value
        cdf = (s * math.sqrt(4 - s * s) / 2 + 2 * math.asin(s / 2)) / math.pi
        assert cdf == pytest.approx(0.95, abs=1e-12)

    def test_atoms_count(self):
        """relu, orthogonal, one step: half the singular values are 0, the others √2."""
        relu = rt.Ensemble(rt.VanillaRNN("relu"), sigma_w=math.sqrt(2), weights="orthogonal")
        report = rt.isometry(relu, 1)
        distance = math.sqrt(0.5 + 0.5 * (math.sqrt(2) - 1) ** 2)
        assert report.distance.value == pytest.approx(distance, abs=1e-12)
        assert report.quantiles[0.05].value == 0.0 and report.range[1] == pytest.approx(math.sqrt(2))

    @pytest.mark.equation(11)
    def test_growth_of_vanilla_variance_is_linear_at_criticality(self):
        report = rt.isometry(critical_tanh(0.01), 64)
        steps, variance = zip(*((t, v.value) for t, v in report.growth), strict=True)
        assert steps == (1, 2, 4, 8, 16, 32, 64)
        np.testing.assert_allclose(np.array(variance) / steps, variance[0], rtol=1e-12)
        assert report.variance.value == pytest.approx(rt.spectrum(report.ensemble, 64).variance, rel=1e-10)

    def test_distance_against_the_quantile_function(self):
        report = rt.isometry(rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05), 8)
        p = (np.arange(2000) + 0.5) / 2000
        s = rt.spectrum(report.ensemble, 8).icdf(p)
        assert report.distance.value == pytest.approx(math.sqrt(np.mean((s - 1) ** 2)), rel=1e-3)

    def test_distance_to_the_nearest_orthogonal_matrix(self):
        """√E[(s − 1)²] is ‖J − O‖/√N for the polar factor O, and no other orthogonal matrix is nearer."""
        rng = np.random.default_rng(3)
        J = rng.standard_normal((40, 40)) / math.sqrt(40)
        left, s, right = np.linalg.svd(J)
        polar = left @ right
        distance = math.sqrt(np.mean((s - 1) ** 2))
        assert np.linalg.norm(J - polar) / math.sqrt(40) == pytest.approx(distance, rel=1e-12)
        others = (np.linalg.qr(polar + 0.3 * rng.standard_normal((40, 40)))[0] for _ in range(20))
        assert all(np.linalg.norm(J - other) / math.sqrt(40) > distance for other in others)

    def test_gated_report_agrees_with_a_sample(self):
        ens = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.2, mu_b=2.0, R=0.46)
        spec = rt.spectrum(ens, 2, population=4096, tol=1e-3, max_points=96)
        report = rt.isometry(ens, 2, spec)
        mc = rt.sample(ens, 2, N=200, trials=6, seed=1, burn_in=100)
        m_1 = mc.moment(1)
        assert abs(m_1.value - report.m_1.value) < 4 * m_1.error
        variance = mc.moment(2).value - m_1.value**2
        assert abs(variance - report.variance.value) < 4 * mc.moment(2).error
        for p, quantile in report.quantiles.items():
            sampled = mc.quantile(p)
            assert abs(sampled.value - quantile.value) < 4 * sampled.error + quantile.error + 2 / 200
        distances = np.sqrt(np.mean((np.exp(mc.log_s) - 1) ** 2, axis=1))
        assert abs(distances.mean() - report.distance.value) < 0.01

    def test_a_quantile_below_a_lost_tail_is_unbounded(self, monkeypatch):
        ens = critical_tanh(0.01)
        spec = rt.spectrum(ens, 4)
        known = rt.isometry(ens, 4, spec).log_quantiles
        assert known[0.05].error < 1e-9
        monkeypatch.setattr(type(spec), "error", property(lambda self: 0.06))
        lost = rt.isometry(ens, 4, spec).log_quantiles
        assert lost[0.05].error == math.inf and "± inf" in str(lost[0.05])
        assert lost[0.5].value == known[0.5].value and 1e-3 < lost[0.5].error < math.inf

    def test_text_names_every_number(self):
        text = str(rt.isometry(critical_tanh(0.01), 4))
        for word in ("m_1", "variance", "5 % of s", "95 % of s", "condition", "distance", "growth", "T = 4"):
            assert word in text

    def test_bad_arguments(self):
        ens = rt.Ensemble("vanilla")
        with pytest.raises(TypeError, match="ens"):
            rt.isometry("vanilla", 3)
        with pytest.raises(ValueError, match="T"):
            rt.isometry(ens, 0)
        with pytest.raises(ValueError, match="spec"):
            rt.isometry(critical_tanh(0.01), 3, rt.spectrum(critical_tanh(0.01), 2))


class TestMinimalClosedForm:
    @pytest.mark.equation(17)
    def test_published_point(self):
        """theory.md (17) at q = 16: σ_w = 6.8917, σ_v = 1.3923 for R = 0.46."""
        cp = rt.critical("minimal", T=1, R=0.46, q=16.0, mu_b=0.0)
        assert cp.ensemble.sigma_w == pytest.approx(6.8917, abs=5e-5)
        assert cp.ensemble.sigma_v == pytest.approx(1.3923, abs=5e-5)
        assert abs(cp.chi - 1) < 1e-12 and cp.method == "closed form"

    @pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
    @pytest.mark.parametrize("tiny", [False, True])
    @pytest.mark.equation(6)
    def test_moments_against_sampled_sites(self, weights, tiny):
        ens = PUBLISHED.replace(weights=weights, mu_b=4.0 if tiny else 0.0, sigma_w=5.0 if tiny else 6.8917)
        field = rt.mean_field(ens)
        x = tuple(ens.input_moment(k) for k in range(5))
        orthogonal = weights == "orthogonal"
        m_1, m_2 = minimal_moments(field.q_of("e"), ens.mu_b, ens.sigma_w**2, x, 6, orthogonal)
        np.testing.assert_allclose(m_1, field.chi ** np.arange(1, 7), rtol=1e-10)
        for T in (1, 6):
            sites = second_moment(ens, T, sites=2**12)
            assert abs(m_2[T - 1] / m_1[T - 1] ** 2 - sites.ratio) < 5 * sites.error[1]

    def test_one_step_against_the_known_variance(self):
        """Orthogonal 3.09, Gaussian 3.44 at q = 16, μ_b = 0 (docs/theory.md section 5)."""
        ens = PUBLISHED
        field = rt.mean_field(ens)
        x = tuple(ens.input_moment(k) for k in range(5))
        for orthogonal, known in ((True, 3.09), (False, 3.44)):
            m_1, m_2 = minimal_moments(field.q_of("e"), 0.0, ens.sigma_w**2, x, 1, orthogonal)
            assert m_2[0] - m_1[0] ** 2 == pytest.approx(known, abs=0.005)

    @pytest.mark.parametrize("orthogonal", [True, False])
    def test_bound_on_the_growth(self, orthogonal):
        """At χ = 1 the variance grows by at least 2κ(1 − κ) a step (κ(2 − κ) for Gaussian weights)."""
        q, mu_b = np.meshgrid(np.geomspace(2, 100, 8), np.linspace(-3, 9, 7))
        family = CriticalFamily.at(q, mu_b, 0.46)
        x = (1.0, 0.0, 0.46, 0.0, 3 * 0.46**2)
        m_1, m_2 = minimal_moments(q, mu_b, family.sigma_w2, x, 50, orthogonal)
        np.testing.assert_allclose(m_1, 1.0, rtol=1e-9)
        kappa = family.kappa
        floor = 2 * kappa * (1 - kappa) if orthogonal else kappa * (2 - kappa)
        assert np.all(np.diff(m_2, axis=0) >= floor * (1 - 1e-9))

    def test_choice_is_the_least_spread_among_states_a_network_reaches(self):
        cp = rt.critical("minimal", T=10, R=0.46)
        assert abs(cp.chi - 1) < 1e-8
        from_zero = rt.mean_field(cp.ensemble, Q0=0.0)
        from_far = rt.mean_field(cp.ensemble, Q0=20.0)
        assert from_zero.q_of("e") == pytest.approx(cp.field.q_of("e"), rel=1e-6)
        assert from_far.q_of("e") == pytest.approx(cp.field.q_of("e"), rel=1e-6)
        x = tuple(cp.ensemble.input_moment(k) for k in range(5))

        def variance(ens, q):
            m_1, m_2 = minimal_moments(q, ens.mu_b, ens.sigma_w**2, x, 10, True)
            return m_2[-1] - m_1[-1] ** 2

        least = variance(cp.ensemble, cp.field.q_of("e"))
        for q, mu_b in ((16.0, 0.0), (30.0, 6.0), (20.0, 8.0)):
            other = rt.critical("minimal", T=10, R=0.46, q=q, mu_b=mu_b)
            assert least < variance(other.ensemble, q)

    def test_spread_does_not_depend_on_the_scale_of_the_input(self):
        one, other = (rt.critical("minimal", T=5, R=R, mu_b=3.0) for R in (0.46, 1.84))
        assert one.ensemble.sigma_w == pytest.approx(2 * other.ensemble.sigma_w, rel=1e-8)

    def test_infeasible_point_is_refused(self):
        with pytest.raises(NoCriticalPointError, match="σ_v² would be negative"):
            rt.critical("minimal", T=10, R=0.46, q=9.0, mu_b=0.0)
        with pytest.raises(NoCriticalPointError, match="stable"):
            rt.critical("minimal", T=10, R=0.46, q=1.2, mu_b=8.0)


class TestVanillaClosedForm:
    @pytest.mark.parametrize("T", [10, 100])
    def test_orthogonal_tanh_meets_the_band(self, T):
        cp = rt.critical("vanilla", T=T, R=0.46)
        low, high = cp.isometry.range
        assert cp.isometric and abs(cp.chi - 1) < 1e-8
        assert min(low - 0.9, 1.1 - high) < 1e-3  # at the edge of the band: the largest q
        q = cp.field.q_of("e")
        own = critical_tanh(q)
        assert cp.ensemble.sigma_w == pytest.approx(own.sigma_w, rel=1e-10)
        assert cp.ensemble.sigma_v == pytest.approx(own.sigma_v, rel=1e-6)
        assert not rt.isometry(critical_tanh(1.01 * q), T).within(cp.band)

    def test_gaussian_is_out_of_reach(self):
        cp = rt.critical("vanilla", T=100, R=0.46, weights="gaussian")
        assert not cp.isometric and "out of reach" in cp.message
        assert 100 <= cp.variance <= 101 and cp.condition_number == math.inf
        assert abs(cp.chi - 1) < 1e-8

    def test_exact_cases(self):
        linear = rt.critical(rt.VanillaRNN("linear"), T=1000)
        assert linear.isometric and linear.variance == 0.0 and linear.ensemble.sigma_w == 1.0
        relu = rt.critical(rt.VanillaRNN("relu"), T=10)
        assert not relu.isometric and relu.ensemble.sigma_w == pytest.approx(math.sqrt(2), rel=1e-12)
        assert relu.variance == pytest.approx(10.0, rel=1e-10)  # (11): T (1/p − 1) with p = 1/2

    def test_given_q(self):
        cp = rt.critical("vanilla", T=3, R=0.46, q=0.0671, weights="gaussian")
        assert cp.ensemble.sigma_w == pytest.approx(1.0598, abs=1e-4)
        assert cp.ensemble.sigma_v == pytest.approx(0.025, abs=1e-4)

    def test_sampled_networks_have_the_range(self):
        """T = 100, a tied network of N = 256: same limit law, and one matrix to draw."""
        cp = rt.critical("vanilla", T=100, R=0.46)
        mc = rt.sample(cp.ensemble.replace(tied=True), 100, N=256, trials=4, seed=5, burn_in=3000)
        low, high = cp.isometry.range
        assert abs(mc.quantile(0.05).value - low) < 0.01 and abs(mc.quantile(0.95).value - high) < 0.01
        wrong = rt.sample(cp.ensemble.replace(tied=True, sigma_w=1.01), 100, N=256, trials=2, burn_in=3000)
        assert abs(wrong.quantile(0.05).value - low) > 0.02
