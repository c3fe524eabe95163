"""Cases computed one by one or side by side, kept as they are done, and reported."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from pathlib import Path

from rmtrnn._core import progress as _progress
from rmtrnn._core import storage as _storage
from rmtrnn._core import validate as _validate
from validation.core import places
from validation.core.model import SIZES, Case, Result, Study
from validation.core.provenance import of_other_code, provenance
from validation.core.records import checkpoint, finished, load_data, save_claims


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


def destination(study: Study, size: str) -> Path:
    """Where the figures of a whole run go: ``paper_figures``, or ``build/figures`` for smaller sizes.

    What belongs into ``paper_figures`` is the committed size, or a larger one that lies there already.
    """
    if study.draft:
        return places.DRAFTS / size / study.name
    path = places.FIGURES / study.name / "claims.json"
    lying = json.loads(path.read_text())["size"] if path.exists() else study.committed
    larger = SIZES.index(size) >= max(SIZES.index(lying), SIZES.index(study.committed))
    return places.FIGURES / study.name if larger else places.DRAFTS / size / study.name


def run(
    study: Study,
    size: str,
    workers: Workers,
    *,
    only: str = "",
    resume: bool = False,
    same_code: bool = False,
    finished_only: bool = False,
    folder: Path | None = None,
    show: _progress.Report | None = None,
) -> Path:
    """Compute the cases whose key contains ``only``, save each when it is done, then write the report.

    resume : keep the cases that are already saved (with equal settings and version); else compute all anew.
        Cases that another state of ``rmtrnn/`` computed are kept and named, unless ``same_code``: then they
        are computed anew.
    finished_only : of a ``long`` study: report on the saved cases, compute none; it counts as a whole run
    show : called with (cases done, cases in all, name); by default a progress bar
    The report covers the cases asked for and lies in ``folder``, which is returned: by default `destination`,
    and for a part of the cases a folder beside their checkpoints: a part never replaces the whole.
    """
    listed = study.cases(size)
    cases = [case for case in listed if only in case.key]
    if not cases:
        known = ", ".join(case.key for case in listed)
        raise ValueError(f"only = {only!r}: names no case of {study.name!r}; the cases are {known}")
    show = _progress.ProgressBar() if show is None else show
    if finished_only and not study.long:
        raise ValueError(f"finished_only: the claims of {study.name!r} need all of its cases")
    kept = {case.key: finished(study, size, case) if resume or finished_only else None for case in cases}
    if finished_only:
        cases = [case for case in cases if kept[case.key] is not None]
        if not cases:
            raise ValueError(f"finished_only: no case of {study.name!r} ({size}) is finished")
    if same_code:
        found = {key: result for key, result in kept.items() if result is not None}
        kept |= dict.fromkeys(of_other_code(found))
    missing = [case for case in cases if kept[case.key] is None]
    done = len(cases) - len(missing)
    show(done, len(cases), study.name)
    for key, result in _computed(study, size, missing, workers):
        kept[key], done = result, done + 1
        show(done, len(cases), study.name)
    results = {case.key: result for case in cases if (result := kept[case.key]) is not None}
    older = of_other_code(results)
    if older:
        print(
            f"{study.name}: {len(older)} of {len(results)} cases were computed by other code", file=sys.stderr
        )
    whole = finished_only or len(cases) == len(listed)
    if folder is None:
        folder = destination(study, size) if whole else places.CHECKPOINTS / study.name / f"{size}-part"
    folder.mkdir(parents=True, exist_ok=True)
    study.report(results, size, folder)
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
            yield case.key, _compute(study.name, study.compute, case, path, workers)
        return
    tasks = {
        workers.executor.submit(
            _compute, study.name, study.compute, case, checkpoint(study, size, case)
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


def redraw(study: Study, folder: Path | None = None) -> Path:
    """Draw the figures and judge the claims again from the saved data; nothing is computed."""
    folder = places.FIGURES / study.name if folder is None else folder
    size = json.loads((folder / "claims.json").read_text())["size"]
    results = load_data(folder)
    study.report(results, size, folder)
    save_claims(study, size, results, folder)
    return folder
