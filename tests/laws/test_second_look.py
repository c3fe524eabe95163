"""Each check of the second look, on a law that passes it and on one damaged so that it fails."""

import dataclasses
import math

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn._core.status import Status
from rmtrnn.dyson.chain_law import checked
from rmtrnn.free.log_form import ProductInLog
from rmtrnn.free.subordination import RealLaw
from rmtrnn.laws import second_look as module
from rmtrnn.laws.second_look import mean_of_power, second_look

LAW = rt.spectrum(rt.Ensemble("vanilla", sigma_b=0.3), 2)._law
LOG_MEAN = math.log(rt.spectrum(rt.Ensemble("vanilla", sigma_b=0.3), 2).moment(1))


class Damaged:
    """A law with some of its functions replaced."""

    def __init__(self, **replaced):
        self._replaced = replaced

    def __getattr__(self, name):
        return self._replaced.get(name, getattr(LAW, name))


(END,) = LAW.support
DAMAGED = {
    "mass": {"mass": 1.01},
    "distribution function": {"cdf": lambda u: LAW.cdf(u) - 0.2 * np.exp(-20.0 * (u + 1.0) ** 2)},
    "support": {"support": ((END[0], END[1] - 0.3),)},
    "sign of Im G": {"pdf": lambda u: LAW.pdf(u) - 0.05},
    "first moment": {"cdf": lambda u: LAW.cdf(u + 0.01)},
}


def look(law, error=1e-12):
    return second_look(law, error=error, mass=law.mass, mean=mean_of_power(law, 2.0, LOG_MEAN))


def test_a_right_law_passes():
    found = look(LAW)
    assert not found.failed and found.status is Status.CONVERGED and found.covering_error == 1e-12
    assert {name for name, _ in found.defects} == set(DAMAGED)


@pytest.mark.parametrize("name", DAMAGED)
def test_each_check_finds_its_damage(name):
    law = Damaged(**DAMAGED[name])
    found = look(law)
    assert name in found.failed and found.status is Status.INCONSISTENT
    assert found.covering_error >= 1e-3 and name in found.message and "rt.sample" in found.message
    assert not look(law, error=0.05).failed  # an error that was stated is no contradiction


def test_gaps_and_atoms():
    law = rt.free.Discrete([1.0, 2.0, 4.0], [0.3, 0.3, 0.4]) ** 1.2
    assert law.status is Status.CONVERGED and len(law.support) == 2 and len(law.atoms) == 3
    (_, left), (right, _), *_ = law.log.support
    inner = 0.5 * (left + right)

    class Rising:
        atoms, support, pdf = law.log.atoms, law.log.support, staticmethod(law.log.pdf)

        @staticmethod
        def cdf(v):
            return law.log.cdf(v) + 0.01 * (v > inner) * (v < law.log.support[-1][1])

    assert "support" in second_look(Rising(), error=1e-9).failed
    assert second_look(Damaged(support=(), atoms=()), error=0.0).failed == ("support",)


def test_a_vanilla_spectrum_with_another_first_moment_is_inconsistent(monkeypatch):
    ens = rt.Ensemble("vanilla", sigma_b=0.3)
    right = ProductInLog.log_moment
    monkeypatch.setattr(ProductInLog, "log_moment", lambda self, k: right(self, k) + 0.1)
    spec = rt.spectrum(ens, 3)
    assert spec.status is Status.INCONSISTENT and not spec.converged and spec.error > 1e-3
    law = rt.free.MarchenkoPastur() ** 2
    assert law.status is Status.INCONSISTENT and "first moment" in law.message


def test_a_law_on_the_line_that_is_none():
    right = rt.free.Semicircle(1.0)
    assert right.status is Status.CONVERGED and right.message == "converged"
    moved = RealLaw(right._stieltjes, (-1.0, 1.0), [], lambda k: [0.2] * k, "moved")
    assert moved.status is Status.INCONSISTENT and moved.error > 0.05 and "first moment" in moved.message

    # A negative density is left out of the support, so that mass is missing; and seen at the nodes.
    def dented(z):
        return right._stieltjes(z) + 1.5j * np.exp(-(((np.real(z) - 0.2) / 0.05) ** 2))

    with pytest.raises(rt.ConvergenceError, match="carry the mass"):
        RealLaw(dented, (-1.0, 1.0), [], lambda k: [0.0] * k, "dented").cdf(0.0)
    assert second_look(right, error=1e-9, floor=-0.1).failed == ("sign of Im G",)


def test_a_dyson_law_with_another_first_moment_is_inconsistent():
    ens = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0)
    spec = rt.spectrum(ens, 1, population=4096)
    assert spec.converged
    law = spec._law
    assert checked(law, math.log(spec.moment(1))).status is Status.CONVERGED
    found = checked(law, math.log(spec.moment(1)) + 1.5)
    assert found.status is Status.INCONSISTENT and found.error > 0.01


NUMBERS = [f.name for f in dataclasses.fields(module.LookSettings)]


@pytest.mark.parametrize("factor", [1 / 3, 3.0])
@pytest.mark.parametrize("name", NUMBERS)
def test_no_verdict_hangs_on_a_number(name, factor, monkeypatch):
    value = getattr(module.SETTINGS, name)
    moved = tuple(factor * x for x in value) if isinstance(value, tuple) else type(value)(factor * value)
    monkeypatch.setattr(module, "SETTINGS", dataclasses.replace(module.SETTINGS, **{name: moved}))
    assert not look(LAW).failed
    for damage, replaced in DAMAGED.items():
        assert damage in look(Damaged(**replaced)).failed
