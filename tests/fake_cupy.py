"""A stand-in for CuPy on the host: the code of the device path, run and checked where there is no GPU.

Its arrays refuse what CuPy's refuse (mixing with NumPy's, silent conversion to the host), and its functions
take the arguments that CuPy 14 gives them. It computes with NumPy and says nothing of speed or of cuSOLVER.
"""

import sys
import types
from contextlib import nullcontext

import numpy as np
import scipy.linalg
import scipy.special

fetched = []  # the shape of everything that came back to the host: each would wait for the device


class Array(np.ndarray):
    """Lives on the pretended device."""

    def _fetch(self):
        fetched.append(self.shape)
        return np.array(self.view(np.ndarray))

    def __bool__(self):
        return bool(self._fetch())

    def __int__(self):
        return int(self._fetch())

    def __float__(self):
        return float(self._fetch())

    def __index__(self):
        return self._fetch().__index__()

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
        arrays = [value for value in (*inputs, *out) if isinstance(value, np.ndarray)]
        if any(not isinstance(value, Array) for value in arrays):
            raise TypeError(f"Unsupported type numpy.ndarray in {ufunc.__name__}")
        results = getattr(ufunc, method)(
            *map(_lower, inputs), **({"out": tuple(map(_lower, out))} if out else {}), **options
        )
        return _lift(results) if not out else out[0]

    def __array_function__(self, function, types_, args, options):
        raise TypeError(f"Implicit conversion to a NumPy array is not allowed ({function.__name__})")

    def __setitem__(self, key, value):
        if isinstance(value, np.ndarray) and not isinstance(value, Array):
            raise TypeError("non-scalar numpy.ndarray cannot be used for fill")
        super().__setitem__(key, value)


def _lower(value):
    if isinstance(value, Array):
        return value.view(np.ndarray)
    if isinstance(value, list | tuple):
        return type(value)(map(_lower, value))
    return value


def _lift(value):
    if isinstance(value, tuple):
        return tuple(map(_lift, value))
    if isinstance(value, np.ndarray):
        return value.view(Array)
    return np.asarray(value).view(Array) if isinstance(value, np.generic) else value


def _on_device(function):
    def call(*args, **options):
        for value in (*args, *options.values()):
            plain = isinstance(value, np.ndarray) and not isinstance(value, Array)
            if plain and value.ndim:
                raise TypeError(f"Unsupported type numpy.ndarray in {function.__name__}")
        options = {key: _lower(value) for key, value in options.items()}
        return _lift(function(*map(_lower, args), **options))

    return call


def _asarray(values, dtype=None):
    return np.array(_lower(values), dtype=dtype).view(Array)


class _Philox:
    def __init__(self, seed):
        assert 0 <= seed < 2**32
        self.seed = seed


class _Generator:
    def __init__(self, bits):
        self._rng = np.random.default_rng(bits.seed)

    def standard_normal(self, size=None, dtype=np.float64):
        assert size is not None, "the stream would depend on the device"
        return self._rng.standard_normal(size, dtype=dtype).view(Array)


def _elementwise_kernel(inputs, outputs, operation, name):
    """The one kernel that there is."""
    assert (inputs, outputs, operation) == ("T c, T v", "T out", "out += c * v")

    def kernel(c, v, out):
        assert c.dtype == v.dtype == out.dtype and all(type(array) is Array for array in (c, v, out))
        out += c * v

    return kernel


def install(monkeypatch, free_bytes=2**34):
    """Put the stand-in in place of ``cupy`` and ``cupyx``; return it."""
    cupy = types.ModuleType("cupy")
    skipped = {"errstate", "random", "linalg", "ndarray", "show_config"}
    for name in dir(np):
        value = getattr(np, name)
        if name.startswith("_") or name in skipped or isinstance(value, types.ModuleType):
            continue
        cupy.__dict__[name] = _on_device(value) if callable(value) and not isinstance(value, type) else value

    def reduction(function):
        return lambda a, axis=None, out=None, keepdims=False: _on_device(function)(a, axis=axis)

    for name in ("max", "min", "any", "all"):
        cupy.__dict__[name] = reduction(getattr(np, name))
    for name in ("asarray", "array"):
        cupy.__dict__[name] = _asarray
    cupy.ndarray, cupy.__version__ = Array, "0.fake"
    cupy.asnumpy = lambda array: array._fetch()
    cupy.is_available = lambda: True
    runtime = types.SimpleNamespace(memGetInfo=lambda: (free_bytes, 2 * free_bytes))
    cupy.cuda = types.SimpleNamespace(runtime=runtime)
    cupy.random = types.SimpleNamespace(Generator=_Generator, Philox4x3210=_Philox)
    cupy.ElementwiseKernel = _elementwise_kernel
    cupy.linalg = types.SimpleNamespace(
        qr=_on_device(
            lambda a, mode="reduced": (
                tuple(np.linalg.qr(a, mode)) if mode == "reduced" else np.linalg.qr(a, mode)
            )
        ),
        svd=_on_device(
            lambda a, full_matrices=True, compute_uv=True: np.linalg.svd(a, full_matrices, compute_uv)
        ),
        norm=_on_device(np.linalg.norm),
        cholesky=_on_device(np.linalg.cholesky),
    )
    linalg, special = types.ModuleType("cupyx.scipy.linalg"), types.ModuleType("cupyx.scipy.special")
    for name in ("lu_factor", "lu_solve", "solve_triangular"):
        linalg.__dict__[name] = _on_device(getattr(scipy.linalg, name))
    for name in ("expit", "ndtr", "erf"):
        special.__dict__[name] = getattr(scipy.special, name)
    cupyx = types.ModuleType("cupyx")
    cupyx.seen = []

    def errstate(linalg):
        cupyx.seen.append(linalg)
        return nullcontext()

    cupyx.errstate = errstate
    scipy_module = types.ModuleType("cupyx.scipy")
    scipy_module.linalg, scipy_module.special, cupyx.scipy = linalg, special, scipy_module
    for module in (cupy, cupyx, scipy_module, linalg, special):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return cupy
