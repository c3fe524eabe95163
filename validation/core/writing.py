"""Tables and pictures of the reports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table with aligned columns."""
    lines = [[str(cell) for cell in line] for line in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def save_figure(figure: Any, folder: Path, name: str) -> None:
    """Write ``name.png`` (300 dpi) and ``name.pdf``, without dates inside: equal pictures, equal files."""
    figure.savefig(folder / f"{name}.png", dpi=300, metadata={"Software": None})
    figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
