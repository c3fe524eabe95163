"""What every study shares: cases computed one by one and kept, provenance, claims, tables, figures on disk.

How to add a study
------------------
1. A module or package in ``validation/`` with ``STUDY = core.Study(...)``, named in ``STUDIES`` of
   ``validation/__main__.py``. Each `Case` is computed and saved on its own, so that a run can be stopped and
   resumed; ``report`` draws from what was saved, begins with ``save_data(folder, "data", results)`` and saves
   figures by ``save_figure`` (PNG at 300 dpi and PDF) inside ``with rmtrnn.plotting.style():``.
2. What the study says about the paper is its ``claims(results) -> list[Claim]``. It is called with all cases
   of a size (never with a part), after ``report``; the answer is saved as ``claims.json`` beside the figures,
   and ``paper_figures/REPORT.md`` is put together from those files alone. So:

   - ``numbers`` is text formatted from ``results``: no number in it is typed in;
   - ``verdict`` is computed from the same numbers by a rule that ``reason`` states;
   - a run too small to tell says `Verdict.UNDECIDED`; a study without a counterpart in the paper says
     nothing: it leaves ``claims`` out.

   For example::

       def claims(results):
           found = [meta["chi"] for meta, _ in results.values()]
           worst = max(abs(chi - 1.0) for chi in found)
           return [
               core.Claim(
                   item="Critical initialisation",
                   claim="The closed form makes the growth per step equal to one.",
                   numbers=f"largest |χ − 1| = {worst:.1e} over {len(found)} points",
                   verdict=core.Verdict.REPRODUCED if worst < 1e-10 else core.Verdict.NOT_REPRODUCED,
                   reason="reproduced if every χ is 1 to 1e-10",
                   figures=("critical",),
               )
           ]

3. Sizes: `SIZES`. A study lists those it has in ``cost``; the larger of quick and standard is the one that
   is committed. `destination` says where a run writes: a smaller size never replaces a larger one.
4. ``requires`` names packages beyond the core (``("torch",)``): a run of all studies passes over a study
   whose packages are missing and says so.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from rmtrnn._core import progress as _progress
from rmtrnn._core import storage as _storage
from rmtrnn._core import validate as _validate

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINTS = ROOT / ".cache" / "validation"
FIGURES = ROOT / "paper_figures"
DRAFTS = ROOT / "build" / "figures"

# quick: every figure in minutes. standard: what 2 cores can do in about an hour, and what `FIGURES` holds
# where a study has it. full: the sizes of the paper, as far as they are known.
SIZES = ("quick", "standard", "full")

Result = tuple[dict[str, Any], dict[str, np.ndarray]]


class Verdict(StrEnum):
    """What a run says about a claim of the paper."""

    REPRODUCED = "reproduced"
    DIFFERENCE = "reproduced with a difference"
    NOT_REPRODUCED = "not reproduced"
    UNDECIDED = "not decided by this run"


@dataclass(frozen=True)
class Claim:
    """One statement of the paper and what the run found; all fields go into ``paper_figures/REPORT.md``.

    item : where it stands, such as "Fig. 1" or "Abstract"
    claim : what the paper says, in our words
    numbers : what was found, formatted from the results
    verdict : by the rule that ``reason`` states
    reason : that rule, and for any verdict but `Verdict.REPRODUCED` what the difference is or what is missing
    figures : names (without ending) of the study's figures that show it
    """

    item: str
    claim: str
    numbers: str
    verdict: Verdict
    reason: str
    figures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """One computation: ``key`` names its file, ``settings`` (plain JSON types) what it depends on."""

    key: str
    settings: dict[str, Any]


class Workers:
    """Processes for the cases of a study, or for the trials of one case; started on first use."""

    def __init__(self, jobs: int = 1) -> None:
        self._jobs = _validate.integer("jobs", jobs, low=1)
        self._pool: ProcessPoolExecutor | None = None

    @property
    def executor(self) -> Executor | None:
        """What ``executor=`` of `rmtrnn.sample` takes; None with one job."""
        if self._jobs > 1 and self._pool is None:
            # Spawned, not forked: a forked child inherits the locks of threads that it does not have.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._jobs, context, _quiet_on_interrupt)
        return self._pool

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        if self._pool is None:
            return
        if failure is not None:  # whoever stops the run does not want to wait for unfinished cases
            for process in multiprocessing.active_children():
                process.terminate()
        self._pool.shutdown(cancel_futures=True)


def _quiet_on_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass(frozen=True)
class Study:
    """A set of cases and the report made from them.

    ``cases(size)`` lists the cases; ``compute(case, workers)`` returns (meta, arrays) of one;
    ``report(results, size, folder)`` writes tables and figures from what was saved. ``cost`` says what each
    size takes, in words. ``claims(results)`` and ``requires``: see the top of this module.
    """

    name: str
    summary: str
    cost: dict[str, str]
    cases: Callable[[str], Sequence[Case]]
    compute: Callable[[Case, Workers], Result]
    report: Callable[[dict[str, Result], str, Path], None]
    claims: Callable[[dict[str, Result]], list[Claim]] | None = None
    requires: tuple[str, ...] = ()

    @property
    def committed(self) -> str:
        """The size whose result belongs into `FIGURES`."""
        return "standard" if "standard" in self.cost else "quick"

    def missing(self) -> list[str]:
        """Names of required packages that are not installed."""
        return [name for name in self.requires if importlib.util.find_spec(name) is None]


def checkpoint(study: Study, size: str, case: Case) -> Path:
    """The file that keeps the finished case."""
    return CHECKPOINTS / core.name / size / f"{case.key}.npz"


def finished(study: Study, size: str, case: Case) -> Result | None:
    """The saved result of a case, or None if there is none made with the same settings and version."""
    path = checkpoint(study, size, case)
    if not path.exists():
        return None
    _, meta, arrays = _storage.read(path)
    same = meta["settings"] == case.settings and meta["provenance"]["rmtrnn"] == versions()["rmtrnn"]
    return (meta, arrays) if same else None


def destination(study: Study, size: str) -> Path:
    """Where the figures of a whole run go: `FIGURES`, or `DRAFTS` if the size is below what belongs there.

    What belongs there is the committed size, or a larger one that lies there already.
    """
    path = FIGURES / core.name / "claims.json"
    lying = json.loads(path.read_text())["size"] if path.exists() else core.committed
    larger = SIZES.index(size) >= max(SIZES.index(lying), SIZES.index(core.committed))
    return FIGURES / core.name if larger else DRAFTS / size / core.name


def run(
    study: Study,
    size: str,
    workers: Workers,
    *,
    only: str = "",
    resume: bool = False,
    folder: Path | None = None,
    show: _progress.Report | None = None,
) -> Path:
    """Compute the cases whose key contains ``only``, save each when it is done, then write the report.

    resume : keep the cases that are already saved (with equal settings and version); else compute all anew.
    show : called with (cases done, cases in all, name); by default a progress bar
    The report covers the cases asked for and lies in ``folder``, which is returned: by default `destination`,
    and for a part of the cases a folder beside their checkpoints: a part never replaces the whole.
    """
    listed = core.cases(size)
    cases = [case for case in listed if only in case.key]
    if not cases:
        known = ", ".join(case.key for case in listed)
        raise ValueError(f"only = {only!r}: names no case of {core.name!r}; the cases are {known}")
    show = _progress.ProgressBar() if show is None else show
    kept = {case.key: finished(study, size, case) if resume else None for case in cases}
    missing = [case for case in cases if kept[case.key] is None]
    done = len(cases) - len(missing)
    show(done, len(cases), core.name)
    for key, result in _computed(study, size, missing, workers):
        kept[key], done = result, done + 1
        show(done, len(cases), core.name)
    results = {case.key: result for case in cases if (result := kept[case.key]) is not None}
    whole = len(cases) == len(listed)
    if folder is None:
        folder = destination(study, size) if whole else CHECKPOINTS / core.name / f"{size}-part"
    folder.mkdir(parents=True, exist_ok=True)
    core.report(results, size, folder)
    if whole:
        save_claims(study, size, results, folder)
    return folder


def _computed(
    study: Study, size: str, cases: Sequence[Case], workers: Workers
) -> Iterator[tuple[str, Result]]:
    """Keys and results as they are done: cases side by side, or one alone with its trials side by side."""
    if workers.executor is None or len(cases) < 2:
        for case in cases:
            path = checkpoint(study, size, case)
            yield case.key, _compute(core.name, core.compute, case, path, workers)
        return
    tasks = {
        workers.executor.submit(
            _compute, core.name, core.compute, case, checkpoint(study, size, case)
        ): case
        for case in cases
    }
    try:
        for task in as_completed(tasks):
            yield tasks[task].key, task.result()
    finally:
        for task in tasks:
            task.cancel()


def _compute(
    name: str,
    compute: Callable[[Case, Workers], Result],
    case: Case,
    path: Path,
    workers: Workers | None = None,
) -> Result:
    """Compute a case and save it; ``workers`` is None where this is itself a worker."""
    start, used = time.perf_counter(), time.process_time()
    meta, arrays = compute(case, Workers(1) if workers is None else workers)
    record = {"seconds": round(time.perf_counter() - start, 2)}
    if workers is None or workers.executor is None:  # else part of the work was done elsewhere
        record["cpu seconds"] = round(time.process_time() - used, 2)
    meta = {"settings": case.settings, "provenance": provenance(), **record, **meta}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"unfinished-{os.getpid()}-{path.name}")
    _storage.write(unfinished, name, meta, arrays)
    unfinished.replace(path)  # an interrupted write never looks like a finished case
    return meta, arrays


def save_claims(study: Study, size: str, results: dict[str, Result], folder: Path) -> None:
    """Write ``claims.json``: what the results of all cases say about the paper, and how they were made."""
    record = {
        "study": core.name,
        "summary": core.summary,
        "size": size,
        "command": f"python -m validation {core.name} --{size}",
        "claims": [asdict(claim) for claim in core.claims(results)] if core.claims else [],
        "cases": len(results),
        "seconds": sum(meta.get("seconds", 0.0) for meta, _ in results.values()),
        "cpu seconds": cpu_seconds(results),
        "parameters": parameters(results),
        "made with": describe(results),
    }
    text = json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False)
    (folder / "claims.json").write_text(text + "\n")


def cpu_seconds(results: dict[str, Result]) -> float | None:
    """Processor time of all cases; None where one was computed by several processes at once."""
    used = [meta.get("cpu seconds") for meta, _ in results.values()]
    known = [float(seconds) for seconds in used if seconds is not None]
    return sum(known) if len(known) == len(used) else None


def parameters(results: dict[str, Result], longest: int = 8) -> dict[str, str]:
    """The settings of all cases in words: each name with its values, or their number and range."""
    found: dict[str, list[Any]] = {}
    for meta, _ in results.values():
        for name, value in _flat(meta["settings"]):
            values = found.setdefault(name, [])
            if value not in values:
                values.append(value)
    words = {}
    for name, values in found.items():
        if len(values) <= longest:
            words[name] = ", ".join(map(str, values))
        elif all(isinstance(value, int | float) for value in values):
            words[name] = f"{len(values)} values from {min(values)} to {max(values)}"
        else:
            words[name] = f"{len(values)} values"
    return words


def _flat(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in settings.items():
        if isinstance(value, dict):
            pairs += _flat(value, f"{prefix}{name}.")
        else:
            pairs.append((prefix + name, value))
    return pairs


def versions() -> dict[str, str]:
    """Versions of Python and of the packages the numbers depend on."""
    packages = {name: importlib.metadata.version(name) for name in ("rmtrnn", "numpy", "scipy", "sympy")}
    return {"python": platform.python_version(), **packages}


def provenance() -> dict[str, str]:
    """Versions, kind of machine and date of a computation."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    hardware = f"CPU ({platform.machine()}, {os.cpu_count()} cores)"
    return {**versions(), "hardware": hardware, "system": platform.system(), "date": now}


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


def load_data(folder: Path, name: str = "data") -> dict[str, Result]:
    """What `save_data` wrote."""
    _, metas, arrays = _storage.read(folder / f"{name}.npz")
    results: dict[str, Result] = {key: (meta, {}) for key, meta in metas.items()}
    for path, array in arrays.items():
        key, _, part = path.rpartition("/")
        results[key][1][part] = array
    return results


def redraw(study: Study, folder: Path | None = None) -> Path:
    """Draw the figures and judge the claims again from the saved data; nothing is computed."""
    folder = FIGURES / core.name if folder is None else folder
    size = json.loads((folder / "claims.json").read_text())["size"]
    results = load_data(folder)
    core.report(results, size, folder)
    save_claims(study, size, results, folder)
    return folder


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
