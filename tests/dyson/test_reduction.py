"""Dead dimensions of a chain: closed forms at a zero state, dense matrices, and refusals."""

import math

import numpy as np
import pytest
import sympy as sp

import rmtrnn as rt
from rmtrnn.dyson.pencil import Stage
from rmtrnn.dyson.reduction import VanishingJacobian, reduced

QUARTERS = np.array([0.1, 0.25, 0.5, 0.75, 0.9])


def dense(stages, weights):
    """The product of a chain over N sites, state by state."""
    total = None
    for stage, own in zip(stages, weights, strict=True):
        s_out, s_in, n = stage.a.shape
        block = np.zeros((s_out * n, s_in * n))
        for i in range(s_out):
            for j in range(s_in):
                part = np.diag(stage.a[i, j])
                for k, W in enumerate(own):
                    part = part + stage.b[k, i][:, None] * W * stage.c[k, j]
                block[i * n : (i + 1) * n, j * n : (j + 1) * n] = part
        total = block if total is None else block @ total
    return total


def test_a_reduced_chain_has_the_same_singular_values():
    n, rng = 24, np.random.default_rng(3)
    direction = np.array([3.0, 1e-6, 0.0])  # the image of the last stage: one dimension of three
    first = Stage(
        np.concatenate([rng.standard_normal((2, 2, n)), np.zeros((1, 2, n))]),
        np.concatenate([rng.standard_normal((1, 2, n)), np.ones((1, 1, n))], axis=1),
        rng.standard_normal((1, 2, n)),
        (1.0,),
        (False,),
    )
    reads = rng.standard_normal((1, 2, n)) * np.array([1.0, 0.0])[None, :, None]  # one of three dimensions
    last = Stage(
        direction[:, None, None] * np.concatenate([reads, np.zeros((1, 1, n))], axis=1),
        direction[None, :, None] * np.ones((1, 3, n)),
        np.concatenate([rng.standard_normal((1, 1, n)), np.zeros((1, 2, n))], axis=1),
        (1.0,),
        (False,),
    )
    W = rng.standard_normal((2, n, n)) / math.sqrt(n)
    small = reduced([first, last])
    assert [stage.a.shape[:2] for stage in small] == [(1, 2), (1, 1)]
    whole = np.linalg.svd(dense([first, last], [[W[0]], [W[1]]]), compute_uv=False)
    kept = np.linalg.svd(dense(small, [[W[0]], [W[1]]]), compute_uv=False)
    np.testing.assert_allclose(whole[:n], kept, rtol=1e-10)
    assert np.all(whole[n:] < 1e-12 * whole[0])


def test_a_stage_without_weights_joins_its_neighbour():
    n, rng = 16, np.random.default_rng(4)
    mixed = Stage(
        *(rng.standard_normal(shape) for shape in ((2, 2, n), (1, 2, n), (1, 2, n))), (1.0,), (True,)
    )
    plain = Stage(rng.standard_normal((2, 2, n)), np.zeros((0, 2, n)), np.zeros((0, 2, n)), (), ())
    W = rng.standard_normal((n, n))
    for chain, weights in (([mixed, plain], [[W], []]), ([plain, mixed], [[], [W]])):
        (one,) = reduced(chain)
        np.testing.assert_allclose(dense([one], [[W]]), dense(chain, weights), atol=1e-12)


def test_a_chain_that_vanishes_is_named():
    none = np.zeros((1, 1, 4))
    with pytest.raises(VanishingJacobian):
        reduced([Stage(none, none, none, (1.0,), (False,))])


@pytest.mark.equation(12, 13)
def test_one_step_of_a_gru_at_zero():
    """J = I/2 + W/4: with O Haar s² = 5/16 + cos(φ)/4; Gaussian: sampled, and a wrong σ as control."""
    spec = rt.spectrum(rt.Ensemble("gru", weights="orthogonal"), 1)
    np.testing.assert_allclose(spec.icdf(QUARTERS) ** 2, 5 / 16 - np.cos(np.pi * QUARTERS) / 4, rtol=1e-9)
    W = np.random.default_rng(5).standard_normal((6, 400, 400)) / 20
    s = np.sort(np.linalg.svd(np.eye(400) / 2 + W / 4, compute_uv=False).ravel())
    ranks = (np.arange(s.size) + 0.5) / s.size
    law = rt.spectrum(rt.Ensemble("gru"), 1)
    assert law.converged and law.error < 1e-3
    assert np.max(np.abs(law.cdf(s) - ranks)) < 4e-3
    assert np.max(np.abs(rt.spectrum(rt.Ensemble("gru", sigma_w=1.1), 1).cdf(s) - ranks)) > 8e-3


def test_one_step_of_an_lstm_at_zero():
    """(c, h)' = (1, 1/2) ⊗ (c/2 + W h/2): half of all s are 0, the others (5/16 (1 + x))^{1/2}, x of W Wᵀ."""
    spec = rt.spectrum(rt.Ensemble("lstm"), 1)
    assert spec.converged and spec.atoms == ((0.0, 0.5),)
    x = rt.free.MarchenkoPastur().icdf(QUARTERS)
    cdf = spec.cdf(np.sqrt(5 / 16 * (1 + x)))
    np.testing.assert_allclose(cdf, 0.5 + 0.5 * QUARTERS, atol=spec.error + 1e-4)
    assert spec.error < 5e-3
    orthogonal = rt.spectrum(rt.Ensemble("lstm", weights="orthogonal"), 1)
    np.testing.assert_allclose(orthogonal.atoms, [(0.0, 0.5), (math.sqrt(5 / 8), 0.5)])
    for name in ("gru_reset_after", "mgu"):
        assert rt.spectrum(rt.Ensemble(name, weights="orthogonal"), 1).support[0] == pytest.approx(
            (0.25, 0.75)
        )


def test_cells_without_gates_and_with_a_jacobian_of_zero():
    h, x, e = sp.symbols("h x e")
    plain = rt.Ensemble(rt.Cell("plain", state=h, input=x, gates={}, update={h: 0.5 * h + x}))
    assert pytest.approx(4 / 3) == rt.mean_field(plain).Q
    assert rt.spectrum(plain, 3).atoms == ((pytest.approx(0.125), pytest.approx(1.0)),)
    for update in (sp.Max(0, sp.Min(0, e)), sp.Max(e - 50, 0)):
        cell = rt.Cell("none", state=h, input=x, gates={e: h}, update={h: update})
        assert rt.spectrum(rt.Ensemble(cell), 2).atoms == ((0.0, 1.0),)
