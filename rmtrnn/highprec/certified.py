# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
"""Numbers with a proof: enclosures by Krawczyk's operator in Arb ball arithmetic (python-flint).

Each function computes an approximation first, by `rmtrnn.highprec` itself, and then forgets where it came
from: existence, uniqueness and the branch are proven from the equation alone. Where a step of the proof
fails, it raises CertificationError and says which.

**Branch.** The zero is that of F(w) = log w + (T − 1) log κ + n log(1 + m) + log(scale) − log λ with
*principal* logarithms, w, −κ and −(1 + m) proven to lie in the open upper half plane. Then Im F = 0 says
that the sum of the arguments is 0, not a multiple of 2π, and that is the physical branch: see the proof in
`rmtrnn.highprec.formulas`.

Letters: T, the number of steps; q, the variance of a pre-activation.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import flint
from flint import acb, arb
from mpmath import mp

from rmtrnn._core import validate as _validate
from rmtrnn._core.status import ConvergenceError
from rmtrnn.ensemble import Ensemble
from rmtrnn.highprec import formulas, parameters
from rmtrnn.highprec.enclosures import AtomBalls, CertificationError, GaussianBalls, OutOfScope, rational
from rmtrnn.highprec.fixed_points import check_dps, fixed_point
from rmtrnn.highprec.numbers import acb as number
from rmtrnn.highprec.numbers import mpf as middle
from rmtrnn.highprec.quadrature import GUARD
from rmtrnn.highprec.spectrum import Product, product

__all__ = [
    "CertificationError",
    "Certified",
    "certified_cdf",
    "certified_chi",
    "certified_density",
    "certified_edge",
    "certified_fixed_point",
]


@dataclass(frozen=True)
class ProofSettings:
    """Decimal digits carried beyond those asked for; a proof that fails is tried again with more."""

    # Of the approximation; ball arithmetic has twice as many. Empirical: most proofs succeed at once.
    extra: int = 6
    # At most, before the proof is given up.
    most_extra: int = 60
    # At most, for a piecewise linear φ, whose λ(w) is algebraic, so that digits cost little.
    most_extra_linear: int = 120


_PROOF = ProofSettings()


@dataclass(frozen=True)
class Certified:
    """A real number proven to lie in [midpoint − radius, midpoint + radius]; ``proof`` says how."""

    midpoint: Any
    radius: Any
    proof: str

    def __iter__(self) -> Any:
        return iter((self.midpoint, self.radius))

    def __contains__(self, value: Any) -> bool:
        with mp.workdps(max(mp.dps, 200)):
            return bool(abs(mp.mpmathify(value) - self.midpoint) <= self.radius)

    def __str__(self) -> str:
        digits = 15 if self.radius == 0 else max(1, int(mp.floor(-mp.log10(self.radius))))
        return f"{mp.nstr(self.midpoint, digits + 2)} ± {mp.nstr(self.radius, 2)}"


def _certified(ball: Any, proof: str) -> Certified:
    return Certified(middle(ball), middle(arb(ball.rad().abs_upper())), proof)


def _bits(dps: int) -> int:
    return int((dps + 2 * _PROOF.extra) * 3.3220) + 20


def certified_fixed_point(ens: Ensemble, dps: int = 30) -> Certified:
    """q* of a vanilla ensemble with a proof: in the interval returned, q = σ_w² E[φ²] + σ_v² R + σ_b² has
    exactly one solution; theory.md (2), (3).

    Uniqueness is that of the interval: another fixed point elsewhere is not excluded.
    Raises CertificationError where it cannot be proven, and what `fixed_point` raises.

    ``ens``: an `Ensemble` of a vanilla cell; ``dps``: digits asked of the radius.
    """
    dps = check_dps(dps)
    with flint.ctx.workprec(_bits(dps)):
        return _certified(_fixed_point_ball(ens, dps), "exactly one fixed point in the interval (Krawczyk)")


def certified_chi(ens: Ensemble, dps: int = 30) -> Certified:
    """χ_1 = σ_w² E[φ'(e)²] of a vanilla ensemble with a proof: theory.md (5), (6).

    The expectation is enclosed for every q in the interval of `certified_fixed_point`, so the number belongs
    to the fixed point proven there. Raises as `certified_fixed_point` does.

    ``ens``: an `Ensemble` of a vanilla cell; ``dps``: digits asked of the radius.
    """
    dps = check_dps(dps)
    with flint.ctx.workprec(_bits(dps)):
        return _certified(
            _chi_ball(ens, dps), "enclosure of the Gaussian average over the proven interval of q*"
        )


def certified_largest_exponent(ens: Ensemble, dps: int = 30) -> Certified:
    """Largest Lyapunov exponent ½ log χ_1 of a vanilla ensemble with a proof: right edge as T → ∞.

    Half the logarithm of the ball of `certified_chi`. Raises as `certified_fixed_point` does, and
    CertificationError where χ_1 is not proven to be positive.

    ``ens``: an `Ensemble` of a vanilla cell; ``dps``: digits asked of the radius.
    """
    dps = check_dps(dps)
    with flint.ctx.workprec(_bits(dps)):
        chi = _chi_ball(ens, dps)
        if not chi > 0:
            raise CertificationError(
                f"χ_1 = {chi}: not proven to be positive, so that its logarithm is unknown"
            )
        return _certified(chi.log() / 2, "logarithm of the enclosure of χ_1 over the proven interval of q*")


def _chi_ball(ens: Ensemble, dps: int) -> Any:
    return rational(parameters.vanilla(ens).sigma_w) ** 2 * _base(ens, dps).mean()


@functools.lru_cache(maxsize=64)
def _fixed_point_ball(ens: Ensemble, dps: int) -> Any:
    numbers = parameters.vanilla(ens)
    q0 = arb(fixed_point(ens, dps + _PROOF.extra + GUARD)).mid()  # as `product` needs it: computed once
    if not q0 > 0:
        raise OutOfScope("q* = 0: there is no Gaussian average to enclose")
    sigma2, rest = rational(numbers.sigma_w) ** 2, rational(numbers.input_variance)
    mu = rational(numbers.mu_b)
    bits = flint.ctx.prec

    def equation(q: Any) -> tuple[Any, Any]:
        value, rise = GaussianBalls(numbers.activation, q, mu, bits).second_moment()
        return q - sigma2 * value - rest, 1 - sigma2 * rise / (2 * q)

    value, slope = equation(q0)
    return _krawczyk_real(q0, value, slope, lambda Q: equation(Q)[1], "q*")


def _krawczyk_real(x0: Any, value: Any, slope: Any, derivative: Callable[[Any], Any], what: str) -> Any:
    """A ball with exactly one zero: K = x0 − C f(x0) + (1 − C f'(X)) (X − x0) inside X."""
    if not slope.is_finite() or slope.contains(0):
        raise CertificationError(f"{what}: the derivative at the approximation may be zero")
    C = (1 / slope).mid()
    reach = (C * value).abs_upper()
    for factor in (2, 16, 256, 65536):
        radius = (reach * factor + abs(x0) * arb(2) ** (8 - flint.ctx.prec)).abs_upper()
        X = x0 + arb(0, radius)
        K = x0 - C * value + (1 - C * derivative(X)) * (X - x0)
        if abs(K - x0).abs_upper() < radius:
            return K
    raise CertificationError(f"{what}: Krawczyk's operator does not map a neighbourhood into itself")


@functools.lru_cache(maxsize=64)
def _base(ens: Ensemble, dps: int) -> GaussianBalls | AtomBalls:
    """Enclosures of the law of φ'², with q* proven."""
    numbers = parameters.vanilla(ens)
    phi, mu = numbers.activation, rational(numbers.mu_b)
    if phi.is_piecewise_linear:
        trivial = len(phi.pieces) == 1
        return AtomBalls(phi, arb(1) if trivial else _fixed_point_ball(ens, dps), mu)
    return GaussianBalls(phi, _fixed_point_ball(ens, dps), mu, flint.ctx.prec)


def certified_density(ens: Ensemble, T: int, lam: Any, dps: int = 30, *, start: Any = None) -> Certified:
    """Density ρ(λ) of s² at λ with a proof: theory.md (9), (10); λ exact (a float is read as its decimal).

    In the support: a root w of the equation is enclosed (Krawczyk: exists, unique in the ball) and proven to
    be the physical one. Off the support: a real root with d log λ/d log w > 0 is enclosed, which proves that
    the density is 0; then midpoint = radius = 0. Where ρ is small or the proof fails, it is tried again with
    up to 60 digits more, so that the radius is below 10^-dps ρ as a rule (it is what it says in any case).
    ``start`` replaces the approximate w (a complex number), for trials of the proof itself.

    Raises CertificationError where no proof succeeds, ValueError and TypeError for bad input.

    ``ens``: an `Ensemble` of a vanilla cell; ``T`` ≥ 1; ``lam`` > 0; ``dps``: digits asked of the radius.
    """
    target = _target(ens, T, lam, dps)

    def attempt(digits: int) -> Certified:
        law = product(ens, T, digits + _PROOF.extra)
        problem = _problem(ens, T, law, digits, rational(target))
        w, failure = (mp.mpmathify(start), None) if start is not None else _approximate(law, target)
        if start is None and (w is None or mp.im(w) == 0) and problem.above_edge(law):
            return Certified(mp.mpf(0), mp.mpf(0), "λ lies above the certified right edge: density 0")
        if w is None:
            raise CertificationError(f"no approximate root to start from: {failure}") from failure
        return problem.zero_density(w) if mp.im(w) == 0 else problem.density(w)

    return _sharpen(attempt, dps, _most_extra(ens) if start is None else 0)


def certified_cdf(ens: Ensemble, T: int, lam: Any, dps: int = 30) -> Certified:
    """P(Λ ≤ λ) = 1 − Im L/π with a proof; arguments and errors as `certified_density`.

    In the support L of `formulas.potential` is enclosed at the approximate root and carried to the true one:
    dL = m d log λ. In a gap, Im L/π = T P(X > w) + (n + 1 − T) [1 + m < 0] at the real root.

    ``ens``, ``T``, ``lam``, ``dps``: as for `certified_density`.
    """
    target = _target(ens, T, lam, dps)

    def attempt(digits: int) -> Certified:
        law = product(ens, T, digits + _PROOF.extra)
        problem = _problem(ens, T, law, digits, rational(target))
        w, failure = _approximate(law, target)
        if (w is None or mp.im(w) == 0) and problem.above_edge(law):
            return Certified(mp.mpf(1), mp.mpf(0), "λ lies above the certified right edge: P(Λ ≤ λ) = 1")
        if w is None:
            raise CertificationError(f"no approximate root to start from: {failure}") from failure
        return problem.gap_distribution(w) if mp.im(w) == 0 else problem.distribution(w)

    return _sharpen(attempt, dps, _most_extra(ens))


def _target(ens: Ensemble, T: Any, lam: Any, dps: Any) -> Fraction:
    """λ as a fraction, all arguments checked."""
    check_dps(dps)
    _validate.integer("T", T, low=1)
    parameters.vanilla(ens)
    target = parameters.exact("lam", lam)
    if target <= 0:
        raise ValueError(f"lam = {lam!r}: must be > 0")
    return target


def _problem(ens: Ensemble, T: int, law: Product, digits: int, lam: Any) -> _Problem:
    return _Problem(_base(ens, digits), T, law.n, rational(parameters.vanilla(ens).sigma_w), lam)


def _approximate(law: Product, target: Fraction) -> tuple[Any, ConvergenceError | None]:
    """w by `rmtrnn.highprec`, or None and why there is none."""
    try:
        return law.root(mp.log(mp.mpf(target.numerator) / target.denominator))[0], None
    except ConvergenceError as error:
        return None, error


def _most_extra(ens: Ensemble) -> int:
    return (
        _PROOF.most_extra_linear
        if parameters.vanilla(ens).activation.is_piecewise_linear
        else _PROOF.most_extra
    )


def _sharpen(attempt: Callable[[int], Certified], dps: int, most: int) -> Certified:
    """``attempt(digits)``, again with up to ``most`` digits more while it fails or its radius exceeds
    10^-dps |midpoint|; then the narrowest that was proven.
    """
    digits, best = dps, None
    while True:
        try:
            with mp.workdps(digits + 2 * _PROOF.extra), flint.ctx.workprec(_bits(digits)):
                result = attempt(digits)
            if result.radius <= mp.mpf(10) ** -dps * abs(result.midpoint):
                return result
            if best is None or result.radius < best.radius:
                best = result
            more = int(mp.log10(result.radius / abs(result.midpoint))) + dps + 3 if result.midpoint else 20
        except CertificationError as error:
            if isinstance(error, OutOfScope) or (best is None and digits >= dps + most):
                raise
            more = 20 if digits == dps else most
        if best is not None and digits >= dps + most:
            return best
        digits = min(digits + max(more, 3), dps + most)


def certified_edge(ens: Ensemble, T: int, dps: int = 30) -> Certified:
    """Right edge of the support of s² with a proof: λ at the zero of d log λ/d log w above the support of
    φ'².

    The zero is enclosed (Krawczyk) and is the only one there, since d log λ/d log w increases above sup φ'²
    (`rmtrnn.highprec.formulas`). Raises as `certified_density`.

    ``ens``: an `Ensemble` of a vanilla cell; ``T`` ≥ 1; ``dps``: digits asked of the radius.
    """
    dps, T = check_dps(dps), _validate.integer("T", T, low=1)
    parameters.vanilla(ens)

    def attempt(digits: int) -> Certified:
        law = product(ens, T, digits + _PROOF.extra)
        try:
            w = law.edge()[0]
        except ConvergenceError as error:
            raise CertificationError(f"no approximate edge to start from: {error}") from error
        return _problem(ens, T, law, digits, arb(1)).edge(w)

    return _sharpen(attempt, dps, _most_extra(ens))


class _Problem:
    """F(w) = log λ(w) − log λ in balls."""

    def __init__(self, base: GaussianBalls | AtomBalls, T: int, n: int, sigma: Any, lam: Any) -> None:
        self.base, self.T, self.n, self.lam = base, T, n, lam
        self.log_scale = 2 * T * sigma.log()

    def _value(self, w: Any, f: formulas.Transform) -> Any:
        """F at a ball; logarithms principal, and their arguments proven to stay off the cut."""
        kappa = w * f.m / f.one_plus_m
        if w.imag == 0:
            # a factor that is not in the product may have any sign
            positive = (self.n == 0 or f.one_plus_m.real > 0) and (self.T == 1 or kappa.real > 0)
            if not (w.real > 0 and positive):
                raise CertificationError(f"w, κ and 1 + m are not proven positive at the real w = {w.real}")
        elif not (w.imag > 0 and f.one_plus_m.imag < 0 and (self.T == 1 or kappa.imag < 0 or self._one_atom)):
            raise CertificationError(f"w = {w}: not proven to lie on the sheet with Im w > 0 > Im κ, Im m")
        if self._one_atom:
            kappa = acb(self.base.atoms[0][0])  # pyright: ignore
        terms = w.log(), kappa.log(), f.one_plus_m.log()
        return formulas.log_lambda(terms, self.T, self.n, self.log_scale) - self.lam.log()

    @property
    def _one_atom(self) -> bool:
        """Whether X is constant: κ = X exactly."""
        return isinstance(self.base, AtomBalls) and len(self.base.atoms) == 1

    def density(self, approximation: Any) -> Certified:
        w0, K, _, f0, f = self._root(approximation)
        m = f0.m + f.d1 * (K - w0)  # f.d1 holds m' on W, which contains the segment from w0 to the root
        return _certified(
            -m.imag / (arb.pi() * self.lam),
            "exactly one root in a ball (Krawczyk); arguments sum to 0, so it is the physical one",
        )

    def distribution(self, approximation: Any) -> Certified:
        w0, K, W, f0, f = self._root(approximation)
        at_w0 = formulas.potential(self.base.log_potential(w0), f0.m, f0.one_plus_m.log(), self.T, self.n)
        carried = f.m * formulas.slope(W, f, self.T, self.n) / W * (K - w0)
        return _certified(
            1 - (at_w0 + carried).imag / arb.pi(),
            "exactly one root in a ball (Krawczyk), the physical one; L enclosed there",
        )

    def _root(self, approximation: Any) -> tuple[Any, Any, Any, formulas.Transform, formulas.Transform]:
        """(w0, K, W, transform at w0, transform on W): K, inside W around w0, holds exactly one root, the
        physical one.
        """
        w0 = number(approximation).mid()
        if not w0.imag > 0:
            raise CertificationError(f"w = {w0}: not in the upper half plane")
        f0 = self.base.transform(w0)
        value, slope = self._value(w0, f0), formulas.slope(w0, f0, self.T, self.n) / w0
        if abs(value).abs_lower() > 1:
            raise CertificationError(
                f"w = {w0.str(8)} is no root of log λ(w) = log λ on the sheet where the arguments sum to 0: "
                f"the difference is {value.str(8)}"
            )
        if not slope.is_finite() or slope.contains(acb(0)):
            raise CertificationError("d log λ/dw may vanish: λ is too close to an edge for this precision")
        C = (1 / slope).mid()
        reach = abs(C * value).abs_upper()
        for factor in (2, 16, 256):
            r = (reach * factor + abs(w0) * arb(2) ** (8 - flint.ctx.prec)).abs_upper()
            W = w0 + acb(arb(0, r), arb(0, r))
            if not W.imag > 0:
                continue
            f = self._around(W, w0, f0, r)
            self._value(W, f)  # the sheet, on all of W
            K = w0 - C * value + (1 - C * formulas.slope(W, f, self.T, self.n) / W) * (W - w0)
            if abs((K - w0).real).abs_upper() < r and abs((K - w0).imag).abs_upper() < r:
                return w0, K, W, f0, f
        raise CertificationError("Krawczyk's operator does not map a neighbourhood of the root into itself")

    def _around(self, W: Any, w0: Any, f0: formulas.Transform, r: Any) -> formulas.Transform:
        """m and m' on all of W (within √2 r of w0), from their values at w0 and |w − X| ≥ d = Im w0 − 2r."""
        r = 2 * r
        d = (W.imag - r).abs_lower()
        if not W.imag - r > 0:
            raise CertificationError("the neighbourhood of the root reaches the real line")
        first = (1 + (abs(w0).abs_upper() + r) / d) / d  # bounds E|X/(w − X)²|, as |X/(w − X)| ≤ 1 + |w|/d
        spread, spread1 = (r * first).abs_upper(), (2 * r * first / d).abs_upper()
        m = f0.m + acb(arb(0, spread), arb(0, spread))
        d1 = f0.d1 + acb(arb(0, spread1), arb(0, spread1))
        return formulas.Transform(m, 1 + m, d1, acb(0))

    def zero_density(self, approximation: Any) -> Certified:
        self._real_root(approximation)
        return Certified(mp.mpf(0), mp.mpf(0), "a real root with d log λ/d log w > 0: off the support")

    def gap_distribution(self, approximation: Any) -> Certified:
        K = self._real_root(approximation)
        if not isinstance(self.base, AtomBalls):
            raise OutOfScope("the cdf in a gap is proven for piecewise linear activations only")
        one_plus_m = self._real_transform(K).one_plus_m.real
        if not (one_plus_m < 0 or one_plus_m > 0):
            raise CertificationError(f"the sign of 1 + m at the real w = {K} is not proven")
        turned = self.n + 1 - self.T if one_plus_m < 0 else 0
        return _certified(
            1 - (self.T * self.base.mass_above(K) + turned),
            "a real root with d log λ/d log w > 0: in a gap of the support, Im L by counting masses",
        )

    def _real_root(self, approximation: Any) -> Any:
        """A ball with exactly one real root w of λ(w) = λ, and d log λ/d log w > 0 there."""
        w0 = arb(mp.re(approximation)).mid()
        f0 = self._real_transform(w0)
        value = self._value(acb(w0), f0).real
        slope = (formulas.slope(acb(w0), f0, self.T, self.n) / w0).real

        def derivative(W: Any) -> Any:
            f = self._real_transform(W)
            self._value(acb(W), f)
            rise = formulas.slope(acb(W), f, self.T, self.n).real
            if not rise > 0:
                raise CertificationError("d log λ/d log w is not proven positive: λ may lie in the support")
            return rise / W

        return _krawczyk_real(w0, value, slope, derivative, "real root off the support")

    def _real_transform(self, w: Any, order: int = 1) -> formulas.Transform:
        """The transform at a real ball, w proven to lie off the support of X (above it, unless X is
        discrete).
        """
        f = self.base.transform(acb(w), order)
        if isinstance(self.base, GaussianBalls) and not self.base.lies_below(w):
            raise CertificationError(f"w = {w} does not lie above the values of φ'²")
        return f

    def above_edge(self, law: Any) -> bool:
        """Whether λ is proven to lie above the right edge (False: the edge cannot be certified)."""
        try:
            edge = self.edge(law.edge()[0])
        except (CertificationError, ConvergenceError):
            return False
        return bool(self.lam > arb(edge.midpoint) + arb(edge.radius))

    def edge(self, approximation: Any) -> Certified:
        w0 = arb(mp.re(approximation)).mid()
        if isinstance(self.base, AtomBalls):
            top, mass = max(self.base.atoms, key=lambda atom: float(atom[0].mid()))
            if self.n == 0 and mass * self.T >= self.T - 1:
                return _certified(
                    (self.T * top.log() + self.log_scale).exp(),
                    "d log λ/d log w > 0 down to the largest value of φ'², an atom with mass ≥ (T − 1)/T",
                )
            if not w0 > top:
                raise CertificationError(f"w = {w0} does not lie above the values of φ'²")
        f0 = self._real_transform(w0, 2)

        def derivative(W: Any) -> Any:
            return formulas.slope_derivative(acb(W), self._real_transform(W, 2), self.T, self.n).real

        slope = formulas.slope(acb(w0), f0, self.T, self.n).real
        K = _krawczyk_real(
            w0,
            slope,
            formulas.slope_derivative(acb(w0), f0, self.T, self.n).real,
            derivative,
            "zero of d log λ/d log w",
        )
        hull = K.union(w0)
        rise = formulas.slope(acb(hull), self._real_transform(hull), self.T, self.n).real / hull
        log_edge = self._value(acb(w0), f0).real + rise * (K - w0)
        return _certified((log_edge + self.lam.log()).exp(), "the only zero of d log λ/d log w above sup φ'²")
