"""The one-site law of an ensemble with untied weights: stationary, and as a trajectory over T steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rmtrnn._core import validate as _validate
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.expansion import expansion_of
from rmtrnn.meanfield.result import MeanField
from rmtrnn.meanfield.shortfall import require_stationary
from rmtrnn.meanfield.site_process import SiteProcess, SobolStream, draw_initial, memory, seeds, sorted_by
from rmtrnn.meanfield.solve import mean_field


@dataclass(frozen=True)
class BurnIn:
    """How long a population runs until it is stationary; test_meanfield_settings.py moves all."""

    forgotten: float = 1e-6
    """Share of the initial second moment that is left: below the error of a population of any size here."""
    shortest: int = 32
    """Steps: also the shape of the law has to equilibrate, not only its second moment; empirical."""
    longest: int = 1024
    """Steps: with longer memory the state is a sum of very many small parts, Gaussian about its mean."""


BURN_IN = BurnIn()


class SitePopulation(NamedTuple):
    """Sites with the stationary one-site law: ``state`` (s, n), equal weights.

    ``error`` (s,) is the distance of the population's second moments from the mean field's Q, plus the
    error of that Q.
    """

    state: np.ndarray
    error: np.ndarray
    mean_field: MeanField


class StageSites(NamedTuple):
    """Linearisation (1) of one stage at n sites: a (s_out, s_in, n), b (K, s_out, n), c (K, s_in, n)."""

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray


class SiteTrajectory(NamedTuple):
    """The same n sites followed over T steps.

    ``stages`` lists the T × L stages in time order; ``state`` (s, n) is the state at the end and
    ``initial`` the one at the start. ``error`` (s,) is that of the stationary population at the start.
    """

    stages: tuple[StageSites, ...]
    state: np.ndarray
    initial: np.ndarray
    error: np.ndarray


def site_population(
    ens: Ensemble, n: int = 8192, seed: int = 0, *, field: MeanField | None = None
) -> SitePopulation:
    """A population of n = 2^m sites with the stationary one-site law of the state; docs/theory.md section 4.

    The pre-activations at a site are independent N(μ_b, q_k) at every step, with q_k from the mean field
    (``field``, computed if not given). The state runs from a Gaussian start with the stationary second
    moments through a burn-in that is as long as the memory of the site (at most 1024 steps: with longer
    memory the law is a sum of very many small independent parts, so Gaussian about `_stationary_mean`).

    Raises ConvergenceError if the ensemble has no converged mean field, ValueError unless n is a power of
    two.

    ``ens``: an `Ensemble`; ``seed``: integer, names the sites.
    """
    field = _converged(ens, field)
    n = _validate.integer("n", n, low=2)
    process = SiteProcess(ens, n, seeds(seed, 10, 0))
    q = np.array([field.q_of(name) for name in ens.cell.gates])
    Q = _by_component(ens, field.Q)
    site = draw_initial(seeds(seed, 11, 0), Q, n) if memory(ens.cell) else np.zeros((len(Q), n))
    steps = _burn_in(ens, field)
    if BURN_IN.longest < steps < math.inf:
        mean = _stationary_mean(ens, q, n, seed)
        spread = np.sqrt(np.maximum(Q - mean**2, 0.0) / np.maximum(Q, np.finfo(float).tiny))
        site = mean[:, None] + spread[:, None] * site
    for _ in range(int(min(steps, BURN_IN.longest))):
        site = process.step(site, q).site
    return SitePopulation(site, np.abs(np.mean(site**2, axis=-1) - Q) + field.error, field)


def site_trajectory(
    ens: Ensemble,
    T: int,
    n: int = 8192,
    seed: int = 0,
    *,
    field: MeanField | None = None,
    Q0: np.ndarray | None = None,
) -> SiteTrajectory:
    """The joint law of one site's linearisations over T steps, as n = 2^m sites; docs/theory.md section 4.

    One scrambled Sobol point set in all dimensions at once (start, pre-activations and inputs of every
    step), so that averages over sites of smooth functions of the whole trajectory converge faster than
    1/√n. The start is the stationary state of `site_population`; each of its n/4 sites (512 at least)
    serves several trajectories. Different seeds are independent randomisations.

    Raises ValueError for T < 1 or n not a power of two, ConvergenceError if there is no stationary state.

    ``ens``: an `Ensemble`; ``seed``: integer, names the sites; ``field``: its mean field, if known. ``Q0``
    (s,): the trajectory starts from centred Gaussian components with these second moments instead, and the
    variances (2) of every step are those of the sites themselves; no stationary state is needed.
    """
    T = _validate.integer("T", T, low=1)
    if Q0 is not None:
        return _trajectory_from(ens, T, n, seed, np.asarray(Q0, dtype=float))
    field = _converged(ens, field)
    population = site_population(ens, min(n, max(n // 4, 512)), seed, field=field)
    process = SiteProcess(ens, n, seeds(seed, 12, 0))
    gates = len(ens.cell.gates)
    per_step = gates + 1 if ens.has_normal_biases else 2 * gates + 1
    u = SobolStream(1 + T * per_step, n, seeds(seed, 13, 0)).draw()
    starts = population.state.shape[1]
    order = sorted_by([population.state[i] for i in memory(ens.cell)], starts)
    site = initial = population.state[:, order[np.minimum((u[0] * starts).astype(int), starts - 1)]]
    q = np.array([field.q_of(name) for name in ens.cell.gates])
    stages: list[StageSites] = []
    for step in range(T):
        here = u[1 + step * per_step : 1 + (step + 1) * per_step]
        e = process.pre_activations(q, here[:gates], here[-gates:])
        x = ens.input_quantile(here[gates])
        for stage, chosen in zip(process.numeric.stages, process.slices, strict=True):
            stages.append(StageSites(*stage.linearize(site, x, e[chosen])))
            site = stage.update(site, x, e[chosen])
    return SiteTrajectory(tuple(stages), site, initial, population.error)


def _trajectory_from(ens: Ensemble, T: int, n: int, seed: int, Q0: np.ndarray) -> SiteTrajectory:
    """T steps from centred Gaussian states, at the variances (2) that the sites have at every step."""
    _check_untied(ens)
    process = SiteProcess(ens, n, seeds(seed, 12, 0))
    gates, s = len(ens.cell.gates), len(Q0)
    per_step = gates + 1 if ens.has_normal_biases else 2 * gates + 1
    u = SobolStream(s + T * per_step, n, seeds(seed, 13, 0)).draw()
    site = initial = np.sqrt(Q0)[:, None] * process.normal(u[:s])
    stages: list[StageSites] = []
    for step in range(T):
        here = u[s + step * per_step : s + (step + 1) * per_step]
        x = ens.input_quantile(here[gates])
        inputs = np.zeros(gates)
        for stage, chosen in zip(process.numeric.stages, process.slices, strict=True):
            if chosen.start < chosen.stop:
                inputs[chosen] = np.mean(stage.read(site) ** 2, axis=-1)
            e = process.pre_activations(process.variances(inputs), here[:gates], here[-gates:])[chosen]
            stages.append(StageSites(*stage.linearize(site, x, e)))
            site = stage.update(site, x, e)
    return SiteTrajectory(tuple(stages), site, initial, np.zeros(s))


def _check_untied(ens: Ensemble) -> None:
    if ens.tied and memory(ens.cell):
        raise ValueError(
            "ens: tied = True, but here pre-activations are independent in time; use "
            "rmtrnn.meanfield.tied_sites.tied_trajectories, or ens.replace(tied=False)"
        )


def _converged(ens: Ensemble, field: MeanField | None) -> MeanField:
    _check_untied(ens)
    field = mean_field(ens) if field is None else field
    if field.ensemble != ens:
        raise ValueError(f"field: belongs to another ensemble, {field.ensemble!r}")
    require_stationary(ens, field)
    return field


def _stationary_mean(ens: Ensemble, q: np.ndarray, n: int, seed: int) -> np.ndarray:
    """E[h] (s,) of states that are affine in their past, on n sites with pre-activations of variances ``q``.

    E[h] = (1 − A)^{-1} E[h′ | h = 0], A = ∂E[h′]/∂h. Every term is taken at the same pre-activations, so
    their noise cancels where A is near 1. States that the next step does not read are 0.
    """

    def after(state: np.ndarray) -> np.ndarray:
        process = SiteProcess(ens, n, seeds(seed, 14, 0))
        return process.step(np.broadcast_to(state[:, None], (len(state), n)), q).site.mean(axis=-1)

    kept = list(memory(ens.cell))
    units = np.eye(len(ens.cell.state))
    from_zero = after(np.zeros(len(units)))
    slopes = np.array([after(units[i]) - from_zero for i in kept]).T[kept]
    mean = np.zeros(len(units))
    mean[kept] = np.linalg.solve(np.eye(len(kept)) - slopes, from_zero[kept])
    return mean


def _burn_in(ens: Ensemble, field: MeanField) -> float:
    """Steps after which the start is forgotten, `BurnIn.shortest` at least; inf where it never is."""
    if not memory(ens.cell):
        return 1
    rate = _memory_rate(ens, field)
    if not 0.0 < rate < 1.0:
        return BURN_IN.shortest if rate == 0.0 else math.inf
    return max(math.ceil(math.log(BURN_IN.forgotten) / math.log(rate)), BURN_IN.shortest)


def _memory_rate(ens: Ensemble, field: MeanField) -> float:
    """Decay per step of what a site keeps of its own state: E[a aᵀ] of (1), without the other sites."""
    if expansion_of(ens) is None:
        # Not affine: the slope is that of the whole network, an upper bound where all sites push alike.
        return min(max(field.chi_star, 0.9), 0.99)
    frozen = ens.replace(
        tied=False, sigma_w=dict.fromkeys(ens.cell.gates, 0.0), weights="gaussian", sigma_v=0.0
    )
    variances = {name: math.sqrt(field.q_of(name)) for name in ens.cell.gates}
    return mean_field(frozen.replace(sigma_b=variances)).chi


def _by_component(ens: Ensemble, value: object) -> np.ndarray:
    if isinstance(value, dict):
        return np.array([value[symbol.name] for symbol in ens.cell.state])
    return np.array([value], dtype=float)
