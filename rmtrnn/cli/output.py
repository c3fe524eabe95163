"""What a command prints: a table for people, or one JSON document for machines."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from rmtrnn._core import records

_WIDTH = 18


def plain(value: Any) -> Any:
    """``value`` as JSON types. A number that JSON does not have becomes "Infinity", "-Infinity" or "NaN"."""
    return _finite(records.plain(value))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def as_json(record: Mapping[str, Any]) -> str:
    """One JSON document, its numbers with all digits."""
    return json.dumps(plain(record), indent=2, allow_nan=False)


def as_table(rows: Mapping[str, Any]) -> str:
    """One line for each entry."""
    return "\n".join(f"{name:<{_WIDTH}} {as_text(value)}" for name, value in rows.items())


def as_text(value: Any) -> str:
    """A number with twelve digits, a container with its entries side by side."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {as_text(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        inner = ", ".join(
            f"[{as_text(item)}]" if isinstance(item, list | tuple) else as_text(item) for item in value
        )
        return inner or "none"
    if isinstance(value, float):
        return f"{value:.12g}"
    return str(value)
