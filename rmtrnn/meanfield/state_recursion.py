"""Linear recursions of a site's state along known pre-activations.

In most cells the components s of the state that feed back enter their own update linearly,

    s^{t+1} = A_t s^t + B_t,    A, B functions of x^t and e^t,

and the others are functions of s^t, x^t and e^t (LSTM: c feeds back, h does not). Where e is known for all
steps, as on a period (`rmtrnn.meanfield.periodic_process`), A and B are evaluated for many steps at once,
and what is left for each step is a product and a sum.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import sympy

from rmtrnn._core.arrays import PORTIONS
from rmtrnn.cells import Cell
from rmtrnn.cells.functions import differentiate
from rmtrnn.cells.numeric import compile_expressions
from rmtrnn.meanfield.expansion import composed, gate_symbols

FEW_SITES = 64  # up to which pieces of a recursion side by side are faster than step after step; measured

Entries = Sequence[tuple[int, int, np.ndarray]]  # (to, from, values (steps, sites), or broadcast to that)


@dataclass(frozen=True)
class Recursion:
    """A and B of one cell, in the order of ``fed``, the components of the state that feed back."""

    fed: tuple[int, ...]
    places: tuple[tuple[int, int], ...]  # of the entries of A that do not vanish
    evaluate: Callable[..., list[Any]]

    def run(self, first: np.ndarray, x: np.ndarray, e: np.ndarray) -> np.ndarray:
        """s at steps 0 … steps (fed, steps + 1, sites), from s^0 (fed, sites), x (steps, sites) and e."""
        values = self.evaluate(x, *e)
        entries = [
            (i, j, np.broadcast_to(a, x.shape)) for (i, j), a in zip(self.places, values, strict=False)
        ]
        added = [np.broadcast_to(b, x.shape) for b in values[len(self.places) :]]
        return linear_recursion(first, entries, added)


@functools.lru_cache(maxsize=64)
def recursion(cell: Cell) -> Recursion | None:
    """The linear recursion of a cell; None where the update is not linear in what feeds back."""
    updates, _ = composed(cell)
    states = [cast(sympy.Symbol, symbol) for symbol in cell.state]
    fed = [i for i, symbol in enumerate(states) if any(update.has(symbol) for update in updates)]
    places, entries, added = [], [], []
    for place, i in enumerate(fed):
        for other, j in enumerate(fed):
            entry = differentiate(updates[i], states[j])
            if entry.free_symbols & set(states):
                return None
            if entry != 0:
                places.append((place, other))
                entries.append(entry)
        added.append(updates[i].subs(dict.fromkeys(states, 0)))
    arguments = [cell.input, *gate_symbols(cell)]
    return Recursion(tuple(fed), tuple(places), compile_expressions(arguments, [*entries, *added], np))


def linear_recursion(first: np.ndarray, A: Entries, B: Sequence[np.ndarray]) -> np.ndarray:
    """s^{t+1} = A_t s^t + B_t from s^0 (s, sites): s at all steps, (s, steps + 1, sites)."""
    steps = len(B[0]) if len(B) else 0
    out = np.empty((len(first), steps + 1, first.shape[-1]))
    out[:, 0] = first
    if len(first) == 1 and len(A) == 1:
        one, a, b = out[0], A[0][2], B[0]
        done = _in_pieces(one, a, b) if a.shape == b.shape == one[1:].shape else 0
        for now, after, a_t, b_t in zip(one[done:-1], one[done + 1 :], a[done:], b[done:], strict=True):
            np.multiply(a_t, now, out=after)
            after += b_t
        return out
    for t in range(steps):
        for i, b in enumerate(B):
            out[i, t + 1] = b[t]
        for i, j, a in A:
            out[i, t + 1] += a[t] * out[j, t]
    return out


def _in_pieces(s: np.ndarray, A: np.ndarray, B: np.ndarray) -> int:
    """Fill s^1, s^2, … of (steps + 1, sites) where sites are few; returns how many steps that were.

    √steps pieces are followed side by side from 0, and the start of each is added with its gain: 3 √steps
    calls on more numbers. At few sites a call costs more than its numbers.
    """
    steps, sites = B.shape
    length = math.isqrt(steps)
    if sites > FEW_SITES or length < 2:
        return 0
    shape = steps // length, length, sites
    done = shape[0] * length
    a, b, here = A[:done].reshape(shape), B[:done].reshape(shape), s[1 : done + 1].reshape(shape)
    gain = np.empty(shape)
    here[:, 0], gain[:, 0] = b[:, 0], a[:, 0]
    for t in range(1, length):
        np.multiply(a[:, t], here[:, t - 1], out=here[:, t])
        here[:, t] += b[:, t]
        np.multiply(a[:, t], gain[:, t - 1], out=gain[:, t])
    before = s[0]
    for piece, factor in zip(here, gain, strict=True):
        piece += factor * before
        before = piece[-1]
    return done


def blocks(steps: int, sites: int) -> list[slice]:
    """Consecutive steps, as many at a time as caches hold."""
    length = max(2 * PORTIONS.cache // sites, 1)  # real numbers
    return [slice(t, min(t + length, steps)) for t in range(0, steps, length)]
