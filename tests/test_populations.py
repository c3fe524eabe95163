"""Populations of units with a variance profile: closed forms, plain networks, sampled block matrices."""

import numpy as np
import pytest
import sympy
from reference.kolmogorov import distance

import rmtrnn as rt
from rmtrnn.sampling.network import Network

SHARES = [0.8, 0.2]
PROFILE = [[1.0, 2.5], [1.5, 0.3]]
FAST, SLOW = (
    rt.Ensemble(rt.Leaky(delta), sigma_w=sigma_w, sigma_b=sigma_b)
    for delta, sigma_w, sigma_b in ((1.0, 1.3, 0.3), (0.3, 0.8, 0.6))
)


def mixed(tied=False, shares=SHARES, profile=PROFILE):
    return rt.populations([FAST.replace(tied=tied), SLOW.replace(tied=tied)], shares, profile)


@pytest.mark.equation(27)
def test_radius_and_moments_of_two_vanilla_classes_are_the_closed_form():
    """q_a = Σ_b p_b σ_ab² E[φ_b²] + σ_b,a²; radius² = largest eigenvalue of σ_ab² p_b E[φ_b'²]."""
    sigma_w, sigma_b = np.array([1.2, 0.7]), np.array([0.3, 0.5])
    ens = rt.populations(
        [rt.Ensemble("vanilla", sigma_w=w, sigma_b=b) for w, b in zip(sigma_w, sigma_b, strict=True)],
        SHARES,
        PROFILE,
    )
    variances = (sigma_w[:, None] * np.array(PROFILE)) ** 2 * np.array(SHARES)
    z, weights = np.polynomial.hermite_e.hermegauss(200)
    weights /= weights.sum()
    q = np.ones(2)
    for _ in range(400):
        q = variances @ (np.tanh(np.sqrt(q)[:, None] * z) ** 2 @ weights) + sigma_b**2
    slopes = np.cosh(np.sqrt(q)[:, None] * z) ** -4 @ weights
    radius2 = np.abs(np.linalg.eigvals(variances * slopes)).max()
    field = rt.mean_field(ens)
    assert field.chi == pytest.approx(radius2, rel=1e-9)
    assert field.q["e_2_1"] + field.q["e_2_2"] == pytest.approx(q[1], rel=1e-9)
    assert rt.spectral_radius(ens) ** 2 == pytest.approx(radius2, rel=2e-4)
    plain = rt.Ensemble("vanilla", sigma_w=1.2, sigma_b=0.3)
    assert abs(rt.mean_field(plain).chi / radius2 - 1) > 0.05  # the profile matters
    spec = rt.spectrum(ens, 1, population=4096)
    assert spec.moment(1) == pytest.approx(SHARES @ (slopes * variances.sum(axis=1)), rel=1e-3)


def test_equal_classes_are_the_plain_network():
    """Two classes that differ in nothing, of any sizes: the law of the vanilla network."""
    plain = rt.Ensemble("vanilla", sigma_w=1.3, sigma_b=0.4)
    exact, u = rt.spectrum(plain, 2), np.linspace(-3.0, 0.5, 30)
    law = rt.spectrum(rt.populations([plain, plain], [0.3, 0.7]), 2, population=4096)
    assert np.abs(law.log_s.cdf(u) - exact.log_s.cdf(u)).max() < law.error < 0.01
    alone = rt.populations([rt.Ensemble("gru", sigma_w=1.4, sigma_v=0.4)], [1.0])
    assert rt.mean_field(alone).chi == pytest.approx(
        rt.mean_field(rt.Ensemble("gru", sigma_w=1.4, sigma_v=0.4)).chi
    )


@pytest.mark.parametrize("tied", [False, pytest.param(True, marks=pytest.mark.sweep)])
def test_samples_agree_and_other_shares_and_profiles_do_not(tied):
    ens = mixed(tied)
    mc, law = rt.sample(ens, 2, N=250, trials=6), rt.spectrum(ens, 2, population=1024)
    report = rt.compare(law, mc)
    assert law.converged and report.agrees, str(report)
    assert abs(mc.moment(1).value - law.moment(1)) < 4 * mc.moment(1).error + 3 * law.moment_error(1)
    most = law.error + 0.5 / np.sqrt(mc.log_s.size)
    assert distance(law.log_s, mc.log_s) < most
    for wrong in (mixed(tied, shares=[0.5, 0.5]), mixed(tied, profile=1.6)):
        assert distance(rt.spectrum(wrong, 2, population=1024).log_s, mc.log_s) > 2 * most


@pytest.mark.sweep
@pytest.mark.equation(27)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_gated_classes_agree_with_samples(cell, tied):
    """Several stages and several states in each class; other shares, one class, other tying: controls."""
    one, other = (
        rt.Ensemble(cell, sigma_w=w, sigma_v=0.5, sigma_b=b, tied=tied) for w, b in ((2.0, 0.3), (0.5, 1.5))
    )

    def joined(*classes, shares=(0.35, 0.65)):
        return rt.populations(classes, shares, [[1.0, 0.3], [2.0, 1.0]])

    ens = joined(one, other)
    mc, law = rt.sample(ens, 2, N=160, trials=6), rt.spectrum(ens, 2, population=4096)
    assert law.converged and rt.compare(law, mc).agrees
    right = distance(law.log_s, mc.log_s)
    most = law.error + 0.5 / np.sqrt(mc.log_s.size)
    assert right < most
    for wrong in (joined(one, other, shares=(0.7, 0.3)), one):
        assert distance(rt.spectrum(wrong, 2, population=4096).log_s, mc.log_s) > 2 * most


@pytest.mark.parametrize("cell", ["minimal", "gru", "lstm"])
def test_the_jacobian_of_a_step_is_the_derivative_of_the_step(cell):
    """Finite differences of the state of a tied network of two classes, without input."""
    classes = [
        rt.Ensemble(cell, sigma_w=1.5, sigma_b=0.5, R=0.0, tied=True),
        rt.Ensemble(cell, R=0.0, tied=True),
    ]
    ens, n = rt.populations(classes, [0.4, 0.6], [[1.0, 2.0], [0.5, 1.0]]), 10
    network = Network(ens, n, 3, 0, np, "float64")
    network.run(5)
    start, size = network.state.copy(), ens.cell.components
    units = [slice(0, 4), slice(4, 10)]

    def read(state):
        """The components of every unit, those of its class."""
        return np.concatenate(
            [np.concatenate([state[a * size + i, one] for a, one in enumerate(units)]) for i in range(size)]
        )

    def after(column, move):
        moved = start.copy()
        i, unit = divmod(column, n)
        moved[(unit >= 4) * size + i, unit] += move
        network.state = moved
        network.run(1)
        return read(network.state)

    found = np.array([(after(k, 1e-6) - after(k, -1e-6)) / 2e-6 for k in range(size * n)]).T
    network.state = start
    np.testing.assert_allclose(network.step()(np.eye(size * n)), found, atol=1e-8)


def test_files_names_and_refusals():
    ens = mixed()
    assert rt.Ensemble.from_dict(ens.to_dict()) == ens and ens.cell.shares == (0.8, 0.2)
    assert ens != mixed(shares=[0.5, 0.5]) and "shares 0.8, 0.2" in str(ens.cell)
    assert ens.replace(tied=True).cell.shares == ens.cell.shares
    with pytest.raises(ValueError, match="must sum to 1"):
        mixed(shares=[0.5, 0.6])
    with pytest.raises(ValueError, match="profile"):
        mixed(profile=[1.0, 2.0])
    with pytest.raises(ValueError, match="weights = 'orthogonal'"):
        rt.populations([FAST.replace(weights="orthogonal"), SLOW], SHARES)
    with pytest.raises(ValueError, match="tied = True; must be the same"):
        rt.populations([FAST, SLOW.replace(tied=True)], SHARES)
    with pytest.raises(ValueError, match="the same gates"):
        rt.populations([FAST, rt.Ensemble("gru")], SHARES)
    with pytest.raises(ValueError, match="N = 2: must be large enough"):
        rt.sample(ens, 1, N=2)
    for function, arguments in ((rt.lyapunov, ()), (rt.outliers, ()), (rt.sensitivity, (3,))):
        with pytest.raises(ValueError, match="has classes of units"):
            function(ens, *arguments)
    with pytest.raises(ValueError, match="has classes of units"):
        rt.Stack([ens])


def test_own_cells_may_have_classes_but_must_not_mix_them():
    a, b, x, e = sympy.symbols("a b x e")
    parts = {"state": [a, b], "input": x, "shares": [0.5, 0.5]}
    with pytest.raises(ValueError, match="contains b, of another class"):
        rt.Cell("mixed", gates={e: a}, update={a: sympy.tanh(e) + b, b: b}, **parts)
    with pytest.raises(ValueError, match="drives 2 classes"):
        rt.Cell("mixed", gates={e: a}, update={a: sympy.tanh(e), b: sympy.tanh(e)}, **parts)
