"""S and R on both sides of a law: closed forms, consistency with M and G, and where they end."""

import numpy as np
import pytest

from rmtrnn import free

LAWS = {
    "marchenko-pastur": free.MarchenkoPastur(),
    "fuss-catalan": free.FussCatalan(3),
    "bernoulli": free.Discrete([0.0, 1.0], [0.5, 0.5]),
    "smooth": free.Pushforward(lambda y: np.cosh(y) ** -4.0, 1.0),
    "mixed": free.MarchenkoPastur(0.5) ** 2.5 @ free.Discrete([0.2, 1.0], [0.5, 0.5]),
    "tiny": free.FussCatalan(4).dilate(1e-200),
}


def right_edge(law):
    return max([end for _, end in law.support] + [where for where, _ in law.atoms])


@pytest.mark.equation(7, 8)
def test_closed_forms_left_and_right_of_the_law():
    m = np.array([-0.9, -0.1, -1e-9, 0.0, 1e-9, 0.1, 0.3])
    np.testing.assert_allclose(free.FussCatalan(3).S(m), (1 + m) ** -3, rtol=1e-13)
    g = np.array([-30.0, -0.5, -1e-9, 0.0, 1e-9, 0.1, 0.49])
    np.testing.assert_allclose(free.MarchenkoPastur().R(g), 1 / (1 - g), rtol=1e-13)


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.equation(7)
def test_they_invert_m_and_g(name):
    law = LAWS[name]
    z = right_edge(law) * np.array([-5.0, -0.01, 1.05, 2.0, 10.0])
    m, g = law.M(z).real, law.G(z).real
    np.testing.assert_allclose(law.S(m) * m * z / (1 + m), 1.0, rtol=1e-11)
    np.testing.assert_allclose((law.R(g) * g + 1.0) / (g * z), 1.0, rtol=1e-11)
    np.testing.assert_allclose([law.R(0.0), 1 / law.S(0.0)], law.moment(1), rtol=1e-13)


@pytest.mark.parametrize("name", LAWS)
def test_beyond_the_edge_they_are_refused(name):
    law = LAWS[name]
    if name == "bernoulli":  # an atom at the edge: M and G reach infinity there
        assert law.S(1e6) == pytest.approx((1 + 1e6) / (0.5 + 1e6))
        return
    at_edge = right_edge(law) * (1 + 1e-9)
    with pytest.raises(ValueError, match="must lie in"):
        law.S(2.0 * law.M(at_edge).real + 1.0)
    with pytest.raises(ValueError, match="must lie in"):
        law.R(2.0 * law.G(at_edge).real + 1.0 / at_edge)
    with pytest.raises(ValueError, match="must lie in"):
        law.S(-1.0)
