"""Fixed points of the mean field, slopes and critical points at any precision; theory.md (2)–(5), (17).

Letters: R, the second moment of the input; q, the variance of a pre-activation.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from mpmath import mp

from rmtrnn._core import validate as _validate
from rmtrnn._core.status import ConvergenceError
from rmtrnn.cells import Activation
from rmtrnn.ensemble import Ensemble
from rmtrnn.highprec import parameters
from rmtrnn.highprec.bases import atoms, exact_number
from rmtrnn.highprec.expressions import analytic_pieces
from rmtrnn.highprec.numbers import evaluator, exponential, flint_precision, mpc, number
from rmtrnn.highprec.quadrature import GUARD, SETTINGS
from rmtrnn.meanfield import mean_field


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
    root, scale = mp.sqrt(q), 1 / mp.sqrt(2 * mp.pi)
    rules = _rules(activation, mu, root)
    total, previous = [mp.mpf(0)] * count, None
    for level in range(SETTINGS.halvings):
        with flint_precision(mp.prec + SETTINGS.guard_bits):
            new = _level_sum(rules, f, level, number(mu), number(root), count)
        total = [old / 2 + scale * value for old, value in zip(total, new, strict=True)]
        if level >= 2 and previous is not None:
            size = max(abs(value) for value in total)
            if all(abs(a - b) <= tolerance * size for a, b in zip(total, previous, strict=True)):
                return total
        previous = total
    raise ConvergenceError(
        f"quadrature: {SETTINGS.halvings} halvings do not give {mp.dps - 5} digits for {activation.name!r}"
    )


def _rules(activation: Activation, mu: Any, root: Any) -> list[tuple[Any, Any, Any, bool]]:
    """(evaluator of φ and φ', low z, high z, whether φ is analytic on the line) for each piece of φ."""
    reach = mp.sqrt(2 * mp.dps * mp.log(10)) * mp.mpf("1.1")  # e^{−z²/2} < 10^{−1.2 dps} beyond
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
    return rules


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
    """q*, the variance of the pre-activation, of a vanilla ensemble or of h' = αh + b e + γx + δ.

    Vanilla: q = σ_w² E[φ(e)²] + σ_v² R + σ_b², e ~ N(μ_b, q); theory.md (2), (3). The fixed point that
    `rmtrnn.mean_field` finds, refined by Newton steps with dE[φ²]/dq = E[φ² (z² − 1)]/(2q), which needs no
    derivative of φ. Affine cells: the solution of the linear equations for E[h] and E[h²], centred x.
    An mpmath number with ``dps`` digits.

    Raises ValueError for other cells, and ConvergenceError if the mean field has no finite fixed point or
    Newton's method does not converge (at criticality, where the derivative is 1).

    >>> ens = rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05)
    >>> mpmath.nstr(rt.highprec.fixed_point(ens, dps=30), 20)
    '0.074154593251880958668'
    """
    dps, numbers = check_dps(dps), parameters.describe(ens)
    if isinstance(numbers, parameters.Leaky):
        with mp.workdps(dps + GUARD):
            return _affine_fixed_point(numbers)
    return _fixed_point(ens, dps)


def _affine_fixed_point(numbers: parameters.Leaky) -> Any:
    """E[h'²] = α²Q + b²(q + μ_b²) + γ²R + δ² + 2αE[h](bμ_b + δ) + 2bδμ_b with q = σ_w²c²Q + rest, for q."""
    if numbers.affine is None:
        raise ValueError("ens: q* needs an update αh + b e + γx + δ with centred x and a gate that reads c h")
    (gain, shift), alpha, b, mu = numbers.affine, numbers.alpha, numbers.b, numbers.mu_b
    growth = alpha**2 + (b * numbers.c * numbers.sigma_w) ** 2
    if growth >= 1 or abs(alpha) >= 1:
        raise ConvergenceError(f"fixed_point: E[h²] grows without bound, by {float(growth):.6g} a step")
    push = b * mu + shift
    square = b**2 * (numbers.input_variance + mu**2) + gain**2 * numbers.R + shift**2 + 2 * b * shift * mu
    Q = (square + 2 * alpha * push / (1 - alpha) * push) / (1 - growth)
    return _fraction((numbers.sigma_w * numbers.c) ** 2 * Q + numbers.input_variance)


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
                value, rise = _second_moment(numbers.activation, q, mu)
                turn = 1 - sigma2 * rise / (2 * q)
                if turn == 0:  # every q, or none, is a fixed point
                    break
                step = (q - sigma2 * value - rest) / turn
            q -= step
            if q <= 0:
                break
            if round_ and abs(step) <= mp.mpf(10) ** (-(dps + GUARD) * 2 // 3) * q:
                # the step after next would be below the precision: Newton doubles digits
                value, _ = _second_moment(numbers.activation, q, mu)
                if abs(q - sigma2 * value - rest) <= mp.mpf(10) ** -(dps + 3) * q:
                    return +q
        raise ConvergenceError(
            "fixed_point: Newton's method did not converge; dq'/dq may be 1 here (critical), or q* = 0"
        )


def _second_moment(activation: Activation, q: Any, mu: Any) -> list[Any]:
    """E[φ²] and E[φ² (z² − 1)], e = μ + √q z; closed where φ is piecewise linear."""
    if not activation.is_piecewise_linear:
        return gaussian_average(activation, lambda v, z: [v[0] ** 2, v[0] ** 2 * (z * z - 1)], q, mu, 2)
    root, total = mp.sqrt(q), [mp.mpf(0), mp.mpf(0)]
    for piece in analytic_pieces(activation):
        z_low, z_high = ((exact_number(end) - mu) / root for end in (piece.low, piece.high))
        slope, rest = exact_number(piece.slope), exact_number(piece.phi.subs(piece.symbol, 0))
        a, b = rest + slope * mu, slope * root  # φ = a + b z there
        M = _truncated_moments(z_low, z_high)
        total[0] += a * a * M[0] + 2 * a * b * M[1] + b * b * M[2]
        total[1] += a * a * (M[2] - M[0]) + 2 * a * b * (M[3] - M[1]) + b * b * (M[4] - M[2])
    return total


def _truncated_moments(low: Any, high: Any) -> list[Any]:
    """E[z^k; low < z < high], k = 0 … 4, z standard normal: M_k = (k − 1) M_{k−2} − [z^{k−1} n(z)]."""
    near, far = (low, high) if low > 0 else (-high, -low)
    root = mp.sqrt(2)
    mass = (mp.erfc(near / root) - (mp.erfc(far / root) if mp.isfinite(far) else 0)) / 2
    if not mp.isfinite(near):
        mass = 1 - mp.erfc(far / root) / 2 if mp.isfinite(far) else mp.mpf(1)

    def end(z: Any, k: int) -> Any:
        return z**k * mp.npdf(z) if mp.isfinite(z) else mp.mpf(0)

    M = [mass, end(low, 0) - end(high, 0)]
    for k in (2, 3, 4):
        M.append((k - 1) * M[k - 2] + end(low, k - 1) - end(high, k - 1))
    return M


def chi(ens: Ensemble, dps: int = 50) -> Any:
    """χ, the growth per step of the mean squared singular value; theory.md (5), (6).

    σ_w² E[φ'(e)²] at q* for a vanilla ensemble, α² + σ_w² β² where the Jacobian is α + βW. Raises as
    `fixed_point` does (α + βW needs no fixed point).

    >>> ens = rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05)
    >>> mpmath.nstr(rt.highprec.chi(ens, dps=30), 20)
    '0.97121590993756874479'
    """
    dps, described = check_dps(dps), parameters.describe(ens)
    if isinstance(described, parameters.Leaky):
        with mp.workdps(dps + GUARD):
            return _fraction(described.alpha**2 + (described.sigma_w * described.beta) ** 2)
    q = fixed_point(ens, dps)
    with mp.workdps(dps + GUARD):
        numbers = parameters.vanilla(ens)
        return _fraction(numbers.sigma_w) ** 2 * _slope_moment(numbers.activation, q, _fraction(numbers.mu_b))


def largest_exponent(ens: Ensemble, dps: int = 50) -> Any:
    """Largest Lyapunov exponent ½ log χ, the right edge of the law of lim (log s)/T; theory.md (6), (8).

    As T → ∞ the right edge of s² over T steps grows like χ^T (S(0) = 1/E[x] in (7)). −∞ where χ = 0. ``ens``:
    an `Ensemble` of a vanilla cell, tied or untied. Raises as `fixed_point` does.

    >>> ens = rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05)
    >>> mpmath.nstr(rt.highprec.largest_exponent(ens, dps=30), 20)
    '-0.014603238539824143981'
    """
    parameters.vanilla(ens)
    growth = chi(ens, dps)
    with mp.workdps(check_dps(dps) + GUARD):
        return mp.log(growth) / 2


def _slope_moment(activation: Activation, q: Any, mu: Any) -> Any:
    if q == 0 or activation.is_piecewise_linear:
        return mp.fsum(X * p for X, p in zip(*atoms(activation, q, mu), strict=True))
    return gaussian_average(activation, lambda v, _: [v[1] ** 2], q, mu, 1)[0]


def critical_sigma_w(ens: Ensemble, q: tuple[Any, Any] | None = None, dps: int = 50) -> tuple[Any, Any]:
    """(σ_w, q*) with χ = 1 for the other parameters of an ensemble (its own σ_w is not used).

    Along χ = 1, σ_w² = 1/E[φ'²], so q* solves q = E[φ²]/E[φ'²] + σ_v² R + σ_b²; found by a bracketing secant
    (Illinois) between the two values ``q``. For q* → 0 with σ_v = σ_b = μ_b = 0: σ_w = 1/|φ'(0)|.

    Where the Jacobian is α + βW, σ_w = √(1 − α²)/|β| and q* is ∞: E[h²] then grows at every step; ``q`` is
    not used.

    Raises ValueError if the equation does not change sign on the bracket, or |α| ≥ 1.

    ``ens``: an `Ensemble` of a vanilla cell; ``dps``: correct digits asked for.
    """
    dps, described = check_dps(dps), parameters.describe(ens)
    if isinstance(described, parameters.Leaky):
        if abs(described.alpha) >= 1 or described.beta == 0:
            raise ValueError(f"ens: χ = α² + σ_w² β² = 1 has no σ_w > 0 for α = {described.alpha}")
        with mp.workdps(dps + GUARD):
            return mp.sqrt(_fraction((1 - described.alpha**2) / described.beta**2)), mp.inf
    if q is None:
        raise ValueError("q: two values of q* that bracket the critical one are needed")
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

    ``q``, ``R`` > 0 and ``mu_b``: numbers, texts or fractions; ``dps``: correct digits asked for.
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
