"""How results were made: versions, machine, the commit, and a digest of the package's source.

A commit names the state of the whole repository; the digest is of ``rmtrnn/`` alone, changes that are not
committed included. So two results of equal digest were computed by the same code."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import os
import platform
import subprocess
from functools import cache
from pathlib import Path

import rmtrnn
from validation.core import places
from validation.core.model import Result

UNKNOWN = "unknown"  # of results from before commit and digest were kept


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages the numbers depend on."""
    packages = {name: importlib.metadata.version(name) for name in ("rmtrnn", "numpy", "scipy", "sympy")}
    return {"python": platform.python_version(), **packages}


@cache
def commit() -> str:
    """The commit of this checkout, with "+" where ``rmtrnn/`` or ``validation/`` has other changes."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "rmtrnn", "validation")
    except (OSError, subprocess.CalledProcessError):
        return UNKNOWN
    return head + ("+" if changed else "")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(places.ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@cache
def code_digest(folder: Path = Path(rmtrnn.__file__).parent) -> str:
    """Twelve hex digits that change with any Python file of the package."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def provenance() -> dict[str, str]:
    """Versions, commit, digest of the code, kind of machine and date of a computation."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    hardware = f"CPU ({platform.machine()}, {os.cpu_count()} cores)"
    code = {"commit": commit(), "code": code_digest()}
    return {**versions(), **code, "hardware": hardware, "system": platform.system(), "date": now}


def of_other_code(results: dict[str, Result]) -> list[str]:
    """Keys of the results that another state of ``rmtrnn/`` computed, as far as is known."""
    return [
        key for key, (meta, _) in results.items() if meta["provenance"].get("code", UNKNOWN) != code_digest()
    ]


def describe(results: dict[str, Result]) -> str:
    """The provenance of a set of results in words; several values where cases were computed apart."""
    kinds: dict[str, list[str]] = {}
    for meta, _ in results.values():
        for name, value in meta["provenance"].items():
            kinds.setdefault(name, [])
            kinds[name] += [] if value in kinds[name] else [value]
    return ", ".join(f"{name} {' and '.join(values)}" for name, values in kinds.items())
