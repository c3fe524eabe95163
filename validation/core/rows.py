"""Rows of a table in a JSON file, one a line, so that a run can stop after any of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows so far; none without a file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Replace the file by these rows; an interrupted write leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(f"[{lines}]\n", encoding="utf-8")
    unfinished.replace(path)
