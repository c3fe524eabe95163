"""Results on disk: one npz file with the arrays and, beside them, one JSON text. No pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

_META = "meta_json"
FORMAT = 1


def write(path: str | Path, kind: str, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Path:
    """Write a result of the given ``kind``; return the path written (".npz" is appended if missing).

    ``meta`` holds plain JSON types without NaN or infinity (ValueError otherwise).
    """
    path = Path(path)
    if path.suffix != ".npz":
        path = path.with_name(path.name + ".npz")
    if _META in arrays:
        raise ValueError(f"arrays: the name {_META!r} is taken")
    text = json.dumps({"format": FORMAT, "kind": kind, "meta": dict(meta)}, allow_nan=False)
    with open(path, "wb") as file:
        np.savez_compressed(file, **{_META: np.array(text)}, **arrays)  # pyright: ignore[reportArgumentType]
    return path


def read(path: str | Path) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """Read what `write` wrote: (kind, meta, arrays). ValueError if the file is something else."""
    with np.load(path, allow_pickle=False) as file:
        if _META not in file.files:
            raise ValueError(f"path = {str(path)!r}: holds no result of this package")
        record = json.loads(str(file[_META]))
        arrays = {name: file[name] for name in file.files if name != _META}
    if record.get("format") != FORMAT:
        raise ValueError(
            f"path = {str(path)!r}: format {record.get('format')!r}, this version reads {FORMAT}"
        )
    return record["kind"], record["meta"], arrays
