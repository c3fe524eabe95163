# SymPy annotates most results as Basic, also where only an Expr can come.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportArgumentType=false
# pyright: reportReturnType=false
"""Laws whose transforms are all known in closed form, each derived from one definition.

The definition is a list of free cumulants (Marchenko–Pastur), an S-transform (Fuss–Catalan) or an M-transform
(constants, masks); the other transforms and the moments follow by `rmtrnn.symbolic.transforms` and by
Lagrange inversion. Conventions: theory.md (7).

Letters: R, the R-transform; T, the number of steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import sympy

from rmtrnn._core import validate as _validate
from rmtrnn.symbolic import expansions, transforms
from rmtrnn.symbolic.transforms import g, m, p, sigma_w, w

ratio, scale = sympy.symbols("c s", positive=True)


class ClosedLaw(NamedTuple):
    """A law on [0, ∞): S(m), M(w) with M → 0 at infinity, R(g); M or R is None where it has no radicals."""

    S: sympy.Expr
    M: sympy.Expr | None
    R: sympy.Expr | None

    def moment(self, k: int) -> sympy.Expr:
        """E[X^k] = [m^{k−1}] ((1 + m)/S(m))^k / k, Lagrange inversion of x = m S/(1 + m)."""
        k = _validate.integer("k", k, low=1)
        series = sympy.series(self.S, m, 0, k).removeO()
        coefficients = [sympy.simplify(series.coeff(m, j)) for j in range(k)]
        return sympy.simplify(expansions.moments_from_s(coefficients)[k - 1])

    @property
    def polynomial(self) -> sympy.Expr:
        """P(λ, G) with P = 0 for G(λ) = E[1/(λ − X)]; see `spectral_polynomial`."""
        return transforms.spectral_polynomial(self.S)


def marchenko_pastur() -> ClosedLaw:
    """X Xᵀ, X of shape n × p with variance s/p and c = n/p: free cumulants κ_j = s^j c^{j−1}.

    As `rmtrnn.free.MarchenkoPastur(ratio=c, scale=s)`; c = 1 is W Wᵀ for Gaussian weights.

    >>> rt.symbolic.marchenko_pastur().S
    1/(s*(c*m + 1))
    """
    R = scale / (1 - ratio * scale * g)
    S = transforms.s_from_free_cumulants(R)
    return ClosedLaw(S, _decaying(transforms.m_from_s(S)), R)


def haar() -> ClosedLaw:
    """W Wᵀ for W = σ_w O, O Haar: the constant σ_w².

    >>> rt.symbolic.haar().S
    sigma_w**(-2)
    """
    return _from_m(sigma_w**2 / (w - sigma_w**2))


def mask() -> ClosedLaw:
    """X = 1 with probability p, else 0: φ'² of relu and hard_tanh, with p from `slope_probabilities`.

    >>> rt.symbolic.mask().S
    (m + 1)/(m + p)
    """
    return _from_m(p / (w - 1))


def fuss_catalan(T: Any) -> ClosedLaw:
    """J_T J_Tᵀ of a linear Gaussian network, σ_w = 1: S = (1 + m)^{−T}; ``T`` an integer or a symbol.

    M and R are roots of polynomials of degree T + 1; they are written out for T = 1 (and R for T = 2).

    >>> rt.symbolic.fuss_catalan(3).S
    (m + 1)**(-3)
    """
    S = (1 + m) ** (-T)
    M = _decaying(transforms.m_from_s(S)) if T == 1 else None
    return ClosedLaw(S, M, transforms.r_from_s(S) if T in (1, 2) else None)


def _from_m(M: sympy.Expr) -> ClosedLaw:
    S = transforms.s_from_m(M)
    return ClosedLaw(S, M, transforms.r_from_s(S))


def _decaying(branches: list[sympy.Expr]) -> sympy.Expr:
    """The branch with M(w) → 0 as w → ∞."""
    for branch in branches:
        if sympy.limit(branch, w, sympy.oo) == 0:
            return sympy.simplify(branch)
    raise ValueError(f"no branch of {branches} vanishes at infinity")
