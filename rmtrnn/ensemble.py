"""One frozen object that says which random network: a cell and the laws of its weights and inputs.

Letters: p, a probability.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

import numpy as np

from rmtrnn._core import random as _random
from rmtrnn._core import records as _records
from rmtrnn._core import validate as _validate
from rmtrnn.cells import LIBRARY, Cell, Gate
from rmtrnn.entry_laws import BiasLaw, InputLaw
from rmtrnn.entry_laws import bias_law as bias_law_of
from rmtrnn.entry_laws import input_law as input_law_of
from rmtrnn.weight_laws import SingularValues, weights_law

GATE_PARAMETERS = ("sigma_w", "sigma_v", "mu_b", "sigma_b")


_NORMAL = BiasLaw("normal")


@dataclass(frozen=True)
class GateParameters:
    """Laws of one pre-activation: W_ij ~ N(0, σ_w²/N) or W = σ_w·Haar; V_ij ~ N(0, σ_v²/N); b_i of mean
    μ_b and variance σ_b², normal unless ``bias_law`` says otherwise. ``is_shared``: another gate copies b."""

    sigma_w: float
    sigma_v: float
    mu_b: float
    sigma_b: float
    weights: str | SingularValues
    bias_law: BiasLaw = _NORMAL
    is_shared: bool = False

    @property
    def singular_values(self) -> SingularValues | None:
        """The law of the singular values of W/σ_w where it is neither Gaussian nor orthogonal, else None."""
        return self.weights if isinstance(self.weights, SingularValues) else None

    @property
    def spread(self) -> float:
        """Variance of the squared singular values of W/σ_w, whose mean is 1: −s_1 of theory.md (11)."""
        if isinstance(self.weights, SingularValues):
            return self.weights.spread
        return 1.0 if self.weights == "gaussian" else 0.0

    @property
    def has_normal_bias(self) -> bool:
        """Whether b is normal and independent of the other gates: then e is Gaussian over the sites."""
        return self.bias_law.kind == "normal" and not self.is_shared

    @property
    def site_variance(self) -> float:
        """Variance of the part of e that is not Gaussian over the sites: σ_b², or 0 for normal biases."""
        return 0.0 if self.has_normal_bias else self.sigma_b**2


@dataclass(frozen=True, repr=False, eq=False)
class Ensemble:
    """Which random network: theory.md section 1.

    Parameters
    ----------
    cell : str or Cell
        "vanilla" (tanh), "minimal", "gru", "lstm", or a `Cell`.
    sigma_w, sigma_v, mu_b, sigma_b : number, or mapping {gate name: number}; a gate left out has the default
        W_ij ~ N(0, sigma_w²/N), or W = sigma_w·Haar; V_ij ~ N(0, sigma_v²/N); b_i ~ N(mu_b, sigma_b²).
        Each pre-activation has its own W, V, b. All sigma ≥ 0. Defaults 1, 0, 0, 0.
    R : number ≥ 0
        Second moment E[x²] of the inputs. Default 1.
    Sigma : number in [-1, 1]
        Correlation E[x_a x_b]/R of the inputs of two sequences a and b. Default 0.
    weights : "gaussian", "orthogonal" or `SingularValues`, or mapping {gate name: one of them}
        A gate left out is Gaussian; the others need sigma_w > 0.
    tied : bool
        False: W, V, b are drawn anew at every step. True: one draw for all steps, as in a real network.
    bias_law : law of the biases, or mapping {gate name: law}; a gate left out is normal
        "normal", "uniform" (both with mean mu_b and standard deviation sigma_b); ("log_uniform", low, high):
        the log of a uniform number (chrono); (locations, masses) or `rmtrnn.free.Discrete`; the name of
        another gate, "f" or "-f", for the same or the opposite bias at every site. The last three set mean
        and scale: mu_b and sigma_b of the gate must be 0. A gate that reads nothing, with σ_v = 0, is a
        parameter of the site with this law (tied networks: heterogeneous time constants).
    input_law : "gaussian", "rademacher", "uniform", (locations, masses), or InputLaw
        Law of an input entry, scaled to E[x²] = R.

    Raises TypeError or ValueError naming the argument, its value and the allowed range.

    >>> ens = rt.Ensemble("gru", sigma_w={"r": 1.0, "u": 1.0, "c": 1.5}, weights="orthogonal")
    >>> ens.replace(tied=True).tied
    True
    """

    cell: Cell
    sigma_w: Any = 1.0
    sigma_v: Any = 0.0
    mu_b: Any = 0.0
    sigma_b: Any = 0.0
    R: float = 1.0
    Sigma: float = 0.0
    weights: Any = "gaussian"
    tied: bool = False
    input_law: Any = "gaussian"
    bias_law: Any = "normal"

    def __init__(
        self,
        cell: str | Cell,
        sigma_w: float | Mapping[str, float] = 1.0,
        sigma_v: float | Mapping[str, float] = 0.0,
        mu_b: float | Mapping[str, float] = 0.0,
        sigma_b: float | Mapping[str, float] = 0.0,
        *,
        R: float = 1.0,
        Sigma: float = 0.0,
        weights: Any = "gaussian",
        tied: bool = False,
        input_law: str | InputLaw | Sequence[Sequence[float]] = "gaussian",
        bias_law: Any = "normal",
    ) -> None:
        cell = _cell(cell)
        columns = {
            "sigma_w": _per_gate("sigma_w", sigma_w, cell.gates, low=0.0, default=1.0),
            "sigma_v": _per_gate("sigma_v", sigma_v, cell.gates, low=0.0),
            "mu_b": _per_gate("mu_b", mu_b, cell.gates, low=-math.inf),
            "sigma_b": _per_gate("sigma_b", sigma_b, cell.gates, low=0.0),
            "weights": _weights(weights, cell.gates),
        }
        laws = _bias_laws(bias_law, columns, cell.gates)
        moments = _bias_moments(columns, laws)
        shared = {law.source for law in laws.values()} | {g for g, law in laws.items() if law.source}
        gates = {
            gate: GateParameters(
                columns["sigma_w"][gate],
                columns["sigma_v"][gate],
                *moments[gate],
                columns["weights"][gate],
                laws[gate],
                gate in shared,
            )
            for gate in cell.gates
        }
        for gate, parameters in gates.items():
            if parameters.weights != "gaussian" and parameters.sigma_w == 0.0:
                raise ValueError(
                    f"sigma_w = 0.0 for gate {gate!r}: {parameters.weights} weights need sigma_w > 0"
                )
        _require_weights_of_classes(cell, gates)
        values = {
            "cell": cell,
            **{name: _collapsed(column) for name, column in columns.items()},
            "bias_law": _collapsed({gate: law.argument() for gate, law in laws.items()}),
            "R": _validate.real("R", R, low=0.0),
            "Sigma": _validate.real("Sigma", Sigma, low=-1.0, high=1.0),
            "tied": _validate.boolean("tied", tied),
            "input_law": input_law_of(input_law),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_gates", gates)

    def gate(self, name: str) -> GateParameters:
        """Return the laws of the pre-activation ``name``; ValueError if the cell has no such gate."""
        gates: dict[str, GateParameters] = self._gates  # pyright: ignore[reportAttributeAccessIssue]
        return gates[_validate.choice("gate", name, self.cell.gates)]

    def is_recurrent(self, gate: Gate) -> bool:
        """Whether something of the state goes through the weights of ``gate``, one of the cell's."""
        return gate.reads_state and self.gate(gate.name).sigma_w > 0.0

    @property
    def has_normal_biases(self) -> bool:
        """Whether all biases are normal and independent: pre-activations are then Gaussian over the sites."""
        return all(self.gate(name).has_normal_bias for name in self.cell.gates)

    @property
    def has_library_weights(self) -> bool:
        """Whether all weights are Gaussian or orthogonal."""
        return all(self.gate(name).singular_values is None for name in self.cell.gates)

    def column(self, name: str) -> dict[str, Any]:
        """Return the argument ``name``, which may differ by gate, as a mapping over all gates."""
        value = getattr(self, name)
        return dict(value) if isinstance(value, Mapping) else dict.fromkeys(self.cell.gates, value)

    def bias_deviations(self, p: np.ndarray) -> np.ndarray:
        """Return b − μ_b of sites with uniform numbers p, (K, ...): 0 for gates with normal biases.

        A gate that copies another one uses the uniform numbers of its source.
        """
        gates, found = self.cell.gates, np.zeros_like(p)
        for k, name in enumerate(gates):
            parameters = self.gate(name)
            if parameters.has_normal_bias:
                continue
            law, sign = parameters.bias_law, parameters.bias_law.sign
            source = law.source or name
            own = self.gate(source)
            values = own.bias_law.quantile(p[gates.index(source)])
            scale, shift = (own.sigma_b, 0.0) if own.bias_law.is_scaled else (1.0, own.mu_b)
            found[k] = sign * (scale * values - shift)
        return found

    def replace(self, **changes: Any) -> Ensemble:
        """Return a copy with some arguments changed: ``ens.replace(mu_b=4.0)``."""
        unknown = sorted(set(changes) - {field.name for field in fields(self)})
        if unknown:
            raise TypeError(f"replace: {unknown} are not arguments of Ensemble")
        return Ensemble(**{**self._arguments(), **changes})

    def input_moment(self, k: int) -> float:
        """Return E[x^k], k ≥ 0."""
        return self.R ** (k / 2) * self.input_law.moment(k)

    def sample_input(
        self, rng: int | np.random.Generator | None, shape: int | tuple[int, ...], xp: Any = np
    ) -> Any:
        """Return independent inputs x of the given shape, float64, as an array of ``xp``."""
        draws = self.input_law.sample(_random.generator(rng), shape)
        return xp.asarray(math.sqrt(self.R) * draws)

    def input_quantile(self, p: Any) -> np.ndarray:
        """Return x with P(X ≤ x) = p, elementwise, for probabilities 0 < p < 1 (ValueError outside)."""
        p = np.asarray(p, dtype=float)
        if not np.all((p > 0.0) & (p < 1.0)):
            raise ValueError("p: probabilities must be in (0, 1)")
        return math.sqrt(self.R) * self.input_law.quantile(p)

    def sample_input_pair(
        self, rng: int | np.random.Generator | None, shape: int | tuple[int, ...], xp: Any = np
    ) -> tuple[Any, Any]:
        """Return the inputs (x_a, x_b) of two sequences, each of the given shape, E[x_a x_b] = R·Sigma.

        Gaussian inputs are jointly Gaussian. For any other law x_b is, site by site, ±x_a with a fixed
        probability and an independent draw otherwise. ValueError where that cannot give Sigma:
        Sigma < E[x]²/R for a law that is not symmetric.
        """
        generator = _random.generator(rng)
        first = self.input_law.sample(generator, shape)
        second = self.input_law.sample(generator, shape)
        if self.input_law.kind == "gaussian":
            second = self.Sigma * first + math.sqrt((1.0 - self.Sigma) * (1.0 + self.Sigma)) * second
        else:
            squared_mean = self.input_law.moment(1) ** 2
            copied = abs(self.Sigma) if self.input_law.is_symmetric else _share(self.Sigma, squared_mean)
            copies = generator.random(shape) < copied
            second = np.where(copies, math.copysign(1.0, self.Sigma) * first, second)
        scale = math.sqrt(self.R)
        return xp.asarray(scale * first), xp.asarray(scale * second)

    def to_dict(self) -> dict[str, Any]:
        """Return the ensemble as plain JSON types."""
        law = self.input_law
        discrete = {"locations": list(law.locations), "masses": list(law.masses)}
        record = {name: _plain(value) for name, value in self._arguments().items()}
        if self.bias_law == "normal":  # left out, so that files and checkpoints stay what they were
            del record["bias_law"]
        return record | {
            "cell": self.cell.to_dict(),
            "input_law": discrete if law.kind == "discrete" else law.kind,
        }

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> Ensemble:
        """Return the ensemble of `to_dict`'s record; ValueError if it is malformed."""
        if not isinstance(record, Mapping) or "cell" not in record:
            raise ValueError(f"ensemble record = {record!r}: expected a mapping with the key 'cell'")
        unknown = sorted(set(record) - {field.name for field in fields(Ensemble)})
        if unknown:
            raise ValueError(f"ensemble record: has the unknown keys {unknown}")
        arguments = dict(record)
        arguments["cell"] = Cell.from_dict(record["cell"])
        law = record.get("input_law", "gaussian")
        if isinstance(law, Mapping):
            arguments["input_law"] = law.get("locations", ()), law.get("masses", ())
        return Ensemble(**arguments)

    @staticmethod
    def from_torch(module: Any, layer: int = 0, *, R: float = 1.0, tied: bool = True) -> Ensemble:
        """Return the ensemble that one layer of a PyTorch module looks like, as initialised or trained.

        The laws are measured gate by gate: `torch.nn.RNN`, `GRU`, `LSTM`, their cells, and the modules of
        `rmtrnn.torch`. What fits no ensemble is said in a UserWarning, as for PyTorch's fused orthogonal
        initialiser, whose square blocks are not orthogonal. Biases are taken as normal. ``R``, the second
        moment of the inputs, is not a property of the module. Raises TypeError for another module.
        """
        from rmtrnn.cells.torch_layout import layer_parameters, measured

        parameters = layer_parameters(module, layer)
        found, misfits = measured(parameters)
        if misfits:
            warnings.warn("; ".join(misfits), UserWarning, stacklevel=2)
        laws: dict[str, Any] = found
        return Ensemble(parameters.cell, **laws, R=R, tied=tied)

    def _arguments(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def _key(self) -> tuple[Any, ...]:
        gates = tuple(self.gate(name) for name in self.cell.gates)
        return self.cell, gates, self.R, self.Sigma, self.tied, self.input_law

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Ensemble) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Any, ...]:
        return Ensemble.from_dict, (self.to_dict(),)

    def __repr__(self) -> str:
        """A call that can be pasted; arguments at their default are left out."""
        named = LIBRARY.get(self.cell.name)
        plain = named is not None and repr(self.cell) == repr(named())
        return self._call(repr(self.cell.name) if plain else repr(self.cell))

    def __str__(self) -> str:
        """As ``repr``, but a user's own cell by its name alone."""
        own = repr(self.cell).startswith("rt.Cell.from_dict")
        return self._call(f"<cell {self.cell.name!r}>") if own else repr(self)

    def _call(self, cell: str) -> str:
        parts = [cell]
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            if field.name == "input_law":
                value = (value.locations, value.masses) if value.kind == "discrete" else value.kind
            if isinstance(value, Mapping):
                value = dict(value)
            if value != field.default:
                parts.append(f"{field.name}={value!r}")
        return f"rt.Ensemble({', '.join(parts)})"


_records.register("ensemble", Ensemble, Ensemble.to_dict, Ensemble.from_dict)


def _cell(cell: Any) -> Cell:
    if isinstance(cell, Cell):
        return cell
    if not isinstance(cell, str):
        raise TypeError(f"cell = {cell!r}: expected one of {sorted(LIBRARY)} or a Cell")
    return LIBRARY[_validate.choice("cell", cell, LIBRARY)]()


def _require_weights_of_classes(cell: Cell, gates: Mapping[str, GateParameters]) -> None:
    for gate, parameters in gates.items():
        if cell.shares and parameters.weights != "gaussian":
            raise ValueError(
                f"weights = {parameters.weights!r} for gate {gate!r}: must be 'gaussian' for a cell with "
                "classes of units; a block of an orthogonal matrix is not orthogonal"
            )


def _known_gates(name: str, value: Mapping[str, Any], gates: tuple[str, ...]) -> None:
    unknown = sorted(set(value) - set(gates), key=str)
    if unknown:
        raise ValueError(
            f"{name} = {dict(value)!r}: has the unknown gates {unknown}; the gates are {list(gates)}"
        )


def _per_gate(
    name: str, value: Any, gates: tuple[str, ...], *, low: float, default: float = 0.0
) -> dict[str, float]:
    """One number for each gate; gates that a mapping leaves out have the default."""
    if not isinstance(value, Mapping):
        number = _validate.real(name, value, low=low)
        return dict.fromkeys(gates, number)
    _known_gates(name, value, gates)
    return {gate: _validate.real(f"{name}[{gate!r}]", value.get(gate, default), low=low) for gate in gates}


def _weights(value: Any, gates: tuple[str, ...]) -> dict[str, str | SingularValues]:
    if not isinstance(value, Mapping) or set(value) == {"values", "masses"}:
        return dict.fromkeys(gates, weights_law("weights", value))
    _known_gates("weights", value, gates)
    return {gate: weights_law(f"weights[{gate!r}]", value.get(gate, "gaussian")) for gate in gates}


def _collapsed(column: dict[str, Any]) -> Any:
    """One value where all gates share it, else the mapping."""
    distinct = set(column.values())
    return distinct.pop() if len(distinct) == 1 else MappingProxyType(column)


def _bias_laws(value: Any, columns: dict[str, dict[str, Any]], gates: tuple[str, ...]) -> dict[str, BiasLaw]:
    """The law of each gate's biases, checked against mu_b and sigma_b."""
    if isinstance(value, Mapping) and set(value) != {"locations", "masses"}:
        _known_gates("bias_law", value, gates)
        laws = {g: bias_law_of(f"bias_law[{g!r}]", value.get(g, "normal"), gates) for g in gates}
    else:
        laws = dict.fromkeys(gates, bias_law_of("bias_law", value, gates))
    for gate, law in laws.items():
        for name in ("mu_b", "sigma_b"):
            if not law.is_scaled and columns[name][gate] != 0.0:
                raise ValueError(
                    f"{name} = {columns[name][gate]!r} for gate {gate!r}: must be 0, its bias_law "
                    f"{law.argument()!r} sets mean and scale"
                )
        if law.source and (law.source == gate or laws[law.source].source):
            raise ValueError(f"bias_law[{gate!r}] = {law.argument()!r}: must name a gate with its own law")
    return laws


def _bias_moments(
    columns: dict[str, dict[str, Any]], laws: dict[str, BiasLaw]
) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of each gate's biases."""
    own = {
        gate: (columns["mu_b"][gate], columns["sigma_b"][gate]) if law.is_scaled else law.moments
        for gate, law in laws.items()
    }
    found = {}
    for gate, law in laws.items():
        mean, deviation = own[law.source or gate]
        found[gate] = (law.sign * mean, deviation)
    return found


def _plain(value: Any) -> Any:
    """Mappings and tuples as dictionaries and lists, laws as their records."""
    if isinstance(value, SingularValues):
        return {"values": list(value.values), "masses": list(value.masses)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _share(correlation: float, squared_mean: float) -> float:
    """Probability of a common draw that gives E[x_a x_b]/R = correlation when E[x]²/R = squared_mean."""
    if not squared_mean <= correlation <= 1.0:
        raise ValueError(
            f"Sigma = {correlation!r}: must be in [E[x]²/R, 1] = [{squared_mean:g}, 1] "
            "for this asymmetric input law"
        )
    return 1.0 if squared_mean == 1.0 else (correlation - squared_mean) / (1.0 - squared_mean)
