"""Power series as lists of coefficients, for numbers of any kind: product, reciprocal, power, reversion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def times(a: Sequence[Any], b: Sequence[Any], n: int) -> list[Any]:
    """The first n coefficients of the product."""
    return [
        sum((a[i] * b[j - i] for i in range(j + 1) if i < len(a) and j - i < len(b)), 0) for j in range(n)
    ]


def reciprocal(a: Sequence[Any]) -> list[Any]:
    """1/Σ a_j z^j, as many coefficients as ``a`` has."""
    out = [1 / a[0]]
    for j in range(1, len(a)):
        out.append(-sum(a[i] * out[j - i] for i in range(1, j + 1)) / a[0])
    return out


def power(a: Sequence[Any], exponent: Any, n: int) -> list[Any]:
    """(Σ a_j z^j)^exponent by the recurrence of J. C. P. Miller."""
    a = [*a, *[a[0] * 0] * (n - len(a))]
    out = [a[0] ** exponent]
    for j in range(1, n):
        total = sum(((exponent + 1) * i - j) * a[i] * out[j - i] for i in range(1, j + 1))
        out.append(total / (j * a[0]))
    return out


def reversion(mu: Sequence[Any]) -> list[Any]:
    """x(z)/z for z = Σ_{j≥1} μ_j x^j: [z^j] x = [x^{j−1}] (x/z)^j / j."""
    quotient = reciprocal(mu)  # x/z(x)
    return [power(quotient, j, j)[j - 1] / j for j in range(1, len(mu) + 1)]
