"""Ten tasks of a user, each a script of at most ten lines that runs as it stands."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "tasks"
NEEDS = {"torch_module.py": "torch", "table_for_a_paper.py": "jinja2"}
# What the script leaves behind, and words that its answer holds.
EXPECTED = {
    "figure_for_a_column.py": (["column.pdf"], ""),
    "gru_phase_diagram.py": (["gru_phases.png"], ""),
    "lstm_for_many_steps.py": ([], "chi = 1.000000"),
    "own_cell.py": ([], "converged; residual"),
    "sample_against_theory.py": ([], "theory agrees with the sample"),
    "saved_result.py": (["law.npz"], "rt.Ensemble('minimal'"),
    "shell_to_json.sh": (["law.json"], "'log_quantiles'"),
    "sweep_over_processes.py": ([], "1.60  median of log s: -25.5522"),
    "table_for_a_paper.py": ([], r"\begin{tabular}"),
    "torch_module.py": ([], "tensor("),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_task(name, tmp_path):
    needed = NEEDS.get(name)
    if needed and importlib.util.find_spec(needed) is None:
        pytest.skip(f"needs {needed}")
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # where the command rmtrnn is
    done = subprocess.run(
        ["bash", "-eu", FOLDER / name] if name.endswith(".sh") else [sys.executable, FOLDER / name],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env=os.environ | {"MPLBACKEND": "Agg", "PATH": beside},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files, words = EXPECTED[name]
    assert words in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == files


def test_every_task_is_short_and_tested():
    scripts = sorted(FOLDER.iterdir())
    assert [script.name for script in scripts] == sorted(EXPECTED)
    for script in scripts:
        lines = script.read_text(encoding="utf-8").splitlines()
        assert len([line for line in lines if line.strip()]) <= 10
