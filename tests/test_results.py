"""Every kind of result has one shape: how it ended, plain numbers, tables, a file, pickling, equality."""

import json
import math
import os
import pickle
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import matplotlib.pyplot as plt
import numpy as np
import pytest
import sympy

import rmtrnn as rt
from rmtrnn._core.status import Status
from rmtrnn.criticality.point import NotMeasuredError

ENS = rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05, weights="orthogonal")


def make_sample():
    return rt.sample(ENS, T=2, N=16, trials=4, burn_in=5)


MAKERS = {
    "spectrum": lambda: rt.spectrum(ENS, 3),
    "dyson": lambda: rt.spectrum(rt.Ensemble("minimal", sigma_w=2.0, R=0.5), 1, population=512),
    "mean field": lambda: rt.mean_field(rt.Ensemble("gru", sigma_v=0.5), steps=3),
    "phase diagram": lambda: rt.phase_diagram(
        ENS, sigma_w=np.array([0.5, 1.0, 1.5]), mu_b=np.array([0.0, 1.0])
    ),
    "sample": make_sample,
    "comparison": lambda: rt.compare(rt.spectrum(ENS, 2), make_sample()),
    "lyapunov": lambda: rt.lyapunov(ENS),
    "lyapunov sample": lambda: rt.sample_lyapunov(ENS, N=8, steps=32, trials=2, burn_in=5),
    "tied": lambda: rt.mean_field(rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, tied=True), sites=512),
    "isometry": lambda: rt.isometry(ENS, 3),
    "trajectory jacobian": lambda: rt.jacobian_log_s(np.array([np.diag([1.0, 0.5])] * 3)),
    "initialisation plan": lambda: rt.initialize("vanilla", 6),
    "sensitivity": lambda: rt.sensitivity(ENS.replace(sigma_v=0.1), 4),
    "outliers": lambda: rt.outliers(ENS.replace(sigma_w=0.5), low_rank=1.2, sites=512),
    "singular outliers": lambda: rt.singular_outliers(ENS.replace(sigma_w=0.5), low_rank=1.2, sites=512),
    "critical point": lambda: rt.critical("vanilla", T=3, R=0.46),
}


@pytest.fixture(scope="module")
def results():
    return {name: make() for name, make in MAKERS.items()}


@pytest.fixture(params=MAKERS)
def result(request, results):
    return results[request.param]


def test_says_how_it_ended(result):
    assert np.all(result.converged) and np.all(np.asarray(result.status) == Status.CONVERGED)
    assert isinstance(result.message, str) and "\n" not in result.message
    assert np.all(np.asarray(result.error) < 0.1)


def test_is_equal_after_saving_and_loading(result, tmp_path):
    path = result.save(tmp_path / "kept")
    found = rt.load(path)
    assert type(found) is type(result) and found == result and hash(found) == hash(result)
    assert repr(found) == repr(result)


def test_every_kind_of_result_is_walked_over(results):
    assert {one.kind for one in results.values()} == set(rt._RESULTS) - {"ensemble"}


def test_has_a_picture(result):
    with rt.plotting.style():
        ax = plt.subplots()[1]
    assert result.plot(ax=ax) is ax and ax.has_data() and ax.get_title() + ax.get_ylabel()
    assert result.plot() is not ax
    plt.close("all")


def test_a_mean_field_is_drawn_with_what_it_knows(results):
    trajectory = results["mean field"].plot()
    lags = results["tied"].plot()
    stationary = rt.mean_field(rt.Ensemble("gru", sigma_v=0.5)).plot()
    line = rt.phase_diagram(ENS, sigma_w=np.array([0.5, 1.0, 1.5])).plot(quantity="timescale")
    drawn = [ax.get_xlabel() for ax in (trajectory, lags, line)]
    assert drawn == ["step t", "lag (steps)", r"$\sigma_w$"]
    assert np.array_equal(lags.get_lines()[0].get_ydata()[:1], [1.0])
    assert [text.get_text() for text in stationary.get_xticklabels()] == ["Q", "q r", "q u", "q c"]
    plt.close("all")


def test_the_modes_that_are_drawn_are_those_of_the_test(results):
    report = results["comparison"]
    ax = report.plot()
    assert np.array_equal(ax.containers[0].lines[0].get_ydata(), report.modes)
    assert report.verdict in ax.get_title() and ax.patches
    plt.close("all")


def test_quantiles_mean_the_same_for_laws_and_samples():
    """icdf: numbers; quantile and log_quantile: a number with its error; cdf: the share at or below."""
    law, mc = rt.spectrum(ENS, 2), rt.sample(ENS, T=2, N=128, trials=4, burn_in=50)
    p = np.array([0.1, 0.5, 0.9])
    assert mc.icdf(p).shape == law.icdf(p).shape and np.allclose(mc.icdf(p), law.icdf(p), rtol=0.05)
    assert isinstance(mc.icdf(0.5), float) and mc.icdf(0.5) == mc.quantile(0.5).value
    assert np.allclose(mc.cdf(law.icdf(p)), p, atol=0.05) and mc.cdf(-1.0) == 0.0 and np.isnan(mc.cdf(np.nan))
    assert np.array_equal(mc.s, np.exp(mc.log_s))
    for one in (law, mc):
        value, error = one.quantile(0.5)
        log_value, log_error = one.log_quantile(0.5)
        assert math.log(value) == pytest.approx(log_value, abs=1e-3) and error / value < 0.05
        assert error / value == pytest.approx(log_error, rel=0.1, abs=1e-12)
    assert abs(law.cdf(law.quantile(0.3).value) - 0.3) <= 2 * law.error + 1e-12


@pytest.mark.slow
def test_dask_takes_and_gives_results(results):
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 1, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        back = list(client.get_executor().map(_same, results.values()))
    assert back == list(results.values())


def test_is_equal_after_pickling(result):
    assert pickle.loads(pickle.dumps(result)) == result


def test_differs_from_others(results):
    for name, one in results.items():
        for other_name, other in results.items():
            assert (one == other) is (name == other_name)
    assert rt.spectrum(ENS, 4) != results["spectrum"] and results["spectrum"] != 3


def plain_types(value):
    if isinstance(value, dict):
        return all(isinstance(key, str) and plain_types(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(plain_types, value))
    return value is None or type(value) in (bool, int, float, str)


def test_plain_numbers(result):
    numbers = result.to_dict()
    assert plain_types(numbers) and {"converged", "message"} <= numbers.keys()
    json.dumps(numbers)


def test_tables(result):
    pandas = pytest.importorskip("pandas")
    table = result.to_pandas()
    assert isinstance(table, pandas.DataFrame) and len(table) >= 1 and len(table.columns) >= 3


def test_notebook_table(result):
    text = result._repr_html_()
    assert text.startswith("<table>") and text.endswith("</table>") and len(text) < 20_000


def test_datasets(results):
    """As the tables: a sample over trials and ranks, a spectrum over p, numbers as one row."""
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("pandas")
    for result in results.values():
        assert isinstance(result.to_xarray(), xarray.Dataset)
    sample, spectrum = results["sample"], results["spectrum"]
    assert np.array_equal(sample.to_xarray().log_s.sel(trial=1), sample.log_s[1])
    assert spectrum.to_xarray(5).log_s.sel(p=0.5) == spectrum.log_s.icdf(0.5)
    assert float(results["mean field"].to_xarray().chi[0]) == results["mean field"].chi


def test_phase_diagram_as_tables(results):
    pytest.importorskip("pandas")
    xarray = pytest.importorskip("xarray")
    pd = results["phase diagram"]
    table = pd.to_pandas()
    row = table[(table.sigma_w == 1.5) & (table.mu_b == 1.0)].iloc[0]
    assert len(table) == 6 and row.chi == pd.chi[2, 1] and row.q == pd.q[2, 1]
    data = pd.to_xarray()
    assert isinstance(data, xarray.Dataset)
    assert float(data.chi.sel(sigma_w=0.5, mu_b=1.0)) == pd.chi[0, 1]


def test_a_sweep_is_a_table():
    pandas = pytest.importorskip("pandas")
    rows = [rt.mean_field(ENS.replace(sigma_w=value)).to_pandas() for value in (0.5, 1.0)]
    table = pandas.concat(rows, ignore_index=True)
    assert list(table["ensemble.sigma_w"]) == [0.5, 1.0] and {"Q", "q", "chi", "error"} <= set(table.columns)


def test_a_missing_table_package_is_named(results, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pandas is not installed.*rmtrnn\[tables\]"):
        results["mean field"].to_pandas()


def test_spawned_processes_take_and_give_results(results):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        back = list(executor.map(_same, results.values()))
    assert back == list(results.values())


def _same(result):
    return result


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_loading_needs_no_import_but_rmtrnn(results, tmp_path):
    """Each file is read by a process of its own, forked from one that has imported rmtrnn alone."""
    paths = [str(result.save(tmp_path / str(k))) for k, result in enumerate(results.values())]
    code = """
import os, sys
import rmtrnn as rt
for path in sys.argv[1:]:
    child = os.fork()
    if not child:
        print(type(rt.load(path)).__name__, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [type(result).__name__ for result in results.values()]


def test_files_of_results_hold_no_pickle(result, tmp_path):
    with np.load(result.save(tmp_path / "kept"), allow_pickle=False) as file:
        assert all(file[name].dtype.kind != "O" for name in file.files)


def test_a_repr_is_short_and_names_the_network(result):
    assert len(repr(result)) < 600 and repr(result).count("\n") < 9
    assert not hasattr(result, "ensemble") or repr(result.ensemble) in repr(result)


def test_reprs_are_short_also_for_own_cells():
    h, x, e = sympy.symbols("h x e")
    cell = rt.Cell("leaky", state=h, input=x, gates={e: h}, update={h: 0.75 * h + 0.25 * sympy.tanh(e)})
    field = rt.mean_field(rt.Ensemble(cell, sigma_b=0.3))
    assert "<cell 'leaky'>" in repr(field) and "from_dict" not in repr(field)


def test_printing_a_critical_point_computes_nothing(monkeypatch):
    from rmtrnn.criticality import point

    found = rt.critical("gru", T=50, sigma_v=0.5, weights="gaussian", free={"sigma_w": (0.5, 4.0)})

    def refuse(*_, **__):
        raise AssertionError("a print must not compute")

    monkeypatch.setattr(point, "isometry", refuse)
    monkeypatch.setattr(point, "mean_field", refuse)
    assert "measure()" in str(found) and str(found.ensemble) in repr(found)
    found._repr_html_(), found.to_dict(), found.chi_star, found.timescale, found.message
    for name in ("isometry", "variance", "condition_number", "isometric"):
        with pytest.raises(NotMeasuredError, match=r"call measure\(progress=True\)"):
            getattr(found, name)


def test_measuring_is_kept():
    found = rt.critical("vanilla", T=4, R=0.46)
    assert found.measured is None and "not computed yet" in str(found)
    assert found.measure() is found.measure() is found.isometry and "m_1" in str(found)


def test_no_room_finds_another_by_a_string():
    from pathlib import Path

    root = Path(rt.__file__).parent
    named = re.compile(r"import_module\(\s*f?[\"']rmtrnn")
    allowed = {"__init__.py"}
    found = {
        path for path in root.rglob("*.py") if named.search(path.read_text()) and path.name not in allowed
    }
    assert found == set()


def test_nan_and_infinity_survive(tmp_path):
    field = rt.mean_field(rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=1.5, sigma_b=1.0))
    found = rt.load(field.save(tmp_path / "diverged"))
    assert (
        found == field
        and math.isnan(found.Q)
        and found.status is Status.DIVERGED
        and "smaller sigma_w" in found.message
    )


def test_draws_beyond_the_memory_are_refused(results):
    with pytest.raises(ValueError, match=r"n = 1000000000000: needs .* GiB of memory"):
        results["spectrum"].rvs(10**12)
