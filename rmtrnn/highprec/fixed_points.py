"""Fixed points of the mean field, slopes and critical points at any precision; theory.md (2)–(5), (17)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from mpmath import mp

from rmtrnn import _validate
from rmtrnn._result import ConvergenceError
from rmtrnn.cells import Activation
from rmtrnn.ensemble import Ensemble
from rmtrnn.highprec import parameters
from rmtrnn.highprec.bases import atoms
from rmtrnn.highprec.expressions import analytic_pieces
from rmtrnn.highprec.numbers import evaluator, exponential, flint_precision, mpc, number
from rmtrnn.highprec.quadrature import GUARD
from rmtrnn.meanfield import mean_field

_MAX_NODES = 200_000


def check_dps(dps: Any) -> int:
    """``dps`` as an integer from 15 to 10000."""
    return _validate.integer("dps", dps, low=15, high=10_000)


def gaussian_average(
    activation: Activation, f: Callable[[Any, Any], list[Any]], q: Any, mu: Any, count: int
) -> list[Any]:
    """E[f(φ(e), φ'(e), z)] for e = μ + √q z: ``f`` gives a list of ``count`` values; precision in force.

    Trapezoidal in z for an analytic φ, tanh-sinh between kinks, halved until two levels agree. ``f`` is given
    the numbers of `rmtrnn.highprec.numbers` and may add, multiply and raise to integer powers.
    """
    tolerance = mp.mpf(10) ** (-(mp.dps - 5))
    reach = mp.sqrt(2 * mp.dps * mp.log(10)) * mp.mpf("1.1")
    root = mp.sqrt(q)
    rules = []
    for piece in analytic_pieces(activation):
        ends = [
            (mp.mpf(end.evalf(mp.dps + 5)) - mu) / root if end.is_finite else None
            for end in (piece.low, piece.high)
        ]
        low = -reach if ends[0] is None else max(-reach, ends[0])
        high = reach if ends[1] is None else min(reach, ends[1])
        if low < high:
            function = evaluator(piece.symbol, [piece.phi, piece.slope])
            rules.append((function, low, high, ends == [None, None]))
    total, previous = [mp.mpf(0)] * count, None
    for level in range(18):
        with flint_precision(mp.prec + 24):
            new = _level_sum(rules, f, level, number(mu), number(root), count)
        scale = 1 / mp.sqrt(2 * mp.pi)
        total = [old / 2 + scale * value for old, value in zip(total, new, strict=True)]
        if level >= 2 and previous is not None:
            size = max(abs(value) for value in total)
            if all(abs(a - b) <= tolerance * size for a, b in zip(total, previous, strict=True)):
                return total
        previous = total
    raise ConvergenceError(f"quadrature: 18 halvings do not give {mp.dps - 5} digits for {activation.name!r}")


def _level_sum(
    rules: list[tuple[Any, Any, Any, bool]],
    f: Callable[[Any, Any], list[Any]],
    level: int,
    mu: Any,
    root: Any,
    count: int,
) -> list[Any]:
    """Σ f e^{−z²/2} dz over the nodes that one halving adds."""
    new = [number(mp.mpf(0))] * count
    for function, low, high, smooth in rules:
        for node, dz in _line_nodes(low, high, smooth, level, mp.re(mpc(root))):
            z = number(node)
            weight = exponential(-z * z / 2) * number(dz)
            for k, value in enumerate(f(function(mu + root * z), z)):
                new[k] += weight * value
    return [mp.re(mpc(value)) for value in new]


def _line_nodes(low: Any, high: Any, smooth: bool, level: int, root: Any) -> Any:
    first, stride = (0, 1) if level == 0 else (1, 2)
    if smooth:
        step = min(mp.mpf(1) / 4, 1 / (4 * root)) / 2**level
        for k in range(first, int(high / step) + 1, stride):
            yield k * step, step
            if k:
                yield -k * step, step
        return
    half, step = (high - low) / 2, mp.mpf(1) / 4 / 2**level
    t_max = mp.asinh((2 / mp.pi) * mp.log(10) * mp.dps / 2 * mp.mpf("1.1"))
    for k in range(first, int(t_max / step) + 1, stride):
        t = k * step
        u = mp.pi / 2 * mp.sinh(t)
        gap = 2 * half / (1 + mp.exp(2 * u))
        dz = half * step * mp.pi / 2 * mp.cosh(t) / mp.cosh(u) ** 2
        yield high - gap, dz
        if k:
            yield low + gap, dz


def fixed_point(ens: Ensemble, dps: int = 50) -> Any:
    """q* of a vanilla ensemble: q = σ_w² E[φ(e)²] + σ_v² R + σ_b², e ~ N(μ_b, q); theory.md (2), (3).

    The fixed point that `rmtrnn.mean_field` finds, refined by Newton steps with
    dE[φ²]/dq = E[φ² (z² − 1)]/(2q), which needs no derivative of φ. An mpmath number with ``dps`` digits.

    Raises ValueError for a cell that is not vanilla, and ConvergenceError if the mean field has no finite
    fixed point or Newton's method does not settle (at criticality, where the derivative is 1).
    """
    return _fixed_point(ens, check_dps(dps))


@functools.lru_cache(maxsize=64)
def _fixed_point(ens: Ensemble, dps: int) -> Any:
    numbers = parameters.vanilla(ens)
    mf = mean_field(ens)
    if not mf.converged:
        raise ConvergenceError(f"fixed_point: the mean field did not converge ({mf.status.message})")
    with mp.workdps(dps + GUARD):
        q = mp.mpf(float(mf.q))  # pyright: ignore[reportArgumentType]
        sigma2, rest = _fraction(numbers.sigma_w) ** 2, _fraction(numbers.input_variance)
        mu = _fraction(numbers.mu_b)
        if q == 0 or (sigma2 == 0):
            return rest
        for round_ in range(60):
            # the first step starts from double precision, so 40 digits serve it as well as more would
            with mp.workdps(min(mp.dps, 40) if round_ == 0 else mp.dps):
                value, rise = gaussian_average(
                    numbers.activation, lambda v, z: [v[0] ** 2, v[0] ** 2 * (z * z - 1)], q, mu, 2
                )
                step = (q - sigma2 * value - rest) / (1 - sigma2 * rise / (2 * q))
            q -= step
            if q <= 0:
                break
            if round_ and abs(step) <= mp.mpf(10) ** (-(dps + GUARD) * 2 // 3) * q:
                # the step after next would be below the precision: Newton doubles digits
                value = gaussian_average(numbers.activation, lambda v, _: [v[0] ** 2], q, mu, 1)[0]
                if abs(q - sigma2 * value - rest) <= mp.mpf(10) ** -(dps + 3) * q:
                    return +q
        raise ConvergenceError(
            "fixed_point: Newton's method did not settle; dq'/dq may be 1 here (critical), or q* = 0"
        )


def chi(ens: Ensemble, dps: int = 50) -> Any:
    """χ = σ_w² E[φ'(e)²] at q*: growth per step of the mean squared singular value; theory.md (5), (6)."""
    dps = check_dps(dps)
    q = fixed_point(ens, dps)
    with mp.workdps(dps + GUARD):
        numbers = parameters.vanilla(ens)
        return _fraction(numbers.sigma_w) ** 2 * _slope_moment(numbers.activation, q, _fraction(numbers.mu_b))


def _slope_moment(activation: Activation, q: Any, mu: Any) -> Any:
    if q == 0 or activation.is_piecewise_linear:
        return mp.fsum(X * p for X, p in zip(*atoms(activation, q, mu), strict=True))
    return gaussian_average(activation, lambda v, _: [v[1] ** 2], q, mu, 1)[0]


def critical_sigma_w(ens: Ensemble, q: tuple[Any, Any], dps: int = 50) -> tuple[Any, Any]:
    """(σ_w, q*) with χ = 1 for the other parameters of a vanilla ensemble (its own σ_w is not used).

    Along χ = 1, σ_w² = 1/E[φ'²], so q* solves q = E[φ²]/E[φ'²] + σ_v² R + σ_b²; found by a bracketing secant
    (Illinois) between the two values ``q``. For q* → 0 with σ_v = σ_b = μ_b = 0: σ_w = 1/|φ'(0)|.

    Raises ValueError if the equation does not change sign on the bracket.
    """
    dps = check_dps(dps)
    numbers = parameters.vanilla(ens)
    with mp.workdps(dps + GUARD):
        rest, mu = _fraction(numbers.input_variance), _fraction(numbers.mu_b)

        def excess(value: Any) -> Any:
            square, slope = gaussian_average(
                numbers.activation, lambda v, _: [v[0] ** 2, v[1] ** 2], value, mu, 2
            )
            return value - square / slope - rest

        low, high = (parameters.real("q", end) for end in q)
        if not 0 < low < high or excess(low) * excess(high) > 0:
            raise ValueError(f"q = {q}: χ = 1 has no sign change between these (positive, increasing) values")
        root = mp.findroot(excess, (low, high), solver="illinois", tol=mp.mpf(10) ** (-2 * dps), maxsteps=200)
        return 1 / mp.sqrt(_slope_moment(numbers.activation, root, mu)), +root


def critical_minimal(q: Any, R: Any, mu_b: Any = 0, dps: int = 50) -> tuple[Any, Any]:
    """(σ_w, σ_v) of a minimalRNN with χ = 1 and pre-activation variance q, σ_b = 0; theory.md (17).

    Q* = R E[(1 − u)²]/(1 − E[u²]), σ_w² = (1 − E[u²])/((Q* + R) E[u'²]), σ_v² = (q − σ_w² Q*)/R.
    Raises ValueError where σ_v² would be negative.
    """
    dps = check_dps(dps)
    with mp.workdps(dps + GUARD):
        q, R, mu = parameters.real("q", q), parameters.real("R", R), parameters.real("mu_b", mu_b)
        if q <= 0 or R <= 0:
            raise ValueError(f"q = {q}, R = {R}: must be positive")
        square, rest, slope = gaussian_average(
            Activation("sigmoid"), lambda v, _: [v[0] ** 2, (1 - v[0]) ** 2, v[1] ** 2], q, mu, 3
        )
        Q = R * rest / (1 - square)
        sigma_w2 = (1 - square) / ((Q + R) * slope)
        sigma_v2 = (q - sigma_w2 * Q) / R
        if sigma_v2 < 0:
            raise ValueError(
                f"q = {mp.nstr(q, 8)}: infeasible, σ_v² = {mp.nstr(sigma_v2, 8)} < 0; take q larger"
            )
        return mp.sqrt(sigma_w2), mp.sqrt(sigma_v2)


def _fraction(value: Any) -> Any:
    return mp.mpf(value.numerator) / value.denominator
