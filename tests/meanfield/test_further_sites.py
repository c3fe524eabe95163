"""χ on further sets of sites: the error that is asked for, against more sites; where they cannot help."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.meanfield import further_sites
from rmtrnn.meanfield.further_sites import Near, further_growth, groups_of
from rmtrnn.meanfield.tied_field import tied_field, tied_growth

ENSEMBLE = rt.Ensemble("minimal", sigma_w=3.34, sigma_v=0.5, R=0.96, Sigma=1.0, tied=True)


def field_and_growth(sites, seed=0):
    field = tied_field(ENSEMBLE, None, sites, seed)
    return field, *tied_growth(field, seed)


@pytest.mark.slow
def test_further_sites_reach_the_tolerance_and_the_truth():
    """As many sets as 512 sites need for a third of their error; 8192 sites know χ better still."""
    field, growth, error = field_and_growth(512)
    chi, left = further_growth(field, growth, error, 0, error / 3.0)
    assert left < 1.2 * error / 3.0
    _, exact, other = field_and_growth(8192, seed=3)
    assert abs(chi - exact.chi) < left + other
    wrong = tied_field(ENSEMBLE.replace(sigma_w=3.5), None, 512, 0)
    assert abs(tied_growth(wrong, 0)[0].chi - exact.chi) > left + other


def test_the_workers_do_not_matter():
    field, growth, error = field_and_growth(256)
    alone = further_growth(field, growth, error, 0, 0.6 * error)
    with ThreadPoolExecutor(2) as executor:
        assert further_growth(field, growth, error, 0, 0.6 * error, executor) == alone
    assert further_growth(field, growth, error, 1, 0.6 * error) != alone


def test_where_no_further_sites_are_needed():
    field, growth, error = field_and_growth(256)
    assert further_growth(field, growth, error, 0, error) == (growth.chi, error)
    stuck = growth._replace(site_limited=True)
    assert further_growth(field, stuck, error, 0, 1e-9) == (growth.chi, error)
    known = tied_field(rt.Ensemble(rt.Leaky(0.5), sigma_w=2.0, tied=True), None, 256, 0)
    exact, error = tied_growth(known, 0)
    assert further_growth(known, exact, error, 0, 1e-300) == (exact.chi, error)


@pytest.mark.parametrize("factor", [1 / 3, 3])
@pytest.mark.parametrize("name", ["rounds", "share"])
def test_how_well_a_set_is_solved_matters_less_than_its_noise(monkeypatch, name, factor):
    field, growth, _ = field_and_growth(512)
    assert field.state is not None
    sites, values = field.state.sites, field.state.spectra.values
    near = Near(
        ENSEMBLE, sites.period, sites.per_group, field.Q.value, values, growth, field.state.settings, 0
    )
    usual = groups_of(near, 0)
    changed = type(getattr(further_sites.SETTINGS, name))(getattr(further_sites.SETTINGS, name) * factor)
    monkeypatch.setattr(further_sites, "SETTINGS", replace(further_sites.SETTINGS, **{name: changed}))
    noise = usual.std(ddof=1) / np.sqrt(usual.size)
    assert abs(groups_of(near, 0).mean() - usual.mean()) < 0.3 * noise
    assert np.abs(groups_of(near, 1) - usual).max() > noise
