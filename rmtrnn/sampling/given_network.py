"""Singular values of the T-step Jacobian of a given network, trained or not, along real inputs.

Letters: N, the number of units; T, the number of steps; V, W, b of theory.md (1).
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from rmtrnn._core import validate as _validate
from rmtrnn._core.result import Result, stored
from rmtrnn._core.status import Status
from rmtrnn.cells import LIBRARY, Cell
from rmtrnn.cells.classes import require_one_class
from rmtrnn.ensemble import Ensemble
from rmtrnn.sampling.products import LogProduct
from rmtrnn.sampling.sample import Sample, host
from rmtrnn.sampling.step_jacobian import StageJacobian, StagePattern, StepJacobian

_NOT_MATRICES = (str, bytes, Mapping)


@stored("trajectory jacobian")
@dataclass(frozen=True, eq=False)
class TrajectoryJacobian(Result):
    """Log singular values of the Jacobian of a given network along a trajectory. By `jacobian_log_s`.

    ``log_s``: ascending, shape (size,), or (sequences, size) for several input sequences; −∞ for exact zeros.
    ``T``: number of steps. ``errors``: estimated relative error of the singular values of each sequence (see
    `rmtrnn.sampling.products.LogProduct`). ``numpy.asarray(result)`` is ``log_s``.
    """

    log_s: np.ndarray
    T: int
    errors: np.ndarray
    tolerance: float

    remedies: ClassVar[Mapping[Status, str]] = {
        Status.MAX_ITERATIONS: "the factors are too ill-conditioned for their rtol; pass a larger rtol="
    }

    @property
    def error(self) -> float:
        """Largest estimated error of a log s, absolute: the relative error of s."""
        return float(np.max(self.errors))

    @property
    def status(self) -> Status:
        """CONVERGED where every group of factors met the tolerance on average."""
        return Status.CONVERGED if self.error <= self.T * self.tolerance else Status.MAX_ITERATIONS

    def sample(self, ens: Ensemble) -> Sample:
        """Return the singular values as a `Sample` of ``ens``, to set beside its law by `rmtrnn.compare`.

        Every sequence counts as one network. Raises ValueError where the state has another size.
        """
        rows = np.atleast_2d(self.log_s)
        states = len(ens.cell.state)
        if rows.shape[1] % states:
            raise ValueError(f"ens: its cell has {states} state vectors; J has {rows.shape[1]} rows")
        made = {"error": self.error, "stationary": None, **host()}
        return Sample(rows, ens, self.T, rows.shape[1] // states, made)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.log_s, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.log_s.shape))
        return f"<TrajectoryJacobian: {shape} singular values, T={self.T}, error {self.error:.1g}>"


class GivenNetwork:
    """A network with given weights: ``network(state, x) -> (state', J of the step)``, theory.md (1).

    cell : name of the library or `Cell`.
    W, V, b : mapping {gate: array}, or the array alone for a cell of one gate. W (N, N), V (N, inputs),
        b (N,). Gates that read nothing need no W; V and b left out are 0.

    Where the update itself contains the input (minimalRNN), x must have N entries. States have shape (s, N).
    Raises ValueError for unknown gates and shapes that do not fit.

    >>> net = rt.GivenNetwork("vanilla", W=np.eye(3) / 2)
    >>> rt.jacobian_log_s(net, np.zeros((4, 3)), T=4).log_s
    array([-2.77258872, -2.77258872, -2.77258872])
    """

    def __init__(self, cell: str | Cell, W: Any, V: Any = None, b: Any = None) -> None:
        self.cell = cell if isinstance(cell, Cell) else LIBRARY[_validate.choice("cell", cell, LIBRARY)]()
        require_one_class(self.cell, "the Jacobian of each step as an array")
        self._w, self._v, self._b = (
            self._by_gate(name, values, axes)
            for name, values, axes in (("W", W, 2), ("V", V, 2), ("b", b, 1))
        )
        sizes = {len(values) for part in (self._w, self._v, self._b) for values in part.values()}
        if len(sizes) != 1 or any(w.shape[0] != w.shape[1] for w in self._w.values()):
            raise ValueError(f"W, V, b: have {sorted(sizes)} rows; W must be N × N, V and b have N rows")
        self.N = sizes.pop()
        self._numeric = self.cell.numeric(np).stages
        self._patterns = [StagePattern.of(stage) for stage in self.cell.stages]
        for stage in self.cell.stages:
            for gate in stage.gates:
                if gate.reads != 0 and gate.name not in self._w:
                    raise ValueError(f"W: has no matrix for gate {gate.name!r}, which reads {gate.reads}")

    @property
    def weights(self) -> list[np.ndarray]:
        """All W, V, b, in the order of the gates."""
        return [
            part[gate] for part in (self._w, self._v, self._b) for gate in self.cell.gates if gate in part
        ]

    @property
    def initial_state(self) -> np.ndarray:
        """The state h = 0, (s, N)."""
        return np.zeros((len(self.cell.state), self.N))

    def __call__(self, state: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, StepJacobian]:
        site, jacobians = np.asarray(state, dtype=float).reshape(-1, self.N), []
        x = np.asarray(x, dtype=float)
        own = x if x.shape == (self.N,) else self._unused(x)
        for stage, numeric, pattern in zip(self.cell.stages, self._numeric, self._patterns, strict=True):
            reads = numeric.read(site)
            e = np.zeros((len(stage.gates), self.N))
            for k, gate in enumerate(stage.gates):
                e[k] = self._b.get(gate.name, 0.0)
                if gate.name in self._w:
                    e[k] += self._w[gate.name] @ reads[k]
                if gate.name in self._v:
                    e[k] += self._v[gate.name] @ x
            site, a, b, c = numeric.advance(site, own, e)
            zero = np.zeros((self.N, self.N))
            weights = [self._w.get(gate.name, zero) for gate in stage.gates]
            jacobians.append(StageJacobian(pattern, a, b, c, weights, np))
        return site, StepJacobian(jacobians)

    def _unused(self, x: np.ndarray) -> np.ndarray:
        if any(self.cell.input in expr.free_symbols for stage in self.cell.stages for expr in stage.update):
            raise ValueError(f"x: has shape {x.shape}; must be ({self.N},), the update contains the input")
        return np.zeros(self.N)

    def _by_gate(self, name: str, values: Any, axes: int) -> dict[str, np.ndarray]:
        if values is None:
            return {}
        if not isinstance(values, Mapping):
            if len(self.cell.gates) != 1:
                raise TypeError(f"{name}: must be a mapping by gate, the gates are {list(self.cell.gates)}")
            values = {self.cell.gates[0]: values}
        arrays = {}
        for gate, value in values.items():
            _validate.choice(f"gate of {name}", gate, self.cell.gates)
            arrays[gate] = np.asarray(value, dtype=float)
            if arrays[gate].ndim != axes or not np.isfinite(arrays[gate]).all():
                raise ValueError(f"{name}[{gate!r}]: must be a finite array with {axes} axes")
        return arrays


def jacobian_log_s(
    network: Any, inputs: Any = None, T: int | None = None, *, state: Any = None, rtol: float | None = None
) -> TrajectoryJacobian:
    """Compute the log singular values of J_T = ∂h^T/∂h^0 of a given network along its trajectory.

    All of them have high relative accuracy, whatever T (`rmtrnn.sampling.products.LogProduct`); those of the
    product in floating point are noise below 1e-16 of the largest.

    network : one of
        array (steps, rows, columns), or an iterable of matrices: the step Jacobians, the first acts first;
        `torch.nn.Module`: a cell (`GRUCell` …), layers (`GRU`, `LSTM`, `RNN`, `rmtrnn.torch.MinimalRNN`) or
        any module called like them. J is that of the whole state, all layers stacked, by automatic
        differentiation in float64 and evaluation mode;
        `GivenNetwork`: a cell of this package with given weights;
        callable ``(state, x) -> (state', J)``, J an array or a function Y ↦ J Y; needs ``state``.
    inputs : (steps, inputs), or several sequences in the module's layout, (steps, batch, inputs) or
        ``batch_first``; for other networks (steps, batch, inputs). None for step Jacobians.
    T : the Jacobian is that of the last T steps; the steps before bring the network to where it starts. None:
        all steps.
    state : the state before the first input; None: zeros.
    rtol : accuracy of the product, see `LogProduct`.

    Returns a `TrajectoryJacobian`. Raises TypeError or ValueError naming a bad argument.

    >>> steps = np.array([np.diag([1.0, 1e-200])] * 3)
    >>> rt.jacobian_log_s(steps).log_s.round(3)
    array([-1381.551,     0.   ])
    """
    found = [_log_s(width, factors, rtol) for width, factors in runs(network, inputs, T, state)]
    rows = [row for row, _, _ in found]
    single = inputs is None or np.ndim(inputs) == 2
    errors = np.array([product.error for _, product, _ in found])
    return TrajectoryJacobian(rows[0] if single else np.array(rows), found[0][2], errors, found[0][1].rtol)


def runs(network: Any, inputs: Any, T: int | None, state: Any) -> Iterator[tuple[int, Iterable[Any]]]:
    """For every input sequence: the number of columns of J, and the step Jacobians of the last T steps."""
    if not (_is_torch(network) or callable(network)):
        if inputs is not None or state is not None:
            raise TypeError("inputs, state: must be None where the step Jacobians themselves are given")
        factors = _matrices(network)
        yield factors[0].shape[1], factors[-_steps(T, len(factors)) :]
        return
    if inputs is None:
        raise TypeError("inputs = None: a network needs its inputs, (steps, inputs)")
    for sequence in input_sequences(inputs, bool(getattr(network, "batch_first", False))):
        first = len(sequence) - _steps(T, len(sequence))
        if _is_torch(network):
            from rmtrnn.sampling import torch_steps

            yield torch_steps.step_jacobians(network, sequence, first, state)
        else:
            start = getattr(network, "initial_state", None) if state is None else state
            if start is None:
                raise ValueError("state = None: a function (state, x) -> (state', J) needs a first state")
            yield np.size(start), _factors(network, start, sequence, first)


def weights_of(network: Any) -> list[Any]:
    """The arrays that a torch module or a `GivenNetwork` is made of; none of a function."""
    if _is_torch(network):
        return list(network.state_dict().values())
    return network.weights if isinstance(network, GivenNetwork) else []


def fingerprint(arrays: Iterable[Any]) -> str:
    """SHA-256 of the shapes and values of arrays or tensors, in float64."""
    digest = hashlib.sha256()
    for array in arrays:
        on_host = array.detach().cpu() if hasattr(array, "detach") else array
        values = np.ascontiguousarray(on_host, dtype="<f8")
        digest.update(f"{values.shape}".encode() + values.tobytes())
    return digest.hexdigest()


def _is_torch(network: Any) -> bool:
    """Whether ``network`` is a torch module; torch is not loaded to find out."""
    return "torch" in sys.modules and isinstance(network, sys.modules["torch"].nn.Module)


def _steps(T: int | None, length: int) -> int:
    if length == 0:
        raise ValueError("inputs: have no steps")
    return _validate.integer("T", length if T is None else T, low=1, high=length)


def input_sequences(inputs: Any, batch_first: bool) -> np.ndarray:
    """The input sequences, (batch, steps, inputs)."""
    on_host = inputs.detach().cpu() if hasattr(inputs, "detach") else inputs
    values = np.asarray(on_host, dtype=float)
    if values.ndim == 2:
        return values[None]
    if values.ndim != 3 or 0 in values.shape[:2]:
        raise ValueError(
            f"inputs: has shape {values.shape}; must be (steps, inputs), (steps, batch, inputs), or "
            "(batch, steps, inputs) for a module with batch_first"
        )
    return values if batch_first else values.swapaxes(0, 1)


def _factors(step: Callable[..., Any], state: Any, sequence: np.ndarray, first: int) -> Iterator[Any]:
    for number, x in enumerate(sequence):
        state, factor = step(state, x)
        if number >= first:
            yield factor


def _matrices(network: Any) -> list[np.ndarray]:
    if isinstance(network, _NOT_MATRICES) or not isinstance(network, Iterable):
        raise TypeError(
            f"network = {network!r}: expected step Jacobians, a torch module, a GivenNetwork or a function"
        )
    matrices = [np.asarray(matrix, dtype=float) for matrix in network]
    if not matrices or any(matrix.ndim != 2 for matrix in matrices):
        raise ValueError("network: must be a non-empty sequence of matrices (rows, columns)")
    return matrices


def _log_s(width: int, factors: Iterable[Any], rtol: float | None) -> tuple[np.ndarray, LogProduct, int]:
    """Log singular values of the product of the factors, the product, and how many there are."""
    product, count = LogProduct(width, rtol=rtol), 0
    for factor in factors:
        product.multiply(factor)
        count += 1
    return product.log_singular_values(), product, count
