# SymPy annotates most results as Basic, also where only an Expr can come.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportArgumentType=false
# pyright: reportReturnType=false
"""S-transforms as power series and moments of a product, to any order (theory.md (11)); T may be a symbol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sympy

from rmtrnn._core import validate as _validate

T, sigma_w = sympy.symbols("T sigma_w", positive=True)


def moment_symbols(order: int) -> tuple[sympy.Symbol, ...]:
    """μ_1, …, μ_order: μ_k = E[φ'^{2k}].

    ``order`` ≥ 1: how many.

    >>> rt.symbolic.moment_symbols(2)
    (mu_1, mu_2)
    """
    return sympy.symbols(f"mu_1:{order + 1}", positive=True)


def s_coefficients(moments: Sequence[sympy.Expr]) -> list[sympy.Expr]:
    """[S_0, S_1, …] of S(m) = Σ S_k m^k from the moments μ_1, μ_2, …

    M = Σ μ_k x^k with x = 1/w; Lagrange inversion gives x(m), and S(m) = (1 + m) x(m)/m.

    >>> rt.symbolic.s_coefficients(rt.symbolic.moment_symbols(2))
    [1/mu_1, (mu_1**2 - mu_2)/mu_1**3]
    """
    n = len(moments)
    quotient = _reciprocal(list(moments))
    inverse = [_power(quotient, j, j)[j - 1] / j for j in range(1, n + 1)]
    return [sympy.factor(c) for c in _times(inverse, [sympy.Integer(1), sympy.Integer(1)], n)]


def moments_from_s(coefficients: Sequence[sympy.Expr]) -> list[sympy.Expr]:
    """m_1, m_2, … from the coefficients of S: m_k = [z^{k−1}] ((1 + z)/S(z))^k / k.

    >>> rt.symbolic.moments_from_s([sympy.Integer(k) for k in (1, -1, 1)])     # S = 1/(1 + m)
    [1, 2, 5]
    """
    n = len(coefficients)
    ratio = _times([sympy.Integer(1), sympy.Integer(1)], _reciprocal(list(coefficients)), n)
    return [sympy.factor(_power(ratio, k, k)[k - 1] / k) for k in range(1, n + 1)]


def product_s_coefficients(order: int, weights: str = "gaussian", steps: Any = T) -> list[sympy.Expr]:
    """Coefficients of S for J_T J_Tᵀ in μ_1 … μ_order, σ_w and T: (S_{D²} S_W)^T as a series.

    ``order`` ≥ 1: how many; ``weights``: "gaussian" or "orthogonal"; ``steps``: T, a number or symbol.

    >>> rt.symbolic.product_s_coefficients(1, "orthogonal")
    [1/(mu_1**T*sigma_w**(2*T))]
    """
    order = _validate.integer("order", order, low=1)
    _validate.choice("weights", weights, ("gaussian", "orthogonal"))
    single = s_coefficients(moment_symbols(order))
    if weights == "gaussian":  # 1/(σ_w² (1 + m))
        single = _times(single, [sympy.Integer(-1) ** k for k in range(order)], order)
    single = [coefficient / sigma_w**2 for coefficient in single]
    return [sympy.factor(c) for c in _power(single, steps, order)]


def product_moments(order: int, weights: str = "gaussian", steps: Any = T) -> list[sympy.Expr]:
    """m_1 … m_order of λ = s² for J_T, in μ_k, σ_w and T.

    ``order`` ≥ 1; ``weights``: "gaussian" or "orthogonal" (ValueError for others); ``steps``: T, also a
    symbol.

    >>> rt.symbolic.product_moments(1)
    [mu_1**T*sigma_w**(2*T)]
    """
    return moments_from_s(product_s_coefficients(order, weights, steps))


def variance(weights: str = "gaussian", steps: Any = T) -> sympy.Expr:
    """Var(λ) = m_2 − m_1²; theory.md (11), derived.

    ``weights``: "gaussian" or "orthogonal"; ``steps``: T, a number or symbol.

    >>> rt.symbolic.variance("orthogonal")
    T*mu_1**(2*T)*sigma_w**(4*T)*(-1 + mu_2/mu_1**2)
    """
    first, second = product_moments(2, weights, steps)
    return sympy.factor(sympy.powsimp(sympy.expand(second - first**2)))


def _times(a: Sequence[Any], b: Sequence[Any], n: int) -> list[Any]:
    return [
        sympy.Add(*[a[i] * b[j - i] for i in range(j + 1) if i < len(a) and j - i < len(b)]) for j in range(n)
    ]


def _reciprocal(a: list[Any]) -> list[Any]:
    out = [1 / a[0]]
    for j in range(1, len(a)):
        out.append(sympy.together(-sympy.Add(*[a[i] * out[j - i] for i in range(1, j + 1)]) / a[0]))
    return out


def _power(a: Sequence[Any], exponent: Any, n: int) -> list[Any]:
    """(Σ a_j z^j)^exponent by the recurrence of J. C. P. Miller; the exponent may be a symbol."""
    a = [*a, *[sympy.Integer(0)] * (n - len(a))]
    out = [a[0] ** exponent]
    for j in range(1, n):
        total = sympy.Add(*[((exponent + 1) * i - j) * a[i] * out[j - i] for i in range(1, j + 1)])
        out.append(sympy.simplify(total / (j * a[0])))
    return out
