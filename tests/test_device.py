"""The CUDA path: on a stand-in where there is no device, on the device itself where there is one."""

import dataclasses
import sys
import tracemalloc

import fake_cupy
import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn._core import arrays as _arrays
from rmtrnn._core import random as _random
from rmtrnn.dyson.functional import distribution_and_density
from rmtrnn.dyson.law import grouped_chain
from rmtrnn.dyson.negative_axis import first_guess
from rmtrnn.dyson.recursive_green import green_averages
from rmtrnn.dyson.self_energy import Points, SelfEnergy
from rmtrnn.sampling import burn_in, lyapunov
from rmtrnn.sampling.network import Network, Networks
from rmtrnn.sampling.products import LogProduct
from rmtrnn.sampling.products.side_by_side import LogProducts
from rmtrnn.sampling.random_matrices import random_matrix
from rmtrnn.sampling.trial import memory_needed

TANH = rt.Ensemble("vanilla", sigma_w=1.1, sigma_b=0.2)
needs_gpu = pytest.mark.skipif(not _arrays.cuda_available(), reason="needs CuPy and a CUDA device")


# Compiled cells are kept, so the stand-in and the real one do not share a process.
without_gpu = pytest.mark.skipif(_arrays.cuda_available(), reason="the device itself is tested here")


@pytest.fixture(
    params=[
        pytest.param("stand-in", marks=without_gpu),
        pytest.param("cuda", marks=[pytest.mark.gpu, needs_gpu]),
    ]
)
def cupy(request, monkeypatch):
    if request.param == "stand-in":
        return fake_cupy.install(monkeypatch)
    return _arrays.module_for("cuda")


def factors_of(kind, n, count):
    rng = _random.stream(3)
    factors = [
        random_matrix("orthogonal" if kind == "isometric" else "gaussian", n, 1.0, rng) for _ in range(count)
    ]
    if kind == "zeros":
        for factor in factors[1::2]:
            factor[::3] = 0.0
    return factors


@pytest.mark.parametrize("n", [30, 190])
@pytest.mark.parametrize("kind", ["gaussian", "isometric", "zeros"])
def test_same_matrices_give_the_same_values(cupy, kind, n):
    factors = factors_of(kind, n, 8)
    values = []
    for xp in (np, cupy):
        product = LogProduct(n, xp)
        for factor in factors:
            product.multiply(xp.asarray(factor))
        values.append(product.log_singular_values())
    host, device = values
    assert np.array_equal(np.isneginf(host), np.isneginf(device))
    finite = np.isfinite(host)
    assert np.max(np.abs(host[finite] - device[finite])) < 1e-10


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("cell", ["vanilla", "minimal", "gru", "lstm"])
def test_networks_run_on_the_device(cupy, cell, tied):
    """Steps and Jacobians have the law of those of the host: mean of s² within 5 standard errors."""
    ens = rt.Ensemble(cell, sigma_w=1.2, sigma_v=0.5, sigma_b=0.2, tied=tied)
    options = {"T": 2, "N": 16, "trials": 12, "burn_in": 10}
    host, device = (rt.sample(ens, **options, device=name).moment(1) for name in ("cpu", "cuda"))
    assert abs(host.value - device.value) < 5 * np.hypot(host.error, device.error)
    if tied and cell == "gru":
        assert rt.sample(ens, **options, device="cuda").moment(1) == device


@pytest.mark.parametrize("cell", ["minimal", "gru", "lstm"])
def test_laws_of_the_dyson_equation(cupy, cell):
    """The same sites give the same law on both; sites of one component, of several in two stages, of two."""
    ens = rt.Ensemble(cell, sigma_w=1.5, sigma_v=0.8, mu_b=0.5)
    host, device = (rt.spectrum(ens, 2, population=512, device=name) for name in ("cpu", "cuda"))
    assert device.converged
    s = host.icdf(np.linspace(0.01, 0.99, 50))
    assert np.max(np.abs(host.cdf(s) - device.cdf(s))) < 1e-6
    assert device.error == pytest.approx(host.error, rel=1e-3)


@without_gpu
def test_a_law_on_no_device():
    with pytest.raises(RuntimeError, match="device = 'cuda'"):
        rt.spectrum(rt.Ensemble("minimal"), 1, device="cuda")


@without_gpu
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("cell", ["vanilla", "minimal", "gru", "lstm"])
def test_nothing_is_fetched_from_the_device_in_a_step(monkeypatch, cell, tied):
    """Nor in multiply() until a group is full; and then no whole matrix is.

    The state and the Jacobian of a stage come from one kernel.
    """
    cupy, n = fake_cupy.install(monkeypatch), 160
    network = Network(rt.Ensemble(cell, sigma_v=0.5, tied=tied), n, 1, 0, cupy, "float64")
    product = LogProduct(network.state.size, cupy, rtol=1.0)
    fake_cupy.fetched.clear()
    fake_cupy.launched.clear()
    stages = len(network.ens.cell.stages)
    network.run(3)
    assert fake_cupy.launched == ["rmtrnn_read", "rmtrnn_update"] * 3 * stages
    fake_cupy.launched.clear()
    network.step()
    assert fake_cupy.launched == ["rmtrnn_read", "rmtrnn_advance"] * stages
    for _ in range(product._plan.length):
        product.multiply(network.step())
    assert fake_cupy.fetched == []
    product.multiply(network.step())
    assert 0 < len(fake_cupy.fetched) < 60
    assert max(int(np.prod(shape)) for shape in fake_cupy.fetched) < network.state.size**2 / 8


@without_gpu
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("cell", ["minimal", "lstm"])
def test_small_networks_take_their_steps_together(monkeypatch, cell, tied):
    """As many kernels for five as for one, nothing fetched, and the values of the host on the same draws."""
    cupy, launched, values = fake_cupy.install(monkeypatch), [], []
    ens = rt.Ensemble(cell, sigma_w=1.3, sigma_v=0.5, tied=tied)
    for xp, count in ((cupy, 1), (cupy, 5), (np, 5)):
        networks = Networks(ens, 12, 1, range(count), xp, "float64")
        product = LogProducts(count, 12 * len(ens.cell.state), xp)
        fake_cupy.fetched.clear()
        fake_cupy.launched.clear()
        networks.run(4)
        for _ in range(3):
            product.multiply(networks.step())
        assert fake_cupy.fetched == []
        launched.append(list(fake_cupy.launched))
        values.append(product.log_singular_values())
    assert launched[0] == launched[1] != []
    assert np.array_equal(values[0][0], values[1][0])
    assert np.max(np.abs(np.array(values[1]) - np.array(values[2]))) < 1e-10


@without_gpu
def test_a_burn_in_fetches_only_where_it_decides(monkeypatch):
    """After 125·2^k steps, whatever the number of networks; never in a step."""
    cupy = fake_cupy.install(monkeypatch)
    settings = dataclasses.replace(burn_in.DEFAULT, longest=8000)
    counts = []
    for trials in (1, 4):
        networks = Networks(rt.Ensemble("minimal", sigma_v=0.5), 16, 1, range(trials), cupy, "float64")
        fake_cupy.fetched.clear()
        found = burn_in.equilibrate(networks, 0, settings)
        counts.append(len(fake_cupy.fetched))
        assert max(one.steps for one in found) >= 500
    assert all(count <= np.log2(8000 / 125) + 1 for count in counts)


@without_gpu
@pytest.mark.parametrize("tied", [False, True])
def test_a_frame_fetches_one_column_for_each_factorisation(monkeypatch, tied):
    """Lyapunov exponents: the sizes of the columns decide how long the next interval is; nothing more."""
    cupy = fake_cupy.install(monkeypatch)
    factorised = []
    qr = cupy.linalg.qr
    cupy.linalg.qr = lambda *given, **options: factorised.append(1) or qr(*given, **options)
    network = Network(rt.Ensemble("gru", sigma_v=0.5, tied=tied), 24, 1, 0, cupy, "float64")
    frame = lyapunov._Frame(network, cupy.asarray(np.eye(24)), cupy)
    frame.run(64)
    fake_cupy.fetched.clear()
    factorised.clear()
    frame.run(64)
    assert fake_cupy.fetched == [(24,)] * len(factorised) and len(factorised) <= 64 / 4


@without_gpu
def test_the_averages_of_a_chain_are_fetched_once(monkeypatch):
    """As many transfers for 2 as for 9 steps, and for one as for many blocks of sites."""
    cupy = fake_cupy.install(monkeypatch)
    counts = set()
    for T in (2, 9):
        for portion in (2**20, 100):
            ens = rt.Ensemble("gru", sigma_w=1.5, sigma_v=0.8)
            chain = grouped_chain(ens, T, 64, 0, field=rt.mean_field(ens), xp=cupy)
            chain.portion = portion
            points = np.array([0.5, 1.0, 1.5]) + chain.log_mean
            sigma = first_guess(chain, points)
            chain.blocks(portion)  # made once
            fake_cupy.fetched.clear()
            green_averages(chain, sigma, Points.negative(points), hessian=True)
            averages = len(fake_cupy.fetched)
            distribution_and_density(chain, SelfEnergy(-1j * sigma.y, 1j * sigma.x), points)
            counts.add((averages, len(fake_cupy.fetched) - averages))
    assert counts == {(4, 3)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_matrices_of_the_device(cupy, dtype):
    for kind in ("gaussian", "orthogonal"):
        first, again = (random_matrix(kind, 40, 1.5, _random.stream(1, 2), cupy, dtype) for _ in range(2))
        host = _arrays.to_host(first)
        assert host.dtype == dtype
        assert np.array_equal(host, _arrays.to_host(again))
        if kind == "orthogonal":
            assert np.max(np.abs(host @ host.T - 1.5**2 * np.eye(40))) < 100 * np.finfo(dtype).eps
        else:
            assert abs(40 * host.var() / 1.5**2 - 1) < 4 * np.sqrt(2 / 1600)


def test_what_cusolver_gets_wrong_is_refused(monkeypatch):
    fake_cupy.install(monkeypatch, free_bytes=2**60)
    with pytest.raises(ValueError, match=r"^N = 18001: must be at most 18000 on a CUDA device"):
        rt.sample(TANH, T=1, N=18_001, device="cuda")
    with pytest.raises(ValueError, match=r"^N = 9001: must be at most 9000 on a CUDA device"):
        rt.sample(rt.Ensemble("lstm"), T=1, N=9001, device="cuda")


@without_gpu
def test_failures_of_cusolver_are_raised(monkeypatch):
    fake_cupy.install(monkeypatch)
    rt.sample(TANH, T=1, N=4, trials=3, burn_in=1, device="cuda")
    assert sys.modules["cupyx"].seen == ["raise"]  # one call for all three


@pytest.mark.parametrize("free", [2**24, 2**28, 2**31])
def test_the_size_that_fits_is_named(monkeypatch, free):
    fake_cupy.install(monkeypatch, free_bytes=free)
    with pytest.raises(ValueError, match=r"N = \d+ would fit") as error:
        rt.sample(TANH, T=1, N=17_999, device="cuda")
    fits = int(str(error.value).split("N = ")[-1].split()[0])
    assert memory_needed(TANH, fits) <= free < memory_needed(TANH, fits + 1)


def test_the_machine_itself_is_too_small_too():
    with pytest.raises(ValueError, match=r"^N = 100000000: one trial needs .* GiB, and device 'cpu' has"):
        rt.sample(TANH, T=1, N=10**8, device="cpu")


@pytest.mark.parametrize("cell", ["vanilla", "minimal", "gru", "lstm"])
@pytest.mark.parametrize("tied", [False, True])
def test_memory_is_not_underestimated(cell, tied):
    ens = rt.Ensemble(cell, sigma_w=1.2, sigma_v=0.5, tied=tied)
    options = {"T": 6, "trials": 1, "burn_in": 2}
    rt.sample(ens, N=8, **options)
    tracemalloc.start()
    rt.sample(ens, N=200, **options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < memory_needed(ens, 200)
