"""Where a law of saturated gates was not found, the message says that they are."""

import rmtrnn as rt


def test_saturated_gates_are_named(tmp_path):
    saturated = rt.Ensemble("leaky", sigma_w=1.37, sigma_b=0.8, mu_b=7.5, R=0.4)
    spec = rt.spectrum(saturated, 1, population=512)
    assert not spec.converged
    assert "saturated at 100% of the sites" in spec.message and "|mu_b|" in spec.message
    spec.save(tmp_path / "law.npz")
    assert rt.load(tmp_path / "law.npz").message == spec.message


def test_open_gates_are_not():
    spec = rt.spectrum(rt.Ensemble("leaky", sigma_w=1.37, sigma_b=0.8, R=0.4), 1, population=512)
    assert spec.converged and "saturated" not in spec.message
