"""The error that is reported for a finite population covers the true one, in theory and in fact."""

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.dyson.chain_law import chain_law
from rmtrnn.dyson.inversion.panel_refinement import Settings
from rmtrnn.dyson.law import grouped_chain
from rmtrnn.dyson.pencil import Chain, Stage
from rmtrnn.dyson.placement import SubsampleSizes
from rmtrnn.dyson.sites.error import GROUPS, errors_by_groups, largest_error
from rmtrnn.meanfield import mean_field


@pytest.mark.parametrize("correlation", [0.05, 0.15, 0.4])
@pytest.mark.parametrize("shape", ["bridge", "growing"])
def test_spread_of_groups_covers_the_largest_error(correlation, shape):
    """Of 2000 Gaussian error processes at least 97 % stay below the reported error, and it is not idle."""
    rng = np.random.default_rng(5)
    level = np.linspace(0.01, 0.99, 36)
    amplitude = np.sqrt(level * (1 - level)) if shape == "bridge" else 1 + level
    covariance = np.exp(-((level[:, None] - level) ** 2) / (2 * correlation**2)) * np.outer(
        amplitude, amplitude
    )
    root = np.linalg.cholesky(covariance + 1e-9 * np.eye(36))
    weights = np.full(GROUPS, 1 / GROUPS)
    ratio = []
    for _ in range(2000):
        groups = root @ rng.standard_normal((36, GROUPS))  # one site stands for a group
        ratio.append(
            np.abs(groups.mean(axis=1)).max() / largest_error(errors_by_groups(groups, weights, GROUPS))
        )
    assert np.mean(np.array(ratio) < 1) > 0.97
    assert np.median(ratio) > 0.3


def test_rank_stratified_sites_stand_for_all():
    """The law from self-energies of 4096 sites is that from those of all, far below its error."""
    ens = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5)
    chain = grouped_chain(ens, 3, 2048, 3, field=mean_field(ens))
    settings = Settings(mass_resolution=8 / chain.n)
    some, _ = chain_law(chain, GROUPS, settings)
    every, _ = chain_law(chain, GROUPS, settings, sizes=SubsampleSizes(placement=chain.n))
    u = np.linspace(-5.5, 0.3, 400)
    assert np.abs(some.cdf(u) - every.cdf(u)).max() < 0.5 * every.error
    assert every.error < 2e-3


def test_stratified_chain_keeps_weight_and_outer_sites():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((1, 1, 1000)), rng.standard_normal((1, 1, 1000))
    chain = Chain([Stage(a, b, np.ones_like(b), (1.0,), (False,))])
    low, high = a[0, 0], b[0, 0]
    part = chain.subsample(100, low, high)
    assert part.n == 100
    assert part.weights.sum() == pytest.approx(1.0, abs=1e-12)
    kept_a, kept_b = part.stages[0].a[0, 0], part.stages[0].b[0, 0]
    assert set(np.sort(low)[:25]) <= set(kept_a)
    top = np.sort(np.delete(high, np.argsort(low)[:25]))[-25:]
    assert set(top) <= set(kept_b)
    assert np.array_equal(part.growth.log_growth, chain.growth.log_growth)


def test_population_grows_where_the_error_would_be_large():
    """2048 sites are too few for an error of 1e-3: more are asked for once, and F is averaged over these."""
    ens = rt.Ensemble("gru", sigma_w=2.5, sigma_v=1.2, R=0.9, weights="orthogonal")
    asked = []
    chain = grouped_chain(ens, 2, 256, 0, field=mean_field(ens))

    def larger(factor):
        asked.append(factor)
        return grouped_chain(ens, 2, 256 * factor, 1, field=mean_field(ens), like=chain)

    small, small_parts = chain_law(chain, GROUPS, Settings(mass_resolution=8 / 65536))
    grown, parts = chain_law(chain, GROUPS, Settings(mass_resolution=8 / 65536), larger)
    assert len(asked) == 1
    assert asked[0] > 1
    assert parts.population < 0.7 * small_parts.population
    u = grown.icdf(np.linspace(0.02, 0.98, 100))
    assert np.abs(small.cdf(u) - grown.cdf(u)).max() <= small.error
