"""One trial of a sample: a network, its burn-in, its Jacobian over T steps, the log singular values.

Letters: N, the number of units.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import sympy

from rmtrnn._core import arrays as _arrays
from rmtrnn.ensemble import Ensemble
from rmtrnn.sampling import burn_in as _burn_in
from rmtrnn.sampling.burn_in import BurnIn
from rmtrnn.sampling.network import Networks
from rmtrnn.sampling.products import LogProduct
from rmtrnn.sampling.products.grouping import longest_group
from rmtrnn.sampling.products.side_by_side import LogProducts


@dataclass(frozen=True)
class TrialSettings:
    """Numbers of the trials.

    matrices : arrays of the size of J that the product and its factorisations hold at once; counted, and
        measured on a GPU in tests/test_device.py.
    together : trials run side by side in one call; speed.
    narrow : rows. Networks with a J up to this width run side by side; speed.
    small : rows. A J up to this width is split side by side, by device; speed.
    largest_svd : rows. cuSOLVER's workspace size overflows beyond 18,900 (cupy issue 7611).

    tests/sampling/test_trial.py moves the three of speed by ×3 and ÷3: no value changes beyond its error.
    """

    matrices: int = 9
    together: int = 64
    narrow: int = 128
    small: Mapping[str, int] = field(default_factory=lambda: {"cpu": 32, "cuda": 64})
    largest_svd: int = 18_000


SETTINGS = TrialSettings()
# Entries of a row in front of the log singular values: the fields of `Trial`.
_HEADER = 4


class Trial(NamedTuple):
    """Condition and error of the product (`LogProduct`), the burn-in, and log s ascending."""

    condition: float
    error: float
    burn_in: BurnIn
    log_s: np.ndarray

    def row(self) -> np.ndarray:
        """The trial as one array of numbers; nan where stationarity was not asked for."""
        steps, stationary = self.burn_in
        header = [self.condition, self.error, steps, math.nan if stationary is None else stationary]
        return np.concatenate([header, self.log_s])


def table(rows: list[np.ndarray]) -> tuple[np.ndarray, dict[str, Any]]:
    """Split the rows of all trials into log s, (trials, width), and what the provenance says of them."""
    stacked = np.stack(rows)
    condition, error, steps, stationary = stacked[:, :_HEADER].T
    found = {
        "condition": float(condition.max()),
        "error": float(error.max()),
        "burn_in": int(steps.max()),
        "stationary": None if np.isnan(stationary).any() else bool(stationary.all()),
    }
    return np.ascontiguousarray(stacked[:, _HEADER:]), found


def sample_trials(parameters: dict[str, Any], trials: list[int]) -> list[np.ndarray]:
    """Return `Trial.row` of each trial; ``parameters`` as `rmtrnn.sample` makes them, plain JSON types."""
    ens = Ensemble.from_dict(parameters["ensemble"])
    with _arrays.strict_linear_algebra(parameters["device"]):
        return [trial.row() for trial in _sampled(ens, parameters, trials)]


def _sampled(ens: Ensemble, parameters: dict[str, Any], trials: list[int]) -> list[Trial]:
    """The trials, side by side where their matrices are small; those with an exact zero then one by one."""
    width = ens.cell.components * parameters["N"]
    if width > SETTINGS.small[parameters["device"]] or _may_vanish(ens):
        return _one_by_one(*_burnt_in(ens, parameters, trials), parameters["T"])
    networks, burn_ins = _burnt_in(ens, parameters, trials)
    products = LogProducts(len(trials), width, networks.xp)
    for _ in range(parameters["T"]):
        products.multiply(networks.step())
    _check_finite(networks, f"after {parameters['T']} steps")
    found = zip(products.condition, products.error, burn_ins, products.log_singular_values(), strict=True)
    return [
        Trial(condition, error, burn_in, log_s)
        if log_s is not None
        else _one_by_one(*_burnt_in(ens, parameters, [trial]), parameters["T"])[0]
        for trial, (condition, error, burn_in, log_s) in zip(trials, found, strict=True)
    ]


def _one_by_one(networks: Networks, burn_ins: list[BurnIn], T: int) -> list[Trial]:
    """Each Jacobian in a product of its own."""
    width = networks.ens.cell.components * networks.n
    products = [LogProduct(width, networks.xp) for _ in burn_ins]
    for _ in range(T):
        jacobian = networks.step()
        for column, product in enumerate(products):
            product.multiply(jacobian.of_network(column))
    _check_finite(networks, f"after {T} steps")
    # The values first: the error is complete only after them.
    values = [product.log_singular_values() for product in products]
    return [
        Trial(product.condition, product.error, burn_in, log_s)
        for product, burn_in, log_s in zip(products, burn_ins, values, strict=True)
    ]


def _burnt_in(ens: Ensemble, parameters: dict[str, Any], trials: list[int]) -> tuple[Networks, list[BurnIn]]:
    """The networks of the trials after their burn-in. ValueError if a state is not finite."""
    xp = _arrays.module_for(parameters["device"])
    networks = Networks(ens, parameters["N"], parameters["seed"], trials, xp, parameters["dtype"])
    with np.errstate(over="ignore", invalid="ignore"):  # a diverging state is refused below
        if "Q0" in parameters:
            networks.scale_state(parameters["Q0"])
        burn_ins = _burn_in.run(networks, parameters["burn_in"])
    _check_finite(networks, "after the burn-in")
    return networks, burn_ins


def _check_finite(networks: Networks, when: str) -> None:
    if not bool(networks.xp.all(networks.xp.isfinite(networks.state))):
        raise ValueError(f"ens = {networks.ens!r}: the state of the network is not finite {when}")


def _may_vanish(ens: Ensemble) -> bool:
    """Whether entries of a, b or c may be exactly zero, as relu's slope is."""
    kinds = (sympy.Piecewise, sympy.Heaviside, sympy.Max, sympy.Min)
    return any(part.has(*kinds) for stage in ens.cell.stages for part in (stage.a, stage.b, stage.c))


def side_by_side(ens: Ensemble, N: int) -> int:
    """Return how many trials run side by side in one call."""
    return SETTINGS.together if ens.cell.components * N <= SETTINGS.narrow else 1


def memory_needed(ens: Ensemble, N: int, dtype: str = "float64") -> int:
    """Return the bytes that one trial of `rmtrnn.sample` needs at its peak, an upper estimate.

    For the product ``matrices`` arrays of width s·N and the longest group of pending factors, and for the
    network its N × N weights: of one step, or for tied networks of all gates, with input weights.
    """
    width = ens.cell.components * N
    product = 8 * (SETTINGS.matrices * width**2 + longest_group(width) * N**2 * len(ens.cell.gates))
    weights = np.dtype(dtype).itemsize * N**2 * len(ens.cell.gates) * (2 if ens.tied else 1)
    return product + weights


def check_size(ens: Ensemble, parameters: dict[str, Any]) -> None:
    """Raise ValueError for N beyond the memory, or on a GPU beyond what cuSOLVER's SVD is right for."""
    n, device, dtype = parameters["N"], parameters["device"], parameters["dtype"]
    largest = SETTINGS.largest_svd // ens.cell.components
    if device == "cuda" and n > largest:
        raise ValueError(
            f"N = {n}: must be at most {largest} on a CUDA device for a state of {ens.cell.components} "
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
