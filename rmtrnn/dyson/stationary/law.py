"""From an ensemble to the law of its Lyapunov exponents: how many sites, which period, and the path.

Letters: L, the period in steps; s, components of the state.
"""

from __future__ import annotations

import math
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rmtrnn._core.status import ConvergenceError, Status
from rmtrnn.dyson.stationary.edge import representative
from rmtrnn.dyson.stationary.exponents import Path, follow
from rmtrnn.dyson.stationary.sites import SiteSteps, tied_steps, untied_steps
from rmtrnn.ensemble import Ensemble
from rmtrnn.laws.quantile_law import QuantileLaw
from rmtrnn.meanfield.further_sites import further_growth
from rmtrnn.meanfield.growth import single_replica_mean_field
from rmtrnn.meanfield.periodic_process import GROUPS, Readings
from rmtrnn.meanfield.shortfall import Shortfall, shortfall_of
from rmtrnn.meanfield.tied_field import TiedField, tied_field, tied_growth
from rmtrnn.meanfield.tied_sites import power_of_two_above


@dataclass(frozen=True)
class StationarySettings:
    """How much work a law is. Empirical: they set cost against the error, which is measured.

    ``shortest``, ``longest``: period in steps that is chosen. ``left``: share of the autocovariance of what
    the gates read that may be left after half a period. ``work``: sites times numbers of a response; 2^21
    takes a minute or less. ``reserve``: sites that are drawn times numbers of what is inverted at each.
    ``most``: sites drawn. ``field``: sites of the tied mean field.
    """

    shortest: int = 32
    longest: int = 128
    left: float = 0.1
    work: int = 2**21
    reserve: int = 2**32
    most: int = 2**14
    field: int = 8192


SETTINGS = StationarySettings()


NUMBERS = ("unstable_fraction", "entropy_rate", "kaplan_yorke", "mean")  # of a law of exponents


class StationaryLaw(NamedTuple):
    """The law, its error, that of its upper end and of `NUMBERS`, how the solves ended, and why."""

    law: QuantileLaw
    error: float
    largest_error: float
    errors: dict[str, float]
    status: Status
    cause: str


def stationary_law(
    ens: Ensemble,
    period: int | None,
    sites: int | None,
    seed: int,
    tolerance: float | None = None,
    executor: Executor | None = None,
) -> StationaryLaw:
    """Law of the exponents of a gated network, tied or not, by `exponents.follow`.

    ``tolerance``: relative, of the largest exponent.

    Raises ConvergenceError without a stationary state, ValueError where no gate reads the
    state, and for tied weights where it dies out.
    """
    field = tied_field(ens, None, SETTINGS.field, seed) if ens.tied else None
    if field is not None and field.status is Status.DIVERGED:
        raise ConvergenceError(f"{ens}: {Status.DIVERGED.message}")
    if field is not None and field.state is None:
        raise ValueError(
            f"ens: the state of {ens.cell.name!r} dies out, so that every step has the same Jacobian; the "
            "exponents are logarithms of its eigenvalues: use rt.eigenvalue_curve(ens), or "
            "rt.sample_lyapunov(ens, N, steps)"
        )
    L = _period(field) if period is None else period
    n, drawn = _sites(ens, L, sites)
    top = _largest(ens, field, seed, tolerance, executor)
    whole = representative(_draw(ens, field, L, drawn, seed), n, top.value)
    half = representative(_draw(ens, field, L // 2, drawn, seed + 1), n, top.value)
    if not top.collective:
        top = _Largest(whole.largest, whole.error, False)
    path = follow(whole.steps, half.steps, top.value)
    law, short = _law(path, top.value), Shortfall() if field is None else shortfall_of(field)
    status = short.status if path.converged else Status.MAX_ITERATIONS
    # ½ log χ moves by half the relative change of the squares it is the growth of.
    largest_error = top.error + 0.5 * short.error
    errors = _number_errors(path, law, largest_error)
    return StationaryLaw(law, law.error + short.error, largest_error, errors, status, short.cause)


def _draw(ens: Ensemble, field: TiedField | None, L: int, n: int, seed: int) -> SiteSteps:
    steps = untied_steps(ens, L, n, seed) if field is None else tied_steps(ens, field, L, n, seed)
    if len(steps.reading) == 0:
        raise ValueError(
            f"ens: no recurrent weights of {ens.cell.name!r} change the state, so that every unit is a "
            "network of its own; use rt.sample_lyapunov(ens, N, steps)"
        )
    return steps


class _Largest(NamedTuple):
    """The largest exponent of the mean field and its error.

    ``collective``: whether differences of all sites together grow like it, and not those of few sites with a
    long memory: `tied_growth.Growth.site_limited`.
    """

    value: float
    error: float
    collective: bool


def _largest(
    ens: Ensemble, field: TiedField | None, seed: int, tolerance: float | None, executor: Executor | None
) -> _Largest:
    """½ log χ; of tied weights to ``tolerance`` where further sites can do that."""
    if field is None:
        return _Largest(0.5 * math.log(single_replica_mean_field(ens).chi), 0.0, True)
    growth, error = tied_growth(field, seed)
    own, chi = growth.converged and not growth.site_limited, growth.chi
    if tolerance is not None:
        wanted = tolerance * chi * abs(math.log(chi))
        chi, error = further_growth(field, growth, error, seed, wanted, executor)
    return _Largest(0.5 * math.log(chi), 0.5 * error / chi, own)


def _period(field: TiedField | None) -> int:
    """A power of two, twice the time after which the readings of the gates have forgotten."""
    if field is None or field.state is None:
        return SETTINGS.shortest
    lags = field.state.sites.nodes.covariance(field.state.spectra.values)
    decaying = np.abs(lags - lags[:, -1:])
    left = np.any(decaying > SETTINGS.left * np.maximum(decaying[:, :1], 1e-300), axis=0)
    memory = int(np.flatnonzero(left)[-1]) + 1 if left.any() else 1
    return min(max(power_of_two_above(2 * memory), SETTINGS.shortest), SETTINGS.longest)


def _sites(ens: Ensemble, L: int, sites: int | None) -> tuple[int, int]:
    """Sites that are used, and those that they are chosen from."""
    readings, s = Readings.of(ens), len(ens.cell.state)
    numbers = max(readings.count, 1) * max(int(np.sum(readings.of_gate >= 0)), 1) * L**2
    n = max(_power_of_two_below(SETTINGS.work // numbers), 4 * GROUPS) if sites is None else sites
    reserve = min(SETTINGS.reserve // (s * L) ** 3, SETTINGS.most)
    return n, n * max(1, _power_of_two_below(reserve // n))


def _law(path: Path, largest: float) -> QuantileLaw:
    """The quantile law through the points of the path that are in order, and its upper end."""
    mu, level = _in_order(path, largest)
    if len(mu) < 3:
        raise ConvergenceError("the shares of exponents are out of order by their errors; try more sites")
    unknown = float(level[0])  # mass below the path, of which only the size is known
    return QuantileLaw(level, mu, largest, max(float(path.error.max()), unknown))


def _in_order(path: Path, largest: float) -> tuple[np.ndarray, np.ndarray]:
    """Rising rates and shares of exponents below them."""
    mu, above = path.mu[::-1], path.above[::-1]
    good = (mu < largest) & (above > 0.0) & (above < 1.0)
    mu, level = mu[good], 1.0 - above[good]
    rising = np.append(True, level[1:] > np.maximum.accumulate(level)[:-1])[: len(level)]
    return mu[rising], level[rising]


def _number_errors(path: Path, law: QuantileLaw, error: float) -> dict[str, float]:
    """Errors of `NUMBERS`: what they become if all shares and the upper end are off by their errors at once.

    All are monotone in the shares above each rate, so that the two laws at the ends bound them. What the
    cubic between points adds is a third of what becomes of it between every other one: its error falls with
    the square of their distance or faster.
    """
    exact = _numbers(law)
    off = np.max(
        [
            np.abs(_numbers_of(_moved(path, sign, error), law.largest + sign * error) - exact)
            for sign in (1.0, -1.0)
        ],
        axis=0,
    )
    every_other = Path(path.mu[::2], path.above[::2], path.error[::2], path.residual, path.converged)
    coarse = np.abs(_numbers_of(every_other, law.largest) - exact) / 3.0
    return dict(zip(NUMBERS, (off + coarse).tolist(), strict=True))


def _moved(path: Path, sign: float, error: float) -> Path:
    """All shares and rates off by their errors."""
    return path._replace(mu=path.mu + sign * error, above=path.above + sign * path.error)


def _numbers_of(path: Path, largest: float) -> np.ndarray:
    """`NUMBERS` of the law through a path; infinite where too few points are in order."""
    mu, level = _in_order(path, largest)
    return _numbers(QuantileLaw(level, mu, largest, 0.0)) if len(mu) > 2 else np.full(len(NUMBERS), np.inf)


def _numbers(law: QuantileLaw) -> np.ndarray:
    return np.array([getattr(law, name) for name in NUMBERS])


def _power_of_two_below(number: int) -> int:
    return 1 << (max(number, 1).bit_length() - 1)
