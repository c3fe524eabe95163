"""The burn-in ends when the state is stationary, and says where it is not."""

import dataclasses
import math

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.sampling.burn_in import BurnInSettings, equilibrate, halves_agree, plan
from rmtrnn.sampling.network import Networks


def burn_in(ens, n=200, **options):
    mc = rt.sample(ens, T=1, N=n, trials=2, **options)
    return mc.provenance["burn_in"], mc.stationary


def test_burn_in_follows_the_slowness_of_the_network():
    quick = rt.Ensemble("minimal", sigma_w=3.0, sigma_v=1.2, mu_b=2.0, R=0.46)
    # u ≈ 0.9975: a share of 1/400 of the state is replaced at every step.
    steps, stationary = burn_in(quick.replace(mu_b=6.0), n=100)
    assert 4000 <= steps <= 16000 and stationary
    assert burn_in(quick)[0] in (500, 1000) and burn_in(quick)[1]
    assert burn_in(quick, burn_in=7) == (7, None)
    near = rt.Ensemble("vanilla", sigma_w=1.01, sigma_b=0.01)
    assert burn_in(near, n=50)[0] > 8 * rt.mean_field(near).timescale > 500


def test_where_nothing_is_stationary_it_is_said():
    critical = rt.Ensemble("vanilla", sigma_w=1.0)
    assert burn_in(critical) == (500, False)
    spec = rt.spectrum(rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05), T=1)
    mc = rt.sample(critical, T=1, N=20, trials=2)
    assert "NOT stationary" in str(rt.compare(spec, mc, same_network=False))
    linear = rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=1.3)
    assert burn_in(linear) == (0, True)


def test_drifting_networks_are_told_from_fluctuating_ones():
    noise = np.random.default_rng(1).standard_normal((400, 62, 1))
    flat = np.mean([halves_agree(1.0 + 0.05 * rows) for rows in noise])
    drift = np.exp(-np.arange(62) / 30)[:, None]
    moving = np.mean([halves_agree(1.0 + drift + 0.05 * rows) for rows in noise])
    assert flat > 0.95
    assert moving < 0.05


NETWORKS = {
    "quick": rt.Ensemble("vanilla", sigma_w=1.5, sigma_b=0.3),
    "slow": rt.Ensemble("minimal", sigma_w=1.5, sigma_v=0.5, mu_b=3.0, R=0.5),
}


@pytest.mark.parametrize("factor", [3, 1 / 3])
@pytest.mark.parametrize("number", [field.name for field in dataclasses.fields(BurnInSettings)])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_number_moved_by_three_leaves_the_network_stationary(name, number, factor):
    """The mean of h² over 24 networks is that of the mean field within four standard errors."""
    ens, value = NETWORKS[name], getattr(BurnInSettings(), number)
    moved = max(2, round(value * factor)) if isinstance(value, int) else value * factor
    settings = dataclasses.replace(BurnInSettings(), **{number: moved})
    networks = Networks(ens, 60, 4, range(24), np, "float64")
    equilibrate(networks, plan(ens, settings).get("least", 0), settings)
    squares = np.mean(networks.state**2, axis=(0, 2))
    assert abs(squares.mean() - rt.mean_field(ens).Q) < 4 * squares.std(ddof=1) / math.sqrt(24) + 0.01


def test_without_a_burn_in_the_network_is_not_stationary():
    """The negative control of the test above: networks start from E[h²] = 1."""
    networks = Networks(NETWORKS["slow"], 60, 4, range(24), np, "float64")
    networks.run(5)
    squares = np.mean(networks.state**2, axis=(0, 2))
    assert abs(squares.mean() - rt.mean_field(NETWORKS["slow"]).Q) > 0.1
