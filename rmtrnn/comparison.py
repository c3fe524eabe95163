"""Theory against sample: distances between the two laws, and a test that knows how rigid spectra are.

Letters: T, the number of steps; u = log s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri, stdtr

from rmtrnn._core import validate as _validate
from rmtrnn._core.records import record
from rmtrnn._core.result import Result, stored
from rmtrnn._core.status import Status
from rmtrnn.cells import VanillaRNN
from rmtrnn.ensemble import Ensemble
from rmtrnn.sampling.sample import Sample
from rmtrnn.spectra.result import Spectrum

# Quantiles at these join the sample's points where the distance is integrated: the tails of the theory.
TAILS = tuple(10.0**-k for k in range(6, 0, -1)) + tuple(1.0 - 10.0**-k for k in range(1, 7))


@dataclass(frozen=True)
class TestSettings:
    """Numbers of the test; tests/test_comparison.py measures its level and its power."""

    __test__ = False  # for pytest: the word is statistics' own

    # Modes cos(kπ F) whose sums are tested, k = 1 … modes: each sees a shift on the scale 1/k of the law.
    modes: int = 6
    # Powers of s² whose means are shown beside the test.
    moments: tuple[int, ...] = (1, 2, 3)
    # Probability that a right theory is rejected.
    level: float = 0.01
    # Finite-N bias of Σ_j cos(kπ F(s_j)) that is granted to a right theory. It is O(1) in N, since the first
    # correction to the law is O(1/N). Measured at N = 64, 60 trials (linear, tanh, erf; T = 1, 4, 16): ≤ 0.8.
    bias: float = 1.0
    # Share of the bias from which the theory's own error, times sN, can decide whether the test passes.
    theory_share: float = 0.1
    # Distance in log s from an atom, relative to 1 + |log s|, within which a singular value belongs to it.
    # Derived: the rounding of an SVD of a thousand rows, with room.
    atom_width: float = 1e-9


TEST = TestSettings()


@record("moment score")
class MomentScore(NamedTuple):
    """k-th moment of s²: theory, sample, standard error of the sample, z = (sample − theory)/error."""

    k: int
    theory: float
    sample: float
    error: float
    z: float


@record("edge score")
class EdgeScore(NamedTuple):
    """Largest or smallest singular value (not 0) beside the edge of the law, all in log s.

    ``edge``: end of the support (−∞: it reaches down to s = 0). ``scale``: that of a square-root edge, where
    ρ(u) ≈ (c/π) √|edge − u|: (cN)^(−2/3), read off the distribution function; 0 at an atom, nan where there
    is no edge. ``sample``, ``error``: mean over trials and its standard error. ``deviation``: (sample −
    edge)/scale; at a square-root edge its mean is −1.2 (largest) or 1.2 (smallest) and one matrix deviates
    from that by 1.3 (Tracy and Widom 1996, β = 1).
    """

    side: str
    edge: float
    scale: float
    sample: float
    error: float
    deviation: float


@stored("comparison")
@dataclass(frozen=True, eq=False)
class Comparison(Result):
    """What `rmtrnn.compare` found; ``str()`` gives a table.

    kolmogorov : largest difference of the distribution functions (all trials pooled).
    wasserstein : ∫ |difference| d(log s) of the laws of log s given s > 0 (all trials pooled).
    zero_mass : share of exact zeros, (theory, sample).
    moments : `MomentScore` of the first moments of s². Their finite-N bias is not allowed for in z.
    modes : mean over trials of Σ_j cos(kπ F(s_j)), k = 1, 2, …, 0 for a right theory up to ``allowance``.
    mode_errors : its standard errors, from the spread over trials.
    p_value : probability of deviations as large as these or larger if the theory is right.
    edges : `EdgeScore` of the smallest and the largest singular value. Not part of the test.
    allowance : what is granted to a right theory: finite-N bias, and sN times the theory's own error.
    level, verdict : "agrees" if p_value > level; "disagrees" if not; "undecided" if p_value > level only
        thanks to the error that the theory states of itself, or if the theory is not converged.
    agrees : verdict == "agrees".
    error, status : of the theory.

    >>> ens = rt.Ensemble("vanilla", sigma_w=0.9, sigma_b=0.2)
    >>> rt.compare(rt.spectrum(ens, T=2), rt.sample(ens, T=2, N=64, trials=8)).agrees
    True
    """

    theory: str
    sample: str
    kolmogorov: float
    wasserstein: float
    zero_mass: tuple[float, float]
    moments: tuple[MomentScore, ...]
    edges: tuple[EdgeScore, ...]
    modes: np.ndarray
    mode_errors: np.ndarray
    allowance: float
    p_value: float
    level: float
    verdict: str
    error: float
    status: Status

    remedies = Spectrum.remedies

    @property
    def agrees(self) -> bool:
        """Whether the theory was found right; False where its own error is too large to decide."""
        return self.verdict == "agrees"

    def __repr__(self) -> str:
        found = f"Kolmogorov distance {self.kolmogorov:.3g}, p = {self.p_value:.3g}"
        return f"<Comparison of {self.theory}: {self.verdict}, {found}>"

    def __str__(self) -> str:
        verdict = _VERDICTS[self.verdict]
        lines = [
            f"theory: {self.theory}",
            f"sample: {self.sample}",
            f"theory {verdict} with the sample: p = {self.p_value:.3g} (level {self.level:g})",
            f"  Kolmogorov distance     {self.kolmogorov:.3e}",
            f"  Wasserstein in log s    {self.wasserstein:.3e}",
            f"  share of exact zeros    {self.zero_mass[0]:.6g} (theory)  {self.zero_mass[1]:.6g} (sample)",
            "  moment of s²      theory        sample      std. error       z",
        ]
        lines += [
            f"  k = {m.k}      {m.theory:14.6g}{m.sample:14.6g}{m.error:14.2g}{m.z:10.2f}"
            for m in self.moments
        ]
        lines.append(
            "  log s             edge        N^(-2/3)      sample        std. error  deviation/scale"
        )
        lines += [
            f"  {e.side:9s}{_cell(e.edge, '14.6g')}{_cell(e.scale, '14.3g')}{_cell(e.sample, '14.6g')}"
            f"{_cell(e.error, '14.2g')}{_cell(e.deviation, '10.2f')}"
            for e in self.edges
        ]
        lines.append(f"  mode        deviation    std. error   (bias allowed: {self.allowance:.3g})")
        for k, (mean, error) in enumerate(zip(self.modes, self.mode_errors, strict=True), start=1):
            lines.append(f"  k = {k}      {mean:12.3g}{error:14.2g}")
        return "\n".join(lines)


def compare(
    spec: Spectrum, mc: Sample, *, level: float = TEST.level, same_network: bool = True
) -> Comparison:
    """Compare the limit law ``spec`` with sampled spectra ``mc`` (at least 2 trials).

    The singular values of one matrix repel each other: linear statistics fluctuate by O(1), not by √N as for
    independent draws, so that textbook Kolmogorov–Smirnov p-values are far too large. The test uses

        y_k = Σ_j cos(kπ F(s_j)),   k = 1, …, 6,      F the theory's distribution function,

    one number per trial, with expectation 0 in a right theory as N → ∞. Their spread is estimated from the
    trials, so that slower fluctuations (of the network's own Q, of the number of zeros) count as well. Two
    kinds of test are made of the mean over trials, less the granted finite-N bias: every y_k alone, Student's
    t with trials − 1 degrees of freedom; and (from 3 trials) the intercept of the regression of y_k, k ≥ 2,
    on y_1, Student's t with trials − 2 (the step-down test of Roy). The second removes what the scale of a
    whole spectrum does from trial to trial, which is most of the variance in finite networks. The p-values
    are combined by Bonferroni with weights that halve from each k to the next, as errors of a smooth theory
    show in the low modes first.

    A theory that passes only because its own error is granted is "undecided", and ``agrees`` is False then.

    The bias granted to Σ_j is 1, plus sN times the error of the theory, plus the expected excess of zeros
    where relu-like steps make them. At an atom cos(kπF) is replaced by its mean over the jump of F.

    Its power is measured by benchmarks/compare_power.py: for tanh, T = 4, N = 512, 16 matrices, σ_w off by
    3 % was rejected in all of 25 samples, the right theory in none.

    ``same_network=False`` allows the law of another ensemble than the sample's, as a negative control or a
    theory under test needs it. Tied and untied vanilla networks have one law and count as the same.
    A law that was not found is "undecided", with distances and a p-value that are nan.

    Raises TypeError for other arguments, ValueError for a single trial, different numbers of steps T,
    different starts Q0, different ensembles (unless ``same_network=False``), or a level outside (0, 1).

    >>> ens = rt.Ensemble("vanilla", sigma_w=1.0, sigma_b=0.3)
    >>> mc = rt.sample(ens, T=2, N=64, trials=8)
    >>> rt.compare(rt.spectrum(ens, T=2), mc).verdict
    'agrees'
    """
    _check_pair(spec, mc, _validate.boolean("same_network", same_network))
    level = _validate.real("level", level, low=0.0, high=1.0, low_open=True, high_open=True)
    if np.isnan(spec.log_s.cdf(0.0)):
        return _undecided(spec, mc, level)
    log_s = _snapped(mc.log_s, spec.log_s.atoms)
    zero_mass = sum(mass for u, mass in spec.log_s.atoms if u == -math.inf)
    below, at = _distribution(spec, log_s)
    return Comparison(
        **_titles(spec, mc),
        kolmogorov=_kolmogorov(spec, log_s.ravel(), below.ravel(), at.ravel()),
        wasserstein=_wasserstein(spec, log_s.ravel(), at.ravel(), zero_mass),
        zero_mass=(zero_mass, float(np.mean(np.isneginf(log_s)))),
        moments=tuple(_moment_score(spec, mc, k) for k in TEST.moments),
        edges=_edges(spec, log_s),
        **_test(spec, below, at, zero_mass, level),
        level=level,
        error=spec.error,
        status=spec.status,
    )


def _test(
    spec: Spectrum, below: np.ndarray, at: np.ndarray, zero_mass: float, level: float
) -> dict[str, Any]:
    """Test the modes of `compare`; ``below``, ``at`` (trials, values): F left of the values and at them."""
    trials, count = at.shape
    sums = np.array([_mode(k, below, at).sum(axis=1) for k in range(1, TEST.modes + 1)])
    granted = count * spec.error
    allowance = TEST.bias + granted + _rank_bias(zero_mass, spec.T, count)
    p_value = _p_value(sums, allowance)
    unaided = _p_value(sums, allowance - granted)
    return {
        "modes": sums.mean(axis=1),
        "mode_errors": sums.std(axis=1, ddof=1) / math.sqrt(trials),
        "allowance": allowance,
        "p_value": p_value,
        "verdict": _verdict(p_value, unaided, level, granted, spec.converged),
    }


def _check_pair(spec: Spectrum, mc: Sample, same_network: bool) -> None:
    """TypeError or ValueError for what cannot be compared."""
    if not isinstance(spec, Spectrum):
        raise TypeError(f"spec: expected an rmtrnn Spectrum, got {type(spec).__name__}")
    if not isinstance(mc, Sample):
        raise TypeError(f"mc: expected an rmtrnn Sample, got {type(mc).__name__}")
    if mc.trials < 2:
        raise ValueError("mc: has 1 trial; must have at least 2, the test needs the spread over trials")
    if spec.T != mc.T:
        raise ValueError(
            f"spec is the law of T = {spec.T} steps, mc a sample of T = {mc.T}: must be the same T"
        )
    if spec.Q0 != mc.Q0:
        raise ValueError(
            f"spec starts from {_start(spec.Q0)}, mc from {_start(mc.Q0)}: must be the same state; Q0= of "
            "rt.spectrum and rt.sample sets it"
        )
    if same_network and not _same_law(spec.ensemble, mc.ensemble):
        raise ValueError(
            f"spec is a law of {spec.ensemble}, mc a sample of {mc.ensemble}: must be the same network; "
            "same_network=False compares them all the same"
        )


def _start(Q0: float | dict[str, float] | None) -> str:
    return "the stationary state" if Q0 is None else f"Q0 = {Q0!r}"


def _same_law(ens: Ensemble, other: Ensemble) -> bool:
    """Whether two ensembles are the same network, or vanilla networks that differ in ``tied`` alone."""
    if isinstance(ens.cell, VanillaRNN) and isinstance(other.cell, VanillaRNN):
        other = other.replace(tied=ens.tied)
    return ens == other


def _titles(spec: Spectrum, mc: Sample) -> dict[str, str]:
    """What is compared, in words."""
    stationary = ", NOT stationary after the burn-in" if mc.stationary is False else ""
    return {
        "theory": f"{spec.ensemble}, T={spec.T}, {spec.method}",
        "sample": f"{mc.ensemble}, T={mc.T}, N={mc.N}, {mc.trials} trials{stationary}",
    }


def _undecided(spec: Spectrum, mc: Sample, level: float) -> Comparison:
    """The comparison with a law that was not found."""
    return Comparison(
        **_titles(spec, mc),
        kolmogorov=math.nan,
        wasserstein=math.nan,
        zero_mass=(math.nan, float(np.mean(np.isneginf(mc.log_s)))),
        moments=(),
        edges=(),
        modes=np.full(TEST.modes, math.nan),
        mode_errors=np.full(TEST.modes, math.nan),
        allowance=math.inf,
        p_value=math.nan,
        level=level,
        verdict="undecided",
        error=spec.error,
        status=spec.status,
    )


_VERDICTS = {
    "agrees": "agrees",
    "disagrees": "does NOT agree",
    "undecided": "can NOT be told apart from its own error and so is NOT shown to agree",
}


def _cell(value: float, form: str) -> str:
    """A number of the table; "-" where there is none."""
    return format(value, form) if math.isfinite(value) else "-".rjust(int(form.split(".")[0]))


def _verdict(p_value: float, unaided: float, level: float, granted: float, converged: bool) -> str:
    """``unaided``: the p-value if nothing is granted for the theory's own error."""
    if p_value <= level:
        return "disagrees"
    needed = unaided <= level and granted > TEST.theory_share * TEST.bias
    return "undecided" if needed or not converged else "agrees"


def _snapped(log_s: np.ndarray, atoms: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Log singular values, those within rounding of an atom moved onto it."""
    snapped = log_s.copy()
    for location, _ in atoms:
        if math.isfinite(location):
            snapped[np.abs(log_s - location) <= TEST.atom_width * (1.0 + abs(location))] = location
    return snapped


def _distribution(spec: Spectrum, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F just below u, and F at u."""
    at = np.asarray(spec.log_s.cdf(u), dtype=float)
    below = at.copy()
    for location, mass in spec.log_s.atoms:
        below[u == location] -= mass
    return np.clip(below, 0.0, 1.0), np.clip(at, 0.0, 1.0)


def _mode(k: int, below: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Mean of cos(kπF) over F from ``below`` to ``at``; cos(kπF) itself where they are equal."""
    half = 0.5 * (at - below)
    return np.cos(0.5 * k * math.pi * (at + below)) * np.sinc(k * half)


def _rank_bias(zero_mass: float, T: int, n: int) -> float:
    """Expected excess of exact zeros, where there is an atom at s = 0.

    J_T has as many zeros as the step with the most of them: the largest of T binomial counts, which exceeds
    their mean by √(n m (1 − m)) times the expected maximum of T normal variables (Blom's approximation).
    """
    return math.sqrt(n * zero_mass * (1.0 - zero_mass)) * float(ndtri((T - 0.375) / (T + 0.25)))


def _p_value(sums: np.ndarray, allowance: float) -> float:
    """Combined p-value of the modes, shape (modes, trials): each alone, and each given the first."""
    count, trials = sums.shape
    mean = sums.mean(axis=1)
    centred = sums - mean[:, None]
    scatter = centred @ centred.T
    weights = 0.5 ** np.arange(count)
    errors = np.sqrt(np.diagonal(scatter) / ((trials - 1) * trials))
    p_values = _tail(mean, errors, allowance, trials - 1)
    if trials >= 3 and scatter[0, 0] > 0.0:
        slope = scatter[1:, 0] / scatter[0, 0]
        rest = np.maximum(np.diagonal(scatter)[1:] - slope * scatter[1:, 0], 0.0)
        errors = np.sqrt(rest / (trials - 2) * (1.0 / trials + mean[0] ** 2 / scatter[0, 0]))
        intercept = mean[1:] - slope * mean[0]
        given_first = _tail(intercept, errors, allowance * (1.0 + np.abs(slope)), trials - 2)
        p_values = np.concatenate([p_values, given_first])
        weights = np.concatenate([weights, weights[:-1]])
    return float(min(1.0, np.min(p_values * (weights.sum() / weights))))


def _tail(mean: np.ndarray, errors: np.ndarray, allowance: float | np.ndarray, freedom: int) -> np.ndarray:
    """Two-sided p-values of Student's t for what exceeds the allowance."""
    excess = np.maximum(np.abs(mean) - allowance, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(excess > 0.0, excess / errors, 0.0)
    return 2.0 * stdtr(freedom, -t)


def _kolmogorov(spec: Spectrum, u: np.ndarray, below: np.ndarray, at: np.ndarray) -> float:
    values = np.sort(u)
    counts = np.searchsorted(values, u, side="right"), np.searchsorted(values, u, side="left")
    distance = max(np.max(np.abs(counts[0] / u.size - at)), np.max(np.abs(counts[1] / u.size - below)))
    for location, mass in spec.log_s.atoms:
        found = np.searchsorted(values, location, side="right") / u.size
        empty = np.searchsorted(values, location, side="left") / u.size
        value = spec.log_s.cdf(location)
        distance = max(distance, abs(found - value), abs(empty - (value - mass)))
    return float(distance)


def _wasserstein(spec: Spectrum, u: np.ndarray, at: np.ndarray, zero_mass: float) -> float:
    """∫ |F_n − F| du given s > 0; between neighbouring points F_n is constant and F taken as linear."""
    finite = np.isfinite(u)
    if not finite.any() or zero_mass >= 1.0:
        return 0.0 if not finite.any() and zero_mass >= 1.0 else math.inf
    tails = spec.log_s.icdf(zero_mass + (1.0 - zero_mass) * np.array(TAILS))
    points = np.concatenate([u[finite], tails])
    order = np.argsort(points, kind="stable")
    points = points[order]
    theory = (np.concatenate([at[finite], spec.log_s.cdf(tails)])[order] - zero_mass) / (1.0 - zero_mass)
    sample = np.cumsum(order < finite.sum()) / finite.sum()
    left, right = sample[:-1] - theory[:-1], sample[:-1] - theory[1:]
    crossing = left * right < 0.0
    size = np.abs(left) + np.abs(right)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(crossing, (left**2 + right**2) / (2.0 * size), 0.5 * size)
    return float(np.sum(mean * np.diff(points)))


def _moment_score(spec: Spectrum, mc: Sample, k: int) -> MomentScore:
    theory, (value, error) = float(spec.moment(k)), mc.moment(k)
    deviation = value - theory
    z = 0.0 if deviation == 0.0 else deviation / error if error > 0.0 else math.copysign(math.inf, deviation)
    return MomentScore(k, theory, value, error, z)


def _edges(spec: Spectrum, log_s: np.ndarray) -> tuple[EdgeScore, ...]:
    """Smallest and largest finite log s of every trial, beside the ends of the law."""
    n = log_s.shape[1]
    ends = [end for interval in spec.log_s.support for end in interval]
    atoms = [location for location, _ in spec.log_s.atoms if math.isfinite(location)]
    if not ends + atoms:
        return ()
    # At a square-root edge the mass beyond edge ∓ (cN)^(−2/3) is 2/(3πN).
    zero_mass = sum(mass for location, mass in spec.log_s.atoms if location == -math.inf)
    share = 2.0 / (3.0 * math.pi * n)
    scores = []
    for side, edge, p in (
        ("smallest", min(ends + atoms), zero_mass + share),
        ("largest", max(ends + atoms), 1.0 - share),
    ):
        scale = abs(float(spec.log_s.icdf(p)) - edge) if math.isfinite(edge) else math.nan
        extremes = _extremes(log_s, side)
        error = extremes.std(ddof=1) / math.sqrt(len(extremes)) if len(extremes) > 1 else math.nan
        sample = extremes.mean() if len(extremes) else math.nan
        deviation = (sample - edge) / scale if scale > 0.0 else math.nan
        scores.append(EdgeScore(side, edge, scale, float(sample), float(error), float(deviation)))
    return tuple(scores)


def _extremes(log_s: np.ndarray, side: str) -> np.ndarray:
    """One value for every trial that has a singular value above 0."""
    found = [row[np.isfinite(row)] for row in log_s]
    choose = np.min if side == "smallest" else np.max
    return np.array([choose(row) for row in found if len(row)])
