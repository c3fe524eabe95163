"""Points at which the equations of a free sum or product were solved, as starts for points nearby.

A law inside another is evaluated at the subordination functions of the outer one, which move a little with
each of its Newton steps. The solution in the upper half plane is unique (Belinschi and Bercovici 2007), so
that a start decides how long Newton's method takes, not what it finds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree


@dataclass(frozen=True)
class MemorySettings:
    """Numbers of the memory: speed only.

    ``calls``: calls whose points are kept, those of one height of the outer law. ``height``: weight of a
    factor e in Im z against one unit in Re z, low since a point of the outer law keeps its place on the axis.
    """

    calls: int = 12
    height: float = 0.02


SETTINGS = MemorySettings()


class SolvedPoints:
    """Solved points z and the columns that belong to them, of the last calls."""

    def __init__(self) -> None:
        self._calls: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, z: np.ndarray, columns: np.ndarray) -> None:
        """Keep ``columns`` (rows, points) of the points z in the open upper half plane."""
        inside = np.imag(z) > 0.0
        self._calls = [*self._calls[1 - SETTINGS.calls :], (z[inside], columns[:, inside])]

    def nearest(self, z: np.ndarray, unit: float) -> tuple[np.ndarray, np.ndarray] | None:
        """The nearest of the solved points for each of z, and their columns; None if there are none."""
        points = np.concatenate([one for one, _ in self._calls]) if self._calls else np.zeros(0)
        if not points.size:
            return None
        _, index = KDTree(_place(points, unit)).query(_place(z, unit))
        return points[index], np.concatenate([columns for _, columns in self._calls], axis=1)[:, index]


def _place(z: np.ndarray, unit: float) -> np.ndarray:
    """Coordinates in which distances are compared."""
    height = np.log(np.maximum(np.imag(z) / unit, np.finfo(float).tiny))
    return np.stack([np.real(z) / unit, SETTINGS.height * height], axis=1)
