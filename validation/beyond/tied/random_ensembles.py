"""Random tied ensembles: does `mean_field` answer, and do its errors hold against 16 times the sites?

``python -m validation.beyond.tied.random_ensembles FOLDER [SECONDS]`` answers 200 of them on 256 sites, then
Q and χ of as many converged ones as the time allows on 4096, the quickest first. What FOLDER holds is not
computed again; with the word ``again`` in place of SECONDS the answers on 256 sites are, in some minutes.
The numbers 0 … 239 were seen when the constants of the error of χ were chosen, and a
dozen of the 200 after them, which the test takes, when its bound was.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import rmtrnn as rt
from rmtrnn._core.status import Status
from rmtrnn.meanfield.tied_field import tied_field, tied_growth
from rmtrnn.meanfield.tied_result import is_equal_to_untied
from validation.core.rows import read_rows, write_rows

CELLS = (
    *("vanilla", "minimal", "gru", "lstm", "leaky", "ugrnn", "mingru", "janet"),
    *("gru_reset_after", "lstm_peephole"),
)
FIRST, COUNT, PER_FILE = 400, 200, 50
SITES, MORE = 256, 16  # sites, and how many times as many check the answer


def ensemble(index: int) -> rt.Ensemble:
    """One ensemble of any size of weights, biases and inputs, and with each of them missing at times."""
    rng = np.random.default_rng([7, index])
    cell = CELLS[index % len(CELLS)]
    absent = rng.random(4) < 0.25
    return rt.Ensemble(
        cell,
        sigma_w=0.0 if absent[0] and absent[1] else float(rng.uniform(0.2, 5.0)),
        sigma_v=0.0 if absent[1] else float(rng.uniform(0.0, 2.0)),
        mu_b=0.0 if absent[2] else float(rng.uniform(-2.0, 3.0)),
        sigma_b=0.0 if absent[3] else float(rng.uniform(0.0, 0.5)),
        R=float(rng.uniform(0.0, 2.0)),
        Sigma=float(rng.choice([0.0, 0.5, 1.0])),
        weights=str(rng.choice(["gaussian", "orthogonal"])) if not (absent[0] and absent[1]) else "gaussian",
        tied=True,
    )


def answer(index: int, find: Callable[[rt.Ensemble], dict[str, Any]]) -> dict[str, Any]:
    """The answer of one ensemble and its CPU seconds; an exception is kept with its text."""
    start = time.process_time()
    try:
        found = find(ensemble(index))
        return found | {"seconds": round(time.process_time() - start, 2)}
    except rt.ConvergenceError as error:
        return {"refused": str(error)}
    except Exception as error:  # what must not happen is what this study counts
        return {"exception": f"{type(error).__name__}: {error}"}


def whole(ens: rt.Ensemble) -> dict[str, Any]:
    """Q, χ and their errors as `mean_field` gives them, and what became of it."""
    found = rt.mean_field(ens, sites=SITES)
    first = next(iter(found.Q.values())) if isinstance(found.Q, Mapping) else found.Q
    return _row(found.status, first, found.chi, found.error, found.errors.get("chi", 0.0))


def on_more_sites(ens: rt.Ensemble) -> dict[str, Any]:
    """The same without two replicas, on more sites."""
    if is_equal_to_untied(ens):
        return whole(ens)  # without sites
    field = tied_field(ens, None, MORE * SITES, 0)
    chi, error, status = field.zero_growth, 0.0, field.status
    if field.state is not None:
        growth, error = tied_growth(field, 0)
        chi = growth.chi
        if status is Status.CONVERGED and not growth.converged:
            status = Status.MAX_ITERATIONS
    return _row(status, field.Q.value[0], np.nan if chi is None else chi, field.Q.error.max(), error)


def _row(status: Status, Q: float, chi: float, Q_error: float, chi_error: float) -> dict[str, Any]:
    numbers = {"Q": Q, "chi": chi, "Q error": Q_error, "chi error": chi_error}
    return {"status": status.name} | {
        name: float(f"{value:.6g}") if math.isfinite(value) else None for name, value in numbers.items()
    }


def honest(row: Mapping[str, Any], name: str) -> bool | None:
    """Whether the distance to the answer on more sites is within the stated error; None if there is none."""
    more = row.get("more")
    if not more or None in (row.get(name), more.get(name)) or row["status"] != "CONVERGED":
        return None
    return bool(abs(row[name] - more[name]) <= row[f"{name} error"] + 1e-5 * abs(more[name]))


def summary(rows: list[dict[str, Any]]) -> str:
    """Counts of what happened, and how many errors held."""
    lines = [f"{len(rows)} ensembles"]
    for kind in ("exception", "refused"):
        lines.append(f"{sum(kind in one for row in rows for one in (row, row.get('more', {})))} {kind}")
    lines.append(f"{sum(row.get('status') == 'CONVERGED' for row in rows)} converged")
    for name in ("Q", "chi"):
        known = [held for row in rows if (held := honest(row, name)) is not None]
        lines.append(f"error of {name} held in {sum(known)} of {len(known)}")
    return "; ".join(lines)


def read(folder: Path) -> list[dict[str, Any]]:
    """The rows in a folder, in order."""
    return [row for path in sorted(folder.glob("*.json")) for row in read_rows(path)]


def main(folder: Path, seconds: float = math.inf) -> None:
    """Compute what is missing in the folder, and print the summary."""
    end = time.monotonic() + seconds
    rows = {row["index"]: row for row in read(folder)}
    for index in range(FIRST, FIRST + COUNT):
        if index not in rows and time.monotonic() < end:
            rows[index] = {"index": index, "cell": ensemble(index).cell.name} | answer(index, whole)
            _write(folder, rows, index)
    for row in sorted(rows.values(), key=lambda row: row.get("seconds", math.inf)):
        if row.get("status") == "CONVERGED" and "more" not in row and time.monotonic() < end:
            row["more"] = answer(row["index"], on_more_sites)
            _write(folder, rows, row["index"])
            print(row, summary(list(rows.values())), sep="\n", flush=True)
    print(summary(list(rows.values())))


def renew(folder: Path) -> None:
    """Answer all ensembles of the folder again, keep the answers on more sites, and print the summary."""
    rows = {row["index"]: row for row in read(folder)}
    for index, row in rows.items():
        kept = {key: row[key] for key in ("index", "cell", "more") if key in row}
        rows[index] = kept | answer(index, whole)
    for index in range(FIRST, FIRST + COUNT, PER_FILE):
        _write(folder, rows, index)
    print(summary(list(rows.values())))


def _write(folder: Path, rows: Mapping[int, dict[str, Any]], index: int) -> None:
    first = index - index % PER_FILE
    kept = [rows[i] for i in range(first, first + PER_FILE) if i in rows]
    write_rows(folder / f"{first:03d}.json", kept)


if __name__ == "__main__":
    if sys.argv[2:] == ["again"]:
        renew(Path(sys.argv[1]))
    else:
        main(Path(sys.argv[1]), *map(float, sys.argv[2:]))
