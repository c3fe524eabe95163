"""Kernels printed from a cell's equations: compiled for the host they agree with NumPy; nvcc takes them."""

import shutil
import subprocess

import fake_cupy
import numpy as np
import pytest
import sympy

import rmtrnn as rt
from rmtrnn._core import arrays as _arrays
from rmtrnn.cells import ACTIVATIONS, fused

CELLS = {
    **{name: rt.VanillaRNN(name) for name in ACTIVATIONS},
    "minimal": rt.MinimalRNN(),
    "gru": rt.GRU(),
    "lstm": rt.LSTM(peephole=True),
}
without_gpu = pytest.mark.skipif(
    _arrays.cuda_available(), reason="the device itself is tested in test_cupy.py"
)


def sites(stage, dtype):
    generator = np.random.default_rng(3)
    e = np.concatenate([generator.normal(0.0, 3.0, 40), [0.0, -0.0, 1.0, -1.0, 40.0, -40.0, 800.0, -800.0]])
    parts = generator.normal(size=(len(stage.inputs), e.size)), generator.normal(size=e.size)
    return [
        part.astype(dtype) for part in (*parts, np.stack([np.roll(e, k) for k in range(len(stage.gates))]))
    ]


@without_gpu
@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, "float64") for name in CELLS), *((name, "float32") for name in ("gelu", "hard_tanh", "lstm"))],
)
def test_kernels_give_what_numpy_gives(monkeypatch, name, dtype):
    cupy = fake_cupy.install(monkeypatch)
    cell = CELLS[name]
    for stage, host, device in zip(
        cell.stages, cell.numeric(np).stages, cell.numeric(cupy).stages, strict=True
    ):
        given = sites(stage, dtype)
        fake_cupy.launched.clear()
        ours = device.advance(*map(cupy.asarray, given))
        assert fake_cupy.launched == ["rmtrnn_advance"]
        with np.errstate(under="ignore"):
            expected = (host.update(*given), *host.linearize(*given))
        for left, right in zip(ours, expected, strict=True):
            assert left.dtype == dtype and left.shape == right.shape
            eps = np.finfo(dtype).eps
            # exp and erf of two libraries differ by a few ulp, times the conditioning of exp at 40.
            assert np.allclose(_arrays.to_host(left), right, rtol=200 * eps, atol=100 * np.finfo(dtype).tiny)


@without_gpu
def test_nan_stays_nan_and_every_construct_is_printed(monkeypatch):
    cupy = fake_cupy.install(monkeypatch)
    z, y = sympy.symbols("z y", real=True)
    expressions = [
        sympy.Max(z, y, 0.25),
        sympy.Min(z, y),
        sympy.Heaviside(z, 0.5) + sympy.sign(y) * sympy.Abs(z),
        sympy.Piecewise(
            (z**2 / 3, (z < 0) & (y > -1)), (sympy.sqrt(y**2 + 1), (z > 2) | sympy.Eq(z, 1)), (z**7, True)
        ),
        z ** sympy.Rational(-1, 2) + y**-3 + sympy.pi,
    ]
    points = np.array([[1.0, 2.5, 0.5, 3.0], [-2.0, 0.5, 1.0, -0.5]])
    kernel = fused.elementwise_kernel([z, y], expressions, cupy, "every")
    reference = sympy.lambdify([z, y], expressions, "mpmath")
    for values in (points, np.full((2, 1), np.nan)):
        out = cupy.empty((len(expressions), values.shape[1]))
        kernel(*map(cupy.asarray, values), *out)
        found = _arrays.to_host(out)
        if np.isnan(values).any():
            assert np.isnan(found[[0, 1, 2, 4]]).all()
        else:
            exact = np.array([[float(v) for v in reference(*point)] for point in values.T]).T
            assert np.allclose(found, exact, rtol=1e-14, atol=1e-15)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
def test_nvcc_compiles_the_kernels(tmp_path):
    """In both precisions; needs no GPU. What CuPy wraps around them is not part of it."""
    loops = []
    for name, cell in CELLS.items():
        for position, stage in enumerate(cell.stages):
            symbols = [*stage.inputs, cell.input, *(gate.symbol for gate in stage.gates)]
            values = [*stage.update, *stage.a, *stage.b, *stage.c]
            lines = [f"const T &in{k} = in[{k}][i];" for k in range(len(symbols))]
            lines += [f"T &out{k} = out[{k}][i];" for k in range(len(values))]
            body = "\n".join([*lines, fused.kernel_body(symbols, values)])
            head = f"template<typename T> __global__ void {name}_{position}(const T **in, T **out)"
            call = f"template __global__ void {name}_{position}"
            loops += [f"{head} {{ const int i = threadIdx.x;\n{body}\n}}"]
            loops += [f"{call}<{kind}>(const {kind} **, {kind} **);" for kind in ("float", "double")]
    source = tmp_path / "kernels.cu"
    source.write_text(fused.PREAMBLE + "\n".join(loops))
    subprocess.run(["nvcc", "-ptx", "-o", tmp_path / "kernels.ptx", source], check=True)
    entries = (tmp_path / "kernels.ptx").read_text().count(".visible .entry")
    assert entries == 2 * sum(len(cell.stages) for cell in CELLS.values())
