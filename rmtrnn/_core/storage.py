"""Results on disk: one npz file with the arrays and, beside them, one JSON text. No pickle."""

from __future__ import annotations

import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rmtrnn._core.registry import RESTORE

_META = "meta_json"
FORMAT = 1
"""Version of the file's layout; raised when an older version could not read it."""

# What NumPy, zipfile, json and constructors raise when bytes were lost or changed.
_DAMAGE = (
    OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError,
    MemoryError, AssertionError, SyntaxError, struct.error, zipfile.BadZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip


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
    """Read what `write` wrote: (kind, meta, arrays).

    ValueError if the file is damaged or something else; OSError if there is none or it cannot be opened.
    """
    with open(path, "rb") as file:
        try:
            return _contents(file)
        except _DAMAGE as error:
            raise _unreadable(path, error) from error


def load(path: str | Path) -> Any:
    """Read a result that its ``.save(path)`` wrote (npz + JSON, no pickle).

    Raises FileNotFoundError (or another OSError) where no file can be opened, and ValueError for a file that
    is damaged, was written by a later version, or holds something else.

    >>> path = rt.spectrum(rt.Ensemble("vanilla", sigma_b=0.1), T=2).save("law")
    >>> rt.load(path).T
    2
    """
    kind, meta, arrays = read(path)
    try:
        restore = RESTORE.find(kind)
    except (KeyError, TypeError):
        raise ValueError(f"path = {str(path)!r}: holds a result of unknown kind {kind!r}") from None
    try:
        return restore(meta, arrays)
    except _DAMAGE as error:
        raise _unreadable(path, error) from error


def _contents(file: Any) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    with np.load(file, allow_pickle=False) as archive:
        if not isinstance(archive, np.lib.npyio.NpzFile) or _META not in archive.files:
            raise ValueError("holds no result of this package")
        record = json.loads(str(archive[_META]))
        arrays = {name: archive[name] for name in archive.files if name != _META}
    if record["format"] != FORMAT:
        raise ValueError(f"format {record['format']!r}, this version reads {FORMAT}")
    return record["kind"], record["meta"], arrays


def _unreadable(path: str | Path, error: BaseException) -> ValueError:
    reason = " ".join(str(error).split())
    return ValueError(
        f"path = {str(path)!r}: is damaged, or holds no result of this package "
        f"({type(error).__name__}: {reason[:200]})"
    )
