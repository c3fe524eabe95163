"""Laws of single entries: inputs of a network, and biases by gate.

Letters: p, a probability.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import ndtri

from rmtrnn._core import validate as _validate

INPUT_LAWS = ("gaussian", "rademacher", "uniform")
BIAS_LAWS = ("normal", "uniform", "log_uniform", "discrete", "copy")


@dataclass(frozen=True)
class InputLaw:
    """Law of one input entry up to scale; `Ensemble` scales it to second moment R.

    ``kind``: "gaussian", "rademacher" (±1), "uniform" (centred), or "discrete" with ``locations`` and
    ``masses`` (positive, normalised to 1). A discrete law need not be centred: then E[x] ≠ 0.
    """

    kind: str
    locations: tuple[float, ...] = ()
    masses: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _validate.choice("input_law", self.kind, (*INPUT_LAWS, "discrete"))
        if (self.kind == "discrete") != bool(self.locations):
            raise ValueError(f"input_law = {self.kind!r}: locations belong to 'discrete', and only to it")
        if self.kind != "discrete":
            return
        locations = tuple(_validate.real("input_law locations", value) for value in self.locations)
        masses = tuple(
            _validate.real("input_law masses", value, low=0.0, low_open=True) for value in self.masses
        )
        if len(locations) != len(masses):
            raise ValueError(f"input_law: has {len(locations)} locations but {len(masses)} masses")
        if not any(locations):
            raise ValueError(f"input_law locations = {locations}: must not all be zero (E[x²] is set by R)")
        total, merged = math.fsum(masses), dict.fromkeys(sorted(locations), 0.0)
        for location, mass in zip(locations, masses, strict=True):
            merged[location] += mass / total
        object.__setattr__(self, "locations", tuple(merged))
        object.__setattr__(self, "masses", tuple(merged.values()))

    def moment(self, k: int) -> float:
        """Return E[x^k] of the law scaled to E[x²] = 1."""
        k = _validate.integer("k", k, low=0)
        if self.kind == "discrete":
            raw = [
                math.fsum(m * y**n for y, m in zip(self.locations, self.masses, strict=True)) for n in (2, k)
            ]
            return raw[1] / raw[0] ** (k / 2)
        if k % 2:
            return 0.0
        if self.kind == "gaussian":
            return float(math.prod(range(1, k, 2)))
        return 1.0 if self.kind == "rademacher" else 3.0 ** (k / 2) / (k + 1)

    def quantile(self, p: np.ndarray) -> np.ndarray:
        """Return x with P(X ≤ x) = p, elementwise for 0 < p < 1, of the law scaled to E[x²] = 1."""
        if self.kind == "gaussian":
            return ndtri(p)
        if self.kind == "rademacher":
            return np.where(p < 0.5, -1.0, 1.0)
        if self.kind == "uniform":
            return math.sqrt(3.0) * (2.0 * p - 1.0)
        steps = np.cumsum(self.masses)[:-1]
        return self._scaled_locations()[np.searchsorted(steps, p)]

    def sample(self, generator: np.random.Generator, shape: int | tuple[int, ...]) -> np.ndarray:
        """Return independent draws of the law scaled to E[x²] = 1."""
        if self.kind == "gaussian":
            return generator.standard_normal(shape)
        if self.kind == "rademacher":
            return 2.0 * generator.integers(0, 2, size=shape) - 1.0
        if self.kind == "uniform":
            return generator.uniform(-math.sqrt(3.0), math.sqrt(3.0), size=shape)
        return generator.choice(self._scaled_locations(), size=shape, p=np.array(self.masses))

    def _scaled_locations(self) -> np.ndarray:
        second = math.fsum(m * y * y for y, m in zip(self.locations, self.masses, strict=True))
        return np.array(self.locations) / math.sqrt(second)

    @property
    def is_symmetric(self) -> bool:
        """Whether x and -x have the same law."""
        if self.kind != "discrete":
            return True
        pairs = sorted(zip(self.locations, self.masses, strict=True))
        return pairs == sorted((-location, mass) for location, mass in pairs)


@dataclass(frozen=True)
class BiasLaw:
    """Law of the biases b_i of one gate.

    ``kind``:
    "normal": N(mu_b, sigma_b²). "uniform": uniform with mean mu_b and standard deviation sigma_b.
    "log_uniform": b = log U, U uniform between ``values`` = (low, high), 0 < low < high: the chrono
    initialisation of Tallec and Ollivier (2018, arXiv:1804.11188), low = 1 and high = T − 1.
    "discrete": ``values`` with ``masses`` (positive, normalised to 1).
    "copy": ``sign`` times the bias of the gate ``source`` at the same site.

    The last three set mean and scale themselves.
    """

    kind: str
    values: tuple[float, ...] = ()
    masses: tuple[float, ...] = ()
    source: str = ""
    sign: float = field(default=1.0)

    def __post_init__(self) -> None:
        _validate.choice("bias_law", self.kind, BIAS_LAWS)
        values = tuple(_validate.real("bias_law values", value) for value in self.values)
        object.__setattr__(self, "values", values)
        if self.kind == "log_uniform" and not (len(values) == 2 and 0.0 < values[0] < values[1]):
            raise ValueError(f"bias_law = ('log_uniform', {values}): must have 0 < low < high")
        if self.kind == "discrete":
            masses = tuple(_validate.real("bias_law masses", m, low=0.0, low_open=True) for m in self.masses)
            if not values or len(masses) != len(values):
                raise ValueError(f"bias_law: has {len(values)} locations but {len(masses)} masses")
            pairs = sorted(zip(values, masses, strict=True))
            object.__setattr__(self, "values", tuple(value for value, _ in pairs))
            object.__setattr__(self, "masses", tuple(mass / math.fsum(masses) for _, mass in pairs))

    @property
    def is_scaled(self) -> bool:
        """Whether mu_b and sigma_b are the law's mean and standard deviation; else it has its own."""
        return self.kind in ("normal", "uniform")

    @property
    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation; (0, 1) for a law that mu_b and sigma_b scale."""
        if self.kind == "log_uniform":
            low, high = self.values
            ratio = high / low
            shift = ratio * math.log(ratio) / (ratio - 1.0)
            variance = 1.0 - shift * math.log(ratio) / (ratio - 1.0)
            return math.log(low) + shift - 1.0, math.sqrt(max(variance, 0.0))
        if self.kind == "discrete":
            mean = math.fsum(m * y for y, m in zip(self.values, self.masses, strict=True))
            square = math.fsum(m * (y - mean) ** 2 for y, m in zip(self.values, self.masses, strict=True))
            return mean, math.sqrt(square)
        return 0.0, 1.0

    def quantile(self, p: np.ndarray) -> np.ndarray:
        """Return b with P(B ≤ b) = p, elementwise for 0 < p < 1; of mean 0 and variance 1 where scaled."""
        if self.kind == "normal":
            return ndtri(p)
        if self.kind == "uniform":
            return math.sqrt(3.0) * (2.0 * p - 1.0)
        if self.kind == "log_uniform":
            low, high = self.values
            return np.log(low + (high - low) * p)
        if self.kind == "discrete":
            return np.array(self.values)[np.searchsorted(np.cumsum(self.masses)[:-1], p)]
        raise ValueError(f"bias_law: a copy of gate {self.source!r} has no law of its own")

    def argument(self) -> Any:
        """Return the law as `Ensemble` takes it, in plain types."""
        if self.kind == "log_uniform":
            return (self.kind, *self.values)
        if self.kind == "discrete":
            return (self.values, self.masses)
        if self.kind == "copy":
            return f"{'-' if self.sign < 0 else ''}{self.source}"
        return self.kind


def bias_law(name: str, law: Any, gates: tuple[str, ...]) -> BiasLaw:
    """Return the `BiasLaw` of an argument: a name, ("log_uniform", low, high), a discrete law, or a gate.

    A discrete law is (locations, masses), or an object with these attributes. "f" or "-f" copies the bias of
    the gate f.
    """
    if isinstance(law, BiasLaw):
        return law
    if isinstance(law, str):
        source = law.removeprefix("-")
        if source in gates:
            return BiasLaw("copy", source=source, sign=-1.0 if law.startswith("-") else 1.0)
        return BiasLaw(_validate.choice(name, law, ("normal", "uniform", *gates)))
    if hasattr(law, "atoms") and not hasattr(law, "__len__"):
        law = tuple(zip(*law.atoms, strict=True)) if law.atoms else law
    if isinstance(law, Mapping):
        law = (law.get("locations", ()), law.get("masses", ()))
    if isinstance(law, Sequence) and len(law) == 3 and law[0] == "log_uniform":
        return BiasLaw("log_uniform", (law[1], law[2]))
    if isinstance(law, Sequence) and len(law) == 2 and not any(isinstance(part, str) for part in law):
        return BiasLaw("discrete", tuple(law[0]), tuple(law[1]))
    raise TypeError(
        f"{name} = {law!r}: expected 'normal', 'uniform', ('log_uniform', low, high), (locations, masses), "
        f"or the name of a gate in {list(gates)}, with a minus sign for the opposite"
    )


def input_law(law: Any) -> InputLaw:
    if isinstance(law, InputLaw):
        return law
    if isinstance(law, str):
        return InputLaw(_validate.choice("input_law", law, INPUT_LAWS))
    if not isinstance(law, Sequence) or len(law) != 2:
        raise TypeError(
            f"input_law = {law!r}: expected one of {INPUT_LAWS}, an InputLaw, or (locations, masses)"
        )
    for part, values in zip(("locations", "masses"), law, strict=True):
        if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray):
            raise TypeError(f"input_law {part} = {values!r}: expected a sequence of numbers")
    return InputLaw("discrete", *map(tuple, law))
