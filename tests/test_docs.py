"""The documents: every block of code runs, and what they say of each other is true."""

import importlib
import inspect
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from documents import ROOT, Block, blocks, execute, same

import rmtrnn as rt
from rmtrnn.cli import main
from rmtrnn.cli.cellfile import read_cell
from tools import doc_tables

DOCUMENTS = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "tools" / "docsite" / "command_line.md"]
GALLERY = sorted((ROOT / "docs" / "gallery").glob("*.py"))
NOT_RUN = ("pip install", "mpiexec", "mkdocs ", "python -m mkdocs")  # set up, not use
NOT_RUN += (
    "python -m pytest -m gpu",
    "python -m validation gpu",
    "python benchmarks/bench_sampling.py cuda",
)  # need a GPU
FILES = {"own_cell.md": {"cell": "leaky.cell"}, "command_line.md": {"toml": "gru.toml"}}
SMALL = {"N=1024": "N=16", "trials=64": "trials=4", "trials=512": "trials=4", "T=64": "T=4",
         "ProcessPoolExecutor(8": "ProcessPoolExecutor(2", "n_workers=8": "n_workers=2",
         "progress=True": "progress=None"}  # fmt: skip


def shell(block: Block) -> None:
    """Run the lines of a shell block that call the command of this package."""
    for line in block.text.splitlines():
        words = shlex.split(line, comments=True)
        if not words or line.startswith(NOT_RUN):
            continue
        assert words[0] == "rmtrnn", f"nobody knows how to test: {line}"
        assert main(words[1:]) == 0, line


def script(block: Block, folder: Path) -> None:
    """Run a block that is a program of its own, with small sizes."""
    text = block.text
    for large, small in SMALL.items():
        text = text.replace(large, small)
    path = folder / "run.py"
    path.write_text(text, encoding="utf-8")
    command = [sys.executable, *(["-m", "mpi4py.futures"] if "mpi4py" in text else []), path]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_blocks(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "document"}
    missing = []
    for block in blocks(path):
        if block.missing is not None:
            missing.append(block.missing)
        elif block.language == "python" and "script" in block.options:
            script(block, tmp_path)
        elif block.language == "python":
            printed = execute(block, path, names)
            if block.output is not None:
                assert same(block.output, printed), f"line {block.line} prints:\n{printed}"
        elif block.language == "sh":
            shell(block)
        elif block.language in ("cell", "toml"):
            file = tmp_path / FILES[path.name][block.language]
            file.write_text(block.text, encoding="utf-8")
            assert read_cell(file) if block.language == "cell" else tomllib.loads(block.text)
        else:
            assert block.language in ("text", "bibtex"), f"line {block.line}: a block in {block.language}"
    plt.close("all")
    if missing:
        pytest.skip(f"all blocks ran but those that need {', '.join(missing)}")


def test_output_is_compared():
    assert same("0.368 agrees [1.0 2.0]", "0.36781 agrees [np.float64(1.001), 2.0]".replace("np.float64", ""))
    assert not same("0.368", "0.398")
    assert not same("agrees", "disagrees")
    assert not same("1.0", "1.0 2.0")


@pytest.mark.parametrize("path", GALLERY, ids=lambda path: path.stem)
def test_gallery(path, tmp_path, monkeypatch):
    """The script makes its picture, of the size of the one that is shown."""
    monkeypatch.chdir(tmp_path)
    execute(Block("python", (), path.read_text(encoding="utf-8"), 0, None), path, {"__name__": "document"})
    plt.close("all")
    made, shown = plt.imread(f"{path.stem}.png"), plt.imread(path.with_suffix(".png"))
    assert made.shape == shown.shape
    assert abs(made.mean() - shown.mean()) < 0.02  # the same picture, up to fonts


def test_gallery_has_nothing_else():
    pictures = {path.stem for path in (ROOT / "docs" / "gallery").glob("*.png")}
    assert pictures == {path.stem for path in GALLERY}


def public(name):
    """Return ``rt.name``; modules on the way are imported."""
    value, path = rt, "rmtrnn"
    for part in name.split("."):
        path = f"{path}.{part}"
        if inspect.ismodule(value) and not hasattr(value, part):
            importlib.import_module(path)
        value = getattr(value, part)
    return value


def equations():
    """Number (or \\Psi) → text between an equation and the next one."""
    text = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
    parts = re.split(r"\\tag\{(.+?)\}", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_equations_are_numbered():
    numbers = [int(name) for name in equations() if name.isdigit()]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("name", equations())
def test_equation_names_its_functions_and_its_source(name):
    """No equation is exempt; a source is a work in the list of references, or the derivation in words."""
    after = equations()[name]
    line = re.search(r"^\*Computed by\* (.*)$", after, flags=re.MULTILINE)
    assert line is not None
    names = re.findall(r"`(?:rt|rmtrnn)\.([\w.]+)`", line[1])
    assert names
    for each in names:
        assert public(each) is not None
    source = re.search(r"^\*Source:\* (\S.*)$", after, flags=re.MULTILINE)
    assert source is not None and source.start() - line.end() == 1


def test_sources_are_in_the_list_of_references():
    text = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
    body, _, references = text.partition("## References\n")
    listed = set(re.findall(r"^- (.+?) \((\d{4})\)", references.replace("\n  ", " "), flags=re.MULTILINE))
    listed = {(re.sub(r"(\w\. ?)+", "", names.split(",")[0]).strip(), year) for names, year in listed}
    cited = set()
    for names, years in re.findall(
        r"((?:(?:Van )?[A-ZÉŻ][\w-]+(?: Far)?(?:, | and | et al\.)?)+),? \(?(\d{4}(?:[,;] \d{4})*)", body
    ):
        cited |= {(re.split(r",| and| et", names)[0].strip(), year) for year in re.findall(r"\d{4}", years)}
    assert len(cited) > 20
    assert cited <= listed
    assert {name for name, _ in listed} <= {name for name, _ in cited}


def test_every_equation_has_tests():
    marked = doc_tables.marked_tests(ROOT / "tests")
    assert set(marked) == set(doc_tables.functions(doc_tables.THEORY.read_text(encoding="utf-8")))


def test_docstrings_cite_equations_that_exist():
    text = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
    known = set(re.findall(r"\\tag\{(\d+)\}", text))
    for path in (ROOT / "rmtrnn").rglob("*.py"):
        for cited in re.findall(
            r"theory\.md((?: \(\d+\))(?:(?:, |–|-| and )\(\d+\))*)", path.read_text("utf-8")
        ):
            assert set(re.findall(r"\d+", cited)) <= known, f"{path}: theory.md{cited}"
