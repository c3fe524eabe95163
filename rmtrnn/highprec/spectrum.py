# SymPy annotates most results as Basic, also where only an Expr can come; NumPy's stubs know no dtype here.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportArgumentType=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportMissingImports=false, reportOptionalMemberAccess=false
"""Density, distribution function, edge and moments of the squared singular values of J_T at any precision.

Letters: T, the number of steps; theta = arg lambda.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.optimize
from mpmath import mp

from rmtrnn._core import validate as _validate
from rmtrnn._core.status import ConvergenceError
from rmtrnn.ensemble import Ensemble
from rmtrnn.highprec import formulas, parameters, series
from rmtrnn.highprec.bases import Atoms, Base, vanilla_base
from rmtrnn.highprec.fixed_points import check_dps, fixed_point
from rmtrnn.highprec.leaky import LeakyGaussian, LeakyOrthogonal
from rmtrnn.highprec.quadrature import GUARD, SETTINGS


class Unresolved(ConvergenceError):
    """Im w or Im m is too small for the digits at work; ``digits`` more than those asked for may do."""

    def __init__(self, message: str, digits: int = 0) -> None:
        super().__init__(message)
        self.digits = digits


class Product:
    """The T-step law as the map w → λ of `formulas`, with n = T (Gaussian factors apart from X) or 0."""

    def __init__(self, base: Base, T: int, n: int, log_scale: Any, dps: int) -> None:
        self.base, self.T, self.n, self.log_scale, self.dps = base, T, n, log_scale, dps

    @property
    def trivial(self) -> bool:
        """Whether λ(w) = w: the law of X itself."""
        return self.T == 1 and self.n == 0

    def log_lambda(self, w: Any) -> tuple[Any, Any, formulas.Transform, tuple[Any, Any, Any]]:
        """log λ, d log λ/d log w, the transform and the three logarithms at w."""
        f = self.base.transform(w)
        terms = formulas.log_terms(w, f, mp.log)
        value = formulas.log_lambda(terms, self.T, self.n, self.log_scale)
        return value, formulas.slope(w, f, self.T, self.n), f, terms

    def root(self, log_target: Any) -> tuple[Any, formulas.Transform, tuple[Any, Any, Any]]:
        """The physical w for λ = e^{log_target}: Im w > 0 in the support, real off it.

        Double precision brackets it on the curve arg λ = 0, Newton's method in log w refines it, and the
        branch is checked afterwards by the arguments, as proven in `formulas`.
        """
        try:
            return self._newton(self._start(float(log_target)), log_target)
        except ConvergenceError:
            # Within 1e-12 or so of the right edge double precision cannot tell the sides apart.
            near = self._start_at_edge(log_target)
            if near is None:
                raise
            return self._newton(near, log_target)

    def _start_at_edge(self, log_target: Any) -> Any:
        """w from log λ ≈ log λ_edge + F'' (w − w_edge)²/(2 w_edge), for λ within 1e-6 of the right edge."""
        w, edge = self.edge()
        distance = log_target - mp.log(edge)
        if abs(distance) > 1e-6 or self._top_is_an_atom():
            return None
        f = self.base.transform(w, 2)
        curvature = formulas.slope_derivative(w, f, self.T, self.n) / w
        return w + mp.sqrt(2 * distance / curvature)

    def _newton(self, start: Any, log_target: Any) -> tuple[Any, formulas.Transform, tuple[Any, Any, Any]]:
        """Newton's method in log w, and the check of the branch."""
        tolerance = mp.mpf(10) ** -(self.dps + 4)
        x = mp.log(start)
        if mp.im(start) == 0 and self.base.holds(start):
            x += mp.mpc(0, "1e-17")  # within the support of X there is no real solution, only a close one
        step = mp.mpf(1)
        for _ in range(40):
            w = mp.exp(x)
            value, slope, f, terms = self.log_lambda(w)
            residual = value - log_target
            step = residual / slope
            if abs(step) <= tolerance:
                self._check(w, terms, slope, log_target)
                return w, f, terms
            if abs(step) > 0.5:
                step *= 0.5 / abs(step)
            x -= step
            x = mp.re(x) if mp.im(x) == 0 else x
        raise ConvergenceError(
            f"root: Newton's method did not converge at log λ = {mp.nstr(log_target, 15)} (last step "
            f"{mp.nstr(abs(step), 3)}); λ may lie within 10^-{self.dps} of an edge: raise dps"
        )

    def _check(self, w: Any, terms: tuple[Any, Any, Any], slope: Any, log_target: Any) -> None:
        small = mp.mpf(10) ** -(self.dps // 2)
        if mp.im(w) != 0 and abs(mp.im(w)) <= mp.mpf(10) ** -self.dps * abs(w):
            raise Unresolved(f"root: |Im w| is below 10^-{self.dps} of |w|; raise dps")
        arguments = [mp.im(term) for term in terms]
        total = arguments[0] + (self.T - 1) * arguments[1] + self.n * arguments[2]
        if mp.im(w) == 0:
            real = (self.T == 1 or arguments[1] == 0) and (self.n == 0 or arguments[2] == 0)
            good = w > 0 and real and mp.re(slope) > 0
        else:
            factors = arguments[1:]
            good = mp.im(w) > 0 and all(-mp.pi < a < small for a in factors) and abs(total) < small
        if not good:
            raise ConvergenceError(
                f"root: w = {mp.nstr(w, 8)} at log λ = {mp.nstr(log_target, 10)} is on another branch"
            )

    def _start(self, target: float) -> Any:
        """Double precision start: bisect r on the increasing log λ(r e^{iθ*(r)}), θ*(r) by nested grids."""
        low, high = -1.0, 1.0
        while self._on_curve(low)[1] > target:
            low -= 2.0 * (high - low)
            if low < -600:
                raise ConvergenceError(
                    "root: λ is smaller than double precision can follow to a starting point"
                )
        while self._on_curve(high)[1] < target:
            high += 2.0 * (high - low)
            if high > 600:  # there log λ − log w is constant to double precision, and w real
                return mp.exp(mp.mpf(600) + target - self._on_curve(600.0)[1])
        x = scipy.optimize.brentq(lambda v: self._on_curve(v)[1] - target, low, high, xtol=1e-7, rtol=1e-7)
        theta = self._on_curve(x)[0]
        return mp.exp(mp.mpf(x)) if theta == 0 else mp.exp(mp.mpc(x, theta))

    def _on_curve(self, x: float) -> tuple[float, float]:
        """θ*(e^x) and log λ there."""
        low, high = 0.0, np.pi
        fractions = np.linspace(0.0, 1.0, 18)[1:-1]
        theta = np.concatenate([np.geomspace(1e-9, 0.1, 10), np.linspace(0.3, 3.1, 12)])
        for _ in range(6):
            positive = self._float_log_lambda(x, theta).imag > 0
            low = float(theta[~positive].max(initial=low))
            high = float(theta[positive].min(initial=high))
            if high <= 1e-9:
                return 0.0, float(self._float_log_lambda(x, np.array([1e-9]))[0].real)
            theta = low + (high - low) * fractions
        middle = 0.5 * (low + high)
        return middle, float(self._float_log_lambda(x, np.array([middle]))[0].real)

    def _float_log_lambda(self, x: float, theta: np.ndarray, line: bool = False) -> np.ndarray:
        w = np.exp(x + 1j * theta)
        f = formulas.Transform(*self.base.floats(w, line), 0, 0)
        terms = formulas.log_terms(w, f, np.log)
        return formulas.log_lambda(terms, self.T, self.n, float(self.log_scale))

    def _top_is_an_atom(self) -> bool:
        """Whether d log λ/d log w stays positive down to w = max X: then λ has an atom there, above the rest.

        For w → X_max, an atom of mass p: m ~ p X/(w − X), so d log λ/d log w → T − (T − 1)/p without Gaussian
        factors (and → −∞ with them). So it is for p > (T − 1)/T: T projections still share a subspace then.
        For p = (T − 1)/T that point is the right end of the continuous part.
        """
        if self.n or not isinstance(self.base, Atoms):
            return False
        mass = max(zip(self.base.locations, self.base.masses, strict=True))[1]
        return mass * self.T >= self.T - 1

    def edge(self) -> tuple[Any, Any]:
        """(w, λ) at the right edge: the zero of d log λ/d log w to the right of the support of X, or an
        atom.
        """
        if isinstance(self.base, LeakyGaussian | LeakyOrthogonal) and self.trivial:
            return self.base.edge(), self.base.edge()
        if self._top_is_an_atom():
            w = max(self.base.locations)
            return w, mp.exp(self.T * mp.log(w) + self.log_scale)
        top = self.base.top()
        low, high = -28.0, 20.0 + float(np.log(self.T))
        for _ in range(50):
            middle = 0.5 * (low + high)
            gap = np.exp(middle)
            r = top * (1.0 + gap)
            tilt = 1e-3 * gap / (1.0 + gap)  # arg λ/θ at so small an angle has the sign of the slope
            outside = self._float_log_lambda(np.log(r), np.array([tilt]), line=True)[0].imag > 0
            low, high = (low, middle) if outside else (middle, high)
        # d log λ/d log w rises and is concave, so Newton's method from its negative side does not overshoot
        w = mp.mpf(top) * (1 + mp.exp(mp.mpf(low)))
        for _ in range(60):
            f = self.base.transform(w, 2)
            change = formulas.slope(w, f, self.T, self.n) / formulas.slope_derivative(w, f, self.T, self.n)
            w -= change
            if (
                abs(change) <= mp.mpf(10) ** -(self.dps // 2 + 8) * w
            ):  # λ is stationary: half the digits suffice
                value, slope, _, _ = self.log_lambda(w)
                if abs(slope) < mp.mpf(10) ** -(self.dps // 2):
                    return w, mp.exp(value)
        raise ConvergenceError("edge: no zero of d log λ/d log w was found; the support may be unbounded")


@functools.lru_cache(maxsize=32)
def product(ens: Ensemble, T: int, dps: int) -> Product:
    """The T-step law of an ensemble ready for evaluation at ``dps`` digits (cached)."""
    with mp.workdps(dps + GUARD):
        base, n, log_scale = _factors(ens, T, dps)
        if isinstance(base, LeakyOrthogonal) and (base.swing == 0):
            raise ValueError("ens: every singular value of J is the same; there is no density")
        if n == 0 and not isinstance(base, LeakyGaussian | LeakyOrthogonal):
            if isinstance(base, Atoms) and len(base.locations) == 1:
                raise ValueError("ens: orthogonal weights and constant φ' give one atom; there is no density")
            if T == 1:
                raise ValueError(
                    "T = 1 with orthogonal weights is the law of σ_w² φ'² itself, no free product"
                )
        return Product(base, T, n, log_scale, dps)


def _factors(ens: Ensemble, T: int, dps: int) -> tuple[Base, int, Any]:
    """(law of X, number n of Gaussian factors apart from X, log scale); precision in force."""
    numbers = parameters.describe(ens)
    sigma = mp.mpf(numbers.sigma_w.numerator) / numbers.sigma_w.denominator
    if sigma == 0:
        raise ValueError(
            "ens: sigma_w = 0; the singular values of J are constants, there is no law to compute"
        )
    if isinstance(numbers, parameters.Leaky):
        alpha = mp.mpf(numbers.alpha.numerator) / numbers.alpha.denominator
        c = sigma * numbers.beta.numerator / numbers.beta.denominator
        return (LeakyGaussian if numbers.gaussian else LeakyOrthogonal)(alpha, c), 0, mp.mpf(0)
    return _vanilla_base(ens, dps), T if numbers.gaussian else 0, 2 * T * mp.log(sigma)


@functools.lru_cache(maxsize=32)
def _vanilla_base(ens: Ensemble, dps: int) -> Base:
    numbers = parameters.vanilla(ens)
    trivial = numbers.activation.is_piecewise_linear and len(numbers.activation.pieces) == 1
    with mp.workdps(dps + GUARD):
        return vanilla_base(numbers, mp.mpf(1) if trivial else fixed_point(ens, dps + GUARD), dps)


def density(ens: Ensemble, T: int, lam: Any, dps: int = 50) -> Any:
    """Density ρ(λ) of the squared singular values λ = s² of J_T; theory.md (9), (10).

    Vanilla cells with any activation, and cells with a constant Jacobian α + βW; untied weights. ρ is the
    density of the whole law: an atom is not in it, so it may integrate to less than 1.

    Parameters: ``ens`` an Ensemble (its floats are read as decimals, see `parameters`); ``T`` ≥ 1; ``lam`` >
    0 as number, text or Fraction; ``dps`` correct decimal digits asked for, relative to ρ: where ρ is small
    (Im m ≪ |m|), as many more digits are carried. Returns an mpmath number, 0 off the support.

    Raises ValueError or TypeError for bad input and ConvergenceError where no value with a checked branch
    and a checked quadrature was found.

    >>> linear = rt.Ensemble(rt.VanillaRNN("linear"))
    >>> mpmath.nstr(rt.highprec.density(linear, 2, "0.5", dps=30), 30)     # 1/π
    '0.318309886183790671537767526745'
    """
    return _with_digits(_density, ens, T, lam, dps)


def _with_digits(value: Callable[[Product, Any, int], Any], ens: Ensemble, T: Any, lam: Any, dps: Any) -> Any:
    """``value(law, λ, extra)`` at dps + extra digits, extra raised until nothing is `Unresolved`."""
    dps, T, lam = _prepare(ens, T, lam, dps)
    extra = 0
    while extra <= SETTINGS.most_lost:
        law = product(ens, T, dps + extra)
        with mp.workdps(dps + extra + GUARD):
            try:
                return value(law, lam, extra)
            except Unresolved as error:
                extra = error.digits or 2 * extra + 25
    raise ConvergenceError(
        f"λ = {mp.nstr(lam, 8)}: the density there is below 10^-{SETTINGS.most_lost}, "
        "too small to be told from 0"
    )


def _density(law: Product, lam: Any, extra: int) -> Any:
    m, real = _at(law, lam)
    if real or mp.im(m) >= 0:
        return mp.mpf(0)
    lost = mp.log10(abs(m) / -mp.im(m))
    if lost > extra + 3:
        raise Unresolved("Im m is lost in the rounding of m", int(lost) + 3)
    return -mp.im(m) / (mp.pi * lam)


def _at(law: Product, lam: Any) -> tuple[Any, bool]:
    """m and whether λ is off the support."""
    if law.trivial:
        m = law.base.transform(lam).m
        return m, mp.im(m) == 0
    w, f, _ = law.root(mp.log(lam))
    return f.m, mp.im(w) == 0


def cdf(ens: Ensemble, T: int, lam: Any, dps: int = 50) -> Any:
    """P(Λ ≤ λ) = 1 − Im L/π, L in closed form on the curve (see `formulas.potential`); arguments and errors
    as `density`. Atoms at λ itself are not resolved: take λ beside them.

    ``ens``, ``T``, ``lam``, ``dps``: as there.

    >>> linear = rt.Ensemble(rt.VanillaRNN("linear"))
    >>> mpmath.nstr(rt.highprec.cdf(linear, 1, 2, dps=30), 20)             # 1/2 + 1/π
    '0.81830988618379067154'
    """
    return _with_digits(_below, ens, T, lam, dps)


def _below(law: Product, lam: Any, extra: int = 0) -> Any:
    if law.trivial:
        if not mp.im(law.base.transform(lam).m):
            return 1 - law.base.mass_above(lam)
        return 1 - mp.im(law.base.log_potential(lam)) / mp.pi
    w, f, terms = law.root(mp.log(lam))
    if mp.im(w):
        return 1 - mp.im(formulas.potential(law.base.log_potential(w), f.m, terms[2], law.T, law.n)) / mp.pi
    if w > law.edge()[0]:
        return mp.mpf(1)
    # w + i0 in a gap: arg(1 − X/w) = π for X > w, and arg(1 + m) = −π where 1 + m < 0
    turned = law.n + 1 - law.T if mp.re(f.one_plus_m) < 0 else 0
    return 1 - (law.T * law.base.mass_above(w) + turned)


def edge(ens: Ensemble, T: int, dps: int = 50) -> Any:
    """Right edge of the support of s²; theory.md, after (10).

    ``ens``: an `Ensemble` of a vanilla cell (its floats are read as decimals); ``T`` ≥ 1; ``dps``: correct
    digits asked for.

    >>> linear = rt.Ensemble(rt.VanillaRNN("linear"))
    >>> mpmath.nstr(rt.highprec.edge(linear, 2, dps=30), 20)
    '6.75'
    """
    dps, T = check_dps(dps), _validate.integer("T", T, low=1)
    with mp.workdps(dps + GUARD):
        law = product(ens, T, dps)
        return law.edge()[1]


def moment(ens: Ensemble, T: int, k: int, dps: int = 50) -> Any:
    """m_k = lim tr (J Jᵀ)^k/N for the cells of `density`, by Lagrange inversion of the S-transform.

    With x(m) = m S(m)/(1 + m) and m = Σ m_k x^k: m_k = [z^{k−1}] ((1 + z)/S(z))^k / k, S = S_X^T (S_W)^T.

    ``ens``: an `Ensemble` (its floats are read as decimals); ``T`` ≥ 1; ``k`` ≥ 0; ``dps``: digits asked
    for.

    >>> linear = rt.Ensemble(rt.VanillaRNN("linear"))
    >>> mpmath.nstr(rt.highprec.moment(linear, 2, 2, dps=30), 20)
    '3.0'
    """
    dps, T, k = check_dps(dps), _validate.integer("T", T, low=1), _validate.integer("k", k, low=1, high=60)
    with mp.workdps(dps + GUARD):
        base, n, log_scale = _factors(ens, T, dps)
        mu = [base.moment(j) for j in range(1, k + 1)]
        one_plus = [mp.mpf(1), mp.mpf(1)]
        s_x = series.times(series.reversion(mu), one_plus, k)  # S_X = (1 + z) x(z)/z
        total = series.power(series.reciprocal(s_x), T * k, k)
        total = series.times(total, series.power(one_plus, k * (1 + n), k), k)  # n factors 1/S_W = 1 + z
        return total[k - 1] / k * mp.exp(log_scale * k)


def _prepare(ens: Ensemble, T: Any, lam: Any, dps: Any) -> tuple[int, int, Any]:
    """(dps, T, λ as an mpmath number), checked."""
    dps, T = check_dps(dps), _validate.integer("T", T, low=1)
    with mp.workdps(dps + GUARD):
        value = parameters.real("lam", lam)
        if value <= 0:
            raise ValueError(f"lam = {lam!r}: must be > 0")
        return dps, T, value
