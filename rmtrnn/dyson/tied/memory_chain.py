"""A site of a long chain as a short recursion: theory.md (20) with self-energies of the form (31).

The sum over paths through a site is that of a Gauss-Markov process of x, of xi, what earlier steps know of
what the weights add, and of zeta, what they have read before,

    x' = a x + b (xi + w),  xi' = A xi + v,  zeta' = B zeta + gamma y,  y = c x,  E w² = d,  E w v = beta,
                                                                                                  (32)
weighed at every step by exp(e y²/2 + y zeta): d, beta, A for P, and e, gamma, B for Q, with the start 1 of x
and the weight exp(x_L²/(2 λ)) at its end. g of (20) is the covariance of y, and k the same of the process
with the last step first, in which P and Q, b and c change places.

From the last step back, exp(s^T V s/2) is the mean weight of all that follows s = (x, xi, zeta). With F and N
the matrix and the noise of a step, of rank two,

    V = K + F^T V'' F,   V'' = V' (1 - N V')^{-1},   det(1 - Q h) = prod det(1 - N V') (1 - V_xx),

and forwards the covariance under the weights is that of s' = (1 - N V')^{-1} F s + noise: O(T) for each site
and each column of g.

Letters: s, the state as above; V, F, N, K as above, K that of the weight; P, Q as in (15); T, steps; n,
sites; p, V s for some s; S, covariance of s under the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rmtrnn._core.arrays import namespace
from rmtrnn.dyson.pencil import Stage
from rmtrnn.dyson.tied.memory_form import Memory

# Pivots between two logarithms: their product neither over- nor underflows.
_PIVOTS = 8
# Sites side by side: some arrays of complex numbers fit a level-2 cache of 1 MiB.
_PORTION = 1024
_X, _XI, _ZETA = range(3)


class MemoryChain(NamedTuple):
    """a, b and c of (1) at all steps, (T, n) each, of one state and one weight matrix."""

    a: Any
    b: Any
    c: Any

    @classmethod
    def of(cls, stages: Sequence[Stage]) -> MemoryChain:
        return cls(
            np.array([stage.a[0, 0] for stage in stages]),
            np.array([stage.b[0, 0] for stage in stages]),
            np.array([stage.c[0, 0] for stage in stages]),
        )

    @property
    def steps(self) -> int:
        return len(self.a)

    @property
    def n(self) -> int:
        return self.a.shape[1]

    def at(self, sites: Any) -> MemoryChain:
        return MemoryChain(*(one[:, sites] for one in self))

    def first(self, steps: int) -> MemoryChain:
        """The first of the steps."""
        return MemoryChain(*(one[:steps] for one in self))

    def scaled(self, log_unit: np.ndarray) -> MemoryChain:
        """x_t in units exp(log_unit) (T,); the last state in those of the last step."""
        step = np.exp(np.append(-np.diff(log_unit), 0.0))[:, None]
        return MemoryChain(self.a * step, self.b * step, self.c)

    def backwards(self) -> MemoryChain:
        """The last step first."""
        return MemoryChain(self.a[::-1], self.c[::-1], self.b[::-1])


class _Step(NamedTuple):
    """A step of (32) at all sites: numbers of the self-energies, and a, b, c (n,)."""

    d: complex
    beta: complex
    A: complex
    e: complex
    gamma: complex
    B: complex
    a: Any
    b: Any
    c: Any

    def passed(self, s: Any) -> Any:
        """F s of states (3, ..., n)."""
        x, xi, zeta = s
        return namespace(x).stack(
            [self.a * x + self.b * xi, self.A * xi, self.B * zeta + (self.gamma * self.c) * x]
        )

    def pulled(self, costate: Any) -> Any:
        """F^T p of costates p (3, ..., n)."""
        x, xi, zeta = costate
        return namespace(x).stack(
            [self.a * x + (self.gamma * self.c) * zeta, self.b * x + self.A * xi, self.B * zeta]
        )

    def noise(self, costate: Any) -> tuple[Any, Any]:
        """x and xi of N p for costates p = (x, xi)."""
        x, xi = costate[_X], costate[_XI]
        of_x = self.b * x
        return self.b * (self.d * of_x + self.beta * xi), self.beta * of_x


def _steps(chain: MemoryChain, of_p: Memory, of_q: Memory) -> list[_Step]:
    numbers = zip(*of_p.recursion(), *of_q.recursion(), *chain, strict=True)
    return [_Step(*(complex(one) for one in step[:6]), *step[6:]) for step in numbers]


def _with_the_rest(V: Any, step: _Step) -> tuple[Any, Any]:
    """V' (1 - N V')^{-1} by its pivot in what the weights add, and det(1 - N V')."""
    first, second = step.b * V[_X], step.beta * V[_XI]
    own, other, last = step.b * first[_X], step.b * second[_X], step.beta * second[_XI]
    low, high = 1.0 - other, last + step.d
    det = low * low - own * high
    high, low, own = high / det, low / det, own / det
    left, right = high * first + low * second, low * first + own * second
    return V + first[:, None] * left + second[:, None] * right, det


def _weighed(V: Any, step: _Step) -> Any:
    """V with the weight of a step."""
    V[_X, _X] += step.e * step.c * step.c
    V[_X, _ZETA] += step.c
    V[_ZETA, _X] += step.c
    return V


def _end(chain: MemoryChain, end: complex) -> Any:
    V = namespace(chain.a).zeros((3, 3, chain.n), dtype=complex)
    V[_X, _X] = end
    return V


class _Logarithm:
    """Sum of principal logarithms of arrays (n,): the logarithm of some of their products, and the turns."""

    def __init__(self, like: Any) -> None:
        xp = namespace(like)
        self.product, self.count = xp.ones(like.shape, dtype=complex), 0
        self.value = xp.zeros(like.shape, dtype=complex)

    def add(self, pivot: Any) -> None:
        before = self.product.imag >= 0.0
        same = before == (pivot.imag >= 0.0)
        self.product = self.product * pivot
        crossed = same & ((self.product.imag >= 0.0) != before)
        self.value += 2j * np.pi * (crossed * (2.0 * before - 1.0))
        self.count += 1
        if self.count == _PIVOTS:
            self.flush()

    def flush(self) -> Any:
        """The sum so far."""
        xp = namespace(self.value)
        self.value += xp.log(self.product)
        self.product, self.count = xp.ones_like(self.product), 0
        return self.value


def log_determinants(
    chain: MemoryChain, of_p: Memory, of_q: Memory, start: complex, end: complex
) -> tuple[Any, Any]:
    """log det(1 - Q h) and s²/(λ - s²) (n,), on the branch that is 0 at Q = 0.

    ``start`` and ``end``: 1 and 1/λ, in the units of the chain.
    """
    chain, of_p, of_q = chain.backwards(), of_q.backwards(), of_p.backwards()  # m is read off at x_L
    portions = [chain.at(slice(i, i + _PORTION)) for i in range(0, chain.n, _PORTION)]
    parts = [_of_portion(one, of_p, of_q, start, end) for one in portions]
    log_det, m = (namespace(chain.a).concatenate(part) for part in zip(*parts, strict=True))
    return log_det, m


def _of_portion(
    chain: MemoryChain, of_p: Memory, of_q: Memory, start: complex, end: complex
) -> tuple[Any, Any]:
    """`log_determinants` of some of the sites, the last step first."""
    V, logs = _end(chain, start), _Logarithm(chain.a[0])
    for step in reversed(_steps(chain, of_p, of_q)):
        V, det = _with_the_rest(V, step)
        logs.add(det)
        V = _weighed(step.pulled(step.pulled(V).swapaxes(0, 1)), step)
    last = 1.0 - end * V[_X, _X]
    logs.add(last)
    return logs.flush(), 1.0 / last - 1.0


class Covariances(NamedTuple):
    """Means over the sites of the covariance of y under the weights of (32), in the units of the chain.

    ``diagonal`` (T,); ``columns`` (columns, T), from its own step on; ``flow``, sum_s Q_ts g_ts (T,).
    """

    diagonal: np.ndarray
    columns: np.ndarray
    flow: np.ndarray


def covariances(
    chain: MemoryChain,
    of_p: Memory,
    of_q: Memory,
    ends: tuple[complex, complex],
    weights: Any,
    columns: np.ndarray,
) -> Covariances:
    """g of (20) summed over the sites with their ``weights``: its diagonal and some of its ``columns``."""
    xp, (start, end) = namespace(chain.a), ends
    steps, V = _steps(chain, of_p, of_q), _end(chain, end)
    rest: list[tuple[Any, Any]] = []
    for step in reversed(steps):
        V, _ = _with_the_rest(V, step)
        pulled = step.pulled(V).swapaxes(0, 1)  # V'' F
        rest.append((pulled, V))
        V = _weighed(step.pulled(pulled), step)
    S = xp.zeros_like(V)
    S[_X, _X] = start / (1.0 - start * V[_X, _X])
    diagonal, flow = (xp.zeros(len(steps), dtype=complex) for _ in range(2))
    found = xp.zeros((len(columns), len(steps)), dtype=complex)
    begun = xp.zeros((3, 0, chain.n), dtype=complex)
    for t, step in enumerate(steps):
        own, (pulled, V) = step.c * weights, rest.pop()
        read = S[:, _X] * step.c
        diagonal[t] = read[_X] @ own
        after = (pulled[_ZETA] * read).sum(axis=0)
        flow[t] = step.e * diagonal[t] + (read[_ZETA] + step.gamma * after) @ weights
        if t in columns:
            begun = xp.concatenate([begun, read[:, None]], axis=1)
        count = begun.shape[1]
        found[:count, t] = begun[_X] @ own

        def led_on(s: Any, step: _Step = step, pulled: Any = pulled) -> Any:
            """(1 - N V')^{-1} F s."""
            costate = [(pulled[i][:, None] * s).sum(axis=0) for i in (_X, _XI)]
            s = step.passed(s)
            for i, more in zip((_X, _XI), step.noise(costate), strict=True):
                s[i] += more
            return s

        if count:
            begun = led_on(begun)
        S = led_on(led_on(S).swapaxes(0, 1))
        S[:2, :2] += _noise_under_weights(step, V)
    return Covariances(diagonal, found, flow)


def _noise_under_weights(step: _Step, V: Any) -> Any:
    """N + N V'' N in x and xi."""
    xp = namespace(V)
    one = xp.ones_like(step.a)
    unit = xp.stack([xp.stack([one, 0.0 * one]), xp.stack([0.0 * one, one])])
    N = xp.stack(step.noise(unit))
    left = xp.stack(step.noise(V[:2, :2]))  # N V''
    return N + left[:, 0, None] * N[0] + left[:, 1, None] * N[1]
