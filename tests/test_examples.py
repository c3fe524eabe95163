"""The examples run as a user runs them, small, and each draws its figure."""

import importlib.util
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples"
NUMBER = r"(-?[0-9.]+(?:e[+-]?[0-9]+)?)"


def run(name, tmp_path):
    """What the script prints; its figure is a picture and lies where it was told to."""
    figure = tmp_path / "figure.png"
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", FOLDER / f"{name}.py", "--quick", "--output", figure],
        capture_output=True, text=True, check=False, cwd=tmp_path, env=os.environ | {"MPLBACKEND": "Agg"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert figure.read_bytes().startswith(b"\x89PNG") and figure.stat().st_size > 10_000
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]
    return done.stdout


def test_how_long_can_it_remember(tmp_path):
    text = run("how_long_can_it_remember", tmp_path)
    chi = float(re.search(rf"chi = {NUMBER}", text)[1])
    low = {
        name: float(value) for name, value in re.findall(rf"(\w+): 90 % of log10 s lie in \[{NUMBER},", text)
    }
    assert abs(chi - 1.0) < 0.01
    assert low["orthogonal"] > low["gaussian"]


def test_my_own_cell(tmp_path):
    assert "the theory agrees with the sample" in run("my_own_cell", tmp_path)


def test_initialise_a_gru(tmp_path):
    text = run("initialise_a_gru", tmp_path)
    assert re.search(r"chi = 1\.0000000", text)
    means = [float(mean) for mean in re.findall(rf"sampled {NUMBER} ±", text)]
    assert means[0] < means[1] < means[2]


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs PyTorch")
def test_train_minimal_rnn(tmp_path):
    text = run("train_minimal_rnn", tmp_path)
    assert len(re.findall(rf"accuracy {NUMBER} over", text)) == 2


def test_every_example_is_tested():
    own = Path(__file__).read_text(encoding="utf-8")
    scripts = [path for path in FOLDER.glob("*.py") if path.stem != "typed_user"]  # for mypy, in .ci/run
    assert all(f"def test_{path.stem}(" in own for path in scripts)
    listed = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"`{path.name}`" in listed for path in FOLDER.glob("*.py"))


def test_the_notebook_runs(tmp_path, monkeypatch):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    notebook = nbformat.read(FOLDER / "first_steps.ipynb", as_version=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Jupyter's own event loop and paths
        done = nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    outputs = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = "".join(str(output) for output in outputs)
    assert "theory agrees with the sample" in shown
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert sum("text/html" in output.get("data", {}) for output in outputs) >= 2
