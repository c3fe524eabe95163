# SymPy annotates most results as Basic, also where only an Expr can come.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportArgumentType=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportOptionalOperand=false
"""SymPy functions that stay accurate in the tails, and differentiation that keeps them so.

``1 - tanh(z)**2`` and ``1/(1 + exp(-z))`` are exact on paper and useless in floating point: the first
loses all relative digits beyond |z| ≈ 19, the derivative of the second is nan at z = -800. Spectra
depend on the small values of φ'², so expressions are rewritten, once, with `logistic` and `sech2`,
whose derivatives are again products of such functions.
"""

from __future__ import annotations

from typing import Any, ClassVar

import sympy
from sympy.core.function import ArgumentIndexError


class _StableFunction(sympy.Function):
    """A positive function of one real variable. A subclass gives its values, derivative and plain form."""

    VALUES: ClassVar[tuple[Any, Any, Any] | None] = None  # at 0, ∞ and −∞

    @classmethod
    def eval(cls, argument: sympy.Expr) -> sympy.Expr | None:
        if cls.VALUES is None:
            return None
        at = (argument.is_zero, argument is sympy.oo, argument is -sympy.oo)
        return next((sympy.sympify(value) for here, value in zip(at, cls.VALUES, strict=True) if here), None)

    def fdiff(self, argindex: int = 1) -> sympy.Expr:
        if argindex != 1:
            raise ArgumentIndexError(self, argindex)
        return self._derivative(self.args[0])

    def _derivative(self, z: sympy.Expr) -> sympy.Expr:
        raise NotImplementedError

    def _plain(self, z: sympy.Expr) -> sympy.Expr:
        """The same function by SymPy's own, for evaluation to any precision."""
        raise NotImplementedError

    def _eval_evalf(self, prec: int) -> Any:
        return self._plain(self.args[0])._eval_evalf(prec)

    def _eval_is_extended_real(self) -> bool | None:
        return self.args[0].is_extended_real

    def _eval_is_positive(self) -> bool | None:
        return self.args[0].is_real


class logistic(_StableFunction):
    """σ(z) = 1/(1 + e^{-z}), with σ'(z) = σ(z) σ(-z)."""

    VALUES = (sympy.Rational(1, 2), 1, 0)

    def _derivative(self, z: sympy.Expr) -> sympy.Expr:
        return logistic(z) * logistic(-z)

    def _plain(self, z: sympy.Expr) -> sympy.Expr:
        return 1 / (1 + sympy.exp(-z))

    def _eval_rewrite_as_exp(self, argument: sympy.Expr, **_: Any) -> sympy.Expr:
        return self._plain(argument)

    def _latex(self, printer: Any) -> str:
        return rf"\sigma\left({printer._print(self.args[0])}\right)"


class sech2(_StableFunction):
    """sech²(z) = 1/cosh²(z) = 1 - tanh²(z), with derivative -2 tanh(z) sech²(z)."""

    VALUES = (1, 0, 0)

    @classmethod
    def eval(cls, argument: sympy.Expr) -> sympy.Expr | None:
        value = super().eval(argument)
        return cls(-argument) if value is None and argument.could_extract_minus_sign() else value

    def _derivative(self, z: sympy.Expr) -> sympy.Expr:
        return -2 * sympy.tanh(z) * sech2(z)

    def _plain(self, z: sympy.Expr) -> sympy.Expr:
        return 4 / (sympy.exp(z) + sympy.exp(-z)) ** 2

    def _eval_rewrite_as_exp(self, argument: sympy.Expr, **_: Any) -> sympy.Expr:
        return self._plain(argument)

    def _eval_rewrite_as_tanh(self, argument: sympy.Expr, **_: Any) -> sympy.Expr:
        return 1 - sympy.tanh(argument) ** 2

    def _latex(self, printer: Any) -> str:
        return rf"\operatorname{{sech}}^2\left({printer._print(self.args[0])}\right)"


class normal_cdf(_StableFunction):
    """Φ(z) = erfc(-z/√2)/2, the standard normal distribution function, with Φ'(z) = e^{-z²/2}/√(2π).

    (1 + erf(z/√2))/2 has no correct digit left below z ≈ -8, and SymPy turns erfc(-z) into 2 - erfc(z).
    """

    VALUES = (sympy.Rational(1, 2), 1, 0)

    def _derivative(self, z: sympy.Expr) -> sympy.Expr:
        return sympy.exp(-(z**2) / 2) / sympy.sqrt(2 * sympy.pi)

    def _plain(self, z: sympy.Expr) -> sympy.Expr:
        return (1 + sympy.erf(z / sympy.sqrt(2))) / 2

    def _eval_rewrite_as_erf(self, argument: sympy.Expr, **_: Any) -> sympy.Expr:
        return self._plain(argument)

    def _latex(self, printer: Any) -> str:
        return rf"\Phi\left({printer._print(self.args[0])}\right)"


class softplus(_StableFunction):
    """log(1 + e^z), with derivative σ(z); the logarithm of a sum overflows for large z."""

    def _derivative(self, z: sympy.Expr) -> sympy.Expr:
        return logistic(z)

    def _plain(self, z: sympy.Expr) -> sympy.Expr:
        return sympy.log(1 + sympy.exp(z))

    def _eval_rewrite_as_exp(self, argument: sympy.Expr, **_: Any) -> sympy.Expr:
        return self._plain(argument)


class _Tanh(sympy.Function):
    """tanh while an expression is being differentiated: its derivative is sech², not 1 - tanh²."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> sympy.Expr:
        return sech2(self.args[0])

    def _eval_is_extended_real(self) -> bool | None:
        return self.args[0].is_extended_real


def differentiate(expr: sympy.Expr, symbol: sympy.Symbol) -> sympy.Expr:
    """Return ∂expr/∂symbol away from kinks, in a form that is accurate far out in the tails.

    A kink contributes nothing: the derivative of a jump (a Dirac delta) is dropped, and the value
    at the kink itself is that of the expression's own case there.
    """
    derivative = expr.replace(sympy.tanh, _Tanh).diff(symbol).replace(_Tanh, sympy.tanh)
    derivative = derivative.replace(sympy.DiracDelta, lambda *_: sympy.Integer(0))
    return _merge_signs(derivative)


def stabilise(expr: sympy.Expr) -> sympy.Expr:
    """Rewrite what overflows or cancels in floating point with the functions of this module.

    1/(1 + e^u) and e^u/(1 + e^u); log(1 + e^u); sech u, cosh^{-n} u; 1 - σ(u), 1 ± tanh u, 1 - tanh² u;
    1 ± erf u, erfc u. Every replacement is an identity.
    """
    expr = expr.replace(sympy.sech, lambda u: sympy.sqrt(sech2(u)))
    expr = expr.replace(lambda node: isinstance(node, sympy.log), _stable_log)
    expr = expr.replace(lambda node: isinstance(node, sympy.Pow), _stable_power)
    expr = expr.replace(lambda node: isinstance(node, sympy.Mul), _stable_product)
    expr = expr.replace(sympy.erfc, lambda u: 2 * normal_cdf(-sympy.sqrt(2) * u))
    return expr.replace(lambda node: isinstance(node, sympy.Add), _stable_sum)


def textbook(expr: sympy.Expr) -> sympy.Expr:
    """Rewrite the functions of this module as SymPy's own: the inverse of `stabilise`, for its solvers."""
    expr = expr.replace(softplus, lambda u: sympy.log(1 + sympy.exp(u)))
    expr = expr.replace(logistic, lambda u: 1 / (1 + sympy.exp(-u)))
    expr = expr.replace(sech2, lambda u: 1 - sympy.tanh(u) ** 2)
    return expr.replace(normal_cdf, lambda u: (1 + sympy.erf(u / sympy.sqrt(2))) / 2)


def _stable_log(node: sympy.log) -> sympy.Expr:
    exponent = _exponent_of_one_plus_exp(node.args[0])
    return node if exponent is None else softplus(exponent)


def _stable_power(node: sympy.Pow) -> sympy.Expr:
    if not (node.exp.is_Integer and node.exp.is_negative):
        return node
    if isinstance(node.base, sympy.cosh):
        return sech2(node.base.args[0]) ** (-node.exp / 2)
    exponent = _exponent_of_one_plus_exp(node.base)
    return node if exponent is None else logistic(-exponent) ** -node.exp


def _stable_product(node: sympy.Mul) -> sympy.Expr:
    """e^{-u} σ(u)^n = σ(-u) σ(u)^{n-1}."""
    factors = list(node.args)
    for factor in node.args:
        base, power = factor.as_base_exp()
        if isinstance(base, logistic) and sympy.exp(-base.args[0]) in factors:
            factors.remove(factor)
            factors.remove(sympy.exp(-base.args[0]))
            factors += [logistic(-base.args[0]), base ** (power - 1)]
    return sympy.Mul(*factors)


def _stable_sum(node: sympy.Add) -> sympy.Expr:
    """a ± a f(u) for the functions f that tend to ±1."""
    if len(node.args) != 2:
        return node
    a, term = node.args
    if not a.is_Number:
        return node
    ratio, function = (term / a).as_coeff_Mul()
    if abs(float(ratio)) != 1.0:
        return node
    ratio = sympy.Integer(ratio)
    if isinstance(function, logistic) and ratio == -1:
        return a * logistic(-function.args[0])
    if isinstance(function, sympy.tanh):
        return 2 * a * logistic(2 * ratio * function.args[0])
    if isinstance(function, sympy.erf):
        return 2 * a * normal_cdf(ratio * sympy.sqrt(2) * function.args[0])
    if isinstance(function, sympy.Pow) and isinstance(function.base, sympy.tanh) and function.exp == 2:
        return a * sech2(function.base.args[0]) if ratio == -1 else node
    return node


def _exponent_of_one_plus_exp(base: sympy.Basic) -> sympy.Expr | None:
    if not (isinstance(base, sympy.Add) and len(base.args) == 2 and base.args[0] == 1):
        return None
    return base.args[1].args[0] if isinstance(base.args[1], sympy.exp) else None


def _merge_signs(expr: sympy.Expr) -> sympy.Expr:
    """Turn u sign(u) into |u| and bring what is rational in |u| over one denominator.

    The derivative of z/(1 + |z|) comes as 1/(1 + |z|) - z sign(z)/(1 + |z|)², which cancels for
    large |z|; over one denominator it is 1/(1 + |z|)².
    """

    def has_pair(node: sympy.Basic) -> bool:
        return isinstance(node, sympy.Mul) and any(
            isinstance(factor, sympy.sign) and factor.args[0] in node.args for factor in node.args
        )

    def merge(node: sympy.Basic) -> sympy.Basic:
        factors = list(node.args)
        for factor in node.args:
            if isinstance(factor, sympy.sign) and factor.args[0] in factors:
                factors.remove(factor)
                factors.remove(factor.args[0])
                factors.append(sympy.Abs(factor.args[0]))
        return sympy.Mul(*factors)

    merged = expr.replace(has_pair, merge)
    moduli = sorted(merged.atoms(sympy.Abs), key=str)
    if not moduli:
        return merged
    stand_ins = {modulus: sympy.Dummy(positive=True) for modulus in moduli}
    plain = merged.xreplace(stand_ins)
    variables = sorted(plain.free_symbols, key=str)
    if plain.is_rational_function(*variables) and not plain.is_polynomial(*variables):
        plain = sympy.factor(sympy.together(plain))
    return plain.xreplace({stand_in: modulus for modulus, stand_in in stand_ins.items()})
