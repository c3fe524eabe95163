"""initialize: the parameters of a random network that let its state feel the inputs of the last T steps best.

Letters: T, the number of steps; N, the number of units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rmtrnn._core import validate as _validate
from rmtrnn._core.progress import Report, shown
from rmtrnn._core.result import Result, stored
from rmtrnn._core.status import ConvergenceError, Status
from rmtrnn.cells import GRU, Cell, Leaky, VanillaRNN
from rmtrnn.cells.classes import require_one_class
from rmtrnn.ensemble import Ensemble
from rmtrnn.initialisation.closed_form import chrono_bias, forgetting_rate, vanilla_place
from rmtrnn.initialisation.layouts import draw_arrays
from rmtrnn.initialisation.networks import NetworkBatch, Points, Size
from rmtrnn.initialisation.quantiles import sampled_quantiles
from rmtrnn.initialisation.search import EFFORT, Effort, Found, Problem, search
from rmtrnn.initialisation.sensitivity import (
    MOST_STEPS,
    Sensitivity,
    Settings,
    assembled,
    mean_squares,
    spaced_lags,
)
from rmtrnn.initialisation.space import Space, build_space
from rmtrnn.initialisation.tied import MeanSquares
from rmtrnn.initialisation.time_scales import carrying_gates

QUICK = Settings(sites=512, longest=32, N=64, trials=16, quantile_N=32, quantile_trials=1, quantile_lags=7)


@stored("initialisation plan")
@dataclass(frozen=True, eq=False)
class Plan(Result):
    """An initialisation, and what it buys. Made by `rmtrnn.initialize`.

    Attributes
    ----------
    ensemble, T
    profile : `Sensitivity` of h^T to the input and to the state k steps back, k = 0 … T
    smallest : smallest root mean square sensitivity to the input over the lags 0 … T, as the search saw it in
        the draw that it fitted; ``profile.smallest`` is that of other networks (LSTM, T = 10: half as large)
    typical : geometric mean of the singular values over T steps, of the components that slow units carry
    growth : largest root mean square singular value over the lags
    limits : what the answer runs into, in words
    output : second moment E[h²] of the last state component, what a layer above reads
    gain : relative gain of ``smallest`` in the last iterations, what a longer search would at least buy
    evaluations : points that were looked at
    method : "closed form" or "search"
    status : CONVERGED; MAX_ITERATIONS if the search would have gone on, or if the mean field of the profile
        did not converge; NO_SOLUTION if no point within the bounds meets the limits of the singular values
        and the spreads (the answer is then the closest)
    error : relative error of the profile
    """

    ensemble: Ensemble
    T: int
    profile: Sensitivity
    smallest: float
    typical: float
    growth: float
    output: float
    limits: tuple[str, ...]
    gain: float
    evaluations: int
    method: str
    status: Status
    error: float

    @property
    def message(self) -> str:
        """How the search ended, what limits the answer, and what a longer search would buy."""
        gained = f"its last iterations gained {100 * self.gain:.2g} %"
        early = f"the search ended early: {gained}, and a larger effort= goes on"
        ended = {
            Status.CONVERGED: "converged",
            Status.MAX_ITERATIONS: early,
            Status.NO_SOLUTION: "no point within the bounds meets all limits; this one is closest: widen "
            "bounds=, or free what fix= keeps",
        }[self.status]
        limited = "; limited by " + ", ".join(self.limits) if self.limits else ""
        if not self.profile.converged:
            ended = f"the profile of this point: {self.profile.message}"
        return ended + limited

    def arrays(
        self,
        layout: str = "torch",
        *,
        input_size: int,
        hidden_size: int,
        rng: int | np.random.Generator | None = None,
    ) -> dict[str, np.ndarray]:
        """Draw the parameters of one layer as plain arrays in the order of a framework.

        layout : "torch" (`weight_ih_l0`, …: rows stacked by gate), "keras" (`kernel`, `recurrent_kernel`,
        `bias`:
            columns stacked by gate) or "flax" (one kernel and bias for each gate).
        input_size, hidden_size : numbers of inputs and units
        rng : seed or generator; None draws fresh ones

        V is N(0, σ_v²/input_size). For the GRU all three compute the variant whose reset gate acts after the
        product; see `rmtrnn.initialisation.layouts`. Raises ValueError for cells that a framework does not
        have.
        """
        return draw_arrays(self.ensemble, layout, input_size, hidden_size, rng)

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw the profile by `rmtrnn.plotting.plot_sensitivity`; returns the axes."""
        return self.profile.plot(ax=ax, **options)

    def __repr__(self) -> str:
        return f"<Plan {self.ensemble}, T={self.T}, smallest sensitivity {self.smallest:.3g}>"

    def __str__(self) -> str:
        gates = self.ensemble.cell.gates
        rows = [f"Initialisation of {self.ensemble.cell.name!r} for {self.T} steps ({self.method})"]
        rows.append(f"  {'gate':<8}{'mu_b':>10}{'sigma_b':>10}{'sigma_w':>10}{'sigma_v':>10}")
        for gate in gates:
            law = self.ensemble.gate(gate)
            mean = f"{law.mu_b:10.4g}{law.sigma_b:10.4g}" if law.bias_law.is_scaled else f"{'see below':>20}"
            rows.append(f"  {gate:<8}{mean}{law.sigma_w:10.4g}{law.sigma_v:10.4g}")
        rows += [f"  {line}" for line in _bias_notes(self.ensemble)]
        rows.append(
            f"  smallest sensitivity to the last {self.T} inputs: {self.profile.smallest:.3g} "
            "(root mean square)"
        )
        rows.append(
            f"  singular values over {self.T} steps: typical {self.typical:.3g}, rms ≤ {self.growth:.3g}"
        )
        return "\n".join([*rows, f"  {self.message}"])


def _bias_notes(ens: Ensemble) -> list[str]:
    """The laws of biases of two values, and of those that copy another gate's."""
    notes = []
    for gate in ens.cell.gates:
        law = ens.gate(gate).bias_law
        if law.kind == "discrete":
            values = " and ".join(
                f"{value:.4g} at {100 * mass:.3g} % of the units"
                for value, mass in zip(law.values, law.masses, strict=True)
            )
            notes.append(f"biases of {gate!r}: {values}")
        elif law.source:
            notes.append(f"biases of {gate!r}: {'minus ' if law.sign < 0.0 else ''}those of {law.source!r}")
    return notes


def initialize(
    cell: str | Cell,
    T: int,
    *,
    N: int | None = None,
    R: float = 1.0,
    weights: str | Mapping[str, str] = "orthogonal",
    tied: bool = True,
    bias: float | Mapping[str, float] | None = None,
    fix: Mapping[str, Any] | None = None,
    bounds: Mapping[str, Any] | None = None,
    effort: Effort = EFFORT,
    progress: bool | Report | None = None,
) -> Plan:
    """Find the parameters whose smallest sensitivity to the inputs of the last T steps is largest.

    Maximises min_k E[(∂h^T/∂x^{T−k})²] over 0 ≤ k ≤ T (see `rmtrnn.initialisation.search`), under three
    limits: the typical singular value of the slow units over T steps is ≥ 0.1 and the root mean square one
    of all units ≤ 1; every pre-activation has a standard deviation ≤ 1 over the units with the same bias; a
    gate that does not set what is carried has a mean in [−1, 1], one that does a mean in ±(log T + 1); cells
    with such a gate have σ_w ≤ 1.

    Tied networks have two time scales (`rmtrnn.initialisation.time_scales`): the gates
    that set what is carried have the bias 0 at a quarter of the units, which answer at once, and the one that
    is searched at the others, which remember. A gate that writes what another one keeps (i of an LSTM) has
    minus the bias of that one at every unit. Fixing σ_b or μ_b of such gates, or bounds for a writing gate,
    turns this off for them; ``bounds={"fast": 0.0}`` gives all units the same time scale.

    Vanilla cells have a closed form (theory.md (5), χ = 1); other
    cells are searched with networks of 48 units, the same random numbers at all points. The profile is that
    of `sensitivity`, for T > 32 by sampled networks; ``rt.sensitivity(plan.ensemble, T)`` has smaller errors
    and takes longer.

    Parameters
    ----------
    cell : as for `Ensemble`
    T : int from 1 to 20,000
    N : width of the network, 8 to 1024; the search uses networks of this width, None: 48 units
    R, weights, tied : as for `Ensemble`
    bias : mean of the biases to keep, the same as ``fix={"mu_b": bias}``
    fix : parameters to keep: {"sigma_w": 1.0, "mu_b": {"u": 3.0}}, names mu_b, sigma_w, sigma_v, sigma_b
    bounds : {name: (low, high)} or {name: {gate: (low, high)}}; "s": (typical, root mean square) for the band
        of the singular values, "spread": largest standard deviation of a pre-activation, "fast": share of
        the fast units, 0 ≤ fast < 1
    effort : numbers of the search, `Effort`
    progress : None, True, or callable (done, total, label)

    Returns a `Plan`, always: look at its ``status`` and ``message``. The same arguments give the same plan.
    For ``"gru_reset_after"`` σ_v of gate "c" is kept at 0, since its input part is gate "i".
    Raises TypeError or ValueError for bad arguments.

    >>> plan = rt.initialize("vanilla", T=20)
    >>> plan.method, plan.converged
    ('closed form', True)
    """
    T = _validate.integer("T", T, low=1, high=MOST_STEPS)
    if N is not None:
        N = _validate.integer("N", N, low=8, high=1024)
    base = Ensemble(cell, R=R, weights=weights, tied=tied)
    require_one_class(base.cell, "rt.critical, or a plan for each class")
    space = build_space(base, T, _kept(base.cell, fix, bias), {} if bounds is None else bounds)
    with shown(progress):
        place = vanilla_place(space, T) if isinstance(base.cell, VanillaRNN) else None
        if place is None:
            found, method = search(space, T, _usual(space, T), effort, N), "search"
        else:
            problem = Problem(space, T, effort)
            found, method = problem.found(place, 0.0, True, 1), "closed form"
        ens = space.ensemble(found.x)
        return _planned(space, T, ens, found, method, effort)


def _kept(
    cell: Cell, fix: Mapping[str, Any] | None, bias: float | Mapping[str, float] | None
) -> dict[str, Any]:
    """``fix`` with the bias in it, and what PyTorch's GRU has not."""
    kept = {} if fix is None else dict(fix)
    if bias is not None:
        if "mu_b" in kept:
            raise ValueError("bias: the means are in fix['mu_b'] already; give one of the two")
        kept["mu_b"] = bias
    if cell == GRU(reset_after=True) and not isinstance(kept.get("sigma_v"), int | float):
        kept["sigma_v"] = {"c": 0.0} | dict(kept.get("sigma_v", {}))
    return kept


def _usual(space: Space, T: int) -> list[np.ndarray]:
    """The usual recipes as starts: chrono biases of either sign, weights of gain 1, inputs of gain 0.7."""
    base, carrying = space.base, carrying_gates(space.base.cell)
    found = []
    for sign in (1.0, -1.0):
        means = {gate: sign * chrono_bias(T) * (gate in carrying) for gate in base.cell.gates}
        found.append(space.place(base.replace(mu_b=means, sigma_w=1.0, sigma_v=0.7 * space.spread)))
    return found


def _planned(space: Space, T: int, ens: Ensemble, found: Found, method: str, effort: Effort) -> Plan:
    violated = [name for name, slack in found.slack.items() if slack < -effort.tolerance]
    if violated or not math.isfinite(found.value):
        status = Status.NO_SOLUTION
    else:
        status = Status.CONVERGED if found.finished else Status.MAX_ITERATIONS
    profile = _profile(ens, T)
    if status is Status.CONVERGED and not profile.converged:
        status = Status.MAX_ITERATIONS
    return Plan(
        ensemble=ens,
        T=T,
        profile=profile,
        smallest=math.exp(0.5 * found.value),
        typical=math.exp(min(found.slack["typical"], 700.0)) * space.s[0],
        growth=math.exp(min(-found.slack["growth"], 700.0)) * space.s[1],
        output=_output(ens, T),
        limits=tuple(_limits(space, T, found, effort)),
        gain=math.expm1(0.5 * min(found.gain, 700.0)),
        evaluations=found.evaluations,
        method=method,
        status=status,
        error=profile.error,
    )


def _output(ens: Ensemble, T: int) -> float:
    """E[h²] of the last state component, over the units and the last T steps of one network."""
    squares = [np.mean(state[-1] ** 2) for state in NetworkBatch(ens, T).states(Points.of(ens))]
    return float(np.mean(squares))


def _limits(space: Space, T: int, found: Found, effort: Effort) -> list[str]:
    """What the best point runs into."""
    words = {
        "typical": f"the typical singular value ({space.s[0]:g} over {T} steps)",
        "growth": f"the growth (root mean square singular value {space.s[1]:g})",
    }
    limits = [
        words.get(name, f"the {name} ({space.spread:g})")
        for name, slack in found.slack.items()
        if slack < effort.tolerance
    ]
    limits += space.at_bound(found.x)
    cell = space.base.cell
    if isinstance(cell, Leaky) and cell.options["delta"] > 2.0 * forgetting_rate(T):
        limits.append(
            f"delta = {cell.options['delta']:g} of the cell: rt.Leaky(delta={forgetting_rate(T):.3g}) "
            f"forgets at the best rate 1/(T + 1)"
        )
    return limits


def _profile(ens: Ensemble, T: int) -> Sensitivity:
    """The sensitivities, with errors that suit the time a user waits; networks where theory has no answer."""
    lags = spaced_lags(T, QUICK.quantile_lags)
    found = sampled_quantiles(ens, lags, QUICK.quantile_N, QUICK.quantile_trials, 0)
    try:
        squares = mean_squares(ens, T, QUICK.sites, 0, QUICK)
    except ConvergenceError:
        squares = _observed(ens, T)
    return assembled(ens, T, squares, found, QUICK)


def _observed(ens: Ensemble, T: int) -> MeanSquares:
    """Mean squares of one network, without an error: the state is not stationary."""
    batch = NetworkBatch(ens, T, 0, replace(Size(), looks=0))
    seen = batch.observe(Points.of(ens), np.arange(T + 1))
    to_input, to_state = np.exp(seen.log_input[:, 0]), np.exp(seen.log_state[:, 0])
    unknown = np.full(T + 1, np.nan)
    return MeanSquares(to_input, to_state, unknown, unknown, "networks", Status.DIVERGED)
