"""Random tied ensembles: does `mean_field` answer, and do its errors hold against 16 times the sites?

``python -m validation.beyond.tied.random_ensembles FOLDER`` computes 200 of them (256 sites; three of every
ten also 4096, of cells that change from ten to ten), about 15 minutes of one core. Finished tens are kept in
FOLDER, and read again. The numbers 0 … 199 are those on which the constants of the error of χ were chosen:
the test takes the 200 after them.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import rmtrnn as rt

CELLS = (
    *("vanilla", "minimal", "gru", "lstm", "leaky", "ugrnn", "mingru", "janet"),
    *("gru_reset_after", "lstm_peephole"),
)
FIRST, COUNT, PER_CASE = 200, 200, 10
MORE = 16  # times the sites, for ``compared`` ensembles of every case


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


def compute(settings: dict[str, Any]) -> dict[str, Any]:
    """Answers of ``PER_CASE`` ensembles, and of some on more sites; an exception is kept with its text."""
    rows = []
    for index in range(settings["first"], settings["first"] + settings["count"]):
        ens = ensemble(index)
        row: dict[str, Any] = {"index": index, "cell": ens.cell.name}
        try:
            row |= _answer(rt.mean_field(ens, sites=settings["sites"]))
            if (index - settings["compared"] * (index // PER_CASE)) % PER_CASE < settings["compared"]:
                row["more"] = _answer(rt.mean_field(ens, sites=MORE * settings["sites"]))
        except rt.ConvergenceError as error:
            row["refused"] = str(error)
        except Exception as error:  # what must not happen is what this study counts
            row["exception"] = f"{type(error).__name__}: {error}"
        rows.append(row)
    return {"rows": rows}


def _answer(found: rt.MeanField) -> dict[str, Any]:
    first = next(iter(found.Q.values())) if isinstance(found.Q, Mapping) else found.Q
    row = {"Q": first, "chi": found.chi, "status": found.status.name, "message": found.message}
    row |= {"Q error": found.error, "chi error": found.errors.get("chi", 0.0), "residual": found.residual}
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }


def honest(row: dict[str, Any], name: str) -> bool | None:
    """Whether the distance to the answer on more sites is within the stated error; None if there is none."""
    more = row.get("more")
    if not more or None in (row.get(name), more[name]) or row["status"] != "CONVERGED":
        return None
    return bool(abs(row[name] - more[name]) <= row[f"{name} error"] + 1e-9 * abs(more[name]))


def summary(rows: list[dict[str, Any]]) -> str:
    """Counts of what happened, and how many errors held."""
    lines = [f"{len(rows)} ensembles"]
    for kind in ("exception", "refused"):
        lines.append(f"{sum(kind in row for row in rows)} {kind}")
    lines.append(f"{sum(row.get('status') == 'CONVERGED' for row in rows)} converged")
    for name in ("Q", "chi"):
        known = [held for row in rows if (held := honest(row, name)) is not None]
        lines.append(f"error of {name} held in {sum(known)} of {len(known)}")
    return "; ".join(lines)


def main(folder: Path) -> None:
    """Compute what is missing in the folder, and print the summary."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for first in range(FIRST, FIRST + COUNT, PER_CASE):
        path = folder / f"{first:03d}.json"
        if not path.exists():
            found = compute({"first": first, "count": PER_CASE, "compared": 3, "sites": 256})
            path.write_text(json.dumps(found, default=float))
        rows += json.loads(path.read_text())["rows"]
        print(summary(rows), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
