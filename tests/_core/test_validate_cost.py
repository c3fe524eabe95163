"""Sizes that cannot be meant are refused at the door, and the message names what they would cost."""

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn._core import validate

VANILLA = rt.Ensemble("vanilla", sigma_b=0.3)
MINIMAL = rt.Ensemble("minimal", sigma_b=0.3)
HUGE = 10**12
GRID = np.linspace(0.1, 2.0, 10**5)


@pytest.mark.parametrize(
    "call",
    [
        lambda: rt.free.MarchenkoPastur().moment(10**7),
        lambda: rt.free.Semicircle(1.0).moment(10**7),
        lambda: rt.spectrum(VANILLA, 2).moment(10**7),
        lambda: rt.free.MarchenkoPastur().rvs(HUGE),
        lambda: rt.free.Semicircle(1.0).rvs(HUGE),
        lambda: rt.spectrum(VANILLA, 2).rvs(HUGE),
        lambda: rt.spectrum(VANILLA, 10**400),
        lambda: rt.spectrum(MINIMAL, 10**9),
        lambda: rt.spectrum(MINIMAL.replace(tied=True), 10**9),
        lambda: rt.spectrum(MINIMAL, 1, population=2**40),
        lambda: rt.spectrum(MINIMAL.replace(tied=True), 1, population=2**40),
        lambda: rt.spectrum(MINIMAL, 1, max_points=HUGE),
        lambda: rt.mean_field(MINIMAL.replace(tied=True), sites=2**40),
        lambda: rt.mean_field(VANILLA, steps=HUGE),
        lambda: rt.sample(VANILLA, 10**30, N=16, trials=2),
        lambda: rt.sample(VANILLA, 2, N=16, trials=HUGE),
        lambda: rt.sample(VANILLA, 2, N=16, trials=2, burn_in=HUGE),
        lambda: rt.sample_lyapunov(VANILLA, N=16, steps=HUGE, trials=2),
        lambda: rt.isometry(VANILLA, 10**400),
        lambda: rt.critical("minimal", T=10**400),
        lambda: rt.eigenvalue_curve(MINIMAL, points=HUGE),
        lambda: rt.phase_diagram(
            VANILLA, sigma_w=np.linspace(0.1, 2, 10**5), sigma_b=np.linspace(0.1, 2, 10**5)
        ),
    ],
)
def test_refused_with_its_cost(call):
    with pytest.raises(ValueError, match=r"GiB of memory|years of one core|than a float holds"):
        call()


def test_the_limit_is_a_month():
    assert validate.cost("T", 100, 1.0) == 100
    with pytest.raises(ValueError, match=r"^T = 3000000: would take some 0\.095 years .* at most 2\.6e\+06"):
        validate.cost("T", 3_000_000, 1.0)


def test_powers_of_two():
    assert validate.power_of_two("sites", 64, low=8) == 64
    assert validate.power_of_two("sites", 96, times=3) == 96
    for value in (0, -8, 3, 96):
        with pytest.raises(ValueError, match=rf"sites = {value}: must be a power of two"):
            validate.power_of_two("sites", value)
    with pytest.raises(ValueError, match="n = 64: must be 3 times a power of two"):
        validate.power_of_two("n", 64, times=3)
    with pytest.raises(ValueError, match="from 8 to 16"):
        validate.power_of_two("n", 32, low=8, high=16)
    with pytest.raises(TypeError, match="integer"):
        validate.power_of_two("n", 8.0)
