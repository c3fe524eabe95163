"""The map of theory.md (15) on self-energies of the form (31), and its fixed point at one λ.

P and Q are known at some columns, all pairs with one of some steps, and at their diagonals. The map fits (31)
to them and finds g and k of (20) at the same pairs, in O(T) for each site and column.

Ψ of (21) is not to change with P_ts -> f_t P_ts f_s at any step, nor with the same of Q. With G(P, Q) = P/σ²
for Gaussian weights and P (σ² - Q P)^{-1} for Haar ones, which is g at a fixed point of (15),

    sum_s g_ts Q_ts = sum_s G_ts Q_ts,      sum_s k_ts P_ts = sum_s G_ts Q_ts.                    (33)

The right-hand side of (15) hardly depends on such factors, so that what the form misses would move them far,
and with them F, if the diagonals were those of (15). They are taken from (33), the values at the pairs,
relative to the diagonals, from (15).

Letters: P and Q, self-energies of the y and the x; g, k, Ψ as in `functional`; f, G as above; T, steps; V,
values of P and Q at the pairs, in units; r, the change that the map makes; n, sites.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from rmtrnn._core.parallel import thread_map
from rmtrnn._core.progress import advance
from rmtrnn.dyson.tied.functional import weight_of_matrix
from rmtrnn.dyson.tied.iteration import Differences, IterationSettings, Point
from rmtrnn.dyson.tied.memory_chain import Covariances, MemoryChain, covariances, log_determinants
from rmtrnn.dyson.tied.memory_form import Memory, Pairs, fitted, splines
from rmtrnn.dyson.tied.node import Node


@dataclass(frozen=True)
class MapSettings:
    """Numbers of the map and its iteration; moved by two both ways in tests/dyson/tied/test_memory_law.py."""

    # Columns for each smooth function of time. Empirical: 2 and 4 find the same law.
    columns: float = 2.0
    # Largest change of a value in an iteration, in units of its diagonal.
    longest: float = 0.5
    # Evaluations at a point, at most.
    most: int = 30
    # Sites side by side: some arrays of complex numbers fit a level-2 cache.
    portion: int = 512


MAP, _ITERATION = MapSettings(), IterationSettings()


class SelfEnergies(NamedTuple):
    """P, of the y, and Q, of the x."""

    y: Memory
    x: Memory

    @property
    def log_gauge(self) -> np.ndarray:
        """log of (22), smooth as both are."""
        return 0.25 * np.real(self.y.log_diagonal - self.x.log_diagonal)

    @property
    def log_units(self) -> np.ndarray:
        """log |P_tt|^{1/2} and log |Q_tt|^{1/2} (2, T)."""
        return 0.5 * np.array([np.real(one.log_diagonal) for one in self])


class Averages(NamedTuple):
    """What the map makes of self-energies: its values V, 1 - F and s²/(λ - s²)."""

    values: np.ndarray
    log_units: np.ndarray
    survival: float
    m: complex


class Solved(NamedTuple):
    """A point with its self-energies, F and m on the sites it was solved on; its energy are the values V."""

    point: Point
    energies: SelfEnergies
    log_units: np.ndarray
    cdf: float
    m: complex

    @property
    def density(self) -> float:
        """dF/d log s."""
        return -2.0 / math.pi * self.m.imag

    @property
    def node(self) -> Node:
        """F and its slope on the sites that the point was solved on; single sites left out."""
        u = 0.5 * self.point.log_lambda.real
        return Node(u, self.cdf, self.density, self.point, np.zeros(0, dtype=complex), self.m)


@dataclass(frozen=True)
class MemorySites:
    """Sites of a long chain of one state and one weight matrix, ``weights`` of sum 1."""

    chain: MemoryChain
    weights: np.ndarray
    sigma2: float
    orthogonal: bool

    @property
    def steps(self) -> int:
        return self.chain.steps

    def at(self, sites: Any) -> MemorySites:
        """Some of the sites, with their weights scaled to sum to 1."""
        weights = self.weights[sites]
        return replace(self, chain=self.chain.at(sites), weights=weights / weights.sum())

    def first(self, steps: int) -> MemorySites:
        """The first of the steps."""
        return replace(self, chain=self.chain.first(steps))

    @cached_property
    def columns(self) -> np.ndarray:
        """Steps of the columns: the more, the more there is to know; next to each other at both ends."""
        wanted = round(MAP.columns * splines(self.steps).shape[1])
        if wanted >= self.steps:
            return np.arange(self.steps)
        side = np.round(np.geomspace(1.0, 0.5 * self.steps, wanted // 2)).astype(int) - 1
        return np.unique(np.concatenate([side, self.steps - 1 - side]))

    @cached_property
    def pairs(self) -> tuple[Pairs, Pairs]:
        """Where P and Q are known: after a column, and before it."""
        both = (Pairs.with_columns(self.steps, self.columns, earlier) for earlier in (True, False))
        first, second = both
        return first, second

    def entries(self, of_y: Memory, of_x: Memory) -> np.ndarray:
        """V of self-energies in units: diagonals, and values at the pairs."""
        parts = []
        for memory, pairs in zip((of_y, of_x), self.pairs, strict=True):
            matrix = memory.matrix()
            parts += [np.diagonal(matrix), matrix[pairs.later, pairs.earlier]]
        return np.concatenate(parts)

    def split(self, values: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """The diagonal and the values at the pairs, of P and of Q."""
        ends = np.cumsum([self.steps, self.pairs[0].later.size, self.steps])
        parts = np.split(values, ends)
        return [(parts[0], parts[1]), (parts[2], parts[3])]

    def spread(self, log_units: np.ndarray) -> np.ndarray:
        """log of the unit of every value."""
        parts = []
        for own, pairs in zip(log_units, self.pairs, strict=True):
            parts += [2.0 * own, own[pairs.later] + own[pairs.earlier]]
        return np.concatenate(parts)

    @cached_property
    def roots(self) -> np.ndarray:
        """Square roots of what every value counts for."""
        one = np.ones(self.steps)
        return np.sqrt(np.concatenate([one, self.pairs[0].weights, one, self.pairs[1].weights]))

    def smooth(self, values: np.ndarray, log_units: np.ndarray, start: SelfEnergies | None) -> SelfEnergies:
        """The form (31) of V in ``log_units``."""
        found = []
        for (diagonal, some), own, pairs, before in zip(
            self.split(values), log_units, self.pairs, start or (None, None), strict=True
        ):
            begun = None if before is None else before.scaled(own)
            found.append(fitted(pairs, diagonal, some, begun).scaled(-own))
        return SelfEnergies(*found)

    def log_determinants(self, energies: SelfEnergies, log_lambda: complex) -> tuple[np.ndarray, np.ndarray]:
        """log det(1 - Q h) and s²/(λ - s²) of every site (n,)."""
        log_unit, y, x, start, end = _in_gauge(energies, log_lambda)

        def part(chain: MemoryChain) -> tuple[np.ndarray, np.ndarray]:
            return log_determinants(chain.scaled(log_unit), y, x, start, end)

        log_det, m = zip(*thread_map(part, self._portions()), strict=True)
        return np.concatenate(log_det), np.concatenate(m)

    def _portions(self) -> list[MemoryChain]:
        return [self.chain.at(slice(i, i + MAP.portion)) for i in range(0, self.chain.n, MAP.portion)]

    def survival(self, values: np.ndarray, energies: SelfEnergies, angle: float) -> float:
        """1 - F to first order in arg λ, from the mean of what `log_determinants` make of it."""
        return (
            complex(values[0]) + self.weight_value(energies) - 1j * angle * complex(values[1])
        ).imag / math.pi

    def weight_value(self, energies: SelfEnergies) -> complex:
        """C of (21)."""
        _, y, x, _, _ = _in_gauge(energies, 0j)
        return weight_of_matrix(y.matrix(), x.matrix(), self.sigma2, self.orthogonal)

    def averages(self, energies: SelfEnergies, log_lambda: complex) -> Averages:
        """The right-hand side of (15) at the pairs, with (33), and F."""
        log_unit, y, x, start, end = _in_gauge(energies, log_lambda)

        def part(some: tuple[MemoryChain, np.ndarray]) -> tuple[Covariances, Covariances]:
            chain, weights = some[0].scaled(log_unit), some[1]
            last = self.steps - 1 - self.columns[::-1]
            return (
                covariances(chain, y, x, (start, end), weights, self.columns),
                covariances(chain.backwards(), x.backwards(), y.backwards(), (end, start), weights, last),
            )

        weights = [self.weights[i : i + MAP.portion] for i in range(0, self.chain.n, MAP.portion)]
        both = zip(*thread_map(part, list(zip(self._portions(), weights, strict=True))), strict=True)
        g, k = (
            Covariances(*(np.sum(np.array(parts), axis=0) for parts in zip(*one, strict=True)))
            for one in both
        )
        k = Covariances(k.diagonal[::-1], k.columns[::-1, ::-1], k.flow[::-1])
        values = self._image(g, k, y, x)
        log_det, m = self.log_determinants(energies, log_lambda)
        means = np.array([self.weights @ log_det, self.weights @ m])
        log_units = np.array([log_unit, -log_unit])
        survival = self.survival(means, energies, log_lambda.imag)
        return Averages(values, log_units, survival, complex(means[1]))

    def _image(self, g: Covariances, k: Covariances, y: Memory, x: Memory) -> np.ndarray:
        """V of the right-hand side of (15) and (33), from g and k in the gauge."""
        after = [one[t + 1 :] for one, t in zip(g.columns, self.columns, strict=True)]
        before = [one[:t] for one, t in zip(k.columns, self.columns, strict=True)]
        first, second = self.pairs
        return np.concatenate(
            [
                *self._image_of_one(g, np.concatenate(after), y.matrix(), x.matrix(), first),
                *self._image_of_one(k, np.concatenate(before), x.matrix(), y.matrix(), second),
            ]
        )

    def _image_of_one(
        self, found: Covariances, some: np.ndarray, y: np.ndarray, x: np.ndarray, pairs: Pairs
    ) -> tuple[np.ndarray, np.ndarray]:
        """New P, ``y``, from g, ``found``, and its values at the pairs; or Q from k, with both interchanged.

        Of Haar weights to first order, as if G depended on the diagonals alone, by z_t = (P Q)_tt/σ².
        """
        own, z = y / self.sigma2, np.zeros(self.steps, dtype=complex)
        if self.orthogonal:
            own = np.linalg.solve((self.sigma2 * np.eye(self.steps) - x @ y).T, y.T).T
            z = (y * x.T).sum(axis=1) / self.sigma2
        t, s = pairs.later, pairs.earlier
        values = y[t, s] + self.sigma2 * (1.0 - z[t]) * (1.0 - z[s]) * (some - own[t, s])
        change = self.sigma2 * (1.0 - z) ** 2 * (found.diagonal - np.diagonal(own))
        diagonal = np.diagonal(y) * (found.flow / (own * x.T).sum(axis=1)) ** (1.0 - z)
        scale = np.sqrt(diagonal / (np.diagonal(y) + change))
        return diagonal, values * scale[t] * scale[s]

    def solve(
        self,
        values: np.ndarray,
        log_units: np.ndarray,
        start: SelfEnergies | None,
        log_lambda: complex,
        tol: float,
        known: Differences | None = None,
    ) -> Solved:
        """Iterate the map from V in ``log_units`` until F changes by less than ``tol``.

        ``start``: where the fit of (31) begins. ``known``: differences of a neighbouring point.
        """
        advance("Dyson equation: points solved")
        known = Differences.none(values) if known is None else known
        x, spread, least, survival = values * self.roots, self.spread(log_units), math.inf, math.inf
        before: tuple[np.ndarray, np.ndarray] | None = None
        found, relative, change, count = None, math.inf, math.inf, 0
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # what overflows is given up
            for count in range(1, MAP.most + 1):
                try:
                    energies = self.smooth(x / self.roots, log_units, start)
                    found = self.averages(energies, log_lambda)
                except np.linalg.LinAlgError:
                    break
                image = found.values * np.exp(self.spread(found.log_units) - spread)
                r = image * self.roots - x
                relative = float(np.sqrt((np.abs(r) ** 2).sum() / self.steps))
                if not np.isfinite(relative):
                    break
                if before is not None:
                    known = known.joined(x - before[0], r - before[1])
                if relative > _ITERATION.astray * least:
                    known, least = Differences.none(x), relative
                least, before, start = min(least, relative), (x, r), energies
                change, survival = abs(found.survival - survival), found.survival
                if count >= _ITERATION.least and change < tol and relative < _ITERATION.settled:
                    break
                step = known.step(r, np.ones(1))
                step *= min(1.0, MAP.longest / max(float(np.abs(step / self.roots).max()), 1e-300))
                x = x + step
        if found is None or start is None:
            raise np.linalg.LinAlgError("no evaluation of the Dyson equation")
        units = start.log_units
        now = before[0] if before is not None else x
        energy = now / self.roots * np.exp(spread - self.spread(units))
        lower = all(float(np.sin(np.imag(one.log_diagonal)).mean()) < 0.0 for one in start)
        point = Point(log_lambda, energy, relative, change, count, lower, known)
        return Solved(point, start, units, 1.0 - survival, found.m)


def _in_gauge(
    energies: SelfEnergies, log_lambda: complex
) -> tuple[np.ndarray, Memory, Memory, complex, complex]:
    """log of the gauge, both self-energies in it, and 1 and 1/λ."""
    log_unit = energies.log_gauge
    y, x = energies.y.scaled(log_unit), energies.x.scaled(-log_unit)
    return (
        log_unit,
        y,
        x,
        complex(np.exp(-2.0 * log_unit[0])),
        complex(np.exp(2.0 * log_unit[-1] - log_lambda)),
    )
