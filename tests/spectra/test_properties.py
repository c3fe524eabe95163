"""Random vanilla ensembles of every activation and both weight laws: what must hold for every one of them."""

import math

import numpy as np
import pytest

import rmtrnn as rt
import rmtrnn.spectra

ACTIVATIONS = ["linear", "tanh", "erf", "relu", "hard_tanh", "sigmoid", "softsign", "silu", "gelu"]
CELLS = [rt.VanillaRNN(activation) for activation in ACTIVATIONS]  # SymPy works on each only once
BATCHES, SIZE = 20, 25


def random_ensemble(rng):
    return rt.Ensemble(
        CELLS[rng.integers(len(CELLS))],
        sigma_w=float(rng.uniform(0.4, 1.3)),
        sigma_v=float(rng.uniform(0, 1)),
        mu_b=float(rng.choice([0.0, rng.normal()])),
        sigma_b=float(rng.uniform(0.05, 1)),
        R=float(rng.uniform(0.2, 1)),
        weights=("gaussian", "orthogonal")[rng.integers(2)],
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "batch",
    [*range(2), *(pytest.param(k, marks=pytest.mark.sweep) for k in range(2, BATCHES))],
)
@pytest.mark.equation(9, 11)
def test_random_ensembles(batch):
    rng = np.random.default_rng(1000 + batch)
    done = 0
    while done < SIZE:
        ens, T = random_ensemble(rng), int(rng.choice([1, 2, 3, 5, 9, 20, 60]))
        field = rt.mean_field(ens)
        if not field.converged:
            continue
        done += 1
        spec = rt.spectrum(ens, T)
        label = f"{ens!r}, T={T}"
        assert spec.converged, label
        assert spec.error < 1e-6, label
        # m_1 = χ^T and the variance by two quadratures of different making (theory.md (6), (11)).
        assert math.log(spec.moment(1)) == pytest.approx(T * math.log(field.chi), abs=1e-10 * T), label
        moments = rt.spectra.second_moment(ens, T)
        assert spec.moment(2) == pytest.approx(moments.m_2, rel=1e-9 * T), label
        # Quantiles, monotone cdf, non-negative density (Im G ≤ 0) across and beyond the law.
        p = np.sort(rng.uniform(0.02, 0.999, 6))
        u = spec.log_s.icdf(p)
        locations = np.array([where for where, _ in spec.log_s.atoms])
        smooth = np.array([not np.any(np.isclose(locations, x, rtol=0, atol=1e-12)) for x in u])
        np.testing.assert_allclose(spec.log_s.cdf(u)[smooth], p[smooth], atol=1e-9, err_msg=label)
        assert np.all(spec.log_s.cdf(u) >= p - 1e-9), label
        assert np.all(spec.log_s.pdf(np.concatenate([u[smooth], u[smooth] + 3])) >= 0), label
        # The density integrates to the cdf. The law of φ'² itself (T = 1, orthogonal) has inverse-square-root
        # singularities inside its support where φ' has an extremum, which the integration only gets to 1e-3.
        close = 1e-3 if T == 1 and ens.weights == "orthogonal" else 1e-8
        assert abs(spec.mass - 1) <= close + spec.error, label
