"""The state 0 of an activation with a kink at 0: χ is that of small variances, not φ' at the kink itself."""

import pytest
import sympy as sp

import rmtrnn as rt

z, HALF = sp.Symbol("z"), sp.Rational(1, 2)
# φ and E[φ'²] for a vanishing variance: half of the squares of both slopes.
CASES = [
    ("relu", 0.5),
    ("leaky_relu", 0.5 * (1.0 + 0.01**2)),
    (sp.Abs(z), 1.0),
    (sp.Max(z / 2, 0), 0.125),
    (sp.tanh(sp.Max(z, 0)), 0.5),
    (z + sp.Abs(sp.Abs(z) - 1) - 1, 2.0),
    # The kinks of the parts lie where their arguments are ½: beside 0 these round to ½ and tie.
    (sp.Max(z / 2, z + HALF) - sp.Max(-HALF, sp.Min(HALF, sp.Max(z / 2, z + HALF))), 0.5),
]


@pytest.mark.parametrize(("phi", "square"), CASES)
def test_growth_of_the_state_zero(phi, square):
    ens = rt.Ensemble(rt.VanillaRNN(phi), sigma_w=0.6)
    field = rt.mean_field(ens)
    assert field.q == 0.0 and field.c_star == 1.0
    assert field.chi == pytest.approx(0.36 * square, rel=1e-12)
    assert field.chi_star == pytest.approx(0.36 * square, rel=1e-12)
    assert rt.spectrum(ens, 1).moment(1) == pytest.approx(field.chi, rel=1e-12)
    assert rt.spectral_radius(ens) ** 2 == pytest.approx(field.chi, rel=1e-9)
    small = rt.mean_field(ens.replace(sigma_b=1e-6))
    assert small.chi == pytest.approx(field.chi, rel=1e-4)
