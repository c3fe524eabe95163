"""Samples: moments, workers that change nothing, checkpoints that are continued, bad input by name."""

import math
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from workers import dying_once, processes, run

import rmtrnn as rt

ENS = rt.Ensemble("minimal", sigma_w=1.5, sigma_v=0.5, mu_b=0.5, R=0.5)


SMALL = {"T": 3, "N": 20, "trials": 4, "seed": 7, "burn_in": 20}


@pytest.mark.equation(6)
def test_second_moment_is_chi_to_the_T_and_a_wrong_chi_is_not():
    ens = rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05)
    value, error = rt.sample(ens, T=4, N=128, trials=16, burn_in=200).moment(1)
    chi = 0.9712159099375688
    assert abs(value - chi**4) < 4 * error
    assert abs(value - 1.05**8) > 8 * error


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
@pytest.mark.parametrize("kills", [4, pytest.param(10, marks=pytest.mark.sweep)])
def test_killed_again_and_again_and_still_bit_identical(tmp_path, kills):
    waits = np.random.default_rng(2).uniform(0.0, 0.15, kills)
    for wait in waits:
        before = len(list(tmp_path.glob("trial-*.dat")))
        process = subprocess.Popen([sys.executable, "-c", SLOW_RUN, str(tmp_path)])
        while process.poll() is None and len(list(tmp_path.glob("trial-*.dat"))) <= before:
            time.sleep(0.01)
        time.sleep(wait)
        process.kill()
        process.wait()
    done = len(list(tmp_path.glob("trial-*.dat")))
    assert done >= kills
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
        rows = run(dying_once, parameters, executor=executor)
        grid = {"sigma_w": np.array([1.0, 1.5]), "mu_b": np.array([0.0, 0.5, 1.0])}
        here, there = rt.phase_diagram(ENS, **grid), rt.phase_diagram(ENS, **grid, executor=executor)
    assert (tmp_path / "died").exists()
    assert [row[0] for row in rows] == [0.0, 1.0, 2.0, 3.0]
    assert np.array_equal(here.chi, there.chi)
