# SymPy annotates most results as Basic, also where only an Expr can come; NumPy's stubs know no dtype here.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportArgumentType=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportMissingImports=false, reportOptionalMemberAccess=false
"""What an ensemble's numbers mean beyond double precision, and which cells this room knows.

A Python float is read as the shortest decimal that gives it back: sigma_w = 1.05 means 105/100, not the
binary number 1.0500000000000000444…, because the decimal is what its author wrote. So are Floats of double
precision in an activation's expression; those with more digits are taken exactly. λ may be given as
text, a Fraction or an mpmath number as well; those too are taken exactly.

Letters: R, the second moment of the input.
"""

from __future__ import annotations

import functools
import numbers
from fractions import Fraction
from typing import Any, NamedTuple

import sympy
from mpmath import mp

from rmtrnn._core import validate as _validate
from rmtrnn.cells import Activation
from rmtrnn.ensemble import Ensemble


def exact(name: str, value: Any) -> Fraction:
    """``value`` as a fraction; floats by their shortest decimal. TypeError or ValueError otherwise."""
    if isinstance(value, bool):
        raise TypeError(f"{name} = {value!r}: expected a real number")
    if isinstance(value, mp.mpf):
        if not mp.isfinite(value):
            raise ValueError(f"{name} = {value!r}: must be finite")
        sign, mantissa, exponent, _ = value._mpf_
        return Fraction((-1) ** sign * int(mantissa)) * Fraction(2) ** int(exponent)
    if isinstance(value, str | numbers.Rational):
        return Fraction(value)
    return Fraction(repr(_validate.real(name, value)))


def real(name: str, value: Any) -> Any:
    """``value`` as an mpmath number at the precision in force."""
    if isinstance(value, mp.mpf):
        return +value
    fraction = exact(name, value)
    return mp.mpf(fraction.numerator) / fraction.denominator


class Vanilla(NamedTuple):
    """A vanilla ensemble: h' = φ(W h + V x + b), T steps of untied weights."""

    activation: Activation
    sigma_w: Fraction
    input_variance: Fraction  # σ_v² R + σ_b²
    mu_b: Fraction
    gaussian: bool


class Leaky(NamedTuple):
    """A cell whose Jacobian is α + β W with constants: h' = α h + b e + anything free of h, e = W c h + …

    ``affine`` is (γ, δ) where that rest is γ x + δ, and None where x enters otherwise.
    """

    alpha: Fraction
    b: Fraction
    c: Fraction
    sigma_w: Fraction
    gaussian: bool
    input_variance: Fraction  # σ_v² R + σ_b²
    mu_b: Fraction
    R: Fraction
    affine: tuple[Fraction, Fraction] | None

    @property
    def beta(self) -> Fraction:
        """β = b c."""
        return self.b * self.c


def vanilla(ens: Ensemble) -> Vanilla:
    """The numbers of a vanilla ensemble; TypeError for another cell, ValueError for tied weights."""
    _validate.instance("ens", ens, Ensemble)
    activation = getattr(ens.cell, "activation", None)
    if activation is None:
        raise ValueError(f"ens: the cell {ens.cell.name!r} is no vanilla cell; highprec knows vanilla cells")
    _require_untied(ens)
    gate = ens.gate(ens.cell.gates[0])
    square = exact("sigma_v", gate.sigma_v) ** 2 * exact("R", ens.R) + exact("sigma_b", gate.sigma_b) ** 2
    return Vanilla(
        exact_activation(activation),
        exact("sigma_w", gate.sigma_w),
        square,
        exact("mu_b", gate.mu_b),
        gate.weights == "gaussian",
    )


@functools.lru_cache(maxsize=64)
def exact_activation(activation: Activation) -> Activation:
    """The activation with every Float of its expression as a fraction: each method then computes the same."""
    floats = activation.expr.atoms(sympy.Float)
    if not floats:
        return activation
    fractions = {
        number: sympy.Rational(repr(float(number))) if number._prec <= 53 else sympy.Rational(number)
        for number in floats
    }
    return Activation(activation.expr.xreplace(fractions), kinks=activation.breakpoints, name=activation.name)


def describe(ens: Ensemble) -> Vanilla | Leaky:
    """The numbers of a vanilla ensemble, or of a cell with constant Jacobian coefficients (theory.md (1))."""
    _validate.instance("ens", ens, Ensemble)
    if getattr(ens.cell, "activation", None) is not None:
        return vanilla(ens)
    stages = ens.cell.stages
    if len(stages) == 1 and len(stages[0].gates) == 1 and len(stages[0].inputs) == 1:
        a, b, c = stages[0].a[0, 0], stages[0].b[0, 0], stages[0].c[0, 0]
        if not (a.free_symbols | b.free_symbols | c.free_symbols):
            _require_untied(ens)
            return _leaky(ens, *map(_fraction, (a, b, c)))
    raise ValueError(
        f"ens: the cell {ens.cell.name!r} is neither vanilla nor one with a constant Jacobian α + βW; "
        "use rmtrnn.spectrum for it"
    )


def _leaky(ens: Ensemble, a: Fraction, b: Fraction, c: Fraction) -> Leaky:
    (stage,) = ens.cell.stages
    gate = ens.gate(stage.gates[0].name)
    x, (update,) = ens.cell.input, stage.update
    gain = sympy.diff(update, x)
    rest = update.subs(dict.fromkeys(update.free_symbols, 0))
    reads = stage.gates[0].reads.subs(stage.inputs[0], 0)
    plain = not gain.free_symbols and reads == 0 and ens.input_moment(1) == 0
    square = exact("sigma_v", gate.sigma_v) ** 2 * exact("R", ens.R) + exact("sigma_b", gate.sigma_b) ** 2
    return Leaky(
        a,
        b,
        c,
        exact("sigma_w", gate.sigma_w),
        gate.weights == "gaussian",
        square,
        exact("mu_b", gate.mu_b),
        exact("R", ens.R),
        (_fraction(gain), _fraction(rest)) if plain else None,
    )


def _fraction(value: sympy.Expr) -> Fraction:
    if value.is_Rational:
        return Fraction(int(value.p), int(value.q))
    return exact("coefficient", float(value))


def _require_untied(ens: Ensemble) -> None:
    if not ens.has_normal_biases:
        raise ValueError(f"ens: bias_law = {ens.bias_law!r}; these closed equations hold for normal biases")
    if not ens.has_library_weights:
        raise ValueError(f"ens: weights = {ens.weights!r}; these equations know Gaussian and orthogonal ones")
    if ens.tied:
        raise ValueError("ens: tied = True; these closed equations hold for untied weights")
