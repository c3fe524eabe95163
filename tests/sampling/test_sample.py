"""Sampled networks: Jacobians are derivatives, workers change nothing, no file on disk is merged blindly."""

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn._core.trials import CheckpointFolder, run_trials
from rmtrnn.sampling.network import Network, _agree
from rmtrnn.sampling.sample import sample_trials

ENS = rt.Ensemble("minimal", sigma_w=1.5, sigma_v=0.5, mu_b=0.5, R=0.5)


def processes(count):
    """A pool of fresh interpreters (forked ones are unsafe beside threads)."""
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"))


SMALL = {"T": 3, "N": 20, "trials": 4, "seed": 7, "burn_in": 20}


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("cell", ["vanilla", "minimal", "gru", "lstm"])
@pytest.mark.equation(1)
def test_step_factor_is_the_derivative_of_the_step(cell, tied):
    ens = rt.Ensemble(cell, sigma_w=1.5, sigma_v=0.7, sigma_b=0.3, weights="orthogonal", tied=tied)

    def start():
        network = Network(ens, 7, 3, 0, np, "float64")
        network.run(5)
        return network

    network = start()
    state = network.state.copy()
    jacobian = network.step()(np.eye(state.size))
    step, numeric = 1e-6, np.empty((state.size, state.size))
    for j in range(state.size):
        ends = []
        for sign in (1, -1):
            moved = start()
            moved.state = state + sign * step * (np.arange(state.size) == j).reshape(state.shape)
            moved.step()
            ends.append(moved.state.ravel())
        numeric[:, j] = (ends[0] - ends[1]) / (2 * step)
    assert np.max(np.abs(jacobian - numeric)) < 1e-8


@pytest.mark.parametrize("cell", ["vanilla", "minimal", "gru", "lstm"])
def test_matrix_of_a_step_is_what_it_applies(cell):
    ens = rt.Ensemble(cell, sigma_w=1.5, sigma_v=0.7, sigma_b=0.3)
    factor = Network(ens, 9, 3, 0, np, "float64").step()
    matrix = factor.matrix()
    assert (matrix is not None) == (cell in ("vanilla", "minimal"))
    if matrix is not None:
        assert np.max(np.abs(matrix - factor(np.eye(9)))) < 1e-14


@pytest.mark.parametrize("cell", ["vanilla", "minimal", "gru", "lstm"])
def test_transposed_step_is_the_transpose(cell):
    ens = rt.Ensemble(cell, sigma_w=1.5, sigma_v=0.7, sigma_b=0.3)
    network = Network(ens, 9, 3, 0, np, "float64")
    network.run(3)
    factor, identity = network.step(), np.eye(network.state.size)
    assert np.max(np.abs(factor.transposed(identity) - factor(identity).T)) < 1e-14


COMPANY = {
    "vanilla": rt.Ensemble("vanilla", sigma_w=1.3, sigma_b=0.2, weights="orthogonal"),
    "minimal, slow": rt.Ensemble("minimal", sigma_w=1.5, sigma_v=0.5, mu_b=3.0, R=0.5),
    "lstm": rt.Ensemble("lstm", sigma_w=1.3, sigma_v=0.6),
    "gru, tied": rt.Ensemble("gru", sigma_w=1.3, sigma_v=0.6, tied=True),
    "relu": rt.Ensemble(rt.VanillaRNN("relu"), sigma_w=1.4, sigma_b=0.1),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", COMPANY)
def test_a_trial_has_the_same_bits_in_any_company(name, dtype):
    """Also where trials need burn-ins of different lengths."""
    parameters = {"ensemble": COMPANY[name].to_dict(), "T": 3, "N": 13, "seed": 5, "device": "cpu"}
    parameters |= {"burn_in": {"least": 0}, "dtype": dtype}
    together = sample_trials(parameters, list(range(6)))
    for trials in ([4], [5, 1, 2]):
        for trial, row in zip(trials, sample_trials(parameters, trials), strict=True):
            assert np.array_equal(row, together[trial], equal_nan=True)
    lengths = {row[2] for row in together}
    assert len(lengths) > 1 or name != "minimal, slow"


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_state_alone_has_the_law_of_the_state_with_matrices(weights):
    """run() draws W r directly, step() draws W: the same mean square after both."""
    ens = rt.Ensemble("vanilla", sigma_w=1.4, sigma_b=0.2, sigma_v=0.3, weights=weights)
    squares = {"run": [], "step": []}
    for trial in range(60):
        for way, values in squares.items():
            network = Network(ens, 60, 1 + (way == "run"), trial, np, "float64")
            for _ in range(12):
                network.run(1) if way == "run" else network.step()
            values.append(np.mean(network.state**2))
    first, second = (np.array(values) for values in squares.values())
    error = math.sqrt((first.var(ddof=1) + second.var(ddof=1)) / 60)
    assert abs(first.mean() - second.mean()) < 4 * error


@pytest.mark.equation(6)
def test_second_moment_is_chi_to_the_T_and_a_wrong_chi_is_not():
    ens = rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05)
    value, error = rt.sample(ens, T=4, N=128, trials=16, burn_in=200).moment(1)
    chi = 0.9712159099375688
    assert abs(value - chi**4) < 4 * error
    assert abs(value - 1.05**8) > 8 * error


def test_tied_weights_are_used_at_every_step():
    linear = rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=1.0, tied=True)
    network = Network(linear, 9, 0, 0, np, "float64")
    first, second = network.step()(np.eye(9)), network.step()(np.eye(9))
    assert np.array_equal(first, second)
    untied = Network(linear.replace(tied=False), 9, 0, 0, np, "float64")
    assert not np.array_equal(untied.step()(np.eye(9)), untied.step()(np.eye(9)))


def test_relu_zeros_are_counted_exactly():
    mc = rt.sample(rt.Ensemble(rt.VanillaRNN("relu"), sigma_w=1.4, sigma_b=0.1), T=3, N=40, trials=4)
    zeros = np.isneginf(mc.log_s).sum(axis=1)
    assert np.all((zeros >= 10) & (zeros <= 35))
    assert mc.log_s[~np.isneginf(mc.log_s)].min() > -25


def test_shapes_moments_quantiles():
    mc = rt.sample(rt.Ensemble("lstm", sigma_w=1.2), T=2, N=15, trials=3, seed=1)
    assert mc.log_s.shape == (3, 30)
    assert np.all(np.diff(mc.log_s, axis=1) >= 0)
    squares = np.exp(2 * mc.log_s)
    for k in (1, 2):
        per_trial = (squares**k).mean(axis=1)
        assert mc.moment(k).value == pytest.approx(per_trial.mean(), rel=1e-12)
        assert mc.moment(k).error == pytest.approx(per_trial.std(ddof=1) / math.sqrt(3), rel=1e-9)
    assert mc.moment(0).value == 1.0
    assert mc.quantile(1.0).value == pytest.approx(np.exp(mc.log_s[:, -1]).mean())
    assert mc.log_quantile(0.5).value == pytest.approx(mc.log_s[:, 14].mean())


def test_bands_cover_the_mean_as_often_as_they_say():
    """Normal numbers with a common part in every trial, in 400 bands from 5 trials each."""
    rng = np.random.default_rng(2)
    values = rng.standard_normal((2000, 1)) + 0.1 * np.sort(rng.standard_normal((2000, 20)))
    mc = rt.sampling.Sample(values, ENS, 1, 20, {})
    mean = mc.log_quantile(0.5).value
    parts = [rt.sampling.Sample(rows, ENS, 1, 20, {}) for rows in np.split(values, 400)]
    for coverage in (0.5, 0.9):
        bands = [part.band(0.5, coverage) for part in parts]
        covered = np.mean([band.low <= mean <= band.high for band in bands])
        assert abs(covered - coverage) < 4 * math.sqrt(coverage * (1 - coverage) / 400)
    assert mc.largest.value == mc.log_quantile(1.0).value
    assert mc.smallest.value == mc.log_s[:, 0].mean()
    with pytest.raises(ValueError, match=r"^band: has 1 trial"):
        rt.sampling.Sample(mc.log_s[:1], ENS, 1, 20, {}).band(0.5)


def test_moments_of_long_products_neither_overflow_nor_vanish():
    ens = rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=10.0, weights="orthogonal")
    short = rt.sample(ens, T=100, N=6, trials=2, burn_in=0)
    assert short.moment(1).value == pytest.approx(1e200, rel=1e-9)
    assert rt.sample(ens, T=200, N=6, trials=2, burn_in=0).moment(1).value == math.inf


def test_save_and_load(tmp_path):
    mc = rt.sample(ENS, **SMALL)
    again = rt.load(mc.save(tmp_path / "mc"))
    assert np.array_equal(again.log_s, mc.log_s)
    assert (again.ensemble, again.T, again.N, again.provenance) == (mc.ensemble, mc.T, mc.N, mc.provenance)
    assert mc.provenance["seed"] == 7
    spec = rt.spectrum(rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05), T=2)
    assert rt.load(spec.save(tmp_path / "spec")).cdf(0.5) == spec.cdf(0.5)


def test_float32_products_are_close_to_float64():
    single = rt.sample(ENS, **SMALL, dtype="float32")
    double = rt.sample(ENS, **SMALL)
    assert single.log_s.dtype == np.float64
    assert 0 < np.max(np.abs(single.log_s - double.log_s)) < single.provenance["error"]
    assert 1e4 * double.provenance["error"] < single.provenance["error"] < 0.1


def test_workers_do_not_change_a_bit():
    alone = rt.sample(ENS, **SMALL)
    for workers in (1, 2):
        with processes(workers) as pool:
            assert np.array_equal(rt.sample(ENS, **SMALL, executor=pool).log_s, alone.log_s)
    longer = rt.sample(ENS, **SMALL | {"trials": 6})
    assert np.array_equal(longer.log_s[:4], alone.log_s)
    assert not np.array_equal(rt.sample(ENS, **SMALL | {"seed": 8}).log_s, alone.log_s)


def burn_in(ens, n=200, **options):
    mc = rt.sample(ens, T=1, N=n, trials=2, **options)
    return mc.provenance["burn_in"], mc.stationary


def test_burn_in_follows_the_slowness_of_the_network():
    quick = rt.Ensemble("minimal", sigma_w=3.0, sigma_v=1.2, mu_b=2.0, R=0.46)
    # u ≈ 0.9975: a share of 1/400 of the state is replaced at every step.
    steps, stationary = burn_in(quick.replace(mu_b=6.0), n=100)
    assert 4000 <= steps <= 16000 and stationary
    assert burn_in(quick)[0] in (500, 1000) and burn_in(quick)[1]
    assert burn_in(quick, burn_in=7) == (7, None)
    near = rt.Ensemble("vanilla", sigma_w=1.01, sigma_b=0.01)
    assert burn_in(near, n=50)[0] > 8 * rt.mean_field(near).timescale > 500


def test_where_nothing_is_stationary_it_is_said():
    critical = rt.Ensemble("vanilla", sigma_w=1.0)
    assert burn_in(critical) == (500, False)
    spec = rt.spectrum(rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05), T=1)
    assert "NOT stationary" in str(rt.compare(spec, rt.sample(critical, T=1, N=20, trials=2)))
    linear = rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=1.3)
    assert burn_in(linear) == (0, True)


def test_drifting_networks_are_told_from_fluctuating_ones():
    noise = np.random.default_rng(1).standard_normal((400, 62, 1))
    flat = np.mean([_agree(1.0 + 0.05 * rows) for rows in noise])
    drift = np.exp(-np.arange(62) / 30)[:, None]
    moving = np.mean([_agree(1.0 + drift + 0.05 * rows) for rows in noise])
    assert flat > 0.95
    assert moving < 0.05


def dying_trial(parameters, trial):
    """Kills its own process, but only where it is not the parent's."""
    if os.getpid() != parameters["parent"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return np.array([float(trial)])


def failing_trial(parameters, trial):
    raise ZeroDivisionError("the trial's own error")


def run(trial, parameters=None, **options):
    defaults = {"executor": None, "checkpoint": None, "report": lambda *_: None, "label": "test"}
    return run_trials(trial, parameters or {"parent": os.getpid()}, 4, **defaults | options)


def test_trials_of_dead_workers_run_again():
    with processes(2) as pool:
        assert [row[0] for row in run(dying_trial, executor=pool)] == [0.0, 1.0, 2.0, 3.0]


def once_dying_trial(parameters, trial):
    """Trial 1 kills the process it is in, the first time it is run."""
    marker = parameters["marker"]
    if trial == 1 and not os.path.exists(marker):
        with open(marker, "w"):
            pass
        os.kill(os.getpid(), signal.SIGKILL)
    return np.array([float(trial)])


def test_one_killed_worker_of_a_pool_loses_no_trial(tmp_path):
    """The pool is broken by it; what it had finished is kept, and the rest runs in this process."""
    parameters = {"marker": str(tmp_path / "died"), "parent": os.getpid()}
    folder = tmp_path / "checkpoint"
    with processes(2) as pool:
        rows = run(once_dying_trial, parameters, executor=pool, checkpoint=folder)
    assert (tmp_path / "died").exists()
    assert [row[0] for row in rows] == [0.0, 1.0, 2.0, 3.0]
    assert len(CheckpointFolder(folder, parameters).finished(4)) == 4


def test_an_error_of_the_trial_itself_is_raised():
    with processes(1) as pool, pytest.raises(ZeroDivisionError, match="own error"):
        run(failing_trial, executor=pool)


class BrokenFromTheStart(Executor):
    def submit(self, fn, /, *args, **kwargs) -> Future:
        raise BrokenProcessPool("no workers")


def test_an_executor_that_takes_nothing():
    assert [row[0] for row in run(dying_trial, executor=BrokenFromTheStart())] == [0.0, 1.0, 2.0, 3.0]


def test_progress_counts_trials():
    seen = []
    rt.sample(ENS, **SMALL, progress=lambda done, total, label: seen.append((done, total)))
    assert seen == [(k, 4) for k in range(5)]


def test_checkpoint_continues_and_is_bit_identical(tmp_path):
    whole = rt.sample(ENS, **SMALL)
    rt.sample(ENS, **SMALL | {"trials": 2}, checkpoint=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    seen = []
    resumed = rt.sample(ENS, **SMALL, checkpoint=tmp_path, progress=lambda done, *_: seen.append(done))
    assert np.array_equal(resumed.log_s, whole.log_s)
    assert seen == [2, 3, 4]


def test_every_flipped_byte_of_a_checkpoint_is_noticed(tmp_path):
    folder = CheckpointFolder(tmp_path, {"seed": 1})
    folder.write(0, np.array([1.0, -math.inf]))
    good = folder.path(0).read_bytes()
    for position in range(len(good)):
        folder.path(0).write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        with pytest.raises(ValueError, match="is damaged"):
            folder.finished(1)
    for length in range(len(good)):
        folder.path(0).write_bytes(good[:length])
        with pytest.raises(ValueError, match="is damaged"):
            folder.finished(1)


def test_foreign_checkpoints_are_named(tmp_path):
    rt.sample(ENS, **SMALL, checkpoint=tmp_path)
    with pytest.raises(
        ValueError, match=r"trial-000000\.dat: belongs to another run \(differs in \['seed'\]\)"
    ):
        rt.sample(ENS, **SMALL | {"seed": 8}, checkpoint=tmp_path)
    (tmp_path / "trial-000001.dat").write_bytes((tmp_path / "trial-000000.dat").read_bytes())
    with pytest.raises(ValueError, match=r"trial-000001\.dat: belongs to another run"):
        rt.sample(ENS, **SMALL, checkpoint=tmp_path)


SLOW_RUN = """
import sys, rmtrnn as rt
ens = rt.Ensemble("minimal", sigma_w=1.5, sigma_v=0.5, mu_b=0.5, R=0.5)
rt.sample(ens, T=3, N=20, trials=300, seed=7, burn_in=20, checkpoint=sys.argv[1])
"""


@pytest.mark.slow
def test_killed_ten_times_and_still_bit_identical(tmp_path):
    waits = np.random.default_rng(2).uniform(0.0, 0.15, 10)
    for wait in waits:
        before = len(list(tmp_path.glob("trial-*.dat")))
        process = subprocess.Popen([sys.executable, "-c", SLOW_RUN, str(tmp_path)])
        while process.poll() is None and len(list(tmp_path.glob("trial-*.dat"))) <= before:
            time.sleep(0.01)
        time.sleep(wait)
        process.kill()
        process.wait()
    done = len(list(tmp_path.glob("trial-*.dat")))
    assert done >= 10
    arguments = SMALL | {"trials": done + 2}
    resumed = rt.sample(ENS, **arguments, checkpoint=tmp_path)
    assert np.array_equal(resumed.log_s, rt.sample(ENS, **arguments).log_s)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"T": 0}, ValueError, "^T = 0"),
        ({"N": 0}, ValueError, "^N = 0"),
        ({"trials": 0}, ValueError, "^trials = 0"),
        ({"seed": -1}, ValueError, "^seed = -1"),
        ({"T": 2.0}, TypeError, r"^T = 2\.0"),
        ({"dtype": "float16"}, ValueError, "^dtype = 'float16'"),
        ({"device": "tpu"}, ValueError, "^device = 'tpu'"),
        ({"burn_in": -1}, ValueError, "^burn_in = -1"),
        ({"executor": 3}, TypeError, "^executor = 3"),
    ],
)
def test_bad_input_is_named(change, error, message):
    with pytest.raises(error, match=message):
        rt.sample(ENS, **SMALL | change)
    with pytest.raises(TypeError, match=r"^ens = 'gru'"):
        rt.sample("gru", T=1)


@pytest.mark.slow
def test_a_dask_cluster_gives_the_same_bits_and_survives_a_killed_worker(tmp_path):
    """Dask itself gives the lost trial to another worker, and the nanny replaces the dead one."""
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    parameters = {"marker": str(tmp_path / "died"), "parent": os.getpid()}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        executor = client.get_executor()
        assert np.array_equal(rt.sample(ENS, **SMALL, executor=executor).log_s, rt.sample(ENS, **SMALL).log_s)
        rows = run(once_dying_trial, parameters, executor=executor)
        grid = {"sigma_w": np.array([1.0, 1.5]), "mu_b": np.array([0.0, 0.5, 1.0])}
        here, there = rt.phase_diagram(ENS, **grid), rt.phase_diagram(ENS, **grid, executor=executor)
    assert (tmp_path / "died").exists()
    assert [row[0] for row in rows] == [0.0, 1.0, 2.0, 3.0]
    assert np.array_equal(here.chi, there.chi)
