"""Linear recursions of a site's state along known pre-activations, against one step after the other."""

import numpy as np
import pytest
import sympy

import rmtrnn as rt
from rmtrnn.meanfield.periodic_process import FrequencyNodes, PeriodicSites
from rmtrnn.meanfield.state_recursion import linear_recursion, recursion

h, x, e = sympy.symbols("h x e")
SQUARED = rt.Cell("squared", state=h, input=x, gates={e: h}, update={h: sympy.tanh(h**2 + e)})


@pytest.mark.parametrize("name", ["vanilla", "minimal", "gru", "lstm", "lstm_peephole", "ugrnn"])
def test_states_are_those_of_one_step_after_the_other(name):
    ens = rt.Ensemble(name, sigma_w=1.5, sigma_v=0.5, sigma_b=0.2, tied=True)
    sites = PeriodicSites(ens, 48, 8, 0, FrequencyNodes.build(48, 0.1))
    values = sites.nodes.lorentzian(0.5, 5.0) * np.ones((sites.readings.count, 1, 1))
    e = sites.pre_activations(values)[0]
    begin = [one.copy() for one in sites.state]
    fast = sites.run(e)
    end = sites.state[0]
    sizes = [(rows.shape[0], 48 + (place == 0), sites.n) for place, rows in enumerate(fast.taken)]
    slow = [np.empty(size) for size in sizes]
    slow[0][:, 0] = begin[0]
    sites._step_by_step(slow, sites.inputs[0], e, 48)
    for rows, others in zip(fast.taken, slow, strict=True):
        np.testing.assert_allclose(rows, others[:, :48], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(end, slow[0][:, 48], rtol=1e-12, atol=1e-13)


def test_an_update_that_is_not_linear_has_no_recursion():
    assert recursion(SQUARED) is None
    found = recursion(rt.Ensemble("lstm").cell)
    assert found is not None and found.fed == (0,)


def test_two_components_that_read_each_other():
    rng = np.random.default_rng(0)
    A, B = rng.normal(size=(2, 2, 6, 3)), rng.normal(size=(2, 6, 3))
    s = rng.normal(size=(2, 3))
    entries = [(i, j, A[i, j]) for i in range(2) for j in range(2)]
    found = linear_recursion(s, entries, list(B))
    for t in range(6):
        np.testing.assert_allclose(found[:, t], s, rtol=1e-12)
        s = np.einsum("ijn,jn->in", A[:, :, t], s) + B[:, t]
    np.testing.assert_allclose(found[:, 6], s, rtol=1e-12)


@pytest.mark.parametrize("steps", [1, 3, 50])
def test_pieces_side_by_side(steps):
    """Few sites: pieces of the steps are followed at once; the entries may also be the same at all sites."""
    rng = np.random.default_rng(1)
    A, B, first = rng.normal(size=(steps, 8)), rng.normal(size=(steps, 8)), rng.normal(size=(1, 8))
    for entries in (A, A[:, :1]):
        found = linear_recursion(first, [(0, 0, entries)], [B])[0]
        s = first[0]
        for t in range(steps):
            np.testing.assert_allclose(found[t], s, rtol=1e-12)
            s = entries[t] * s + B[t]
        np.testing.assert_allclose(found[steps], s, rtol=1e-12)
