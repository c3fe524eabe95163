"""Cells of the library: their equations against plain NumPy, and their laws against sampled Jacobians."""

import numpy as np
import pytest

import rmtrnn as rt

RNG = np.random.default_rng(7)
GATES = {  # gates in stage order, and the new state h' from h, x and the pre-activations
    "leaky": (rt.Leaky(0.3), "e", lambda h, e: 0.7 * h + 0.3 * np.tanh(e)),
    "leaky, current": (rt.Leaky(0.3, form="current"), "e", lambda h, e: 0.7 * h + 0.3 * e),
    "mingru": (rt.MinGRU(), "zc", lambda h, z, c: (1 - sigma(z)) * h + sigma(z) * c),
    "minlstm": (
        rt.MinLSTM(),
        "fig",
        lambda h, f, i, g: (sigma(f) * h + sigma(i) * g) / (sigma(f) + sigma(i)),
    ),
    "ugrnn": (rt.UGRNN(), "gc", lambda h, g, c: sigma(g) * h + (1 - sigma(g)) * np.tanh(c)),
    "janet": (rt.JANET(), "fc", lambda h, f, c: sigma(f) * h + (1 - sigma(f - 1)) * np.tanh(c)),
    "cfn": (rt.CFN(), "tic", lambda h, t, i, c: sigma(t) * np.tanh(h) + sigma(i) * np.tanh(c)),
}
NAMES = ("leaky", "mingru", "minlstm", "mgu", "ugrnn", "janet", "cfn")


def sigma(z):
    return 1 / (1 + np.exp(-z))


@pytest.mark.parametrize("name", GATES)
def test_the_update_is_the_published_equation(name):
    cell, gates, update = GATES[name]
    assert cell.gates == tuple(gates)
    h, x, e = RNG.normal(size=(1, 9)), RNG.normal(size=9), RNG.normal(size=(len(gates), 9))
    (stage,) = cell.numeric(np).stages
    np.testing.assert_allclose(stage.update(h, x, e)[0], update(h[0], *e), rtol=1e-13)


def test_mgu_resets_what_its_candidate_reads():
    first, second = rt.MGU().numeric(np).stages
    h, x, e = RNG.normal(size=(1, 9)), RNG.normal(size=9), RNG.normal(size=(1, 9))
    site = first.update(h, x, e)
    np.testing.assert_allclose(second.read(site)[0], sigma(e[0]) * h[0], rtol=1e-14)
    new = second.update(site, x, 2 * e)[0]
    np.testing.assert_allclose(new, (1 - sigma(e[0])) * h[0] + sigma(e[0]) * np.tanh(2 * e[0]), rtol=1e-13)


def test_saturated_gates_of_the_minlstm_stay_finite():
    (stage,) = rt.MinLSTM().numeric(np).stages
    e = np.array([[-800.0, -800.0, 800.0], [-800.0, -700.0, -800.0], [0.5, 0.5, 0.5]])
    h = np.ones((1, 3))
    np.testing.assert_allclose(stage.update(h, np.zeros(3), e)[0], [0.75, 0.5, 1.0], rtol=1e-12)
    assert np.isfinite(np.concatenate([part.ravel() for part in stage.linearize(h, np.zeros(3), e)])).all()


@pytest.mark.parametrize("name", [*NAMES, "gru_reset_after", "lstm_peephole"])
def test_names_build_ensembles_that_can_be_stored(name):
    ens = rt.Ensemble(name, sigma_w=1.2)
    assert rt.Ensemble.from_dict(ens.to_dict()) == ens
    assert eval(repr(ens), {"rt": rt}) == ens


@pytest.mark.parametrize("name", NAMES)
def test_the_law_is_that_of_sampled_jacobians(name):
    ens = rt.Ensemble(name, sigma_w=1.5, sigma_v=0.8, mu_b=0.3, sigma_b=0.2)
    spec = rt.spectrum(ens, 2, population=4096)
    log_s = np.sort(rt.sample(ens, T=2, N=128, trials=6, seed=4, burn_in=200).log_s.ravel())
    ranks = (np.arange(log_s.size) + 0.5) / log_s.size
    # A diagonal Jacobian has independent singular values: Kolmogorov's 1 % point. Others repel.
    noise = 1.63 / np.sqrt(log_s.size) if name in ("mingru", "minlstm") else 0.02
    assert np.abs(spec.log_s.cdf(log_s) - ranks).max() < noise + spec.error
    wrong = rt.spectrum(
        ens.replace(mu_b=dict.fromkeys(ens.cell.gates, 0.3) | {ens.cell.gates[0]: 2.3}), 2, population=4096
    )
    assert np.abs(wrong.log_s.cdf(log_s) - ranks).max() > 2 * noise


def test_what_reads_nothing_is_left_out_whatever_its_scale():
    """Gate "i" of the GRU that resets after the product: W_i multiplies zero."""
    plain = rt.Ensemble("gru_reset_after", sigma_w=1.5, sigma_b=0.3)
    without = plain.replace(sigma_w={"r": 1.5, "u": 1.5, "c": 1.5, "i": 0.0})
    p = [0.05, 0.5, 0.95]
    law = rt.spectrum(plain, 2, population=2048)
    np.testing.assert_array_equal(law.icdf(p), rt.spectrum(without, 2, population=2048).icdf(p))
    assert law.icdf(0.5) == pytest.approx(0.301, abs=0.005)


def test_options_are_checked():
    with pytest.raises(ValueError, match="delta = 0"):
        rt.Leaky(0.0)
    with pytest.raises(ValueError, match="form = 'other'"):
        rt.Leaky(0.5, form="other")
