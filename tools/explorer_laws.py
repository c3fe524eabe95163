"""The laws of s of the minimalRNN that docs/explorer/index.html shows, computed and written into that page.

    python tools/explorer_laws.py     # about 5 minutes on two cores; continues where it stopped

The exact law of a gated cell is too slow for a browser, so the page holds it on a grid of parameters:
for every grid point the quantiles of log s at the probabilities of `levels`, the density of log s there,
and the estimated error of the distribution function. Numbers are kept as 16 bit integers, base64;
`decode` is the inverse.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

import rmtrnn as rt

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "explorer" / "index.html"
CACHE = ROOT / ".cache" / "explorer_laws.jsonl"
BLOCK = re.compile(r'(<script type="application/json" id="laws">)(.*?)(</script>)', re.DOTALL)

AXES: dict[str, list[Any]] = {
    "sigma_w": [1.0, 2.5, 4.0, 5.5, 7.0],
    "mu_b": [-4.0, -2.5, -1.0, 0.5, 2.0, 3.5, 5.0],
    "T": [1, 2, 4, 8, 16],
    "weights": ["gaussian", "orthogonal"],
}
FIXED = {"sigma_v": 1.39, "R": 0.46}
ACCURACY = {"population": 8192, "tol": 2e-3, "max_points": 64, "seed": 0}
FINER = {"population": 8192, "tol": 1e-3, "max_points": 300, "seed": 0}  # where that is not enough
ENOUGH = 0.02
POINTS = 97
FULL = 65535  # the largest 16 bit integer


def levels() -> np.ndarray:
    """Probabilities at which the laws are kept: close together at both ends."""
    return 0.001 + 0.998 * (1 - np.cos(np.linspace(0.0, np.pi, POINTS))) / 2


def law(sigma_w: float, mu_b: float, T: int, weights: str) -> dict[str, Any]:
    """One law: quantiles of log s, its density there (not quantised), and the error of the cdf."""
    ens = rt.Ensemble("minimal", sigma_w=sigma_w, mu_b=mu_b, weights=weights, **FIXED)
    spec = rt.spectrum(ens, T=T, **ACCURACY)
    if not spec.converged or spec.error > ENOUGH:
        spec = rt.spectrum(ens, T=T, **FINER)
    if not spec.converged:
        return {"error": None}
    u = spec.log_s.icdf(levels())
    return {"error": float(spec.error), "u": u.tolist(), "pdf": spec.log_s.pdf(u).tolist()}


def encode(record: dict[str, Any]) -> dict[str, Any]:
    """Quantised: u in steps of its range/65535, the density in steps of its largest value/65535."""
    if record["error"] is None:
        return record
    u, pdf = np.array(record["u"]), np.array(record["pdf"])
    low, high, top = (float(f"{value:.7g}") for value in (u[0], u[-1], pdf.max()))
    numbers = np.round(np.concatenate([(u - low) / (high - low), pdf / top]) * FULL).clip(0, FULL)
    text = base64.b64encode(numbers.astype("<u2").tobytes()).decode()
    return {"error": float(f"{record['error']:.2g}"), "range": [low, high, top], "data": text}


def decode(record: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """(u, pdf) of what `encode` gave."""
    low, high, top = record["range"]
    numbers = np.frombuffer(base64.b64decode(record["data"]), dtype="<u2") / FULL
    return low + (high - low) * numbers[:POINTS], top * numbers[POINTS:]


def compute() -> list[dict[str, Any]]:
    """All laws in the order of the axes, taken from the cache where they are there."""
    CACHE.parent.mkdir(exist_ok=True)
    lines = CACHE.read_text(encoding="utf-8").splitlines() if CACHE.exists() else []
    known = {tuple(key): record for key, record in map(json.loads, lines)}
    keys = list(itertools.product(*AXES.values()))
    missing = [key for key in keys if key not in known]
    with CACHE.open("a", encoding="utf-8") as file, ProcessPoolExecutor() as pool:
        for done in as_completed([pool.submit(_keyed, key) for key in missing]):
            key, known[key] = done.result()
            file.write(json.dumps([key, known[key]]) + "\n")
            file.flush()
    return [known[key] for key in keys]


def _keyed(key: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return key, law(*key)


def embed(records: list[dict[str, Any]]) -> None:
    """Replace the data block of the page."""
    content = {
        "version": rt.__version__, "axes": AXES, "fixed": FIXED, "accuracy": [ACCURACY, FINER],
        "levels": [round(float(p), 8) for p in levels()], "laws": [encode(record) for record in records],
    }  # fmt: skip
    text = json.dumps(content, separators=(",", ":"))
    page, count = BLOCK.subn(lambda match: match[1] + text + match[3], PAGE.read_text(encoding="utf-8"))
    if count != 1:
        raise RuntimeError(f"{PAGE} has {count} data blocks, expected 1")
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    embed(compute())
