"""What every study shares: cases computed one by one and kept, provenance, tables, and figures on disk."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import multiprocessing
import platform
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rmtrnn import _progress, _storage, _validate

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINTS = ROOT / ".cache" / "validation"
FIGURES = ROOT / "paper_figures"

Result = tuple[dict[str, Any], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Case:
    """One computation: ``key`` names its file, ``settings`` (plain JSON types) what it depends on."""

    key: str
    settings: dict[str, Any]


class Workers:
    """Processes for the independent trials of a case, started on first use; none with one job."""

    def __init__(self, jobs: int = 1) -> None:
        self._jobs = _validate.integer("jobs", jobs, low=1)
        self._pool: ProcessPoolExecutor | None = None

    @property
    def executor(self) -> Executor | None:
        """What ``executor=`` of `rmtrnn.sample` takes."""
        if self._jobs > 1 and self._pool is None:
            # Spawned, not forked: a forked child inherits the locks of threads that it does not have.
            self._pool = ProcessPoolExecutor(self._jobs, mp_context=multiprocessing.get_context("spawn"))
        return self._pool

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *failure: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class Study:
    """A set of cases and the report made from them.

    ``cases(size)`` lists the cases; ``compute(case, workers)`` returns (meta, arrays) of one;
    ``report(results, size, folder)`` writes tables and figures from what was saved. ``cost`` says what each
    size takes, in words.
    """

    name: str
    summary: str
    cost: dict[str, str]
    cases: Callable[[str], Sequence[Case]]
    compute: Callable[[Case, Workers], Result]
    report: Callable[[dict[str, Result], str, Path], None]


def checkpoint(study: Study, size: str, case: Case) -> Path:
    """The file that keeps the finished case."""
    return CHECKPOINTS / study.name / size / f"{case.key}.npz"


def finished(study: Study, size: str, case: Case) -> Result | None:
    """The saved result of a case, or None if there is none made with the same settings and version."""
    path = checkpoint(study, size, case)
    if not path.exists():
        return None
    _, meta, arrays = _storage.read(path)
    same = meta["settings"] == case.settings and meta["provenance"]["rmtrnn"] == versions()["rmtrnn"]
    return (meta, arrays) if same else None


def run(
    study: Study,
    size: str,
    workers: Workers,
    *,
    only: str = "",
    resume: bool = False,
    folder: Path | None = None,
) -> Path:
    """Compute the cases whose key contains ``only``, save each when it is done, then write the report.

    resume : keep the cases that are already saved (with equal settings and version); else compute all anew.
    The report covers the cases asked for and lies in ``folder`` (default ``paper_figures/NAME``), which is
    returned.
    """
    cases = [case for case in study.cases(size) if only in case.key]
    if not cases:
        known = ", ".join(case.key for case in study.cases(size))
        raise ValueError(f"only = {only!r}: names no case of {study.name!r}; the cases are {known}")
    results: dict[str, Result] = {}
    show = _progress.ProgressBar()
    for done, case in enumerate(cases):
        show(done, len(cases), study.name)
        kept = finished(study, size, case) if resume else None
        results[case.key] = kept if kept is not None else _compute(study, size, case, workers)
    show(len(cases), len(cases), study.name)
    folder = FIGURES / study.name if folder is None else folder
    folder.mkdir(parents=True, exist_ok=True)
    study.report(results, size, folder)
    return folder


def _compute(study: Study, size: str, case: Case, workers: Workers) -> Result:
    meta, arrays = study.compute(case, workers)
    meta = {"settings": case.settings, "provenance": provenance(), **meta}
    path = checkpoint(study, size, case)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"unfinished-{path.name}")
    _storage.write(unfinished, study.name, meta, arrays)
    unfinished.replace(path)  # an interrupted write never looks like a finished case
    return meta, arrays


def versions() -> dict[str, str]:
    """Versions of Python and of the packages the numbers depend on."""
    packages = {name: importlib.metadata.version(name) for name in ("rmtrnn", "numpy", "scipy", "sympy")}
    return {"python": platform.python_version(), **packages}


def provenance() -> dict[str, str]:
    """Versions, kind of machine and date of a computation."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    return {**versions(), "hardware": f"CPU ({platform.machine()})", "system": platform.system(), "date": now}


def describe(results: dict[str, Result]) -> str:
    """The provenance of a set of results in words; several values where cases were computed apart."""
    kinds: dict[str, list[str]] = {}
    for meta, _ in results.values():
        for name, value in meta["provenance"].items():
            kinds.setdefault(name, [])
            kinds[name] += [] if value in kinds[name] else [value]
    return ", ".join(f"{name} {' and '.join(values)}" for name, values in kinds.items())


def save_data(folder: Path, name: str, results: dict[str, Result]) -> None:
    """Write the results that a figure was drawn from: ``name.npz`` ("case/array") and ``name.json``."""
    arrays = {f"{key}/{part}": array for key, (_, own) in results.items() for part, array in own.items()}
    meta = {key: meta for key, (meta, _) in results.items()}
    _storage.write(folder / f"{name}.npz", name, meta, arrays)
    (folder / f"{name}.json").write_text(json.dumps(meta, indent=1, allow_nan=False) + "\n")


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table with aligned columns."""
    lines = [[str(cell) for cell in line] for line in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def save_figure(figure: Any, folder: Path, name: str) -> None:
    """Write ``name.png`` (300 dpi) and ``name.pdf``, without dates inside: equal pictures, equal files."""
    figure.savefig(folder / f"{name}.png", dpi=300, metadata={"Software": None})
    figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
