"""Independent trials on any executor, with a checkpoint folder: what samples and sweeps have in common."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, as_completed
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from rmtrnn._core.progress import Report, ending

FORMAT = 2
# With an executor or a checkpoint trials are taken together only as far as so many jobs remain.
JOBS = 64
Trial = Callable[[dict[str, Any], int], np.ndarray]
Trials = Callable[[dict[str, Any], list[int]], list[np.ndarray]]


def run_trials(
    trial: Trial | Trials,
    parameters: dict[str, Any],
    count: int,
    *,
    executor: Executor | None,
    checkpoint: str | Path | None,
    report: Report,
    label: str,
    together: int = 0,
) -> list[np.ndarray]:
    """Return ``[trial(parameters, i) for i in range(count)]``, one-dimensional float64 arrays.

    ``trial`` is a module-level function and ``parameters`` plain JSON types. With a checkpoint folder,
    finished trials are read from it and new ones written to it. A trial whose worker dies runs again here.
    ``together`` > 0: ``trial(parameters, indices)`` returns the arrays of up to so many trials, each of which
    must not depend on what others it is given.
    """
    if executor is not None and not (hasattr(executor, "submit") and hasattr(executor, "shutdown")):
        raise TypeError(f"executor = {executor!r}: expected a concurrent.futures.Executor")
    store = None if checkpoint is None else CheckpointFolder(checkpoint, parameters)
    results: dict[int, np.ndarray] = {} if store is None else store.finished(count)
    report(len(results), count, label)

    def keep(index: int, values: np.ndarray) -> None:
        if store is not None:
            store.write(index, values)
        results[index] = values
        report(len(results), count, label)

    missing = [index for index in range(count) if index not in results]
    size = max(1, together)
    if executor is not None or store is not None:
        size = min(size, max(1, len(missing) // JOBS))
    jobs = [missing[start : start + size] for start in range(0, len(missing), size)]
    run: Any = trial if together else partial(_one_by_one, cast(Trial, trial))
    with ending(report):
        if executor is not None:
            jobs = _run_on(executor, run, parameters, jobs, keep)
        for indices in jobs:
            for index, values in zip(indices, run(parameters, indices), strict=True):
                keep(index, values)
    return [results[index] for index in range(count)]


def _one_by_one(trial: Trial, parameters: dict[str, Any], indices: list[int]) -> list[np.ndarray]:
    return [trial(parameters, index) for index in indices]


def _run_on(
    executor: Executor,
    run: Trials,
    parameters: dict[str, Any],
    jobs: list[list[int]],
    keep: Callable[[int, np.ndarray], None],
) -> list[list[int]]:
    """Run jobs of trials on the executor; return those whose worker died."""
    futures: dict[Future[list[np.ndarray]], list[int]] = {}
    lost: list[list[int]] = []
    for position, indices in enumerate(jobs):
        try:
            futures[executor.submit(run, parameters, indices)] = indices
        except BrokenExecutor:
            lost = jobs[position:]
            break
    try:
        for future in as_completed(futures):
            try:
                rows = future.result()
            except Exception as error:
                if not _worker_died(error):
                    raise
                lost.append(futures[future])
            else:
                for index, values in zip(futures[future], rows, strict=True):
                    keep(index, values)
    finally:
        for future in futures:
            future.cancel()
    return sorted(lost)


def _worker_died(error: Exception) -> bool:
    """Whether the worker was lost, as opposed to an error of the trial itself (Dask has its own names)."""
    names = {base.__name__ for base in type(error).__mro__}
    return isinstance(error, BrokenExecutor | CancelledError) or bool(
        names & {"KilledWorker", "CommClosedError"}
    )


class CheckpointFolder:
    """One file per finished trial: sha256 of the rest, a JSON line with the parameters, raw float64.

    A file appears under its name only when complete (written beside it, flushed to disk, renamed).
    """

    def __init__(self, folder: str | Path, parameters: dict[str, Any]) -> None:
        self._folder = Path(folder)
        self._parameters = json.loads(json.dumps(parameters, allow_nan=False))
        self._folder.mkdir(parents=True, exist_ok=True)

    def path(self, index: int) -> Path:
        """Where trial ``index`` is kept."""
        return self._folder / f"trial-{index:06d}.dat"

    def finished(self, count: int) -> dict[int, np.ndarray]:
        """Trials below ``count`` that are on disk. ValueError names a damaged or foreign file."""
        return {index: self.read(index) for index in range(count) if self.path(index).exists()}

    def write(self, index: int, values: np.ndarray) -> None:
        """Put one finished trial on disk, atomically."""
        header = {"format": FORMAT, "trial": index, "length": len(values), "parameters": self._parameters}
        payload = json.dumps(header, sort_keys=True).encode() + b"\n" + values.astype("<f8").tobytes()
        handle, temporary = tempfile.mkstemp(prefix=f".trial-{index:06d}-", dir=self._folder)
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.path(index))

    def read(self, index: int) -> np.ndarray:
        """The values of one trial. ValueError if the file is damaged or belongs to other parameters."""
        path = self.path(index)
        digest, _, payload = path.read_bytes().partition(b"\n")
        damaged = ValueError(
            f"checkpoint file {path}: is damaged (truncated or changed after it was written); "
            "delete it to have this trial run again"
        )
        if hashlib.sha256(payload).hexdigest().encode() != digest:
            raise damaged
        line, _, data = payload.partition(b"\n")
        try:
            header = json.loads(line)
            made = {"format": FORMAT, "trial": index, "parameters": self._parameters}
            differing = [key for key, value in made.items() if header[key] != value]
            found, length = header["parameters"], header["length"]
            if "parameters" in differing:
                keys = found.keys() | self._parameters.keys()
                differing = sorted(key for key in keys if found.get(key) != self._parameters.get(key))
            values = np.frombuffer(data, dtype="<f8").astype(float)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise damaged from error
        if differing:
            raise ValueError(
                f"checkpoint file {path}: belongs to another run (differs in {differing}); use another folder"
            )
        if len(values) != length:
            raise damaged
        return values
