"""Singular values of the Jacobians of sampled networks, and results read back from disk."""

from __future__ import annotations

import importlib
import math
import os
import platform
import sys
import time
from bisect import bisect_right
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sympy
from scipy.special import stdtrit

from rmtrnn._core import arrays as _arrays
from rmtrnn._core import progress as _progress
from rmtrnn._core import storage as _storage
from rmtrnn._core import validate as _validate
from rmtrnn._core.trials import run_trials
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield import mean_field
from rmtrnn.meanfield.expansion import expand
from rmtrnn.sampling.network import LONGEST, Networks
from rmtrnn.sampling.products import LogProduct
from rmtrnn.sampling.products.log_product import longest_group
from rmtrnn.sampling.products.side_by_side import LogProducts
from rmtrnn.sampling.random_matrices import DTYPES

# In front of the log singular values of a trial: condition and error of the product, steps of burn-in, and
# whether the state was stationary after them (nan: not asked).
_HEADER = 4
# Burn-in: so many time scales of the mean field; so many steps where that is infinite.
TIME_SCALES, WITHOUT_LIMIT = 8.0, 500
# Arrays of the size of J that the product and its factorisations hold at once.
MATRICES = 9
# Trials run side by side, of networks with a J up to this width; with J split side by side up to these.
TOGETHER, NARROW, SMALL = 64, 128, {"cpu": 32, "cuda": 64}
# Widest matrix for cuSOLVER's SVD by CuPy: beyond 18,900 its workspace size overflows (cupy issue 7611).
LARGEST_SVD = 18_000


class Estimate(NamedTuple):
    """A mean over trials and its standard error (nan for a single trial)."""

    value: float
    error: float


class Band(NamedTuple):
    """A value between the ends of a confidence interval."""

    low: float
    value: float
    high: float


@dataclass(frozen=True)
class Sample:
    """Log singular values of J_T = ∂h^T/∂h^0 of finite random networks. Made by `rmtrnn.sample`.

    ``log_s``: shape (trials, s·N) for a state of s vectors, ascending in every row; −∞ for exact zeros.
    ``ensemble``, ``T``, ``N``; ``provenance``: how it was made (seed, longest burn-in, device, dtype,
    versions, host, wall time; "error" of the worst log s as estimated, and "condition", see `LogProduct`).
    """

    log_s: np.ndarray
    ensemble: Ensemble
    T: int
    N: int
    provenance: dict[str, Any] = field(compare=False)

    @property
    def trials(self) -> int:
        """Number of independent networks."""
        return len(self.log_s)

    @property
    def stationary(self) -> bool | None:
        """Whether all networks were stationary when their Jacobian started; None if ``burn_in`` was given."""
        return self.provenance.get("stationary")

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

    def save(self, path: str | Path) -> Path:
        """Write npz + JSON (no pickle); read it back with `rmtrnn.load`. Returns the path written."""
        meta = {"ensemble": self.ensemble.to_dict(), "T": self.T, "N": self.N, "provenance": self.provenance}
        return _storage.write(path, "sample", meta, {"log_s": self.log_s})

    @classmethod
    def restore(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Sample:
        """Build the sample again from what `save` wrote (`rmtrnn.load` calls this)."""
        ensemble = Ensemble.from_dict(meta["ensemble"])
        return cls(arrays["log_s"], ensemble, meta["T"], meta["N"], meta["provenance"])

    def __repr__(self) -> str:
        return f"<Sample of {self.ensemble!r}, T={self.T}, N={self.N}, {self.trials} trials>"


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
) -> Sample:
    """Sample random networks of N units and return the singular values of their T-step Jacobians.

    Every trial draws a network, starts it from N(0, 1) entries, runs ``burn_in`` steps with fresh inputs, and
    accumulates J_T of theory.md (1) over the next T steps by `rmtrnn.sampling.products.LogProduct`, so that
    all s·N singular values have high relative accuracy, whatever T. Weights, inputs and biases of trial i
    depend on (seed, i) only: the result is the same, bit for bit, on any number of workers with the same
    BLAS.

    ens : `Ensemble`. ``ens.tied`` says whether W, V, b are redrawn at every step.
    T, N, trials : integers ≥ 1. seed : integer ≥ 0.
    device : "auto" (CUDA if CuPy sees a device, else the CPU), "cpu", "cuda".
    dtype : "float64", or "float32" for the network and its matrix products; factorisations are in float64
        either way. Rounding is 5e8 times coarser: ``provenance["error"]`` says what that does to log s.
    progress : None, True for a bar on standard error, or a callable (done, total, label).
    executor : any `concurrent.futures.Executor` (docs/cluster.md); None runs here. A trial whose worker
        dies is run again here.
    checkpoint : a folder; each finished trial is written there at once, and a later call with the same
        arguments takes it from there. ``trials`` may differ: a longer run continues a shorter one.
    burn_in : steps before the Jacobian starts. None: eight of the mean field's time scales, and at least four
        times as long as the mean of h² drifts; 500 at least and 16,000 at most (none where the Jacobian does
        not depend on the state). ``Sample.stationary`` is False where that was not enough: near a critical
        point, or without a stationary state (then 500 steps are run).

    Networks with up to 128 rows of J run side by side, up to 64 trials in one call (with an executor or a
    checkpoint fewer, so that 64 jobs remain): faster on one core, and the way to use a GPU for them.

    Raises TypeError or ValueError naming a bad argument, among them an N beyond the memory (the largest that
    fits is named) or, on a GPU, beyond 18,000 rows of J; ValueError for a checkpoint file that is damaged or
    belongs to other arguments; RuntimeError for device="cuda" without one.

    >>> mc = rt.sample(rt.Ensemble("minimal", sigma_w=3.0, R=0.5), T=2, N=32, trials=2, burn_in=20)
    >>> mc.log_s.shape
    (2, 32)
    """
    if not isinstance(ens, Ensemble):
        raise TypeError(f"ens = {ens!r}: expected an rmtrnn.Ensemble, got {type(ens).__name__}")
    parameters = {
        "ensemble": ens.to_dict(),
        "T": _validate.integer("T", T, low=1),
        "N": _validate.integer("N", N, low=1),
        "seed": _validate.integer("seed", seed, low=0),
        "burn_in": plan_burn_in(ens)
        if burn_in is None
        else {"steps": _validate.integer("burn_in", burn_in, low=0), "stationary": None},
        "device": _arrays.resolve_device(device),
        "dtype": _validate.choice("dtype", dtype, DTYPES),
    }
    trials = _validate.integer("trials", trials, low=1)
    _check_size(ens, parameters)
    start = time.perf_counter()
    rows = run_trials(
        sample_trials,
        parameters,
        trials,
        executor=executor,
        checkpoint=checkpoint,
        report=_progress.reporter(progress),
        label="sample",
        together=TOGETHER if len(ens.cell.state) * parameters["N"] <= NARROW else 1,
    )
    table = np.stack(rows)
    made = {key: value for key, value in parameters.items() if key not in ("ensemble", "T", "N")}
    condition, error, steps, stationary = table[:, :_HEADER].T
    made |= {"condition": float(condition.max()), "error": float(error.max()), "burn_in": int(steps.max())}
    made["stationary"] = None if np.isnan(stationary).any() else bool(stationary.all())
    made |= {"wall_time_s": time.perf_counter() - start, **host()}
    return Sample(np.ascontiguousarray(table[:, _HEADER:]), ens, parameters["T"], parameters["N"], made)


def sample_trials(parameters: dict[str, Any], trials: list[int]) -> list[np.ndarray]:
    """Of each trial the header, then the log singular values, ascending."""
    with _arrays.strict_linear_algebra(parameters["device"]):
        return _sample_trials(Ensemble.from_dict(parameters["ensemble"]), parameters, trials)


def _sample_trials(
    ens: Ensemble, parameters: dict[str, Any], trials: list[int], *, small: bool = True
) -> list[np.ndarray]:
    """``small``: matrices that are small enough are multiplied and split all at once."""
    xp = _arrays.module_for(parameters["device"])
    n = parameters["N"]
    width = len(ens.cell.state) * n
    networks = Networks(ens, n, parameters["seed"], trials, xp, parameters["dtype"])
    plan = parameters["burn_in"]
    if "least" in plan:
        settled = networks.settle(plan["least"])
    else:
        networks.run(plan["steps"])
        settled = [(plan["steps"], plan["stationary"])] * len(trials)
    if not bool(xp.all(xp.isfinite(networks.state))):
        raise ValueError(f"ens = {ens!r}: the state of the network is not finite after the burn-in")
    if small and width <= SMALL[parameters["device"]] and not _may_vanish(ens):
        found = LogProducts(len(trials), width, xp)
        for _ in range(parameters["T"]):
            found.multiply(networks.step())
        results = list(zip(found.condition, found.error, found.log_singular_values(), strict=True))
    else:
        products = [LogProduct(width, xp) for _ in trials]
        for _ in range(parameters["T"]):
            factor = networks.step()
            for column, product in enumerate(products):
                product.multiply(factor.of(column))
        # The values first: the error is complete only after them.
        values = [product.log_singular_values() for product in products]
        results = [
            (product.condition, product.error, row) for product, row in zip(products, values, strict=True)
        ]
    rows = []
    for trial, (steps, stationary), (condition, error, row) in zip(trials, settled, results, strict=True):
        if row is None:
            rows += _sample_trials(ens, parameters, [trial], small=False)
            continue
        header = [condition, error, steps, math.nan if stationary is None else stationary]
        rows.append(np.concatenate([header, row]))
    return rows


def _may_vanish(ens: Ensemble) -> bool:
    """Whether slopes may be exactly zero, as relu's are."""
    kinds = (sympy.Piecewise, sympy.Heaviside, sympy.Max, sympy.Min)
    return any(part.has(*kinds) for stage in ens.cell.stages for part in (stage.a, stage.b, stage.c))


def memory_needed(ens: Ensemble, N: int, dtype: str = "float64") -> int:
    """Bytes that one trial of `sample` needs at its peak, an upper estimate.

    For the product ``MATRICES`` arrays of width s·N and the longest group of pending factors, and for the
    network its N × N weights: of one step, or for tied networks of all gates, with input weights.
    """
    width = len(ens.cell.state) * N
    product = 8 * (MATRICES * width**2 + longest_group(width) * N**2 * len(ens.cell.gates))
    weights = np.dtype(dtype).itemsize * N**2 * len(ens.cell.gates) * (2 if ens.tied else 1)
    return product + weights


def _check_size(ens: Ensemble, parameters: dict[str, Any]) -> None:
    """ValueError for N beyond the memory, or on a GPU beyond what cuSOLVER's SVD is right for."""
    n, device, dtype = parameters["N"], parameters["device"], parameters["dtype"]
    largest = LARGEST_SVD // len(ens.cell.state)
    if device == "cuda" and n > largest:
        raise ValueError(
            f"N = {n}: must be at most {largest} on a CUDA device for a state of {len(ens.cell.state)} "
            "vectors; beyond, cuSOLVER returns wrong singular values without a word. Use device='cpu'"
        )
    available = _arrays.memory_available(device)
    needed = memory_needed(ens, n, dtype)
    if needed > available:
        fits = bisect_right(range(1, n), available, key=lambda size: memory_needed(ens, size, dtype))
        raise ValueError(
            f"N = {n}: one trial needs {needed / 2**30:.3g} GiB, and device {device!r} has "
            f"{available / 2**30:.3g} GiB; N = {fits} would fit"
        )


@lru_cache(maxsize=32)
def _time_scale(ens: Ensemble) -> float:
    """Of the mean field, where it is a matter of moments (cells affine in their state); else 0."""
    if expand(ens.cell) is None:
        return 0.0
    field = mean_field(ens)
    return field.timescale if field.converged else math.inf


def plan_burn_in(ens: Ensemble) -> dict[str, Any]:
    """Fixed "steps", or the "least" number for `Network.settle`."""
    if not any(m.free_symbols for stage in ens.cell.stages for m in (stage.a, stage.b, stage.c)):
        return {"steps": 0, "stationary": True}
    least = TIME_SCALES * _time_scale(ens)
    if not least < math.inf:
        return {"steps": WITHOUT_LIMIT, "stationary": False}
    if least > LONGEST:
        return {"steps": LONGEST, "stationary": False}
    return {"least": math.ceil(least)}


def load(path: str | Path) -> Any:
    """Read a `Spectrum` or a `Sample` that ``.save(path)`` wrote (npz + JSON, no pickle).

    Raises FileNotFoundError, or ValueError if the file holds something else.

    >>> path = rt.spectrum(rt.Ensemble("vanilla", sigma_b=0.1), T=2).save("law")
    >>> rt.load(path).T
    2
    """
    kind, meta, arrays = _storage.read(path)
    if kind == "sample":
        return Sample.restore(meta, arrays)
    if kind == "spectrum":
        return importlib.import_module("rmtrnn.spectra.result").Spectrum.restore(meta, arrays)
    raise ValueError(f"path = {str(path)!r}: holds a result of unknown kind {kind!r}")


def over_trials(values: np.ndarray) -> Estimate:
    count = len(values)
    with np.errstate(invalid="ignore"):
        error = values.std(ddof=1) / math.sqrt(count) if count > 1 else math.nan
    return Estimate(float(values.mean()), float(error))


def host() -> dict[str, Any]:
    """What a reader needs to repeat a run: versions and kind of machine, no names of hosts."""
    versions = {"python": platform.python_version(), "rmtrnn": importlib.import_module("rmtrnn").__version__}
    for name in ("numpy", "scipy", "sympy", "cupy"):
        if name in sys.modules:
            versions[name] = sys.modules[name].__version__
    return {"versions": versions, "host": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"}
