"""The package as a whole: what importing it loads, how long that takes, and what its metadata say."""

import importlib
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import rmtrnn as rt
from tools import oldest

ROOT = Path(__file__).resolve().parents[1]
# Not python-flint: SymPy itself loads it where it is installed.
OPTIONAL = ("cupy", "torch", "matplotlib", "distributed")
QUESTIONS = (
    "Ensemble", "MinimalRNN", "VanillaRNN", "GRU", "LSTM", "Cell", "mean_field", "spectrum", "sample",
    "compare", "eigenvalue_curve", "spectral_radius", "load",
)  # fmt: skip

PROBE = """
import json, sys, time
{first}
start = time.perf_counter()
import rmtrnn as rt
seconds = time.perf_counter() - start
for name in {names!r}:
    getattr(rt, name)
print(json.dumps([seconds, sorted(set(sys.modules) & set({optional!r}))]))
"""


def probe(names: tuple[str, ...] = (), first: str = "") -> tuple[float, list[str]]:
    """Import rmtrnn and touch ``names`` in a new interpreter: (seconds of the import, optional packages)."""
    script = PROBE.format(names=names, first=first, optional=OPTIONAL)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    seconds, loaded = json.loads(done.stdout)
    return seconds, loaded


def test_import_is_fast_and_loads_no_optional_package():
    # The fastest of three: the bound is about the package, not about what else the machine is doing.
    results = [probe() for _ in range(3)]
    assert min(seconds for seconds, _ in results) < 1.0
    assert all(loaded == [] for _, loaded in results)


def test_public_functions_load_no_optional_package():
    _, loaded = probe(QUESTIONS)
    assert loaded == []


def test_probe_notices_an_optional_package():
    _, loaded = probe(first="import matplotlib")
    assert loaded == ["matplotlib"]


@pytest.mark.parametrize("name", rt.__all__)
def test_every_public_name_exists(name):
    assert getattr(rt, name) is not None


def test_fixed_names_are_public():
    assert set(QUESTIONS) <= set(rt.__all__) and set(rt.__all__) == set(dir(rt))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="spectrrum"):
        rt.spectrrum  # noqa: B018


def test_version_is_the_installed_one_and_stands_in_the_changelog_and_citation():
    assert rt.__version__ == importlib.metadata.version("rmtrnn")
    assert f"## [{rt.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
    assert f"version: {rt.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def layers() -> list[str]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return next(
        one["layers"] for one in contracts if one["name"] == "each layer imports only layers below it"
    )


def test_every_module_has_its_layer():
    named = {part.strip(" ()").removeprefix("rmtrnn.") for layer in layers() for part in layer.split("|")}
    rooms = {
        path.stem
        for path in (ROOT / "rmtrnn").iterdir()
        if not path.name.startswith("__") and (path.suffix == ".py" or (path / "__init__.py").exists())
    }
    assert rooms - named == set()


def test_zenodo_and_citation_name_the_same_software():
    zenodo, citation = json.loads((ROOT / ".zenodo.json").read_text()), (ROOT / "CITATION.cff").read_text()
    assert zenodo["version"] == rt.__version__ and zenodo["title"] in citation
    assert f"license: {zenodo['license']}\n" in citation
    assert all(f"  - {word}\n" in citation for word in zenodo["keywords"])
    assert re.search(r"^date-released: \d{4}-\d\d-\d\d$", citation, re.M)


def test_the_package_says_that_it_is_typed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert (ROOT / "rmtrnn" / "py.typed").exists()
    assert "py.typed" in project["tool"]["setuptools"]["package-data"]["rmtrnn"]


def test_the_oldest_versions_are_the_project_s():
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    found = oldest.requirements()
    assert {f"{text.replace('>=', '==')}.*" for text in dependencies} <= set(found)
    assert len(found) == len(dependencies) + len(oldest.BESIDE)
    assert all("tools/oldest.py" in (ROOT / name).read_text() for name in (".ci/run", "noxfile.py"))
