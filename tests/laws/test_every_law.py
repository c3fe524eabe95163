"""Every kind of law through one suite (tests/laws/generic_law.py), broken ones as a negative control."""

from __future__ import annotations

import functools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from generic_law import CHECKS, Subject, check_density, check_mass, check_moments, check_quantiles

import rmtrnn as rt
from rmtrnn import free
from rmtrnn._core.status import Status
from rmtrnn.free.exponents import ExponentLaw
from rmtrnn.laws.moments import Moments
from rmtrnn.laws.protocol import LogView
from rmtrnn.laws.quantile_law import QuantileLaw
from rmtrnn.laws.tabulated import Interval, TabulatedLaw, monotone_panels, tabulate
from rmtrnn.spectra.free_product import VanillaLaw


def square(u):
    return np.exp(2 * u)


def tabulated_two():
    """Two intervals, an atom between them and one at s = 0."""
    return tabulate(
        lambda u: np.full(u.shape, 0.25),
        [Interval(2, 3), Interval(0, 1)],
        atoms=[(0.5, 0.25), (1.5, 0.1), (-math.inf, 0.15)],
        tol=1e-10,
    )


def tabulated_hard():
    exact = free.FussCatalan(4).log
    return tabulate(
        lambda u: 2 * exact.pdf(2 * u), [Interval(-np.inf, exact.support[0][1] / 2, 0.4)], tol=1e-9
    )


def tabulated_cubics():
    angle = np.linspace(0.0, np.pi, 200)
    value, slope = 0.5 * (1 - np.cos(angle)) ** 2 / 2, 0.5 * (1 - np.cos(angle)) * np.sin(angle)
    return TabulatedLaw([(Interval(-2.0, 1.0), monotone_panels(angle, value, slope))])


VANILLA = {
    "tanh, Gaussian": (rt.Ensemble("vanilla", sigma_w=1.3, sigma_b=0.2), 4),
    "tanh, orthogonal, one step": (rt.Ensemble("vanilla", sigma_w=1.3, sigma_b=0.2, weights="orthogonal"), 1),
    "relu": (rt.Ensemble(rt.VanillaRNN("relu"), sigma_w=1.4, sigma_b=0.1), 2),
    "hard_tanh, orthogonal": (
        rt.Ensemble(rt.VanillaRNN("hard_tanh"), sigma_w=1.1, sigma_b=0.2, weights="orthogonal"),
        5,
    ),
}
POSITIVE = {
    "Marchenko–Pastur": lambda: free.MarchenkoPastur(0.5),
    "Marchenko–Pastur, wide": lambda: free.MarchenkoPastur(2.0),
    "Fuss–Catalan": lambda: free.FussCatalan(3),
    "points": lambda: free.Discrete([0.5, 1.0, 2.0], [0.3, 0.3, 0.4]),
    "points @ Marchenko–Pastur": lambda: (
        free.Discrete([0.0, 1.0, 2.0], [0.2, 0.4, 0.4]) @ free.MarchenkoPastur(0.1)
    ),
    "free power of points": lambda: free.Discrete([0.5, 1.0], [0.2, 0.8]) ** 1.5,
}
REAL = {
    "semicircle": lambda: free.Semicircle(2.0),
    "semicircle + points": lambda: free.Semicircle(1.0) + free.Discrete([-1.0, 1.0], [0.5, 0.5]),
}


def newman_quantiles():
    """Exponents u = ½ log p of square Gaussian matrices (Newman 1986) by their quantiles."""
    levels = np.concatenate([np.geomspace(1e-3, 0.01, 20), np.linspace(0.02, 0.99, 98)])
    return QuantileLaw(levels, 0.5 * np.log(levels), 0.0, 1e-6)


EXPONENTS = {"ExponentLaw": lambda: ExponentLaw(free.MarchenkoPastur()), "QuantileLaw": newman_quantiles}
TABULATED = {"two intervals": tabulated_two, "hard edge": tabulated_hard, "monotone cubics": tabulated_cubics}


@functools.lru_cache(maxsize=1)
def dyson_spectrum():
    return rt.spectrum(rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5), 2, population=2048)


def subjects():
    """(name, function that makes the subject); laws are made inside the tests."""
    for name, make in POSITIVE.items():
        yield f"PositiveLaw {name}", lambda make=make: of_positive(make(), in_log=False)
        yield f"PositiveLaw.log {name}", lambda make=make: of_positive(make(), in_log=True)
    for name, make in REAL.items():
        yield f"RealLaw {name}", lambda make=make: of_real(make())
    for name, make in TABULATED.items():
        yield f"TabulatedLaw {name}", lambda make=make: of_log_law(make())
    for name, (ens, T) in VANILLA.items():
        yield f"VanillaLaw {name}", lambda ens=ens, T=T: of_log_law(rt.spectrum(ens, T)._law)
        yield f"Spectrum {name}", lambda ens=ens, T=T: of_spectrum(rt.spectrum(ens, T))
    for name, make in EXPONENTS.items():
        yield name, lambda make=make: of_exponents(make())
    yield "Spectrum minimal", lambda: of_spectrum(dyson_spectrum(), tol=1e-8)


def of_positive(law, *, in_log):
    # Beyond the last edge of the curve the cdf of a free product is known to about 1e-9.
    if in_log:
        return Subject(repr(law), law.log, law.moment, np.exp, 1e-8, "u")
    return Subject(repr(law), law, law.moment, lambda x: x, 1e-8)


def of_real(law):
    return Subject(repr(law), law, law.moment, lambda x: x, 1e-7)


def of_exponents(law):
    """E[u] = −½ and E[u²] = ½ of u = ½ log p, p uniform."""
    return Subject(repr(law), law, {1: -0.5, 2: 0.5}.__getitem__, lambda u: u, 1e-8, "u")


def of_log_law(law):
    return Subject(type(law).__name__, LogView(law), law.moment, square, 1e-8, "u")


def of_spectrum(spec, tol=1e-8):
    return Subject(repr(spec), spec, spec.density_moment, lambda s: s**2, tol, "s")


SUBJECTS = {name: functools.lru_cache(maxsize=1)(make) for name, make in subjects()}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", SUBJECTS)
def test_every_law(name, check):
    check(SUBJECTS[name]())


def test_a_broken_law_fails():
    """Negative control: a density twice too large, a lost tenth of the mass, quantiles and moments moved."""
    law = LogView(tabulated_cubics())
    parts = {"pdf": law.pdf, "cdf": law.cdf, "icdf": law.icdf, "support": law.support, "atoms": law.atoms}

    def broken(moment=1.0, **changed):
        tabulated = tabulated_cubics()
        return Subject(
            "broken", SimpleNamespace(**parts | changed), lambda k: moment * tabulated.moment(k), square, 1e-8
        )

    for check in (check_mass, check_quantiles, check_density, check_moments):
        check(broken())
    wrong = [
        (check_density, broken(pdf=lambda u: 2 * law.pdf(u))),
        (check_density, broken(pdf=lambda u: 1.001 * law.pdf(u))),
        (check_mass, broken(cdf=lambda u: 0.9 * law.cdf(u))),
        (check_mass, broken(support=((-2.0, 0.5),))),
        (check_quantiles, broken(icdf=lambda p: law.icdf(p) + 1e-4)),
        (check_quantiles, broken(icdf=lambda p: law.icdf(p) - 1e-4)),
        (check_moments, broken(moment=1.01)),
    ]
    for check, subject in wrong:
        with pytest.raises(AssertionError):
            check(subject)


@pytest.mark.parametrize("make", TABULATED.values(), ids=TABULATED.keys())
def test_a_tabulated_law_survives_storage(make):
    law = make().restated(more_error=1e-5, status=Status.MAX_ITERATIONS, known=Moments(0.1, 1.2, (0.0, 0.1)))
    again = TabulatedLaw.from_parts(*law.to_parts())
    u = np.linspace(-4.0, 4.0, 300)
    np.testing.assert_array_equal(again.cdf(u), law.cdf(u))
    np.testing.assert_array_equal(again.pdf(u), law.pdf(u))
    for name in ("error", "status", "known", "support", "atoms", "mass"):
        assert getattr(again, name) == getattr(law, name)


@pytest.mark.parametrize("name", ["relu", "tanh, Gaussian"])
def test_a_vanilla_law_survives_storage(name):
    law = rt.spectrum(*VANILLA[name])._law
    again = VanillaLaw.from_parts(*law.to_parts())
    np.testing.assert_array_equal(again.icdf(np.linspace(0, 1, 9)), law.icdf(np.linspace(0, 1, 9)))
    assert (again.error, again.status, again.atoms) == (law.error, law.status, law.atoms)


def test_a_spectrum_survives_storage(tmp_path):
    spec = dyson_spectrum()
    again = rt.load(spec.save(tmp_path / "law"))
    p = np.linspace(0, 1, 9)
    np.testing.assert_array_equal(again.icdf(p), spec.icdf(p))
    for name in ("T", "method", "error", "status", "ensemble", "mass"):
        assert getattr(again, name) == getattr(spec, name)
    # The routes to the moments that need no law are handed in again.
    assert again.moment(1) == spec.moment(1)
    assert again.moment_error(2) == spec.moment_error(2)


@pytest.mark.parametrize("name", ["error", "status", "known", "support", "atoms", "mass"])
def test_a_tabulated_law_cannot_be_changed(name):
    with pytest.raises(AttributeError):
        setattr(tabulated_two(), name, None)


def test_restating_leaves_the_law_alone():
    law = tabulated_two()
    other = law.restated(more_error=0.1, status=Status.MAX_ITERATIONS)
    assert law.status is Status.CONVERGED
    assert other.status is Status.MAX_ITERATIONS
    assert other.error == pytest.approx(law.error + 0.1)
    np.testing.assert_array_equal(other.cdf(np.linspace(0, 3, 50)), law.cdf(np.linspace(0, 3, 50)))


@pytest.mark.parametrize(
    "name", ["ensemble", "T", "method", "log_s", "error", "status", "mass", "support", "atoms"]
)
def test_a_spectrum_cannot_be_changed(name):
    with pytest.raises(AttributeError):
        setattr(rt.spectrum(*VANILLA["relu"]), name, None)
