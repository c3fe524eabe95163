"""Limits on foreign text: what a cell file, a configuration and a grid may ask of the command line.

The values are policy, not mathematics. Every cell of the library needs less than a tenth of each, and a text
within all of them is read, differentiated and simplified by SymPy in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ExpressionLimits:
    """Limits on one expression of a cell file, checked before SymPy sees it."""

    # Brackets and signs inside each other, which ``ast.parse`` reads by recursion.
    depth: int = 40
    # Parts of an expression with its definitions put in, and levels of its tree.
    nodes: int = 2000
    height: int = 100
    # Kinked functions inside each other. SymPy's time to fold Piecewise expressions doubles with each.
    kinks: int = 3
    # Arguments of max and min: each pair is a kink.
    arguments: int = 8
    # Degree as a polynomial in names, functions and numbers.
    degree: int = 64
    # |argument| of a function, for names inside the box: below it float64 keeps seven digits of a phase.
    argument: float = 1e9
    # Half width of the box in which a cell is tried out; see `rmtrnn.cells.cell`.
    box: float = 4.0
    # Bound on |1/y| where y may vanish: a pole is refused where its neighbourhood is, by ``argument``.
    near_pole: float = 1e6

    @property
    def words(self) -> int:
        """Numbers, names and signs of one line: a part has an operator, a sign and two brackets at most."""
        return 4 * self.nodes


@dataclass(frozen=True)
class FileLimits:
    """Limits on files and grids."""

    # Bytes and lines of a cell file.
    cell_bytes: int = 16384
    cell_lines: int = 200
    # States and pre-activations of a cell.
    states: int = 8
    gates: int = 16
    # Bytes of a configuration (TOML).
    config_bytes: int = 65536
    # Points of one axis of a grid.
    points: int = 10000


EXPRESSION = ExpressionLimits()
FILES = FileLimits()
