"""NumPy and CuPy run the same equations: equal values at the same arguments, on a CUDA device."""

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn._core import arrays as _arrays
from rmtrnn.cells import ACTIVATIONS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not _arrays.cuda_available(), reason="needs CuPy and a CUDA device"),
]


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name, order):
    cupy = _arrays.module_for("cuda")
    z = np.concatenate([np.linspace(-30.0, 30.0, 601), [-800.0, 800.0]])
    activation = rt.Activation(name)
    ours = activation.numeric(cupy, order)(cupy.asarray(z))
    # The two libraries' exp and erf differ by a few ulp, times the conditioning of exp at 30.
    np.testing.assert_allclose(
        _arrays.to_host(ours), activation.numeric(np, order)(z), rtol=1e-13, atol=1e-300
    )


@pytest.mark.parametrize(
    "cell", [rt.VanillaRNN(), rt.MinimalRNN(), rt.GRU(), rt.GRU(reset_after=True), rt.LSTM(), rt.LSTM(True)]
)
def test_cells(cell):
    cupy = _arrays.module_for("cuda")
    generator = np.random.default_rng(0)
    for stage, host, device in zip(
        cell.stages, cell.numeric(np).stages, cell.numeric(cupy).stages, strict=True
    ):
        arguments = (
            generator.normal(size=(len(stage.inputs), 50)),
            generator.normal(size=50),
            2 * generator.normal(size=(len(stage.gates), 50)),
        )
        on_device = [cupy.asarray(argument) for argument in arguments]
        pairs = [
            (host.read(arguments[0]), device.read(on_device[0])),
            (host.update(*arguments), device.update(*on_device)),
            *zip(host.linearize(*arguments), device.linearize(*on_device), strict=True),
        ]
        for expected, ours in pairs:
            np.testing.assert_allclose(_arrays.to_host(ours), expected, rtol=1e-14, atol=1e-14)
