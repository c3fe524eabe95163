"""Singular values of the Jacobians of sampled networks, and results read back from disk.

Letters: N, the number of units; T, the number of steps; p, a probability.
"""

from __future__ import annotations

import math
import os
import platform
import sys
import time
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

from rmtrnn._core import arrays as _arrays
from rmtrnn._core import progress as _progress
from rmtrnn._core import validate as _validate
from rmtrnn._core.records import record
from rmtrnn._core.result import Result, optional, stored
from rmtrnn._core.status import Status
from rmtrnn._core.trials import run_trials
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.result import named
from rmtrnn.meanfield.solve import by_state
from rmtrnn.sampling import burn_in as _burn_in
from rmtrnn.sampling import trial as _trial
from rmtrnn.sampling.random_matrices import DTYPES
from rmtrnn.spectra.result import QUANTILES


@record("estimate")
class Estimate(NamedTuple):
    """A mean over trials and its standard error (nan for a single trial)."""

    value: float
    error: float


class Band(NamedTuple):
    """A value between the ends of a confidence interval."""

    low: float
    value: float
    high: float


@stored("sample")
@dataclass(frozen=True, eq=False)
class Sample(Result):
    """Log singular values of J_T = ∂h^T/∂h^0 of finite random networks. Made by `rmtrnn.sample`.

    ``log_s``: shape (trials, s·N) for a state of s vectors, ascending in every row; −∞ for exact zeros.
    ``ensemble``, ``T``, ``N``; ``provenance``: how it was made (seed, longest burn-in, device, dtype,
    versions, host, wall time; "error" of the worst log s as estimated, and "condition", see `LogProduct`).

    >>> mc = rt.sample(rt.Ensemble("vanilla"), T=2, N=16, trials=3)
    >>> mc.log_s.shape
    (3, 16)
    """

    log_s: np.ndarray
    ensemble: Ensemble
    T: int
    N: int
    provenance: dict[str, Any] = field(repr=False)

    @property
    def trials(self) -> int:
        """Number of independent networks."""
        return len(self.log_s)

    @property
    def Q0(self) -> float | dict[str, float] | None:
        """E[h²] of the state that the T steps start from, by state name if several; None: after a burn-in."""
        second = self.provenance.get("Q0")
        return None if second is None else named([symbol.name for symbol in self.ensemble.cell.state], second)

    @property
    def stationary(self) -> bool | None:
        """Whether all networks were stationary when their Jacobian started; None if ``burn_in`` was given."""
        return self.provenance.get("stationary")

    @property
    def s(self) -> np.ndarray:
        """The singular values, shape (trials, s·N), ascending in every row; they may underflow to 0."""
        with np.errstate(over="ignore", under="ignore"):
            return np.exp(self.log_s)

    def cdf(self, s: Any) -> Any:
        """Share of all singular values at or below s, for numbers or arrays: beside ``Spectrum.cdf``."""
        with np.errstate(divide="ignore", invalid="ignore"):
            u = np.log(np.asarray(s, dtype=float))
        found = np.searchsorted(np.sort(self.log_s, axis=None), u, side="right") / self.log_s.size
        return np.where(np.isnan(u), np.where(np.isnan(s), np.nan, 0.0), found)[()]

    def icdf(self, p: Any) -> Any:
        """The value of ``quantile``, for numbers or arrays: beside ``Spectrum.icdf``."""
        p = np.asarray(p, dtype=float)
        return np.reshape([self.quantile(one).value for one in p.ravel()], p.shape)[()]

    def moment(self, k: int) -> Estimate:
        """(1/sN) tr (J Jᵀ)^k, k ≥ 0: mean over trials and standard error; ∞ beyond the range of doubles."""
        k = _validate.integer("k", k, low=0)
        top = self.log_s.max() if k else 0.0
        if math.isinf(top):
            return over_trials(np.zeros(self.trials))
        with np.errstate(invalid="ignore", under="ignore"):
            powers = np.exp(2 * k * (self.log_s - top)) if k else np.ones_like(self.log_s)
        scaled = over_trials(powers.mean(axis=1))
        with np.errstate(over="ignore"):
            scale = float(np.exp(2 * k * top))
        return Estimate(scaled.value * scale, scaled.error * scale)

    def quantile(self, p: float) -> Estimate:
        """Smallest s with a fraction ≥ p of the singular values at or below it: mean and error."""
        with np.errstate(over="ignore", under="ignore"):
            return over_trials(np.exp(self._quantiles(p)))

    def log_quantile(self, p: float) -> Estimate:
        """The same for log s, which neither over- nor underflows; −∞ (error nan) if s = 0 in any trial."""
        return over_trials(self._quantiles(p))

    def band(self, p: float, coverage: float = 0.95) -> Band:
        """Interval for the `log_quantile` of a network: mean ∓ Student's t times the standard error.

        The mean over networks of size N lies in it with probability ``coverage`` (in (0, 1)), trials being
        independent. Raises ValueError for a single trial.
        """
        coverage = _validate.real("coverage", coverage, low=0.0, high=1.0, low_open=True, high_open=True)
        if self.trials < 2:
            raise ValueError("band: has 1 trial; must have at least 2, the spread over trials is the width")
        value, error = self.log_quantile(p)
        half = float(stdtrit(self.trials - 1, 0.5 + 0.5 * coverage)) * error
        return Band(value - half, value, value + half)

    @property
    def largest(self) -> Estimate:
        """Largest log s: mean over trials and standard error. `rmtrnn.compare` sets it beside the edge."""
        return over_trials(self.log_s[:, -1])

    @property
    def smallest(self) -> Estimate:
        """Smallest log s, −∞ (error nan) if s = 0 in any trial."""
        return over_trials(self.log_s[:, 0])

    def _quantiles(self, p: float) -> np.ndarray:
        p = _validate.real("p", p, low=0.0, high=1.0)
        width = self.log_s.shape[1]
        return self.log_s[:, max(math.ceil(p * width) - 1, 0)]

    @property
    def status(self) -> Status:
        """CONVERGED: a sample is what it is. ``stationary`` says whether the networks were stationary."""
        return Status.CONVERGED

    @property
    def error(self) -> float:
        """Largest estimated rounding error of a log s; nan where it was not estimated."""
        return float(self.provenance.get("error", math.nan))

    @property
    def message(self) -> str:
        """Whether the networks were stationary and, if not, what to try."""
        if self.stationary is False:
            return "the networks were not stationary when their Jacobian started; try a larger burn_in="
        return "sampled"

    def to_dict(self) -> dict[str, Any]:
        """Moments of s², quantiles of log s, each with its standard error, and how the sample was made."""
        return {
            "ensemble": self.ensemble.to_dict(),
            "T": self.T,
            "N": self.N,
            "trials": self.trials,
            "converged": self.converged,
            "message": self.message,
            "log_quantiles": {f"{p:g}": self.log_quantile(p)._asdict() for p in QUANTILES},
            "moments": {str(k): self.moment(k)._asdict() for k in (1, 2)},
            "provenance": self.provenance,
        }

    def to_pandas(self) -> Any:
        """The table of all singular values: trial, rank from the smallest, log s, s."""
        trials, width = self.log_s.shape
        columns = {
            "trial": np.repeat(np.arange(trials), width),
            "rank": np.tile(np.arange(width), trials),
            "log_s": self.log_s.ravel(),
            "s": self.s.ravel(),
        }
        return optional("pandas").DataFrame(columns)

    def to_xarray(self) -> Any:
        """All singular values as a Dataset over trials and ranks: log s, s. Needs xarray."""
        arrays = {name: (("trial", "rank"), getattr(self, name)) for name in ("log_s", "s")}
        return optional("xarray").Dataset(arrays, attrs={"ensemble": repr(self.ensemble), "T": self.T})

    def _parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        meta = {"ensemble": self.ensemble.to_dict(), "T": self.T, "N": self.N, "provenance": self.provenance}
        return meta, {"log_s": self.log_s}

    @classmethod
    def restore(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Sample:
        """Build the sample again from what `save` wrote (`rmtrnn.load` calls this)."""
        ensemble = Ensemble.from_dict(meta["ensemble"])
        return cls(arrays["log_s"], ensemble, meta["T"], meta["N"], meta["provenance"])

    def __repr__(self) -> str:
        return f"<Sample of {self.ensemble}, T={self.T}, N={self.N}, {self.trials} trials>"


def sample(
    ens: Ensemble,
    T: int,
    N: int = 1024,
    trials: int = 8,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "float64",
    progress: bool | _progress.Report | None = None,
    executor: Executor | None = None,
    checkpoint: str | Path | None = None,
    *,
    burn_in: int | None = None,
    Q0: float | Mapping[str, float] | None = None,
) -> Sample:
    """Sample random networks of N units and return the singular values of their T-step Jacobians.

    Every trial draws a network, starts it from N(0, 1) entries, runs ``burn_in`` steps with fresh inputs, and
    accumulates J_T of (1) by `rmtrnn.sampling.products.LogProduct`: all singular values have high relative
    accuracy, whatever T. Trial i depends on (seed, i) only, not on the number of workers.

    ens : `Ensemble`. ``ens.tied`` says whether W, V, b are drawn once (tied) or anew at every step.
    T, N, trials : integers ≥ 1; seed : integer ≥ 0
    device : "auto" (CUDA if CuPy sees a device, else the CPU), "cpu", "cuda".
    dtype : "float64", or "float32" for the network and its products: ``provenance["error"]`` tells.
    progress : None, True for a bar on standard error, or a callable (done, total, label).
    executor : any `concurrent.futures.Executor` (docs/cluster.md). None and dead workers: run here.
    checkpoint : a folder; each finished trial is written there, and a later call with the same arguments
        takes it from there. ``trials`` may differ: a longer run continues a shorter one.
    burn_in : steps before the Jacobian starts. None: eight of the mean field's time scales, and at least four
        times as long as the mean of h² drifts; 500 at least and 16,000 at most (none where the Jacobian does
        not depend on the state). ``Sample.stationary`` is False where that was not enough.
    Q0 : number ≥ 0, or mapping by state name: the Jacobian starts at independent centred Gaussian entries
        with E[h²] = Q0, without a burn-in, as in `rmtrnn.spectrum`. None: after the burn-in.

    Raises TypeError or ValueError naming a bad argument, among them an N beyond the memory and a checkpoint
    of other arguments; RuntimeError for a missing GPU.

    >>> mc = rt.sample(rt.Ensemble("minimal", sigma_w=3.0, R=0.5), T=2, N=32, trials=2, burn_in=20)
    >>> mc.log_s.shape
    (2, 32)
    """
    _validate.instance("ens", ens, Ensemble)
    trials = _validate.cost("trials", _validate.integer("trials", trials, low=1), 1e-3)
    parameters = _parameters(ens, T, burn_in, Q0, N=N, seed=seed, device=device, dtype=dtype)
    start = time.perf_counter()
    rows = run_trials(
        _trial.sample_trials,
        parameters,
        trials,
        executor=executor,
        checkpoint=checkpoint,
        report=_progress.reporter(progress),
        label="sample",
        together=_trial.side_by_side(ens, parameters["N"]),
    )
    log_s, found = _trial.table(rows)
    made = {key: value for key, value in parameters.items() if key not in ("ensemble", "T", "N")}
    made |= {**found, "wall_time_s": time.perf_counter() - start, **host()}
    return Sample(log_s, ens, parameters["T"], parameters["N"], made)


def _parameters(
    ens: Ensemble, T: int, burn_in: int | None, Q0: float | Mapping[str, float] | None, **own: Any
) -> dict[str, Any]:
    """What every trial depends on, checked: of a stationary Jacobian, or of one from a start Q0."""
    parameters = {"T": _validate.cost("T", _validate.integer("T", T, low=1), 1e-4)}
    second = by_state("Q0", Q0, [symbol.name for symbol in ens.cell.state], low=0.0)
    if second is None:
        return parameters | trial_parameters(ens, burn_in=burn_in, **own)
    if burn_in:
        raise ValueError(f"burn_in = {burn_in!r}, Q0 = {Q0!r}: a Jacobian from a start Q0 has no burn-in")
    return parameters | trial_parameters(ens, burn_in=0, **own) | {"Q0": second.tolist()}


def trial_parameters(
    ens: Ensemble, *, N: int, seed: int, burn_in: int | None, device: str, dtype: str
) -> dict[str, Any]:
    """What every trial of a network depends on, checked, in plain JSON types."""
    parameters = {
        "ensemble": ens.to_dict(),
        "N": _validate.integer("N", N, low=1),
        "seed": _validate.integer("seed", seed, low=0),
        "burn_in": _burn_in.plan(ens)
        if burn_in is None
        else {
            "steps": _validate.cost("burn_in", _validate.integer("burn_in", burn_in, low=0), 1e-4),
            "stationary": None,
        },
        "device": _arrays.resolve_device(device),
        "dtype": _validate.choice("dtype", dtype, DTYPES),
    }
    _trial.check_size(ens, parameters)
    return parameters


def over_trials(values: np.ndarray) -> Estimate:
    count = len(values)
    with np.errstate(invalid="ignore"):
        error = values.std(ddof=1) / math.sqrt(count) if count > 1 else math.nan
    return Estimate(float(values.mean()), float(error))


def host() -> dict[str, Any]:
    """What a reader needs to repeat a run: versions and kind of machine, no names of hosts."""
    versions = {"python": platform.python_version()}
    for name in ("rmtrnn", "numpy", "scipy", "sympy", "cupy"):
        if name in sys.modules:
            versions[name] = sys.modules[name].__version__
    return {"versions": versions, "host": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"}
