"""Status messages: what happened, and only remedies that exist."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

import rmtrnn as rt
from rmtrnn._core.result import Result
from rmtrnn._core.status import CONFIDENCE, Status

MAKERS = {  # what made the result: its arguments are the remedies there are
    "mean field": ("rmtrnn.meanfield.result", "MeanField", rt.mean_field),
    "spectrum": ("rmtrnn.spectra.result", "Spectrum", rt.spectrum),
    "isometry": ("rmtrnn.isometry_report", "Isometry", rt.spectrum),
    "comparison": ("rmtrnn.comparison", "Comparison", rt.spectrum),
    "critical point": ("rmtrnn.criticality.point", "Critical", rt.critical),
    "phase diagram": ("rmtrnn.phase", "PhaseDiagram", rt.phase_diagram),
    "lyapunov sample": ("rmtrnn.sampling.lyapunov", "LyapunovSample", rt.sample_lyapunov),
    "lyapunov spectrum": ("rmtrnn.spectra.lyapunov", "LyapunovSpectrum", rt.lyapunov),
    "sample": ("rmtrnn.sampling.sample", "Sample", rt.sample),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_remedies_name_arguments_that_exist(kind):
    module, name, maker = MAKERS[kind]
    cls = getattr(importlib.import_module(module), name)
    assert issubclass(cls, Result) and cls.kind == kind
    for status, remedy in cls.remedies.items():
        named = re.findall(r"(\w+)=", remedy)
        assert named and set(named) <= set(inspect.signature(maker).parameters), (status, remedy)


@pytest.mark.parametrize("status", Status)
def test_messages_are_one_line_and_name_no_argument_of_one_solver(status):
    assert "\n" not in status.message and "=" not in status.message
    named = set(re.findall(r"\w+_\w+", status.message))
    assert named <= {"sigma_w", "sigma_v", "sigma_b", "mu_b"}


def test_confidence_is_defined_once():
    sources = Path(rt.__file__).parent.rglob("*.py")
    defining = [path.name for path in sources if re.search(r"^CONFIDENCE\b.*=", path.read_text(), re.M)]
    assert defining == ["status.py"] and CONFIDENCE == 3.0
