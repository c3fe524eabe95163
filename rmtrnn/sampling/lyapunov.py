"""Lyapunov exponents of finite networks: orthonormal frames carried along a trajectory (Benettin's method).

J_T Q_0 = Q_T R_T ⋯ R_1 with QR factorisations after every few steps; the exponents are the time averages

    u_i = lim (1/T) Σ log |(R_t)_ii|,                                                                      (*)

Benettin, Galgani, Giorgilli and Strelcyn (1980, Meccanica 15, 9), in the form of Geist, Parlitz and
Lauterborn (1990, Prog. Theor. Phys. 83, 875).

Letters: N, the number of units.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rmtrnn._core import arrays as _arrays
from rmtrnn._core import progress as _progress
from rmtrnn._core import random as _random
from rmtrnn._core import validate as _validate
from rmtrnn._core.result import Result, stored
from rmtrnn._core.status import Status
from rmtrnn._core.trials import run_trials
from rmtrnn.ensemble import Ensemble
from rmtrnn.sampling import burn_in as _burn_in
from rmtrnn.sampling.given_network import fingerprint, input_sequences, runs, weights_of
from rmtrnn.sampling.network import Network, Networks
from rmtrnn.sampling.sample import Estimate, host, over_trials, trial_parameters

_FRAME = 9  # the stream of a trial (see network.py) that its first frame is drawn from


@dataclass(frozen=True)
class FrameSettings:
    """How a frame is followed.

    ``blocks``: of the time, whose scatter gives the error within a trial; t = 2.4 at 95 % for 8.
    ``spread``: log of the growth apart of the columns between two QRs; rounding in R stays near 1e-10
    relative. ``most_steps``: between two QRs; the factors of so many steps are kept in memory.
    """

    blocks: int = 8
    spread: float = math.log(1e6)
    most_steps: int = 16


SETTINGS = FrameSettings()


@stored("lyapunov sample")
@dataclass(frozen=True, eq=False)
class LyapunovSample(Result):
    """Lyapunov exponents of finite networks, in 1/step. Made by `rmtrnn.sample_lyapunov`.

    ``exponents``: shape (trials, count), falling in every row; ``errors``: standard error of each from eight
    blocks of the time; ``ensemble``, ``N``, ``steps``; ``provenance``: seed, device, versions, wall time.
    Of a given network, ``ensemble`` is None, ``N`` the size of the whole state, a trial an input sequence.

    >>> ens = rt.Ensemble("vanilla", sigma_w=0.9, sigma_b=0.2)
    >>> rt.sample_lyapunov(ens, N=16, steps=64, trials=2).exponents.shape
    (2, 16)
    """

    exponents: np.ndarray
    errors: np.ndarray
    ensemble: Ensemble | None
    N: int
    steps: int
    provenance: dict[str, Any] = field(repr=False)

    @property
    def status(self) -> Status:
        """CONVERGED: a sample is what it is."""
        return Status.CONVERGED

    @property
    def error(self) -> float:
        """Standard error of the largest exponent."""
        return self.largest.error

    @property
    def trials(self) -> int:
        """Number of independent networks."""
        return len(self.exponents)

    @property
    def largest(self) -> Estimate:
        """Largest exponent: mean over networks, standard error (for one network that of the time average)."""
        return self._estimate(self.exponents[:, 0], self.errors[:, 0])

    @property
    def unstable_fraction(self) -> Estimate:
        """Share of positive exponents among all; needs the whole spectrum."""
        self._whole("unstable_fraction")
        return over_trials(np.mean(self.exponents > 0.0, axis=1))

    @property
    def entropy_rate(self) -> Estimate:
        """Sum of the positive exponents per unit of the state."""
        return over_trials(np.maximum(self.exponents, 0.0).sum(axis=1) / self.size)

    @property
    def kaplan_yorke(self) -> Estimate:
        """Kaplan–Yorke dimension per unit: j + Σ_{i≤j} u_i / |u_{j+1}|, j the last with a sum ≥ 0."""
        self._whole("kaplan_yorke")
        return over_trials(np.array([_kaplan_yorke(row) for row in self.exponents]) / self.size)

    @property
    def size(self) -> int:
        """Number of all exponents of a network."""
        return self.N if self.ensemble is None else self.ensemble.cell.components * self.N

    def _whole(self, name: str) -> None:
        if self.exponents.shape[1] < self.size:
            raise ValueError(f"{name}: needs all {self.size} exponents; sample with count=None")

    def _estimate(self, values: np.ndarray, errors: np.ndarray) -> Estimate:
        if self.trials > 1:
            return over_trials(values)
        return Estimate(float(values[0]), float(errors[0]))

    def __repr__(self) -> str:
        name = self.ensemble or "a given network"
        return (
            f"<LyapunovSample of {name}, N={self.N}, {self.steps} steps, {self.trials} networks: "
            f"largest {self.largest.value:.5g} ± {self.largest.error:.1g}>"
        )


def sample_lyapunov(
    ens: Ensemble | Any,
    N: int = 256,
    steps: int = 2000,
    trials: int = 1,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "float64",
    progress: bool | _progress.Report | None = None,
    executor: Executor | None = None,
    checkpoint: str | Path | None = None,
    *,
    count: int | None = None,
    burn_in: int | None = None,
    inputs: Any = None,
    state: Any = None,
) -> LyapunovSample:
    """Sample random networks of N units, or run a given one, and estimate Lyapunov exponents, eq. (*).

    QR follows QR so often that the columns of the frame grow apart by about 1e6 in between, and by halves
    where that is too long. A quarter of ``steps`` is run before, in which the frame turns towards the
    Oseledets directions; neighbouring exponents converge like e^{−(u_i − u_{i+1}) t}. ``errors`` come from
    eight blocks of the time. An exponent is −∞ (error nan) where its column is lost in rounding within a
    step: exact zeros of φ', as relu has, and singular values of one step below 1e-13 of the largest.

    ens : `Ensemble`; ``ens.tied`` is honoured. Or with ``inputs=`` a given network: `torch.nn.Module`,
        `GivenNetwork`, or ``(state, x) -> (state', J)``, as for `rmtrnn.jacobian_log_s`
    N, trials : integers ≥ 1; steps : integer ≥ 16. Exponents are averages over so many steps
    inputs, state : inputs of a given network, (steps, inputs) or several sequences, and its first state. The
        last ``steps`` inputs are averaged over, a quarter as many before them turn the frame. N, trials,
        device, dtype, executor and burn_in are refused then. A ``checkpoint`` keeps a file for each finished
        sequence, with hashes of inputs, state and weights; of a function it knows nothing
    count : number of exponents, the largest ones; None: all of them (cost N times as high as for one).
    seed, device, dtype, progress, executor, checkpoint, burn_in : as for `rmtrnn.sample`.
    Returns a `LyapunovSample`. Raises TypeError or ValueError naming a bad argument.

    >>> ly = rt.sample_lyapunov(rt.Ensemble("vanilla", sigma_w=3.0), N=32, steps=64, burn_in=100)
    >>> ly.exponents.shape
    (1, 32)
    """
    if inputs is not None:
        idle = {"N": N, "trials": trials, "device": device, "dtype": dtype, "executor": executor}
        _refuse(idle | {"burn_in": burn_in}, "a given network")
        return _of_given(ens, inputs, state, steps, count, seed, _progress.reporter(progress), checkpoint)
    _refuse({"state": state}, "an ensemble")
    _validate.instance("ens", ens, Ensemble)
    parameters = _parameters(ens, N, steps, count, seed, burn_in, device, dtype)
    start = time.perf_counter()
    rows = run_trials(
        exponents_of_trial,
        parameters,
        _validate.cost("trials", _validate.integer("trials", trials, low=1), 1e-3),
        executor=executor,
        checkpoint=checkpoint,
        report=_progress.reporter(progress),
        label="lyapunov",
    )
    exponents, errors = _in_order(rows)
    made = {key: parameters[key] for key in ("seed", "device", "dtype", "burn_in")}
    made |= {"wall_time_s": time.perf_counter() - start, **host()}
    return LyapunovSample(exponents, errors, ens, parameters["N"], parameters["steps"], made)


def _in_order(rows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Exponents and their errors, (trials, count), largest first."""
    table = np.array(rows).reshape(len(rows), 2, -1)
    order = np.argsort(-table[:, 0], axis=1)
    return np.take_along_axis(table[:, 0], order, axis=1), np.take_along_axis(table[:, 1], order, axis=1)


def _refuse(values: dict[str, Any], what: str) -> None:
    """Raise TypeError for an argument that has another value than its default."""
    usual = inspect.signature(sample_lyapunov).parameters
    for name, value in values.items():
        if value is not usual[name].default and value != usual[name].default:
            raise TypeError(f"{name} = {value!r}: means nothing for {what}")


class _Given:
    """The steps of a given network: `step` returns Y ↦ J Y, Y of shape (size, r)."""

    def __init__(self, factors: Iterator[Any]) -> None:
        self._factors = factors

    def step(self) -> Callable[[Any], Any]:
        """The Jacobian of the next step."""
        factor = next(self._factors)
        return factor if callable(factor) else np.asarray(factor, dtype=float).__matmul__


def _of_given(
    network: Any,
    inputs: Any,
    state: Any,
    steps: int,
    count: int | None,
    seed: int,
    report: _progress.Report,
    checkpoint: str | Path | None,
) -> LyapunovSample:
    """The exponents of a given network along each of its input sequences."""
    steps = _validate.integer("steps", steps, low=2 * SETTINGS.blocks)
    sequences = input_sequences(inputs, bool(getattr(network, "batch_first", False)))
    length = sequences.shape[1]
    if length < steps + steps // 4:
        raise ValueError(
            f"inputs: have {length} steps; must have {steps + steps // 4}, a quarter more than steps={steps}"
        )

    def along(_: dict[str, Any], index: int) -> np.ndarray:
        """The size of the state, then the exponents and their errors along one sequence."""
        size, factors = next(runs(network, sequences[index], steps + steps // 4, state))
        number = size if count is None else _validate.integer("count", count, low=1, high=size)
        first = _random.stream(seed, index, _FRAME).standard_normal((size, number))
        frame = _Frame(_Given(iter(factors)), np.linalg.qr(first)[0], np)
        return np.concatenate([[size], _averages(frame, steps)])

    start = time.perf_counter()
    parameters = {"steps": steps, "count": count, "seed": seed, "inputs": fingerprint([sequences])}
    parameters |= {"state": fingerprint(_leaves(state)), "network": fingerprint(weights_of(network))}
    rows = run_trials(
        along,
        parameters,
        len(sequences),
        executor=None,
        checkpoint=checkpoint,
        report=report,
        label="lyapunov",
    )
    made = {"seed": seed, "wall_time_s": time.perf_counter() - start, **host()}
    return LyapunovSample(*_in_order([row[1:] for row in rows]), None, int(rows[0][0]), steps, made)


def _leaves(state: Any) -> list[Any]:
    """The arrays of a state: of a tuple (LSTM of torch) each part."""
    return [] if state is None else list(state) if isinstance(state, tuple | list) else [state]


def _parameters(
    ens: Ensemble,
    N: int,
    steps: int,
    count: int | None,
    seed: int,
    burn_in: int | None,
    device: str,
    dtype: str,
) -> dict[str, Any]:
    """What every trial depends on, checked, in plain JSON types."""
    shared = trial_parameters(ens, N=N, seed=seed, burn_in=burn_in, device=device, dtype=dtype)
    size = ens.cell.components * shared["N"]
    return shared | {
        "steps": _validate.cost("steps", _validate.integer("steps", steps, low=2 * SETTINGS.blocks), 1e-4),
        "count": size if count is None else _validate.integer("count", count, low=1, high=size),
    }


def exponents_of_trial(parameters: dict[str, Any], trial: int) -> np.ndarray:
    """The exponents of one network in the order of its frame, then their standard errors."""
    with _arrays.strict_linear_algebra(parameters["device"]):
        xp = _arrays.module_for(parameters["device"])
        ens = Ensemble.from_dict(parameters["ensemble"])
        networks = Networks(ens, parameters["N"], parameters["seed"], [trial], xp, parameters["dtype"])
        _burn_in.run(networks, parameters["burn_in"])
        network = Network.alone(networks)
        rng = _random.stream(parameters["seed"], trial, _FRAME)
        start = rng.standard_normal((ens.cell.components * network.n, parameters["count"]))
        return _averages(_Frame(network, xp.linalg.qr(xp.asarray(start))[0], xp), parameters["steps"])


def _averages(frame: _Frame, steps: int) -> np.ndarray:
    """Turn the frame for a quarter of ``steps``; the exponents of the next ``steps``, then their errors."""
    frame.run(steps // 4)
    blocks = np.array([frame.run(n) / n for n in _block_lengths(steps)])
    lengths = np.array(_block_lengths(steps))
    found = np.isfinite(blocks).all(axis=0)
    mean = np.where(found, lengths @ np.where(found, blocks, 0.0) / lengths.sum(), -np.inf)
    spread = np.where(found, blocks, 0.0).std(axis=0, ddof=1) / math.sqrt(SETTINGS.blocks)
    return np.concatenate([mean, np.where(found, spread, np.nan)])


class _Frame:
    """An orthonormal frame along the trajectory of a network, and the interval between two QRs."""

    def __init__(self, network: Network | _Given, basis: Any, xp: Any) -> None:
        self._network, self._basis, self._xp = network, basis, xp
        self._interval = 1

    def run(self, steps: int) -> np.ndarray:
        """Σ log |R_ii| over ``steps`` steps."""
        total, done = np.zeros(self._basis.shape[1]), 0
        while done < steps:
            factors = [self._network.step() for _ in range(min(self._interval, steps - done))]
            growth = self._advance(factors)
            total += growth
            done += len(factors)
            self._interval = _next_interval(growth, len(factors))
        return total

    def _advance(self, factors: Sequence[Callable[[Any], Any]]) -> np.ndarray:
        """log |R_ii| of the product of ``factors``; by halves where a column would be lost in rounding."""
        y = self._basis
        for factor in factors:
            y = factor(y)
        basis, r = self._xp.linalg.qr(y)
        growth = _log_above_rounding(np.abs(_arrays.to_host(self._xp.diagonal(r))))
        if len(factors) > 1 and np.isneginf(growth).any():
            half = len(factors) // 2
            return self._advance(factors[:half]) + self._advance(factors[half:])
        self._basis = basis
        return growth


def _log_above_rounding(size: np.ndarray) -> np.ndarray:
    """log |R_ii|; −∞ for what rounding leaves of a column that the other columns span."""
    lost = size <= len(size) * np.finfo(float).eps * size.max(initial=0.0)
    with np.errstate(divide="ignore"):
        return np.where(lost, -np.inf, np.log(np.where(lost, 1.0, size)))


def _next_interval(growth: np.ndarray, length: int) -> int:
    """Steps after which the columns of the frame have grown apart by at most ``SETTINGS.spread``."""
    finite = growth[np.isfinite(growth)]
    spread = float(np.ptp(finite)) if finite.size else 0.0
    if spread * SETTINGS.most_steps <= SETTINGS.spread * length:
        return SETTINGS.most_steps
    return max(1, int(SETTINGS.spread * length / spread))


def _block_lengths(steps: int) -> list[int]:
    return [len(part) for part in np.array_split(np.arange(steps), SETTINGS.blocks)]


def _kaplan_yorke(exponents: np.ndarray) -> float:
    """j + Σ_{i≤j} u_i/|u_{j+1}| for falling exponents, j the last index with a sum ≥ 0."""
    sums = np.cumsum(exponents)
    stable = np.flatnonzero(~(sums >= 0.0))
    if stable.size == 0:
        return float(len(exponents))
    j = int(stable[0])
    before = float(sums[j - 1]) if j else 0.0
    return j + before / abs(float(exponents[j]))
