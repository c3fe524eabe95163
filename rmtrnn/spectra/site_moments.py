"""First two moments of the T-step Jacobian of a gated network, by a recursion over the law of one site.

Write X_ℓ = J_ℓ J_ℓᵀ for the product of the first ℓ stages, J_ℓ = (A + Σ_k B_k W_k C_k) J_{ℓ−1} (theory.md
(1)). As N → ∞ the diagonal block of X at a site converges to x, a function of that site's trajectory, and the
block between two sites i ≠ j is centred, of size 1/√N, with N E[X_ij ⊗ X_ij] → V_ij. With fresh weights of
variance σ_k² at each stage both are closed:

    x ← a x aᵀ + Σ_k σ_k² g_k b_k b_kᵀ,          g_k = E[c_kᵀ x c_k]
    V_ij ← (a ⊗ a) V_ij (a ⊗ a)ᵀ + Σ_k σ_k² (b_k b_kᵀ ⊗ a ξ_k aᵀ + a ξ_k aᵀ ⊗ b_k b_kᵀ)
           + Σ_kl σ_k² σ_l² η_kl b_k b_kᵀ ⊗ b_l b_lᵀ
    ξ_k(j) = x c_k c_kᵀ x + E_i[c_kᵀ V_ij c_k],    η_kl = E[(c_kᵀ x c_l)²] + E_ij[c_k c_kᵀ : V_ij : c_l c_lᵀ]

For Haar weights η_kk loses g_k²: an orthogonal matrix conserves tr (C X Cᵀ)², and its diagonal has its share.
Other bi-invariant weights add κ g_k², κ = E[X²] − 2 the fourth cumulant of W/σ with W Wᵀ/σ² ~ X.
Then m_1 = E[tr x]/s and m_2 = (E[tr x²] + E_ij[tr ⊗ tr V_ij])/s, s the dimension of the site-state. The
density of the spectrum is nowhere used, so this is an independent check of the Dyson equation.

Letters: T, the number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache

import numpy as np

from rmtrnn._core import validate as _validate
from rmtrnn.dyson.pencil import Chain, Stage
from rmtrnn.dyson.sites.trajectory import untied_stages
from rmtrnn.ensemble import Ensemble
from rmtrnn.laws.moments import Moments
from rmtrnn.meanfield import MeanField
from rmtrnn.meanfield.expansion import is_closed
from rmtrnn.meanfield.first_moment import advance
from rmtrnn.meanfield.growth import single_replica_mean_field
from rmtrnn.spectra import minimal_rnn
from rmtrnn.spectra.vanilla_moments import has_free_factors, vanilla_moments


class _Pairs:
    """V_ij as a sum of products over pairs of sites, one group of terms for each past stage:

    V = Σ_r v_r (β_r β_rᵀ ⊗ α_r + α_r ⊗ β_r β_rᵀ) + Σ_rs η_rs β_r β_rᵀ ⊗ β_s β_sᵀ,   v_r = σ_r².
    """

    def __init__(self, dimension: int, weights: np.ndarray) -> None:
        self.weights = weights
        self.beta = np.zeros((0, dimension, len(weights)))
        self.alpha = np.zeros((0, dimension, dimension, len(weights)))
        self.v = np.zeros(0)
        self.eta = np.zeros((0, 0))

    def step(self, a: np.ndarray) -> None:
        """V ← (a ⊗ a) V (a ⊗ a)ᵀ."""
        self.beta = np.einsum("pqn,rqn->rpn", a, self.beta)
        self.alpha = np.einsum("pqn,rqtn,utn->rpun", a, self.alpha, a, optimize=True)

    def add(self, b: np.ndarray, alpha: np.ndarray, v: np.ndarray, eta: np.ndarray) -> None:
        """Add the terms born at one stage."""
        old, new = len(self.v), len(v)
        self.beta, self.alpha = np.concatenate([self.beta, b]), np.concatenate([self.alpha, alpha])
        self.v = np.concatenate([self.v, v])
        grown = np.zeros((old + new, old + new))
        grown[:old, :old], grown[old:, old:] = self.eta, eta
        self.eta = grown

    def rescale(self, factor: float) -> None:
        """V ← V/factor² (β is left as it is)."""
        self.alpha = self.alpha / factor**2
        self.eta = self.eta / factor**2

    def averages(self, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """E[(c_kᵀ β_r)²] and E[c_kᵀ α_r c_k], both of shape (K, R)."""
        inputs = np.einsum("kpn,rpn->krn", c, self.beta)
        alpha = np.einsum("kpn,rpqn,kqn,n->kr", c, self.alpha, c, self.weights, optimize=True)
        return inputs**2 @ self.weights, alpha

    def contract_one(self, beta2: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        """E_i[c_kᵀ V_ij c_k] as (K, s, s, n), from the averages of one stage's c."""
        outer = beta2 @ self.eta + alpha * self.v
        return np.einsum("kr,rpqn->kpqn", beta2 * self.v, self.alpha) + np.einsum(
            "kr,rpn,rqn->kpqn", outer, self.beta, self.beta, optimize=True
        )

    def contract_two(self, beta2: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        """E_ij[c_k c_kᵀ : V_ij : c_l c_lᵀ] as (K, K)."""
        mixed = (beta2 * self.v) @ alpha.T
        return mixed + mixed.T + beta2 @ self.eta @ beta2.T

    def trace(self) -> float:
        """E_ij[tr ⊗ tr V_ij]."""
        beta2 = np.sum(self.beta**2, axis=1) @ self.weights
        alpha = np.einsum("rppn,n->r", self.alpha, self.weights)
        return float(2 * np.sum(self.v * beta2 * alpha) + beta2 @ self.eta @ beta2)


def chain_moments(stages: Iterable[Stage], weights: np.ndarray | None = None) -> tuple[float, float]:
    """(log m_1, m_2/m_1²) of the product of a chain of stages over one population of sites.

    ``weights`` of the sites sum to 1 (equal by default). See the module's docstring for the recursion. The
    cost grows as the square of the number of stages. A product that is zero gives (−∞, nan). Raises
    ValueError if there is no stage.
    """
    x = w = pairs = None
    log_scale = 0.0
    for stage in stages:
        if x is None or w is None or pairs is None:
            dimension, sites = stage.a.shape[1:]
            w = np.full(sites, 1.0 / sites) if weights is None else np.asarray(weights, dtype=float)
            x = np.repeat(np.eye(dimension)[:, :, None], sites, axis=2)
            pairs = _Pairs(dimension, w)
        x = _step(stage, x, pairs)
        size = float(np.einsum("ppn,n->", x, w)) / len(x)
        if size == 0.0:
            return -math.inf, math.nan
        x = x / size
        pairs.rescale(size)
        log_scale += math.log(size)
    if x is None or w is None or pairs is None:
        raise ValueError("stages: a chain needs at least one stage")
    ratio = (float(np.sum(x**2, axis=(0, 1)) @ w) + pairs.trace()) / len(x)
    return log_scale, ratio


def fourth_cumulants(stage: Stage) -> list[float]:
    """E[X²] − 2 of the law X of W Wᵀ/σ² of each gate: 0 for Gaussian, −1 for Haar weights."""
    return [
        law.spread - 1.0 if law is not None else -float(orthogonal)
        for law, orthogonal in zip(stage.singular, stage.orthogonal, strict=True)
    ]


def _step(stage: Stage, x: np.ndarray, pairs: _Pairs) -> np.ndarray:
    """Advance V in place by one stage and return the new x."""
    a, b, c = stage.a, stage.b, stage.c
    v = np.asarray(stage.sigma2, dtype=float)
    xc = np.einsum("pqn,kqn->kpn", x, c)
    cross = np.einsum("kpn,lpn->kln", c, xc)
    g = np.einsum("kkn,n->k", cross, pairs.weights)
    beta2, alpha = pairs.averages(c)
    xi = np.einsum("kpn,kqn->kpqn", xc, xc) + pairs.contract_one(beta2, alpha)
    eta = cross**2 @ pairs.weights + pairs.contract_two(beta2, alpha)
    eta = eta + np.diag([fourth * one**2 for fourth, one in zip(fourth_cumulants(stage), g, strict=True)])
    pairs.step(a)
    pairs.add(b, np.einsum("pqn,kqtn,utn->kpun", a, xi, a, optimize=True), v, np.outer(v, v) * eta)
    return advance(x, (a, b), (a, b), v * g)


def second_moment(
    ens: Ensemble,
    T: int,
    *,
    sites: int = 2**13,
    replicates: int = 4,
    seed: int = 0,
    field: MeanField | None = None,
    Q0: np.ndarray | None = None,
) -> Moments:
    """First two moments of s² of the T-step Jacobian, for any T, without its density.

    Gated cells: the recursion of this module over populations of ``sites`` sites (a power of two), averaged
    over ``replicates`` independent ones; ``error`` is the standard error between them. The cost grows as T².
    Vanilla cells: theory.md (11), Var(s²) = m_1² T (μ_2/μ_1² − 1 − s_1) with m_1 = χ^T, μ_k = E[φ'^{2k}] and
    s_1 = −1 (Gaussian) or 0 (orthogonal). ``field`` is the mean field if it is known already. ``Q0`` (s,): T
    steps from a centred Gaussian state with these second moments, by the recursion for every cell.

    Raises ValueError for tied weights in a gated cell (the recursion needs fresh weights at every step),
    `ConvergenceError` if there is no stationary state.

    ``ens``: an `Ensemble`; ``seed``: integer, names the sites.

    >>> moments = rt.spectra.second_moment(rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0), T=3)
    >>> round(float(np.exp(moments.log_m1)), 2)      # χ³ = 0.149
    0.15
    """
    T = _validate.integer("T", T, low=1)
    if has_free_factors(ens) and Q0 is None:
        return vanilla_moments(ens, T)
    if ens.tied:
        raise ValueError(
            "ens: tied = True, but the recursion needs fresh weights at every step; "
            "use spectrum(ens, T).moment(2), or ens.replace(tied=False)"
        )
    replicates = _validate.integer("replicates", replicates, low=2)
    if field is None and Q0 is None:
        field = single_replica_mean_field(ens)
    chains = (
        untied_stages(ens, T, sites, seed + replicate, field=field, Q0=Q0) for replicate in range(replicates)
    )
    values = np.array([chain_moments(chain) for chain in chains])
    mean, spread = values.mean(axis=0), values.std(axis=0, ddof=1) / math.sqrt(replicates)
    return Moments(float(mean[0]), float(mean[1]), (float(spread[0]), float(spread[1])))


def known_moments(ens: Ensemble, T: int, Q0: np.ndarray | None = None) -> Callable[[int], Moments | None]:
    """How to find the first k = 1 or 2 moments of s² of J_T without its density, each when it is asked for.

    For k = 1 the ratio may be nan. The recursions here need fresh weights: of the tied ones of a gated cell
    both moments come from `moments_of_long_chain`, or the result is None. ``Q0`` as in `second_moment`.
    """

    @cache  # the same for k = 1 and 2
    def of_long_chain() -> Moments | None:
        from rmtrnn.dyson.tied.law import moments_of_long_chain

        return moments_of_long_chain(ens, T) if Q0 is None else None

    def first(k: int) -> Moments | None:
        if not has_recursion(ens):
            return of_long_chain()
        if Q0 is not None:  # a tied vanilla network has the moments of an untied one
            return second_moment(ens.replace(tied=False), T, Q0=Q0)
        return first_moment(ens, T) if k == 1 else exact_moments(ens, T)

    return first


def has_recursion(ens: Ensemble) -> bool:
    """Whether `first_moment` and `exact_moments` apply: vanilla cells, or fresh weights.

    Not one step with tied weights either: the state at which it is taken is that of the two-time mean field.
    """
    return has_free_factors(ens) or not ens.tied


def first_moment(ens: Ensemble, T: int, *, sites: int = 2**13, replicates: int = 4, seed: int = 0) -> Moments:
    """log m_1 of s² of the T-step Jacobian with fresh weights; its ``ratio`` is nan.

    χ^T, theory.md (6), for cells of one state component that is closed in its moments; else the recursion of
    site-averaged J Jᵀ over populations of sites, with the standard error between them. The cost is linear
    in T.
    """
    if has_free_factors(ens):
        return vanilla_moments(ens, T)
    field = single_replica_mean_field(ens)
    if is_closed(ens):
        return _power(field, T)
    logs = [
        Chain(untied_stages(ens, T, sites, seed + replicate, field=field)).log_mean
        for replicate in range(replicates)
    ]
    spread = float(np.std(logs, ddof=1)) / math.sqrt(replicates)
    return Moments(float(np.mean(logs)), math.nan, (spread, math.nan))


def exact_moments(ens: Ensemble, T: int) -> Moments:
    """Both moments by the best route there is for fresh weights.

    The closed recursion of `rmtrnn.spectra.minimal_rnn` for the minimalRNN, else `second_moment`, with
    m_1 = χ^T where that is exact.
    """
    if has_free_factors(ens):
        return vanilla_moments(ens, T)
    field = single_replica_mean_field(ens)
    if minimal_rnn.applies(ens):
        m_1, m_2 = minimal_rnn.moments_of(ens, field, T)
        if m_1[-1] > 0.0 and math.isfinite(m_2[-1]):
            return Moments(math.log(m_1[-1]), float(m_2[-1] / m_1[-1] ** 2))
    sampled = second_moment(ens.replace(tied=False), T)
    if not is_closed(ens):
        return sampled
    return Moments(_power(field, T).log_m1, sampled.ratio, (0.0, sampled.error[1]))


def _power(field: MeanField, T: int) -> Moments:
    """m_1 = χ^T."""
    return Moments(T * math.log(field.chi) if field.chi > 0 else -math.inf, math.nan)
