"""critical: how to initialise a network so that the mean squared singular value of J_T neither grows nor
decays, with the least spread over T steps.

Vanilla cells (closed form): σ_w² = 1/E[φ'²], σ_v² = (q − σ_w² E[φ²] − σ_b²)/R, e ~ N(μ_b, q). Of the
states q whose 5–95 % range of s lies in ``band`` the largest is taken: smaller ones are closer to an
isometry but pass less of the input. Where none does, as always for Gaussian weights, isometry is out of
reach: ``message`` says so, and the point is the largest q whose variance is within 1 % of the infimum.

minimalRNN (closed form, theory.md (17)): σ_w² = κ/((Q + R) E[u'²]), Q = R E[(1−u)²]/κ, κ = 1 − E[u²],
σ_v² = (q − σ_w² Q − σ_b²)/R. Of the (q, μ_b) in bounds the one with the least variance of s² at T, among
states that are stable, reached from any start, and carried by at least 1/64 of the sites: see
`rmtrnn.criticality.closed_form`. The variance grows at least as 2κ(1 − κ)T, so a wide range of s is the
rule.

Any other cell, or where ``free`` is given (solve): χ = 1 by the first free parameter; along further ones
the least variance of s² at T. Where χ = 1 has several solutions the one with the least variance is taken.

Letters: q, the variance of a pre-activation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from rmtrnn._core import validate as _validate
from rmtrnn._core.progress import Report, shown
from rmtrnn._core.result import Result, stored
from rmtrnn._core.status import ConvergenceError, Status
from rmtrnn.cells import Cell, MinimalRNN, VanillaRNN
from rmtrnn.criticality.closed_form import (
    FAMILY,
    FamilyPoint,
    minimal_point,
    vanilla_point,
)
from rmtrnn.criticality.root_search import TOLERANCE, NoCriticalPointError, free_parameters, solve
from rmtrnn.ensemble import Ensemble
from rmtrnn.isometry_report import Isometry, isometry
from rmtrnn.meanfield import MeanField, mean_field
from rmtrnn.meanfield.growth import single_replica_mean_field, stable_states
from rmtrnn.meanfield.result import timescale
from rmtrnn.meanfield.tied_result import is_equal_to_untied

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Critical", "NoCriticalPointError", "critical"]

BAND = (0.9, 1.1)
SCALES = {"sigma_w": (1e-2, 20.0)}  # what is free where nothing else is said
QUICK_STEPS = 8  # up to which the spectrum of a gated cell takes seconds


class NotMeasuredError(RuntimeError):
    """Raised where a number needs a spectrum that takes minutes or more; ``measure()`` computes it."""


@stored("critical point")
@dataclass(frozen=True, repr=False, eq=False)
class Critical(Result):
    """A critical point and what it achieves. Made by `rmtrnn.critical`.

    Attributes
    ----------
    ensemble, T
    band : the wanted 5–95 % range of s
    method : "closed form" or "solve"
    chi : χ_1, computed anew from the ensemble's parameters; 1 to 1e-8
    chi_error : how far chi may be off; more than rounding only where it is sampled (LSTM, user cells)
    field : mean field of the ensemble; chi_star and timescale are its. Where two input sequences differ
        (Sigma < 1), chi_star < 1 and the time scale is finite also here; with equal inputs they are 1 and inf
    message : what limits the point, in words
    measured : the `Isometry` of J_T, None until `measure` was called

    ``isometry``, ``variance`` (of s²), ``condition_number`` and ``isometric`` come from the spectrum, never
    assumed from chi = 1. They call `measure` where that takes seconds: vanilla cells, and T ≤ 8; otherwise
    they raise `NotMeasuredError` until `measure` was called. Printing a point computes nothing.

    >>> point = rt.critical("vanilla", T=10, R=0.46)
    >>> round(point.chi, 9)
    1.0
    """

    ensemble: Ensemble
    T: int
    band: tuple[float, float]
    method: str
    chi: float
    chi_error: float
    field: MeanField
    message: str = ""  # pyright: ignore[reportIncompatibleMethodOverride]
    measured: Isometry | None = None

    @property
    def status(self) -> Status:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How the mean field was found."""
        return self.field.status

    @property
    def error(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Estimated error of chi."""
        return self.chi_error

    @property
    def chi_star(self) -> float:
        """χ at the fixed point c* of the correlation."""
        return self.field.chi_star

    @property
    def timescale(self) -> float:
        """−1/log χ_{c*} in steps."""
        return self.field.timescale

    def measure(self, *, progress: bool | Report | None = None) -> Isometry:
        """Compute the spectrum of J_T at this point, on the first call, and return how isometric it is."""
        if self.measured is None:
            object.__setattr__(self, "measured", isometry(self.ensemble, self.T, progress=progress))
        return cast(Isometry, self.measured)

    @property
    def is_quick(self) -> bool:
        """Whether `measure` takes seconds: a vanilla cell, or few steps."""
        return isinstance(self.ensemble.cell, VanillaRNN) or self.T <= QUICK_STEPS

    @property
    def isometry(self) -> Isometry:
        """What the spectrum of J_T is at this point."""
        if self.measured is None and not self.is_quick:
            raise NotMeasuredError(
                f"the spectrum of {self.ensemble.cell.name!r} at T = {self.T} was not computed, which may "
                "take minutes or hours: call measure(progress=True) first"
            )
        return self.measure()

    @property
    def variance(self) -> float:
        """Variance of s² over T steps."""
        return self.isometry.variance.value

    @property
    def condition_number(self) -> float:
        """s_max/s_min of the limit law."""
        return self.isometry.condition_number.value

    @property
    def isometric(self) -> bool:
        """Whether the 5–95 % range of s lies in the band."""
        return self.isometry.within(self.band)

    def plot(self, ax: Axes | None = None, **options: Any) -> Axes:
        """Draw ``isometry`` by `rmtrnn.plotting.plot_isometry`; returns the axes."""
        return self.isometry.plot(ax=ax, **options)

    def _compared(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return replace(self, measured=None)._parts()

    def __repr__(self) -> str:
        return f"<Critical point {self.ensemble}, T={self.T}, chi={self.chi!r}, {self.method}>"

    def __str__(self) -> str:
        low, high = self.band
        lines = [
            f"Critical point ({self.method}): chi = {self.chi:.12g}, time scale {self.timescale:.4g} steps"
        ]
        if self.measured is None:
            lines += [f"  {self.ensemble}, T = {self.T}", "  spectrum not computed yet: measure() does"]
        else:
            verdict = "meets" if self.measured.within(self.band) else "does not meet"
            lines += [str(self.measured), f"  the 5–95 % range of s {verdict} [{low:g}, {high:g}]"]
        lines += [] if self.converged else [f"  mean field: {self.status.message}"]
        return "\n".join([*lines, f"  {self.message}"] if self.message else lines)


def critical(
    cell: str | Cell,
    T: int,
    weights: str | Mapping[str, str] = "orthogonal",
    R: float = 1.0,
    *,
    q: float | tuple[float, float] | None = None,
    mu_b: float | Mapping[str, float] | tuple[float, float] | None = None,
    band: tuple[float, float] = BAND,
    free: Mapping[str, Any] | None = None,
    progress: bool | Report | None = None,
    **parameters: Any,
) -> Critical:
    """A critical initialisation for T steps: χ_1 = 1, and the singular values of J_T as close to 1 as can be.

    >>> cp = rt.critical("vanilla", T=20, weights="orthogonal", R=0.46)
    >>> round(cp.chi, 9), cp.isometric
    (1.0, True)

    Vanilla cells: a closed form; the minimalRNN: theory.md (17). Others, or given ``free``: a search.
    The text of `rmtrnn.criticality.point` has the equations, and how one of many points is chosen.

    Parameters
    ----------
    cell : as for `Ensemble`; T : int ≥ 1
    weights, R, and ``parameters`` sigma_w, sigma_v, sigma_b, Sigma, tied, input_law : as for `Ensemble`. The
        closed forms find sigma_w and sigma_v themselves. With tied weights χ is that of the tied network
        (solve; for vanilla cells both are equal); among several points with χ = 1 the variance of s² with
        untied weights chooses.
    q : number, or (low, high): of closed forms, the variance of the pre-activation, or bounds on it
    mu_b : number or mapping by gate, default 0; for the minimalRNN also (low, high), default (−4, 8)
    band : (low, high), 0 < low < 1 < high
    free : {parameter: (low, high)} or {parameter: {gate: (low, high)}}, optional
        At most three of sigma_w, sigma_v, mu_b, sigma_b, solved in this order. Default: sigma_w in
        (0.01, 20) for all gates.
    progress : None, True, or callable (done, total, label)

    Returns a `Critical`. Raises TypeError or ValueError for bad arguments, among them `NoCriticalPointError`
    where no point in the bounds has χ = 1, with the side (ordered or chaotic) on which the cell is.
    """
    T = _validate.cost("T", _validate.integer("T", T, low=1), 1e-9)
    R, band = _validate.real("R", R, low=0.0), _band(band)
    base = Ensemble(cell, weights=weights, R=R, mu_b=_start(mu_b), **parameters)
    closed = _closed_form_of(base)
    if free is None and closed is not None:
        _refuse_scales(parameters)
        with shown(progress):
            return _closed_form(closed, base, T, band, q, mu_b)
    if q is not None:
        raise ValueError(f"q = {q!r}: only closed forms take it; use free with sigma_v or sigma_b")
    if isinstance(mu_b, tuple):
        raise ValueError(f"mu_b = {mu_b!r}: bounds belong in free, as {{'mu_b': (low, high)}}")
    with shown(progress):
        chosen, chi, error = solve(base, free_parameters(base, SCALES if free is None else free), T)
        field = _field(chosen)
        short = "" if field.converged else f"the mean field did not converge: {field.message}"
        message = "; ".join(filter(None, (short, _other_states(chosen), _silent(chosen))))
        return Critical(
            chosen, T, band, "solve", chi, error + (field.residual if short else 0.0), field, message
        )


def _field(ens: Ensemble) -> MeanField:
    """The mean field of a critical point found by search.

    With untied weights and no input, equal replicas stay equal, and at χ = 1 others approach them slower
    than geometrically: c* = 1 is known, while iterating populations of replicas towards it has no end.
    """
    if ens.tied or not _silent(ens):
        return mean_field(ens)
    one = single_replica_mean_field(ens)
    if one.method != "transfer operator":
        return one
    ones = dict.fromkeys(one.c_star, 1.0) if isinstance(one.c_star, Mapping) else 1.0
    return replace(one, c_star=ones, C_star=one.Q, timescale=float(timescale(one.chi_star)))


def _closed_form_of(base: Ensemble) -> Callable[..., FamilyPoint] | None:
    """The closed form of a cell: for untied weights, Gaussian or orthogonal, and Gaussian pre-activations."""
    if base.tied and not is_equal_to_untied(base):
        return None
    if not (base.has_normal_biases and base.has_library_weights):
        return None
    return {VanillaRNN: vanilla_point, MinimalRNN: minimal_point}.get(type(base.cell))


def _refuse_scales(parameters: Mapping[str, Any]) -> None:
    for name in ("sigma_w", "sigma_v"):
        if name in parameters:
            raise ValueError(
                f"{name} = {parameters[name]!r}: the closed form finds it; leave it out, or use free"
            )


def _closed_form(
    closed: Callable[..., FamilyPoint],
    base: Ensemble,
    T: int,
    band: tuple[float, float],
    q: Any,
    mu_b: Any,
) -> Critical:
    if base.R == 0.0:
        raise ValueError(
            "R = 0.0: the closed form sets q through the inputs; must be > 0, or name what is free"
        )
    point = closed(
        base, T, band, _interval("q", q, FAMILY.q, 0.0), _interval("mu_b", mu_b, FAMILY.mu_b, -math.inf)
    )
    state = mean_field(point.ensemble)
    if not state.converged or abs(state.chi - 1.0) > TOLERANCE:
        raise ConvergenceError(
            f"the closed form {point.ensemble!r} is not the state that the network reaches: "
            f"χ = {state.chi!r}, {state.message}. There is another one; try another q or mu_b"
        )
    error = abs(state.chi - 1.0) + state.residual
    return Critical(point.ensemble, T, band, "closed form", state.chi, error, state, point.message)


def _other_states(ens: Ensemble) -> str:
    """A warning where the network has another stable state beside the critical one; else nothing."""
    others = [(Q, chi) for Q, chi in stable_states(ens) if abs(chi - 1.0) > TOLERANCE]
    if not others:
        return ""
    listed = ", ".join(f"E[h²] = {Q:.4g} with χ = {chi:.4g}" for Q, chi in others)
    return f"the network has another stable state ({listed}): which one it is in depends on where it starts"


def _silent(ens: Ensemble) -> str:
    """A warning where nothing drives the network; else nothing."""
    driven = ens.R > 0 and any(ens.gate(gate).sigma_v > 0 for gate in ens.cell.gates)
    return "" if driven else "the gates do not read the input: give sigma_v > 0 for a network that does"


def _start(mu_b: Any) -> Any:
    """The μ_b of the ensemble that a search starts from."""
    return 0.0 if mu_b is None or isinstance(mu_b, tuple) else mu_b


def _band(band: Any) -> tuple[float, float]:
    if not isinstance(band, tuple | list) or len(band) != 2:
        raise TypeError(f"band = {band!r}: expected a pair (low, high)")
    low = _validate.real("band[0]", band[0], low=0.0, high=1.0, low_open=True, high_open=True)
    return low, _validate.real("band[1]", band[1], low=1.0, low_open=True)


def _interval(name: str, value: Any, default: tuple[float, float], least: float) -> tuple[float, float]:
    """(low, high), equal for a number."""
    if value is None:
        return default
    if not isinstance(value, tuple):
        number = _validate.real(name, value, low=least, low_open=True)
        return number, number
    if len(value) != 2:
        raise ValueError(f"{name} = {value!r}: expected a number or a pair (low, high)")
    low, high = (_validate.real(name, end, low=least, low_open=True) for end in value)
    if low > high:
        raise ValueError(f"{name} = {value!r}: must have low ≤ high")
    return low, high
