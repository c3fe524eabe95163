"""docs/architecture.md is true: its layers are the contract's, it has every module, its walk exists."""

import ast
import re
import tomllib

import pytest
from documents import ROOT

from tools import doc_tables

TEXT = doc_tables.ARCHITECTURE.read_text(encoding="utf-8")
WALK = re.findall(r"^\d\. `(rmtrnn/[\w/]+\.py)`, `(\w+)`:", TEXT, flags=re.MULTILINE)
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", doc_tables.documents(), ids=lambda path: path.name)
def test_generated_tables_are_up_to_date(path):
    """``python -m tools.doc_tables`` writes them."""
    assert path.read_text(encoding="utf-8") == doc_tables.documents()[path]


def test_every_module_has_a_docstring():
    files = doc_tables.module_files(ROOT / "rmtrnn")
    silent = [path for path in files if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert not silent
    assert len(files) == len(re.findall(r"^\| `\w+\.py` \|", TEXT, flags=re.MULTILINE))


def test_layers_are_those_of_the_contract():
    contracts = PYPROJECT["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contracts if "rmtrnn.cli" in one["layers"])
    wanted = [set(re.findall(r"rmtrnn\.(\w+)", layer)) - {"__main__"} for layer in layers]
    section = TEXT.partition("## Layers")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?) \|", section, flags=re.MULTILINE)
    assert [set(re.findall(r"`(\w+)`", row)) for row in rows] == [names for names in wanted if names]


def test_files_that_are_named_exist():
    named = set(re.findall(r"`((?:rmtrnn|tools|tests)/[\w/.]+)`", TEXT))
    named |= {f"rmtrnn/{name}" for name in re.findall(r"`((?:_core|numerics|laws|sampling)/[\w/.]*)`", TEXT)}
    assert len(named) > 8
    assert not {name for name in named if not (ROOT / name).exists()}


def test_the_walk_is_short_and_starts_at_the_front_door():
    assert WALK[0] == ("rmtrnn/spectra/routes.py", "spectrum")
    assert 3 <= len({file for file, _ in WALK}) <= 6


@pytest.mark.parametrize(("file", "function"), WALK)
def test_step_of_the_walk_exists_and_leads_to_the_next(file, function):
    """The function is defined in the file, and the file calls the next function of the walk."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    defined = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert function in defined
    position = WALK.index((file, function))
    if position + 1 < len(WALK):
        called = {
            ast.unparse(node.func).split(".")[-1] for node in ast.walk(tree) if isinstance(node, ast.Call)
        }
        assert WALK[position + 1][1] in called
