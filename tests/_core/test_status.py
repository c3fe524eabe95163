"""Status messages: what happened, and only remedies that exist."""

import dataclasses
import importlib
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn._core.result import Result
from rmtrnn._core.status import CONFIDENCE, Status

MAKERS = {  # kind: module, class, and what made the result: its arguments are the remedies there are
    "mean field": ("rmtrnn.meanfield.result", "MeanField", rt.mean_field),
    "spectrum": ("rmtrnn.spectra.result", "Spectrum", rt.spectrum),
    "isometry": ("rmtrnn.isometry_report", "Isometry", rt.spectrum),
    "comparison": ("rmtrnn.comparison", "Comparison", rt.spectrum),
    "critical point": ("rmtrnn.criticality.point", "Critical", rt.critical),
    "phase diagram": ("rmtrnn.phase", "PhaseDiagram", rt.phase_diagram),
    "lyapunov sample": ("rmtrnn.sampling.lyapunov", "LyapunovSample", rt.sample_lyapunov),
    "lyapunov spectrum": ("rmtrnn.spectra.lyapunov", "LyapunovSpectrum", rt.lyapunov),
    "sample": ("rmtrnn.sampling.sample", "Sample", rt.sample),
    "initialisation plan": ("rmtrnn.initialisation.plan", "Plan", rt.initialize),
    "sensitivity": ("rmtrnn.initialisation.sensitivity", "Sensitivity", rt.sensitivity),
    "outliers": ("rmtrnn.spectra.outliers", "Outliers", rt.outliers),
    "singular outliers": ("rmtrnn.spectra.singular_outliers", "SingularOutliers", rt.singular_outliers),
    "trajectory jacobian": ("rmtrnn.sampling.given_network", "TrajectoryJacobian", rt.jacobian_log_s),
}
ALWAYS_CONVERGED = {"sample", "lyapunov sample"}  # they are what they are
OWN_MESSAGES = {"critical point", "initialisation plan"}


@pytest.mark.parametrize("kind", MAKERS)
def test_remedies_name_arguments_that_exist(kind):
    module, name, maker = MAKERS[kind]
    cls = getattr(importlib.import_module(module), name)
    assert issubclass(cls, Result) and cls.kind == kind
    for status, remedy in cls.remedies.items():
        named = re.findall(r"(\w+)=", remedy)
        assert named and set(named) <= set(inspect.signature(maker).parameters), (status, remedy)


def test_every_kind_of_result_has_its_remedies():
    assert set(MAKERS) == set(rt._RESULTS) - {"ensemble"}
    for kind in set(MAKERS) - ALWAYS_CONVERGED - OWN_MESSAGES:
        module, name, _ = MAKERS[kind]
        assert Status.MAX_ITERATIONS in getattr(importlib.import_module(module), name).remedies, kind


@pytest.mark.parametrize("status", [Status.MAX_ITERATIONS, Status.NO_SOLUTION])
def test_messages_of_a_plan_name_arguments_that_exist(status):
    plan = rt.initialize("vanilla", 4)
    named = re.findall(r"(\w+)=", dataclasses.replace(plan, status=status).message)
    assert named and set(named) <= set(inspect.signature(rt.initialize).parameters)


def test_messages_of_a_phase_diagram_name_arguments_that_exist():
    phases = rt.phase_diagram(rt.Ensemble("vanilla", sigma_b=0.1), sigma_w=[0.5, 1.0])
    ended = np.array([Status.CONVERGED, Status.MAX_ITERATIONS])
    message = dataclasses.replace(phases, status=ended).message
    named = re.findall(r"(\w+)=", message)
    assert named and set(named) <= set(inspect.signature(rt.phase_diagram).parameters), message


@pytest.mark.parametrize("status", Status)
def test_messages_are_one_line_and_name_no_argument_of_one_solver(status):
    assert "\n" not in status.message and "=" not in status.message
    named = set(re.findall(r"\w+_\w+", status.message))
    assert named <= {"sigma_w", "sigma_v", "sigma_b", "mu_b"}


def test_confidence_is_defined_once():
    sources = Path(rt.__file__).parent.rglob("*.py")
    defining = [path.name for path in sources if re.search(r"^CONFIDENCE\b.*=", path.read_text(), re.M)]
    assert defining == ["status.py"] and CONFIDENCE == 3.0
