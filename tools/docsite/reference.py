"""The reference: one page for each public module, made from the docstrings when the site is built."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
from pathlib import Path
from typing import Any, NamedTuple

from tools.docsite import docstrings

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("free", "spectra", "highprec", "symbolic", "cells", "meanfield", "sampling.products", "plotting")
RESULTS = {
    "spectra": ("Spectrum", "Measured"),
    "spectra.result": ("LogView",),
    "meanfield": ("MeanField",),
    "phase": ("PhaseDiagram",),
    "sampling": ("Sample", "Estimate", "TrajectoryJacobian"),
    "comparison": ("Comparison", "MomentScore", "EdgeScore"),
    "isometry_report": ("Isometry",),
    "criticality": ("Critical",),
}
HIDDEN = {"rmtrnn": {"__version__"}}
FIRST = ("Ensemble", "spectrum", "sample", "compare", "mean_field", "phase_diagram", "critical", "isometry")


class Entry(NamedTuple):
    """What one public name shows: ``module`` as the user writes it, methods as entries of their own."""

    module: str
    name: str
    kind: str
    signature: str
    text: str
    members: tuple[Entry, ...] = ()


def public() -> dict[str, list[Entry]]:
    """Page name → entries; the torch module is read without importing it, for it needs an extra."""
    root = importlib.import_module("rmtrnn")
    pages = {"rmtrnn": [entry("rmtrnn", name, getattr(root, name)) for name in _names("rmtrnn")]}
    pages["rmtrnn"] = [item for item in pages["rmtrnn"] if item.kind != "module"]
    for short in MODULES:
        module = importlib.import_module(f"rmtrnn.{short}")
        pages[short] = [
            entry(f"rmtrnn.{short}", name, getattr(module, name)) for name in _names(module.__name__)
        ]
    pages["torch"] = parsed("rmtrnn.torch", ROOT / "rmtrnn" / "torch.py")
    pages["results"] = [
        entry(f"rmtrnn.{home}", name, getattr(importlib.import_module(f"rmtrnn.{home}"), name))
        for home, names in RESULTS.items()
        for name in names
    ]
    shown = {item.name for item in pages["results"]}
    for short in ("spectra", "meanfield"):
        pages[short] = [item for item in pages[short] if item.name not in shown]
    return pages


def _names(module: str) -> list[str]:
    found = importlib.import_module(module)
    own = [
        name for name, value in vars(found).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module
    ]  # fmt: skip
    shown = [name for name in getattr(found, "__all__", own) if name not in HIDDEN.get(module, ())]
    return sorted(shown, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))


def entry(module: str, name: str, value: Any) -> Entry:
    """Of an object that can be imported."""
    text = inspect.getdoc(value) or ""
    if inspect.ismodule(value):
        return Entry(module, name, "module", "", text)
    if not callable(value):
        return Entry(module, name, "value", "", f"The names ``{', '.join(value)}``.")
    if not inspect.isclass(value):
        return Entry(module, name, "function", _signature(value), text)
    members = tuple(
        Entry(module, f"{name}.{key}", *_member(item))
        for key, item in inspect.getmembers(value)
        if not key.startswith("_") and _is_own(value, key, item)
    )
    return Entry(module, name, "class", _signature(value), text, members)


def _is_own(value: type, key: str, item: Any) -> bool:
    if not (inspect.isroutine(item) or isinstance(item, property | functools.cached_property)):
        return False
    home = next(base for base in value.__mro__ if key in vars(base))
    shown_elsewhere = home is not value and home.__name__ in importlib.import_module("rmtrnn").__all__
    return home.__module__.startswith("rmtrnn") and not shown_elsewhere


def _member(item: Any) -> tuple[str, str, str]:
    if isinstance(item, property | functools.cached_property):
        return "property", "", inspect.getdoc(item) or ""
    return "method", _signature(item, bound=inspect.isfunction(item)), inspect.getdoc(item) or ""


def _signature(value: Any, bound: bool = False) -> str:
    """Without annotations: the docstring says what an argument may be."""
    try:
        signature = inspect.signature(value)
    except ValueError:
        return ""
    parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    plain = signature.replace(parameters=parameters[bound:], return_annotation=signature.empty)
    return str(plain) if not (inspect.isclass(value) and issubclass(value, Exception)) else ""


def parsed(module: str, path: Path) -> list[Entry]:
    """Of the public functions and classes in a file that is not imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = {ast.FunctionDef: "function", ast.ClassDef: "class"}
    return [
        _parsed(module, node) for node in tree.body if type(node) in kinds and not node.name.startswith("_")
    ]  # type: ignore[attr-defined]


def _parsed(module: str, node: Any, owner: str = "") -> Entry:
    name, text = owner + node.name, ast.get_docstring(node) or ""
    if isinstance(node, ast.FunctionDef):
        return Entry(module, name, "method" if owner else "function", _arguments(node, bool(owner)), text)
    functions = [item for item in node.body if isinstance(item, ast.FunctionDef)]
    start = next((item for item in functions if item.name == "__init__"), None)
    members = [
        _parsed(module, item, f"{name}.")
        for item in functions
        if not item.name.startswith("_") and ast.get_docstring(item)
    ]
    return Entry(module, name, "class", _arguments(start, True) if start else "", text, tuple(members))


def _arguments(node: ast.FunctionDef, bound: bool) -> str:
    arguments = node.args
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        argument.annotation = None
    text = ast.unparse(arguments)
    return f"({text.partition(',')[2].strip() if bound else text})"


def page(title: str, introduction: str, entries: list[Entry]) -> str:
    """The Markdown of one page."""
    out = [f"# {title}", "", docstrings.convert(introduction)]
    for item in entries:
        out += [f"## `{item.name}` {{#{anchor(item)}}}", "", *_body(item)]
        for member in item.members:
            out += [f"### `{member.name}` {{#{anchor(member)}}}", "", *_body(member)]
    return "\n".join(out)


def _body(item: Entry) -> list[str]:
    shown = item.name if item.kind in ("function", "class") else item.name.partition(".")[2]
    call = [f"```python\n{shown}{item.signature}\n```", ""] if item.signature else []
    return [f'<p class="kind">{item.kind}</p>', "", *call, docstrings.convert(item.text)]


def anchor(item: Entry) -> str:
    """Of the entry on its page."""
    return f"{item.module}.{item.name}"
