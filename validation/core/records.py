"""What a study keeps: cases, the data of its figures, and its claims, on disk."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from rmtrnn._core import storage as _storage
from validation.core import places, provenance
from validation.core.model import Case, Result, Study
from validation.core.verdicts import judged


def checkpoint(study: Study, size: str, case: Case) -> Path:
    """The file that keeps the finished case."""
    return places.CHECKPOINTS / study.name / size / f"{case.key}.npz"


def finished(study: Study, size: str, case: Case) -> Result | None:
    """The saved result of a case, or None if there is none made with the same settings and version.

    It lies in its checkpoint, or, of a ``long`` study, in the committed data.
    """
    path = checkpoint(study, size, case)
    if path.exists():
        _, meta, arrays = _storage.read(path)
    else:
        data = places.FIGURES / study.name / "data.npz"
        known = _committed(data, data.stat().st_mtime_ns) if study.long and data.exists() else {}
        if case.key not in known:
            return None
        meta, arrays = known[case.key]
    same = (
        meta["settings"] == case.settings and meta["provenance"]["rmtrnn"] == provenance.versions()["rmtrnn"]
    )
    return (meta, arrays) if same else None


@cache
def _committed(data: Path, _changed: int) -> dict[str, Result]:
    """The committed data of a study, read once for all of its cases."""
    return load_data(data.parent)


def save_data(folder: Path, name: str, results: dict[str, Result], *, single: bool = False) -> None:
    """Write the results that a figure was drawn from: ``name.npz`` ("case/array") and ``name.json``.

    single : arrays in single precision, half the size: where they are drawn, and the claims need no more
    """
    arrays = {f"{key}/{part}": array for key, (_, own) in results.items() for part, array in own.items()}
    if single:
        arrays = {key: _single(array) for key, array in arrays.items()}
    meta = {key: meta for key, (meta, _) in results.items()}
    pack(_storage.write(folder / f"{name}.npz", name, meta, arrays))
    (folder / f"{name}.json").write_text(json.dumps(meta, indent=1, allow_nan=False) + "\n")


def pack(file: Path) -> None:
    """Compress an npz file by LZMA, for what is committed: the same arrays in four fifths of the space."""
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_LZMA)


def _single(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float64 else array


def load_data(folder: Path, name: str = "data") -> dict[str, Result]:
    """What `save_data` wrote."""
    _, metas, arrays = _storage.read(folder / f"{name}.npz")
    results: dict[str, Result] = {key: (meta, {}) for key, meta in metas.items()}
    for path, array in arrays.items():
        key, _, part = path.rpartition("/")
        results[key][1][part] = array
    return results


def save_claims(study: Study, size: str, results: dict[str, Result], folder: Path) -> None:
    """Write ``claims.json``: what the results of all cases say about the paper, and how they were made."""
    claims = judged(study.claims(results), results) if study.claims else []
    record = {
        "study": study.name,
        "summary": study.summary,
        "size": size,
        "command": f"python -m validation {study.name} --{size}",
        "claims": [asdict(claim) for claim in claims],
        "cases": len(results),
        "seconds": sum(meta.get("seconds", 0.0) for meta, _ in results.values()),
        "cpu seconds": cpu_seconds(results),
        "parameters": parameters(results),
        "made with": provenance.describe(results),
        "cases of other code": provenance.of_other_code(results),
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
