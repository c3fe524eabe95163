"""What is built on a mean field that did not converge says so: status or error, its cause, a larger error."""

import dataclasses
import importlib
import pkgutil
import sys

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn._core.status import ConvergenceError, Status
from rmtrnn.meanfield import growth, solve, tied_field
from rmtrnn.meanfield.shortfall import shortfall_of

RESIDUAL = 0.0625
MINIMAL = rt.Ensemble("minimal", sigma_w=1.5, sigma_v=1.0)
LEAKY = rt.Ensemble("leaky", sigma_w=1.5, sigma_v=0.5, tied=True)
TIED, LSTM = MINIMAL.replace(tied=True), rt.Ensemble("lstm", sigma_v=1.0)

RESULTS = {  # made from a mean field; each has a status, or is a bare number and raises
    "tied law, T = 1": lambda: rt.spectrum(TIED, 1, population=512),
    "tied law, T = 2": lambda: rt.spectrum(TIED, 2, population=512),
    "isometry": lambda: rt.isometry(TIED, 1, rt.spectrum(TIED, 1, population=512)),
    "sensitivity, tied": lambda: rt.sensitivity(TIED, 4, sites=256),
    "lyapunov, tied": lambda: rt.lyapunov(LEAKY, period=16, sites=64),
    "plan, tied": lambda: rt.initialize("minimal", 4, fix={"sigma_w": 1.0, "sigma_v": 0.5, "mu_b": 1.0}),
    "untied law": lambda: rt.spectrum(MINIMAL, 2, population=1024),
    "untied quantiles": lambda: rt.dyson.quantiles.log_quantiles(MINIMAL, 24, [0.5]),
    "sensitivity, untied": lambda: rt.sensitivity(LSTM, 4, sites=256),
    "sensitivity, vanilla": lambda: rt.sensitivity(rt.Ensemble("vanilla"), 4),
    "lyapunov, untied": lambda: rt.lyapunov(MINIMAL, period=16, sites=64),
    "second moment": lambda: rt.spectra.second_moment(LSTM, 2, sites=256, replicates=2),
    "first moment": lambda: rt.spectra.site_moments.first_moment(LSTM, 2, sites=256),
    "curve, tied": lambda: rt.eigenvalue_curve(TIED, points=8, sites=256),
    "curve, untied": lambda: rt.eigenvalue_curve(MINIMAL, points=8, sites=256),
    "radius": lambda: rt.spectral_radius(TIED, sites=256),
    "outliers": lambda: rt.outliers(MINIMAL, low_rank=3.0, sites=256),
    "outliers of a mean": lambda: rt.outliers(MINIMAL, mean=0.1, sites=256),
    "critical point": lambda: rt.critical("vanilla", T=2, free={"sigma_w": (0.5, 3.0)}, sigma_b=0.3),
    "layer normalisation": lambda: rt.layer_normalized(MINIMAL),
    "high precision": lambda: rt.highprec.fixed_point(rt.Ensemble("vanilla", sigma_b=0.3), dps=20),
}


def _unconverged(field):
    changed = {"status": Status.MAX_ITERATIONS, "residual": RESIDUAL}
    return field._replace(**changed) if isinstance(field, tuple) else dataclasses.replace(field, **changed)


@pytest.fixture
def unconverged(monkeypatch):
    """All solvers of mean fields end at their budget."""
    for part in ("meanfield", "dyson", "spectra", "initialisation", "criticality", "highprec"):
        package = importlib.import_module(f"rmtrnn.{part}")
        for module in pkgutil.walk_packages(package.__path__, f"rmtrnn.{part}."):
            importlib.import_module(module.name)
    for solver in (tied_field.tied_field, solve.mean_field, growth.single_replica_mean_field):

        def ended(*args, solver=solver, **options):
            return _unconverged(solver(*args, **options))

        for name, module in list(sys.modules.items()):
            if name.startswith("rmtrnn"):
                for key, value in list(vars(module).items()):
                    if value is solver:
                        monkeypatch.setattr(module, key, ended)


@pytest.mark.parametrize("kind", RESULTS)
def test_results_inherit_that_a_mean_field_did_not_converge(kind, unconverged):
    try:
        found = RESULTS[kind]()
    except ConvergenceError as error:
        assert "mean field" in str(error) or "state" in str(error)
        return
    assert not found.converged and "mean field" in found.message
    assert found.error >= RESIDUAL


@pytest.mark.parametrize("kind", ["tied law, T = 2", "sensitivity, tied", "curve, tied", "outliers"])
def test_they_say_nothing_of_a_mean_field_that_did(kind):
    found = RESULTS[kind]()
    assert not hasattr(found, "cause") or "mean field" not in found.message


def test_the_shortfall_covers_the_errors_of_the_variances_and_the_residual():
    field = tied_field.tied_field(TIED, None, 512, 0)
    assert shortfall_of(field).error == 0.0 and not shortfall_of(field).cause
    relative = max(float(np.max(one.error / one.value)) for one in (field.Q, field.q))
    short = shortfall_of(_unconverged(field))
    assert short.status is Status.MAX_ITERATIONS and np.isclose(short.error, relative + RESIDUAL)
    lost = shortfall_of(_unconverged(field)._replace(residual=np.inf))
    assert lost.error == 1.0
