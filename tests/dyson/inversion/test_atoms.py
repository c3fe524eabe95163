"""Gates that can be exactly 0 leave singular values that are exactly 0; populations grow as chi^t."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
from scipy.special import ndtr

import rmtrnn as rt
from rmtrnn.dyson.law import grouped_chain
from rmtrnn.meanfield import mean_field


def hard_gated():
    """A minimalRNN with the hard sigmoid max(0, min(1, (e + 1)/2)) for its gate."""
    h, x, e = sympy.symbols("h x e")
    u = sympy.Max(0, sympy.Min(1, (e + 1) / 2))
    return rt.Cell("hard", state=h, input=x, gates=[rt.Gate("e", e, h)], update=[u * h + (1 - u) * x])


ENS = rt.Ensemble(hard_gated(), sigma_w=1.5, sigma_v=1.0, mu_b=0.2)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_one_step_has_the_mass_of_the_closed_gate_at_zero(weights):
    """T = 1: u = 0 makes a = b = 0, a row of zeros in J; all others are independent."""
    ens = ENS.replace(weights=weights)
    law = rt.spectrum(ens, 1, population=16384)
    (atom,) = law.atoms
    assert atom[0] == 0.0
    assert atom[1] == pytest.approx(ndtr((-1 - 0.2) / np.sqrt(mean_field(ens).q_of("e"))), abs=2e-3)
    assert law.cdf(0.0) == atom[1]
    assert law.mass == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_three_steps_have_more_than_one_and_less_than_the_union(weights):
    """Between P(u = 0) of one step and that of any of three, and as in sampled networks, N = 300 x 4."""
    ens = ENS.replace(weights=weights)
    law = rt.spectrum(ens, 3, population=16384)
    (atom,) = law.atoms
    once = ndtr((-1 - 0.2) / np.sqrt(mean_field(ens).q_of("e")))
    assert once + 0.03 < atom[1] < 1 - (1 - once) ** 3 - 0.03
    log_s = rt.sample(ens, T=3, N=300, trials=4, seed=1).log_s
    zero = (log_s < -20.0).mean(axis=1)
    # Binomial counts of 300 sites: 0.027 for one network.
    assert abs(zero.mean() - atom[1]) < 4 * 0.027 / 2
    above = np.sort(log_s[log_s > -20.0])
    share = (np.arange(above.size) + 0.5) / above.size
    found = (law.log_s.cdf(above) - atom[1]) / (1 - atom[1])
    assert np.abs(found - share).max() < 0.03


@pytest.mark.parametrize(
    ("cell", "T", "sites"),
    [("minimal", 1, 512), ("minimal", 6, 512), ("gru", 6, 512), ("minimal", 100, 2048)],
)
def test_population_grows_as_the_mean_field_says(cell, T, sites):
    """E s^2 = chi^t after every t steps, with weights that are hardly changed."""
    ens = rt.Ensemble(cell, sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5)
    field = mean_field(ens)
    chain = grouped_chain(ens, T, sites, 0, field=field)
    after = np.cumsum(chain.growth.log_growth)[
        len(chain.growth.log_growth) // T - 1 :: len(chain.growth.log_growth) // T
    ]
    np.testing.assert_allclose(after, np.arange(1, T + 1) * np.log(field.chi), atol=1e-5)
    assert np.std(chain.weights * chain.n) < 0.05
    assert chain.weights.min() > 0.0
