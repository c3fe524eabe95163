"""`plan.arrays` in the layers of Keras and Flax themselves: the same states as this package's own steps.

Skipped where the framework is missing. Neither is a dependency: `pip install flax keras` (Keras runs on JAX).
"""

import os

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.initialisation.layouts import draw_arrays, framework_ensemble

INPUTS, UNITS, STEPS = 5, 12, 6
CELLS = ("vanilla", "gru", "lstm")


def ensemble(cell):
    """Gates that differ in every number, so that swapped ones show."""
    gates = rt.Ensemble(cell).cell.gates
    means = {gate: 0.4 * k - 0.5 for k, gate in enumerate(gates)}
    gains = {gate: 0.8 + 0.3 * k for k, gate in enumerate(gates)}
    return framework_ensemble(rt.Ensemble(cell, sigma_w=gains, sigma_v=0.8, mu_b=means, sigma_b=0.3))


def own_states(ens, x):
    """h of all steps by the package's equations and PyTorch's rows, from h = 0."""
    arrays = draw_arrays(ens, "torch", INPUTS, UNITS, 3)
    order = {"vanilla": "e", "gru": "ruc", "lstm": "ifgo"}[ens.cell.name]
    V, W, b, own = (np.split(arrays[name], len(order)) for name in arrays)
    stage, state, found = ens.cell.numeric(np).stages[0], np.zeros((len(ens.cell.state), UNITS)), []
    for now in x:
        h = state[-1]
        e = {gate: W[k] @ h + V[k] @ now + b[k] + own[k] for k, gate in enumerate(order)}
        if ens.cell.name == "gru":
            e |= {"c": W[2] @ h + own[2], "i": V[2] @ now + b[2]}
        state = stage.update(state, np.zeros(UNITS), np.array([e[gate] for gate in ens.cell.gates]))
        found.append(state[-1])
    return np.array(found)


def check(ens, states, swapped):
    """Equal in single precision; not so with two gates exchanged."""
    x = np.random.default_rng(0).standard_normal((STEPS, INPUTS))
    wanted = own_states(ens, x)
    arrays = draw_arrays(ens, swapped[0], INPUTS, UNITS, 3)
    np.testing.assert_allclose(states(arrays, x), wanted, atol=2e-5)
    if ens.cell.name != "vanilla":
        assert np.abs(states(swapped[1](arrays), x) - wanted).max() > 0.01


@pytest.mark.parametrize("cell", CELLS)
def test_keras(cell):
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    ens = ensemble(cell)

    def states(arrays, x):
        kinds = {"vanilla": keras.layers.SimpleRNN, "gru": keras.layers.GRU, "lstm": keras.layers.LSTM}
        layer = kinds[ens.cell.name](UNITS, return_sequences=True)
        layer.build((1, STEPS, INPUTS))
        layer.set_weights([arrays["kernel"], arrays["recurrent_kernel"], arrays["bias"]])
        return np.asarray(layer(x[None].astype("float32")))[0]

    def swap(arrays):
        return {name: np.roll(value, UNITS, axis=-1) for name, value in arrays.items()}

    check(ens, states, ("keras", swap))


@pytest.mark.parametrize("cell", CELLS)
def test_flax(cell):
    linen = pytest.importorskip("flax.linen")
    ens = ensemble(cell)

    def states(arrays, x):
        kinds = {"vanilla": linen.SimpleCell, "gru": linen.GRUCell, "lstm": linen.OptimizedLSTMCell}
        tree: dict[str, dict[str, np.ndarray]] = {}
        for name, value in arrays.items():
            dense, part = name.split(".")
            tree.setdefault(dense, {})[part] = value.astype("float32")
        module, h = kinds[ens.cell.name](features=UNITS), np.zeros(UNITS, "float32")
        carry, found = (h, h) if ens.cell.name == "lstm" else h, []
        for now in x.astype("float32"):
            carry, out = module.apply({"params": tree}, carry, now)
            found.append(np.asarray(out))
        return np.array(found)

    def swap(arrays):
        first, second = {"gru": "rz", "lstm": "if", "vanilla": "ee"}[ens.cell.name]
        exchanged = str.maketrans(first + second, second + first)
        return {name[0] + name[1:].split(".")[0].translate(exchanged) + "." + name.split(".")[1]: value
                for name, value in arrays.items()}  # fmt: skip

    check(ens, states, ("flax", swap))
