# SymPy annotates most results as Basic, also where only an Expr can come.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportArgumentType=false
# pyright: reportReturnType=false
"""Arcsine and arc-cosine kernels, derived: E[φ(a) φ(b)] for Gaussian (a, b), variances q, covariance c.

Price's theorem: d/dc E[F(a, b)] = E[∂²F/∂a∂b]. So the kernel K(c) = E[φ(a) φ(b)] has K' = E[φ'(a) φ'(b)], and
K'' = E[φ''(a) φ''(b)]; each function below integrates the first of these that is a Gaussian integral.
"""

from __future__ import annotations

import sympy

q = sympy.Symbol("q", positive=True)
c = sympy.Symbol("c", real=True)
_a, _b = sympy.symbols("a b", real=True)


def gaussian_pair_integral(matrix: sympy.Matrix) -> sympy.Expr:
    """E[exp(−(a, b) A (a, b)ᵀ/2)] = det(1 + A C)^{−1/2}, C = ((q, c), (c, q)), A positive semidefinite."""
    covariance = sympy.Matrix([[q, c], [c, q]])
    return 1 / sympy.sqrt(sympy.factor((sympy.eye(2) + matrix * covariance).det()))


def erf_slope_kernel() -> sympy.Expr:
    """E[φ'(a) φ'(b)] for φ = erf, φ' = (2/√π) e^{−a²}: a Gaussian integral with A = 2·1.

    >>> rt.symbolic.erf_slope_kernel()
    4/(pi*sqrt((-2*c + 2*q + 1)*(2*c + 2*q + 1)))
    """
    return 4 / sympy.pi * gaussian_pair_integral(2 * sympy.eye(2))


def erf_kernel() -> sympy.Expr:
    """E[erf(a) erf(b)]: the arcsine kernel, ∫_0^c of `erf_slope_kernel` (at c = 0 it is 0, erf being odd)."""
    return _integral(erf_slope_kernel(), sympy.Integer(0))


def relu_curvature_kernel() -> sympy.Expr:
    """E[δ(a) δ(b)]: the joint density at the origin; relu'' = δ."""
    covariance = sympy.Matrix([[q, c], [c, q]])
    return 1 / (2 * sympy.pi * sympy.sqrt(covariance.det()))


def relu_slope_kernel() -> sympy.Expr:
    """P(a > 0, b > 0) = ∫_{−q}^c of `relu_curvature_kernel`: at c = −q, b = −a and the probability is 0.

    >>> rt.symbolic.relu_slope_kernel()
    (2*asin(c/q) + pi)/(4*pi)
    """
    return _integral(relu_curvature_kernel(), -q)


def relu_kernel() -> sympy.Expr:
    """E[a⁺ b⁺]: the arc-cosine kernel of degree 1, ∫_{−q}^c of `relu_slope_kernel` (0 at c = −q)."""
    return _integral(relu_slope_kernel(), -q)


def _integral(derivative: sympy.Expr, start: sympy.Expr) -> sympy.Expr:
    """∫_start^c derivative dc, by an antiderivative whose derivative is checked."""
    r = sympy.Symbol("r", real=True)
    # c = q r scales out q under the root; −1 < r < 1
    integrand = sympy.simplify(derivative.subs(c, q * r) * q)
    primitive = sympy.integrate(integrand, r)
    if sympy.simplify(sympy.diff(primitive, r) - integrand) != 0:
        raise ArithmeticError(f"the antiderivative of {integrand} could not be verified")
    value = primitive - sympy.limit(primitive, r, sympy.simplify(start / q), "+")
    return sympy.simplify(value.subs(r, c / q))
