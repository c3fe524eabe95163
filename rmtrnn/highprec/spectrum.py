# SymPy annotates most results as Basic, also where only an Expr can come; NumPy's stubs know no dtype here.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportArgumentType=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportMissingImports=false, reportOptionalMemberAccess=false
"""Density, distribution function, edge and moments of the squared singular values of J_T at any precision."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from mpmath import mp

from rmtrnn import _validate
from rmtrnn._result import ConvergenceError
from rmtrnn.ensemble import Ensemble
from rmtrnn.highprec import formulas, parameters
from rmtrnn.highprec.bases import Atoms, Base, LeakyGaussian, vanilla_base
from rmtrnn.highprec.fixed_points import check_dps, fixed_point
from rmtrnn.highprec.quadrature import GUARD


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
            f"root: Newton's method did not settle at log λ = {mp.nstr(log_target, 15)} (last step "
            f"{mp.nstr(abs(step), 3)}); λ may lie within 10^-{self.dps} of an edge: raise dps"
        )

    def _check(self, w: Any, terms: tuple[Any, Any, Any], slope: Any, log_target: Any) -> None:
        small = mp.mpf(10) ** -(self.dps // 2)
        arguments = [mp.im(term) for term in terms]
        total = arguments[0] + (self.T - 1) * arguments[1] + self.n * arguments[2]
        if mp.im(w) == 0:
            good = w > 0 and arguments[2] == 0 and (self.T == 1 or arguments[1] == 0) and mp.re(slope) > 0
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
        for _ in range(26):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if self._on_curve(middle)[1] < target else (low, middle)
        x = 0.5 * (low + high)
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

    def _float_log_lambda(self, x: float, theta: np.ndarray) -> np.ndarray:
        w = np.exp(x + 1j * theta)
        f = formulas.Transform(*self.base.floats(w), 0, 0)
        terms = formulas.log_terms(w, f, np.log)
        return formulas.log_lambda(terms, self.T, self.n, float(self.log_scale))

    def _top_is_an_atom(self) -> bool:
        """Whether d log λ/d log w stays positive down to w = max X: then λ has an atom there, above the rest.

        For w → X_max, an atom of mass p: m ~ p X/(w − X), so d log λ/d log w → T − (T − 1)/p without Gaussian
        factors (and → −∞ with them). So it is for p > (T − 1)/T; T projections still share a subspace then.
        """
        if self.n or not isinstance(self.base, Atoms):
            return False
        mass = max(zip(self.base.locations, self.base.masses, strict=True))[1]
        return mass * self.T > self.T - 1

    def edge(self) -> tuple[Any, Any]:
        """(w, λ) at the right edge: the zero of d log λ/d log w to the right of the support of X, or an
        atom.
        """
        if isinstance(self.base, LeakyGaussian) and self.trivial:
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
            outside = self._float_log_lambda(np.log(r), np.array([tilt]))[0].imag > 0
            low, high = (low, middle) if outside else (middle, high)
        w = mp.mpf(top) * (1 + mp.exp(mp.mpf(high)))
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
    numbers = parameters.describe(ens)
    with mp.workdps(dps + GUARD):
        sigma = mp.mpf(numbers.sigma_w.numerator) / numbers.sigma_w.denominator
        if sigma == 0:
            raise ValueError("ens: sigma_w = 0 has J = 0; there is no density")
        if isinstance(numbers, parameters.Leaky):
            if not numbers.gaussian:
                raise ValueError(
                    "ens: constant coefficients with orthogonal weights are not built; use gaussian"
                )
            base: Base = LeakyGaussian(
                mp.mpf(numbers.alpha.numerator) / numbers.alpha.denominator,
                sigma * numbers.beta.numerator / numbers.beta.denominator,
            )
            return Product(base, T, 0, mp.mpf(0), dps)
        base = _vanilla_base(ens, dps)
        if not numbers.gaussian:
            if isinstance(base, Atoms) and len(base.locations) == 1:
                raise ValueError("ens: orthogonal weights and constant φ' give one atom; there is no density")
            if T == 1:
                raise ValueError(
                    "T = 1 with orthogonal weights is the law of σ_w² φ'² itself, no free product"
                )
        return Product(base, T, T if numbers.gaussian else 0, 2 * T * mp.log(sigma), dps)


@functools.lru_cache(maxsize=32)
def _vanilla_base(ens: Ensemble, dps: int) -> Base:
    numbers = parameters.vanilla(ens)
    trivial = numbers.activation.is_piecewise_linear and len(numbers.activation.pieces) == 1
    with mp.workdps(dps + GUARD):
        return vanilla_base(numbers, mp.mpf(1) if trivial else fixed_point(ens, dps + GUARD), dps)


def density(ens: Ensemble, T: int, lam: Any, dps: int = 50) -> Any:
    """Density ρ(λ) of the squared singular values λ = s² of J_T; theory.md (9), (10).

    Vanilla cells with any activation, and cells with a constant Jacobian α + βW (Gaussian); untied weights.
    ρ is the density of the whole law: an atom at 0 is not in it, so it may integrate to less than 1.

    Parameters: ``ens`` an Ensemble (its floats are read as decimals, see `parameters`); ``T`` ≥ 1; ``lam`` >
    0 as number, text or Fraction; ``dps`` correct decimal digits asked for. Returns an mpmath number, 0 off
    the support.

    Raises ValueError or TypeError for bad input and ConvergenceError where no value with a checked branch
    and a checked quadrature was found.
    """
    dps, T, law, lam = _prepare(ens, T, lam, dps)
    with mp.workdps(dps + GUARD):
        if law.trivial:
            return max(mp.mpf(0), -mp.im(law.base.transform(lam).m) / (mp.pi * lam))
        w, f, _ = law.root(mp.log(lam))
        return mp.mpf(0) if mp.im(w) == 0 else -mp.im(f.m) / (mp.pi * lam)


def cdf(ens: Ensemble, T: int, lam: Any, dps: int = 50) -> Any:
    """P(Λ ≤ λ) = 1 − Im L/π, L in closed form on the curve (see `formulas.potential`); arguments as
    `density`.
    """
    dps, T, law, lam = _prepare(ens, T, lam, dps)
    with mp.workdps(dps + GUARD):
        if law.trivial:
            raise ValueError("T = 1: the distribution function of a leaky cell has no closed form here")
        w, f, terms = law.root(mp.log(lam))
        if mp.im(w) == 0:
            if w > law.edge()[0]:
                return mp.mpf(1)
            raise ValueError(
                f"lam = {lam}: lies in a gap left of the right edge; take the cdf at the gap's end"
            )
        L = formulas.potential(law.base.log_potential(w), f.m, terms[2], law.T, law.n)
        return 1 - mp.im(L) / mp.pi


def edge(ens: Ensemble, T: int, dps: int = 50) -> Any:
    """Right edge of the support of s²; theory.md, after (10)."""
    dps, T = check_dps(dps), _validate.integer("T", T, low=1)
    with mp.workdps(dps + GUARD):
        law = product(ens, T, dps)
        return law.edge()[1]


def moment(ens: Ensemble, T: int, k: int, dps: int = 50) -> Any:
    """m_k = lim tr (J Jᵀ)^k/N of a vanilla ensemble, by Lagrange inversion of the S-transform.

    With x(m) = m S(m)/(1 + m) and m = Σ m_k x^k: m_k = [z^{k−1}] ((1 + z)/S(z))^k / k, S = S_X^T (S_W)^T.
    """
    dps, T, k = check_dps(dps), _validate.integer("T", T, low=1), _validate.integer("k", k, low=1, high=60)
    with mp.workdps(dps + GUARD):
        numbers = parameters.vanilla(ens)
        base = _vanilla_base(ens, dps)
        mu = [base.moment(j) for j in range(1, k + 1)]
        # 1/S_X as a series: (1 + z)/S_X = z/x(z), x(z) the inverse of Σ μ_j x^j, so [z^{j}] by Lagrange again
        inverse = _reversion(mu)  # x(z)/z = S_X/(1 + z)
        s_x = _times(inverse, [mp.mpf(1), mp.mpf(1)], k)
        one_plus = [mp.mpf(1), mp.mpf(1)] + [mp.mpf(0)] * (k - 1)
        reciprocal = _reciprocal(s_x[:k])
        sigma2 = (mp.mpf(numbers.sigma_w.numerator) / numbers.sigma_w.denominator) ** 2
        per_power = _power(reciprocal, T * k, k)
        extra = k + (T * k if numbers.gaussian else 0)
        total = _times(per_power, _power(one_plus[:k], extra, k), k)
        return total[k - 1] / k * sigma2 ** (T * k)


def _times(a: list[Any], b: list[Any], n: int) -> list[Any]:
    return [mp.fsum(a[i] * b[j - i] for i in range(j + 1) if i < len(a) and j - i < len(b)) for j in range(n)]


def _reciprocal(a: list[Any]) -> list[Any]:
    out = [1 / a[0]]
    for j in range(1, len(a)):
        out.append(-mp.fsum(a[i] * out[j - i] for i in range(1, j + 1)) / a[0])
    return out


def _power(a: list[Any], exponent: int, n: int) -> list[Any]:
    """(Σ a_j z^j)^exponent by the recurrence of J. C. P. Miller."""
    a = [*a, *[mp.mpf(0)] * (n - len(a))]
    out = [a[0] ** exponent]
    for j in range(1, n):
        out.append(
            mp.fsum(((exponent + 1) * i - j) * a[i] * out[j - i] for i in range(1, j + 1)) / (j * a[0])
        )
    return out


def _reversion(mu: list[Any]) -> list[Any]:
    """x(z)/z for z = Σ_{j≥1} μ_j x^j: [z^j] x = [x^{j−1}] (x/z)^j / j."""
    quotient = _reciprocal(mu)  # x/z(x)
    return [_power(quotient, j, j)[j - 1] / j for j in range(1, len(mu) + 1)]


def _prepare(ens: Ensemble, T: Any, lam: Any, dps: Any) -> tuple[int, int, Product, Any]:
    dps, T = check_dps(dps), _validate.integer("T", T, low=1)
    with mp.workdps(dps + GUARD):
        value = parameters.real("lam", lam)
        if value <= 0:
            raise ValueError(f"lam = {lam!r}: must be > 0")
        return dps, T, product(ens, T, dps), value
