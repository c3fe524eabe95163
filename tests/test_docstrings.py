"""Public names: documented, every argument named, and every example in a docstring is true."""

import ast
import doctest
import importlib
import importlib.util
import inspect
import pkgutil
import re
from pathlib import Path

import matplotlib.pyplot as plt
import mpmath
import numpy as np
import pytest
import sympy
from test_public_api import NAMES, RESULTS

import rmtrnn
import rmtrnn as rt

ROOT = Path(__file__).resolve().parents[1]
TORCH = ast.parse((ROOT / "rmtrnn" / "torch.py").read_text(encoding="utf-8"))
MODULES = sorted(
    info.name for info in pkgutil.walk_packages(rmtrnn.__path__, "rmtrnn.") if info.name != "rmtrnn.torch"
)
USERS = ("rmtrnn", "rmtrnn.free", "rmtrnn.highprec", "rmtrnn.spectra", "rmtrnn.symbolic", "rmtrnn.plotting")
NO_EXAMPLE = {
    # made and returned by others, or raised by them
    "CertificationError", "Certified", "ClosedLaw", "ConvergenceError", "Measured", "Moments",
    "NoCriticalPointError", "RealLaw",
    "Spectrum", "SpectrumPicture",
    # need python-flint (their page has an example), or have one beside them
    "certified_cdf", "certified_chi", "certified_density", "certified_edge", "certified_fixed_point",
    "certified_largest_exponent",
    "critical_minimal", "critical_sigma_w",
    "erf_kernel", "relu_kernel",
    # pictures: the gallery is their example
    "plot_comparison", "plot_correlation", "plot_given", "plot_isometry", "plot_lyapunov",
    "plot_mean_field", "plot_outliers",
    "plot_phase_diagram", "plot_scores", "plot_sensitivity", "plot_singular_outliers", "plot_spectrum",
    "spectrum_title", "style",
}  # fmt: skip


def names():
    """(module, name) of everything a user calls, without modules and plain values."""
    pairs = [(module, name) for module in NAMES for name in NAMES[module].split()]
    pairs += [(f"rmtrnn.{module}", name) for module in RESULTS for name in RESULTS[module].split()]
    if importlib.util.find_spec("flint") is None:  # certified numbers need it already for their import
        pairs = [(module, name) for module, name in pairs if "certif" not in name.lower()]
    found = {pair: getattr(importlib.import_module(pair[0]), pair[1]) for pair in pairs}
    return {pair: value for pair, value in found.items() if callable(value)}


PUBLIC = names()


@pytest.mark.parametrize(("module", "name"), PUBLIC, ids=lambda text: text)
def test_is_documented(module, name):
    """A docstring of its own, in which every argument is named."""
    value = PUBLIC[module, name]
    text = inspect.getdoc(value) or ""
    assert len(text.split()) >= 4, "says nothing"
    assert not inspect.isclass(value) or issubclass(value, tuple | Exception) or value.__doc__
    if inspect.isfunction(value):
        for argument, parameter in inspect.signature(value).parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                continue
            assert argument in re.findall(r"\w+", text), f"{argument} is not mentioned"


@pytest.mark.parametrize(
    ("module", "name"), [pair for pair in PUBLIC if pair[0] in USERS and pair[1] not in NO_EXAMPLE]
)
def test_has_an_example(module, name):
    assert ">>> " in (inspect.getdoc(PUBLIC[module, name]) or "")


def test_members_are_documented():
    silent = [
        f"{module}.{name}.{key}"
        for (module, name), value in PUBLIC.items()
        if inspect.isclass(value)
        for key, item in vars(value).items()
        if not key.startswith("_")
        and (inspect.isfunction(item) or isinstance(item, property))
        and not inspect.getdoc(getattr(value, key))
    ]
    assert not silent


def test_torch_is_documented():
    """Read, not imported: it needs an extra."""
    nodes = [node for node in TORCH.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    for node in nodes:
        text = ast.get_docstring(node)
        assert text or node.name.startswith("_"), node.name
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            assert {argument.arg for argument in node.args.args} <= set(re.findall(r"\w+", text))


@pytest.mark.parametrize("module", ["rmtrnn", *MODULES])
def test_examples(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if module in ("rmtrnn.__main__", "rmtrnn.highprec.certified", "rmtrnn.highprec.enclosures"):
        pytest.importorskip("flint")
    if module in ("rmtrnn.cells.torch_layout", "rmtrnn.sampling.torch_steps"):
        pytest.importorskip("torch")
    if module == "rmtrnn.__main__":
        pytest.skip("runs the command")
    given = {"rt": rt, "np": np, "sympy": sympy, "mpmath": mpmath}
    result = doctest.testmod(importlib.import_module(module), extraglobs=given, optionflags=doctest.ELLIPSIS)
    plt.close("all")
    assert result.failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    found = [test for value in PUBLIC.values() for test in finder.find(value, "name") if test.examples]
    assert len(found) > 50
