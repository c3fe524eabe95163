"""The examples run as a user runs them, small, and each draws its figure."""

import importlib.util
import os
import re
import subprocess
import sys
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
    assert all(f"def test_{path.stem}(" in own for path in FOLDER.glob("*.py"))
    listed = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"`{path.name}`" in listed for path in FOLDER.glob("*.py"))
