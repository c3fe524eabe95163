"""What tied weights read at a site, as a chain of its own: theory.md (29).

Let z be all that the weights read at a site, and the last state x_L, in the order of time; f, what they add
to the site, and y_0. Everything else at the site is eliminated once and for all,

    L z = B f,   gamma = L^{-1} B,                                                                (29)

with a unit lower triangular L. A state that is read is known from there on. So L and B have few entries in a
row where all that is carried is read, as in the minimalRNN or the GRU, and no entry is a sum over paths.

Letters: m, entries of z; n, sites; Q, self-energies of the x as in (20).
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rmtrnn._core.arrays import namespace
from rmtrnn.dyson.pencil import Stage

# Rounding of F, on the average over the sites, by a state that is known from what is read of it. At a site,
# rounding is multiplied by 1/c², c relative to the largest.
_KNOWN = 1e-7
# Least |c|, relative to the largest. Derived: a site does not tell it from 0, to the square root of rounding.
_LEAST_READ = 1e-8
# Relative difference of two terms that is rounding. Derived: of a few operations, with room for a dozen.
_ROUNDING = 1e-13
# Entries in a row up to which products go by entries. Empirical: speed only.
_FEW = 3

# Coefficients (n,) of what a state is made of: entries of z (kind 0) and of f (kind 1).
Sum = dict[tuple[int, int], np.ndarray]
# Of every stage of the chain: port k T + t of its j-th weight matrix, and j.
Ports = list[list[tuple[int, int]]]


@dataclass(frozen=True)
class Rows:
    """A real matrix R (m, ``width``) at every site, by ``values`` (n, m, w) at ``columns`` (m, w).

    All of them where ``columns`` is None.
    """

    values: Any
    columns: np.ndarray | None
    width: int

    @classmethod
    def of(cls, terms: list[dict[int, np.ndarray]], n: int, width: int, xp: Any) -> Rows:
        """From the entries of every row by their column."""
        most = max(map(len, terms))
        few = most <= _FEW
        values, columns = np.zeros((n, len(terms), most if few else width)), np.zeros((len(terms), most), int)
        for row, entries in enumerate(terms):
            for place, (column, value) in enumerate(entries.items()):
                values[:, row, place if few else column] = value
                columns[row, place] = column
        return cls(xp.asarray(values), columns if few else None, width)

    def at(self, some: slice, left: Any, right: Any) -> Rows:
        """At some of the sites, rows times ``left`` (m,) and columns divided by ``right`` (width,)."""
        unit = left[:, None] / (right if self.columns is None else right[self.columns])
        return Rows(unit * self.values[some], self.columns, self.width)

    @property
    def count(self) -> int:
        """Numbers in `parts`."""
        return self.width**2 if self.columns is None else self.columns.size**2

    @property
    def dense(self) -> Any:
        """R with all its entries, (n, m, width)."""
        if self.columns is None:
            return self.values
        xp = namespace(self.values)
        whole = xp.zeros((*self.values.shape[:2], self.width))
        rows = np.arange(len(self.columns))
        for place, columns in enumerate(self.columns.T):
            whole[:, rows, columns] += self.values[:, :, place]
        return whole

    def cores(self, core: Any) -> Any:
        """What `around` multiplies of a symmetric A: all of it, or its entries by two places."""
        if self.columns is None:
            return core
        xp, places = namespace(core), self.columns.T
        return [[xp.ascontiguousarray(core[rows[:, None], columns]) for columns in places] for rows in places]

    def around(self, cores: Any) -> Any:
        """R A R^T at all sites, from the `cores` of A."""
        if self.columns is None:
            return _sandwiched(self.values, cores)
        both, kind = self._for_parts_of(cores[0][0]), cores[0][0].dtype

        def of_place(left: int) -> Any:
            parts = (core.view(float) * right for core, right in zip(cores[left], both, strict=True))
            return functools.reduce(operator.iadd, parts) * self.values[:, :, left, None]

        return functools.reduce(operator.iadd, map(of_place, range(len(both)))).view(kind)

    def _for_parts_of(self, numbers: Any) -> list[Any]:
        """The values by place in a row (n, 1, m); for the parts of complex ones twice each, (n, 1, 2 m)."""
        xp, parts = namespace(self.values), numbers.itemsize // self.values.itemsize
        return [xp.repeat(self.values[:, :, j], parts, axis=1)[:, None] for j in range(self.values.shape[2])]

    def parts(self, matrices: Any) -> Any:
        """What `mean` adds up, where the ``matrices`` live: for each two places in a row, of a row each."""
        if self.columns is None:
            return _mean(self.values, matrices).reshape(-1)
        xp, places = namespace(matrices), range(self.values.shape[2])
        found = []
        for one in self._for_parts_of(matrices):
            right = xp.swapaxes(matrices.view(float) * one, 0, 1)
            for i in places:
                left = xp.ascontiguousarray(self.values[:, :, i].T)[:, None]
                found.append(xp.matmul(left, right)[:, 0].view(matrices.dtype).reshape(-1))
        return xp.concatenate(found)

    def mean(self, parts: np.ndarray) -> np.ndarray:
        """sum R^T A R over the sites, from the `parts` of symmetric A."""
        if self.columns is None:
            return parts.reshape(self.width, self.width)
        whole = np.zeros((self.width, self.width), dtype=parts.dtype)
        found = iter(parts.reshape(-1, len(self.columns), len(self.columns)))
        for columns in self.columns.T:
            for rows in self.columns.T:
                np.add.at(whole, (rows[:, None], columns), next(found))
        return whole


@dataclass(frozen=True)
class ReadChain:
    """``lower``, L, and ``added``, B, of all sites, and ``entry``, the entry of z of every port of Q."""

    lower: Rows
    added: Rows
    entry: np.ndarray

    @classmethod
    def of(cls, stages: Sequence[Stage], ports: Ports, scales: np.ndarray, xp: Any = np) -> ReadChain:
        """From stages, what they give multiplied by ``scales``; ``ports`` of each stage."""
        states_out, states_in, n = stages[-1].a.shape[0], *stages[0].a.shape[1:]
        count = sum(map(len, ports))
        states: list[Sum] = [{(1, count + i): np.ones(n)} for i in range(states_in)]
        entry = np.zeros(count + states_out, dtype=int)
        found: list[Sum] = []
        for stage, here, scale in zip(stages, ports, scales, strict=True):
            for port, j in here:
                same = [p for p, i in here if i < j and np.array_equal(stage.c[i], stage.c[j])]
                entry[port] = entry[same[0]] if same else len(found)
                if not same:
                    found.append(_sum(stage.c[j], states))
                    states = _known(states, stage.c[j], len(found) - 1)
            states = [_sum(row, states) for row in scale * stage.a]
            for port, j in here:
                for state, b in zip(states, scale * stage.b[j], strict=True):
                    if b.any():
                        state[1, port] = b
        entry[count:] = np.arange(len(found), len(found) + states_out)
        found += states
        lower = [{i: np.ones(n)} for i in range(len(found))]
        for row, terms in zip(lower, found, strict=True):
            row.update({at: -value for (kind, at), value in terms.items() if kind == 0})
        added = [{at: value for (kind, at), value in terms.items() if kind == 1} for terms in found]
        return cls(Rows.of(lower, n, len(found), xp), Rows.of(added, n, count + states_in, xp), entry)

    @property
    def size(self) -> int:
        """m, the entries of z."""
        return self.lower.width

    def gathered(self, energy: np.ndarray) -> np.ndarray:
        """Q_z = S^T Q S of ``energy`` Q, with S that gives every port its entry of z."""
        found = np.zeros((self.size,) * 2, dtype=energy.dtype)
        np.add.at(found, (self.entry[:, None], self.entry), energy)
        return found


def _sum(coefficients: np.ndarray, states: list[Sum]) -> Sum:
    """What a sum of states with ``coefficients`` (s, n) is made of."""
    total: Sum = {}
    for factor, state in zip(coefficients, states, strict=True):
        if factor.any():
            for key, value in state.items():
                total[key] = total[key] + factor * value if key in total else factor * value
    return total


def _known(states: list[Sum], c: np.ndarray, entry: int) -> list[Sum]:
    """The states once c x is an ``entry`` of z: the only one that is read is known.

    So are others next to it, but for what came last: in an LSTM h = o tanh(c), and what was carried in both
    is known from h.
    """
    read = [i for i, one in enumerate(c) if one.any()]
    if len(read) != 1:
        return states
    if not _is_known(c[read[0]]):
        return states
    seen = _sum(c, states)
    return [
        {(0, entry): 1.0 / _away_from_zero(c[i])} if i == read[0] else _by_entry(state, seen, entry)
        for i, state in enumerate(states)
    ]


def _is_known(c: np.ndarray) -> bool:
    """Whether what is multiplied by ``c`` (n,) is known from the product, on the average over the sites."""
    lost = np.finfo(float).eps * (np.abs(c).max() / np.abs(_away_from_zero(c))) ** 2
    return bool(np.minimum(lost, 1.0).mean() < _KNOWN)


def _away_from_zero(c: np.ndarray) -> np.ndarray:
    """The numbers ``c`` (n,), those next to 0 moved to the least size that counts."""
    least = _LEAST_READ * np.abs(c).max()
    return np.where(np.abs(c) < least, np.copysign(least, c), c)


def _by_entry(state: Sum, seen: Sum, entry: int) -> Sum:
    """A ``state`` as a multiple of the ``entry`` that is ``seen`` and few other terms, where it is."""
    for key in (key for key in state if key in seen):
        if not _is_known(seen[key]):
            continue
        ratio = state[key] / _away_from_zero(seen[key])
        rest = _sum(np.array([np.ones_like(ratio), -ratio]), [state, seen])
        rest = {at: value for at, value in rest.items() if not _vanishes(value, at, state, ratio, seen)}
        if len(rest) < len(state) - 1:
            return {(0, entry): ratio} | rest
    return state


def _vanishes(value: np.ndarray, at: tuple[int, int], state: Sum, ratio: np.ndarray, seen: Sum) -> bool:
    """Whether a difference of two terms is rounding at all sites."""
    if at not in state or at not in seen:
        return False
    return bool((np.abs(value) <= _ROUNDING * np.maximum(np.abs(state[at]), np.abs(ratio * seen[at]))).all())


def _sandwiched(rows: Any, core: Any) -> Any:
    """R A R^T, by real products of both parts of A side by side."""
    xp = namespace(rows)
    n, size, columns = rows.shape
    left = (rows.reshape(n * size, columns) @ core.view(float)).view(core.dtype).reshape(n, size, columns)
    return xp.matmul(rows, xp.ascontiguousarray(xp.swapaxes(left, 1, 2)).view(float)).view(core.dtype)


def _mean(rows: Any, matrices: Any) -> Any:
    """sum R^T A R over the sites."""
    xp = namespace(rows)
    n, size, columns = rows.shape
    left = xp.matmul(xp.swapaxes(rows, 1, 2), matrices.view(float)).view(matrices.dtype)
    turned = xp.ascontiguousarray(xp.swapaxes(left, 1, 2)).reshape(n * size, columns)
    return (rows.reshape(n * size, columns).T @ turned.view(float)).view(matrices.dtype)
