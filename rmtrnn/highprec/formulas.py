"""The equations of this room, each once, for any number type that has + − × / (mpmath, Arb, numpy).

With m(w) = E[X/(w − X)], X = φ'(e)², the T-step law is in the plane of w (theory.md (9), in the form in which
nothing cancels and nothing overflows)

    log λ(w) = log w + (T − 1) log κ(w) + n log(1 + m(w)) + log(scale),    κ = w m/(1 + m),

n = T for Gaussian weights and 0 for orthogonal ones, scale = σ_w^{2T}; ρ(λ) = −Im m/(πλ) (theory.md (10)).

**Which root.** Write w = r e^{iθ}, 0 < θ < π. Im m < 0 in the upper half plane, so arg(1 + m) lies in (−π,
0). κ = w − 1/G with G = E[1/(w − X)], and Im(1/G) ≥ Im w, so arg κ lies in (−π, 0] (0 only if X is
constant). Both logarithms are analytic off [0, sup X], real on w < 0, with bounded imaginary part: −arg κ
and −arg(1 + m) are Poisson integrals ∫ r sin θ/|s − r e^{iθ}|² dν(s) of measures ν ≥ 0 on s > 0. Hence, ν
being that of the sum,

    arg λ/θ = 1 − ∫ (sin θ/θ) r/|s − r e^{iθ}|² dν(s)                                                     (*)

where arg λ = θ + (T − 1) arg κ + n arg(1 + m) with these very arguments. sin θ/θ falls and |s − r e^{iθ}|²
grows with θ, so (*) increases strictly if ν ≠ 0, that is for n ≥ 1 (T = 1 Gaussian too) and for T ≥ 2 with
any X that is not constant. So:

1. On each radius there is at most one θ with arg λ = 0; call it θ*(r), and 0 where there is none.
2. Where arg λ ≥ 0, ∂_θ arg λ > 0, which is Re (d log λ/d log w) > 0. So a level line arg λ = c, 0 ≤ c <
   π, is a graph over r on which log λ increases with r: dlog r = Re(1/F') dlog λ with F' = d log λ/d log w.
3. Therefore log λ maps Ω = {θ > θ*(r)} one-to-one onto a region of the strip 0 < Im < π that holds
   everything far to the right (λ ~ w E[X]^{T−1}·scale there). m of its inverse is analytic there and agrees
   with the M-transform of the T-step law near infinity, where S-transforms define it: it *is* that
   M-transform, up to the boundary.

A point w with Im w > 0, λ(w) = λ real, and the sum of arguments exactly 0 (not −2π, −4π, …) is thus *the*
physical one, M(λ + i0) = m(w). On the real axis off supp X, where κ and 1 + m are positive, θ → 0 in (*)
gives F'(w): if F'(w) > 0 then θ*(w) = 0 and the density at λ(w) is zero. To the right of sup X every term
r/(s − r)² falls with r, so F' increases there: it has one zero, the right edge.

Letters: T, the number of steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Transform(NamedTuple):
    """m(w) = E[X/(w − X)], 1 + m (without cancellation), and the first two derivatives of m."""

    m: Any
    one_plus_m: Any
    d1: Any
    d2: Any


def log_terms(w: Any, f: Transform, log: Callable[[Any], Any]) -> tuple[Any, Any, Any]:
    """log w, log κ, log(1 + m)."""
    return log(w), log(w * f.m / f.one_plus_m), log(f.one_plus_m)


def log_lambda(terms: tuple[Any, Any, Any], T: int, n: int, log_scale: Any) -> Any:
    """log λ(w); see the module's first equation."""
    log_w, log_kappa, log_one_plus_m = terms
    return log_w + (T - 1) * log_kappa + n * log_one_plus_m + log_scale


def slope(w: Any, f: Transform, T: int, n: int) -> Any:
    """F'(w) = d log λ/d log w = T + w m' [(T − 1)/(m (1 + m)) + n/(1 + m)]."""
    return T + w * f.d1 * ((T - 1) / f.m + n) / f.one_plus_m


def slope_derivative(w: Any, f: Transform, T: int, n: int) -> Any:
    """dF'/dw."""
    bracket = (T - 1) / f.m + n
    return (
        (f.d1 + w * f.d2) * bracket
        - w * f.d1 * f.d1 * (T - 1) / (f.m * f.m)
        - w * f.d1 * f.d1 * bracket / f.one_plus_m
    ) / f.one_plus_m


def potential(log_potential: Any, m: Any, log_one_plus_m: Any, T: int, n: int) -> Any:
    """L = E[log(1 − Λ/λ)] = T E[log(1 − X/w)] + (T − 1) log(1 + m) + n (m − log(1 + m)).

    ∫ m d log λ over the w-plane, term by term; P(Λ > λ) = Im L/π.
    """
    return T * log_potential + (T - 1) * log_one_plus_m + n * (m - log_one_plus_m)
