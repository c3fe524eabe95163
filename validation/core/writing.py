"""Tables and pictures of the reports."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

# What cells and laws of weights are called in text and figures.
CELL_NAMES = {"vanilla": "vanilla", "minimal": "minimalRNN", "gru": "GRU", "lstm": "LSTM"}
WEIGHT_NAMES = {"orthogonal": "orthogonal", "gaussian": "Gaussian"}


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table with aligned columns."""
    lines = [[str(cell) for cell in line] for line in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def save_figure(figure: Any, folder: Path, name: str, *, shades: bool = False) -> None:
    """Write ``name.png`` (200 dpi, 256 colours) and ``name.pdf``, without dates inside: equal pictures, equal
    files.

    shades : all colours instead: for maps, where few colours make steps
    """
    with io.BytesIO() as buffer:
        figure.savefig(buffer, format="png", dpi=200)
        picture = flat(Image.open(buffer))
    picture = picture if shades else few_colours(picture)
    picture.save(folder / f"{name}.png", "PNG", optimize=True)
    figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})


def flat(picture: Image.Image) -> Image.Image:
    """The picture on white, without transparency."""
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")


def few_colours(picture: Image.Image) -> Image.Image:
    """The picture in 256 colours, a third of the size; no colour moves by more than some 20 of 255."""
    return picture.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
