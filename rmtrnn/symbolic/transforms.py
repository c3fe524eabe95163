# SymPy annotates most results as Basic, also where only an Expr can come.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportArgumentType=false
# pyright: reportReturnType=false, reportOptionalMemberAccess=false, reportIndexIssue=false
# pyright: reportCallIssue=false
"""S-, M- and R-transforms in closed form, derived from the definitions (theory.md (7), (8)).

M(w) = E[X/(w − X)], S(m) = (1 + m)/(m M^{-1}(m)), G(z) = E[1/(z − X)] = (1 + M(z))/z, R(g) = G^{-1}(g) − 1/g.
Everything is returned as a SymPy expression in the symbols of this module, so `sympy.latex` prints it.

Letters: M, the M-transform; R, the R-transform; T, the number of steps.
"""

from __future__ import annotations

from typing import Any

import sympy

from rmtrnn._core import validate as _validate
from rmtrnn.cells import Activation

m, w, g, z, lam, G = sympy.symbols("m w g z lambda G")
p, q = sympy.symbols("p q", positive=True)
mu = sympy.Symbol("mu", real=True)
sigma_w = sympy.Symbol("sigma_w", positive=True)
x = sympy.Symbol("x", real=True)


def s_from_m(M: sympy.Expr, variable: sympy.Symbol = w) -> sympy.Expr:
    """S(m) from M(w): invert M near m = 0 (w = ∞), then (7). ValueError if SymPy finds no such inverse.

    ``M``: an expression in ``variable`` (default w).

    >>> w = rt.symbolic.transforms.w
    >>> rt.symbolic.s_from_m(1 / (2 * (w - 1)))
    2*(m + 1)/(2*m + 1)
    """
    solutions = sympy.solve(sympy.Eq(M, m), variable)
    for inverse in solutions:
        S = sympy.simplify((1 + m) / (m * inverse))
        value = sympy.limit(S, m, 0)
        if value.is_finite and value != 0:  # S(0) = 1/E[X]; other inverses do not go to ∞
            return sympy.factor(S)
    raise ValueError(f"M = {M}: no inverse with M^{{-1}}(m) → ∞ as m → 0 was found")


def m_from_s(S: sympy.Expr, variable: sympy.Symbol = m) -> list[sympy.Expr]:
    """All branches M(w) of w = (1 + m)/(m S(m)); the physical one has M(w) → 0 as w → ∞.

    ``S``: an S-transform in ``variable`` (default m).

    >>> m = rt.symbolic.transforms.m
    >>> rt.symbolic.m_from_s(1 / (1 + m))
    [w/2 - sqrt(w*(w - 4))/2 - 1, w/2 + sqrt(w*(w - 4))/2 - 1]
    """
    return sympy.solve(sympy.numer(sympy.together(w * variable * S - 1 - variable)), variable)


def r_from_s(S: sympy.Expr) -> sympy.Expr:
    """R(g) from S: with z = m S(m), R(z) = 1/S(m), the branch that is finite at 0.

    >>> rt.symbolic.r_from_s(1 / (1 + rt.symbolic.transforms.m))
    -1/(g - 1)
    """
    for solution in sympy.solve(sympy.Eq(m * S, g), m):
        R = sympy.simplify(1 / S.subs(m, solution))
        limit = sympy.limit(R, g, 0)
        if limit.is_finite:
            return R
    raise ValueError(f"S = {S}: no branch of R is finite at 0")


def s_from_free_cumulants(R: sympy.Expr) -> sympy.Expr:
    """S from the R-transform R(g) = Σ κ_{n+1} g^n: g R(g) = m gives g, and S = g/m.

    >>> rt.symbolic.s_from_free_cumulants(1 / (1 - rt.symbolic.transforms.g))
    1/(m + 1)
    """
    for solution in sympy.solve(sympy.Eq(g * R, m), g):
        S = sympy.simplify(solution / m)
        if sympy.limit(S, m, 0).is_finite:
            return S
    raise ValueError(f"R = {R}: no branch of S is finite at 0")


def weight_transform(weights: str) -> sympy.Expr:
    """S of W Wᵀ with σ_w² kept; theory.md (8), derived.

    Gaussian: all free cumulants of W Wᵀ/σ_w² are 1, R(g) = 1/(1 − g). Orthogonal: W Wᵀ = σ_w² exactly.

    ``weights``: one of the two names; ValueError for another.

    >>> rt.symbolic.weight_transform("gaussian")
    1/(sigma_w**2*(m + 1))
    """
    _validate.choice("weights", weights, ("gaussian", "orthogonal"))
    if weights == "gaussian":
        return s_from_free_cumulants(sigma_w**2 / (1 - sigma_w**2 * g))
    return s_from_m(sigma_w**2 / (w - sigma_w**2))


def slope_probabilities(activation: str | Activation) -> dict[sympy.Expr, sympy.Expr]:
    """{value of φ'²: probability} for a piecewise linear φ and e ~ N(μ, q), by integrating the Gaussian.

    ``activation``: a name or an `Activation`; ValueError unless it is piecewise linear.

    >>> rt.symbolic.slope_probabilities("linear")
    {1: 1}
    """
    phi = Activation(activation)
    normal = sympy.exp(-((x - mu) ** 2) / (2 * q)) / sympy.sqrt(2 * sympy.pi * q)
    masses: dict[sympy.Expr, sympy.Expr] = {}
    for low, high, slope in phi.pieces:
        mass = sympy.simplify(sympy.integrate(normal, (x, low, high)))
        masses[slope**2] = masses.get(slope**2, 0) + mass
    return {value: sympy.simplify(mass) for value, mass in masses.items()}


def slope_transform(activation: str | Activation) -> sympy.Expr:
    """M(w) of D² = φ'(e)² for a piecewise linear φ; ValueError for another.

    ``activation``: a name or an `Activation`.

    >>> rt.symbolic.slope_transform("linear")
    1/(w - 1)
    """
    return sum(P * X / (w - X) for X, P in slope_probabilities(activation).items() if X != 0)


def bernoulli_transform() -> sympy.Expr:
    """S of a mask: X = 1 with probability p, else 0. Derived from M(w) = p/(w − 1).

    >>> rt.symbolic.bernoulli_transform()
    (m + 1)/(m + p)
    """
    return s_from_m(p / (w - 1))


def s_transform(activation: str | Activation, T: Any = 1, weights: str = "gaussian") -> sympy.Expr:
    """S of J_T J_Tᵀ for a piecewise linear activation, S = (S_{D²} S_W)^T; theory.md (8), (9).

    linear: no other symbols; relu and hard_tanh: the mask's probability is written out in q and μ. ``T`` may
    be a SymPy symbol. ValueError where φ' takes more than two values (one of them 0), for which no closed
    form is built.

    ``weights``: "gaussian" or "orthogonal".

    >>> rt.symbolic.s_transform("linear", T=3)
    1/(sigma_w**6*(m + 1)**3)
    """
    values = slope_probabilities(activation)
    nonzero = [value for value in values if value != 0]
    if len(nonzero) != 1:
        raise ValueError(f"activation = {activation!r}: closed form only where φ'² takes one value beside 0")
    S = s_from_m(p * nonzero[0] / (w - nonzero[0])).subs(p, values[nonzero[0]])
    return sympy.simplify(S * weight_transform(weights)) ** T


def slope_moment(activation: str | Activation, k: int) -> sympy.Expr:
    """μ_k = E[φ'(e)^{2k}], e ~ N(0, q), where SymPy integrates it: polynomial, erf and piecewise linear φ.

    ``activation``: a name or an `Activation`; ``k`` ≥ 0. ValueError for an activation of another kind.

    >>> rt.symbolic.slope_moment("erf", 1)
    4/(pi*sqrt(4*q + 1))
    """
    k = _validate.integer("k", k, low=0)
    phi = Activation(activation)
    if phi.is_piecewise_linear:
        return sum(P.subs(mu, 0) * X**k for X, P in slope_probabilities(phi).items())
    if not phi.is_smooth:
        raise ValueError(f"activation = {activation!r}: neither analytic nor piecewise linear")
    integrand = sympy.expand(phi.derivative(1).subs(phi.symbol, x) ** (2 * k))
    normal = sympy.exp(-(x**2) / (2 * q)) / sympy.sqrt(2 * sympy.pi * q)
    value = sympy.integrate(sympy.powsimp(integrand * normal, force=True), (x, -sympy.oo, sympy.oo))
    if value.has(sympy.Integral):
        raise ValueError(f"activation = {activation!r}: SymPy finds no closed form for E[φ'^{2 * k}]")
    return sympy.simplify(value)


def lambda_of_m(S: sympy.Expr) -> sympy.Expr:
    """λ(m) = (1 + m)/(m S(m)): the inverse of the M-transform.

    >>> rt.symbolic.lambda_of_m(rt.symbolic.s_transform("linear", T=1))
    sigma_w**2*(m + 1)**2/m
    """
    return sympy.simplify((1 + m) / (m * S))


def spectral_polynomial(S: sympy.Expr) -> sympy.Expr:
    """P(λ, G) = 0 for G(λ) = E[1/(λ − Λ)], where S is rational: from λ m S(m) = 1 + m with m = λG − 1.

    >>> rt.symbolic.spectral_polynomial(1 / (1 + rt.symbolic.transforms.m))
    G**2*lambda - G*lambda + 1
    """
    ratio = sympy.together(sympy.expand_power_base(S))
    if not ratio.is_rational_function(m):
        raise ValueError(f"S = {S}: not rational in m, so the law is not algebraic in this form")
    numerator = sympy.numer(sympy.together(lam * m * ratio - 1 - m))
    substituted = sympy.expand(numerator.subs(m, lam * G - 1))
    content = sympy.factor_list(substituted)[1]
    factors = [factor for factor, _ in content if factor.has(G) and factor != G]  # G = 0 is no solution
    return sympy.Mul(*factors)


def edge_discriminant(polynomial: sympy.Expr) -> sympy.Expr:
    """The discriminant of P(λ, G) over G: its zeros in λ contain all edges of the support.

    ``polynomial``: from `spectral_polynomial`.

    >>> S = 1 / (1 + rt.symbolic.transforms.m)
    >>> rt.symbolic.edge_discriminant(rt.symbolic.spectral_polynomial(S))       # edges 0 and 4
    lambda*(lambda - 4)
    """
    return sympy.factor(sympy.discriminant(polynomial, G))


def exact_edges(S: sympy.Expr) -> list[tuple[sympy.Expr, sympy.Expr]]:
    """Pairs (m, λ) with dλ/dm = 0, where the edges are; solved from d log λ/dm = 0, so T may be a symbol.

    ``S``: an S-transform in m, as from `s_transform`.

    >>> rt.symbolic.exact_edges(1 / (1 + rt.symbolic.transforms.m))
    [(1, 4)]
    """
    slope = sympy.together(1 / (1 + m) - 1 / m - sympy.diff(sympy.log(S), m))
    solutions = sympy.solve(sympy.numer(sympy.simplify(slope)), m)
    value = (1 + m) / (m * S)
    return [(s, sympy.simplify(value.subs(m, s))) for s in solutions]
