"""The study of gated networks: its rules, its distance and noise, and samples that are kept and put back."""

from __future__ import annotations

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.sampling.sample import Sample
from validation import core
from validation.beyond.eigenvalues import cases as curves
from validation.beyond.eigenvalues import findings
from validation.beyond.gated import cases, laws, networks, samples, verdict

LIMIT = verdict.LIMIT["standard"]


def _meta(distance=0.004, error=1e-3, noise=0.003, converged=True, wrong=None):
    theory = {"converged": converged, "cdf error": error, "distance": distance}
    return {"theory": theory, "noise": noise, "wrong": {"other": wrong or {"converged": False}}}


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, "within"),
        ({"distance": 0.011}, "beyond"),
        ({"error": 0.011}, "undecided"),
        ({"noise": 0.011, "distance": 0.2}, "undecided"),
        ({"converged": False}, "not converged"),
    ],
)
def test_verdict_of_the_theory(changed, found):
    assert verdict.of_theory(_meta(**changed), LIMIT) == found


@pytest.mark.parametrize(
    ("distance", "apart", "found"),
    [
        (0.03, 0.03, "rejected"),
        (0.012, 0.019, "rejected"),
        (0.009, 0.019, "too close"),
        (0.009, 0.021, "NOT rejected"),
    ],
)
def test_verdict_of_a_wrong_law(distance, apart, found):
    wrong = {"converged": True, "distance": distance, "apart": apart}
    assert verdict.of_wrong(_meta(wrong=wrong), "other", LIMIT) == found
    assert verdict.of_wrong(_meta(wrong=wrong, noise=0.02), "other", LIMIT) != "rejected"
    assert verdict.of_wrong(_meta(), "other", LIMIT) == "not converged"


def test_noise_is_the_distance_of_independent_draws():
    """Pooled uniform numbers: √n D is 0.869 in the mean (Kolmogorov), and so is the noise from the trials."""
    rng = np.random.default_rng(1)
    draws = rng.uniform(size=(40, 8, 200))
    noises = [samples.noise(one) for one in draws]
    distances = [samples.distance(np.sort(one, axis=None), np.sort(one, axis=None)) for one in draws]
    expected = 0.869 / np.sqrt(1600)
    assert np.mean(noises) == pytest.approx(expected, rel=0.12)
    assert np.mean(distances) == pytest.approx(expected, rel=0.15)


def test_samples_are_kept_and_put_back(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "FOLDER", tmp_path / "cache")
    case = cases.list_cases("quick")[0]
    assert not samples.keep([case], tmp_path)
    ens = rt.Ensemble.from_dict(case.settings["ensemble"])
    log_s = np.sort(np.random.default_rng(2).standard_normal((2, 5)))
    log_s[0, 0] = -np.inf
    samples.path(case).parent.mkdir()
    Sample(log_s, ens, case.settings["T"], case.settings["N"], {"seed": 1}).save(samples.path(case))
    assert samples.keep([case], tmp_path)
    samples.path(case).unlink()
    assert (samples.restore(tmp_path), samples.restore(tmp_path)) == (1, 0)
    back = samples.draw(case, core.Workers(1))
    np.testing.assert_allclose(back.log_s, log_s, rtol=1e-6)
    assert (back.ensemble, back.T, back.provenance) == (ens, case.settings["T"], {"seed": 1})


def test_wrong_laws_differ_from_the_network():
    for ens in networks.networks().values():
        for own in laws.wrong_laws(ens, 3, True):
            assert own.free or own.ensemble != ens
        assert [own.name for own in laws.wrong_laws(ens.replace(tied=True), 3, True)] == [laws.UNTIED]


def test_a_disc_of_eigenvalues_agrees_and_a_wrong_radius_does_not():
    """The rule of the eigenvalue study, tried on Ginibre matrices."""
    rng = np.random.default_rng(3)
    n, angles = 300, np.exp(2j * np.pi * np.arange(128) / 128)
    found = np.array([np.linalg.eigvals(rng.standard_normal((n, n)) / np.sqrt(n)) for _ in range(3)])
    agrees = {}
    for radius in (0.9, 1.0, 1.15):
        own = {"outside": float(np.mean(np.abs(found) > radius)), **curves._gap(radius * angles, found)}
        agrees[radius] = findings.agrees(own, n)
    assert agrees == {0.9: False, 1.0: True, 1.15: False}
