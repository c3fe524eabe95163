"""Random activations as nested lists, which JSON keeps and `expression` turns into SymPy.

["z"], or [name, part, ...] with a name of `UNARY` or `BINARY`, or ["scaled", a, b, part]: a·part + b.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from rmtrnn.cells.activation import ACTIVATIONS

UNARY: dict[str, Callable[[sp.Expr], sp.Expr]] = {
    "tanh": sp.tanh,
    "sin": sp.sin,
    "cos": sp.cos,
    "atan": sp.atan,
    "erf": sp.erf,
    "bump": lambda f: sp.exp(-(f**2)),
    "rational": lambda f: f / (1 + f**2),
    "abs": sp.Abs,
    "relu": lambda f: sp.Max(f, 0),
    "clip": lambda f: sp.Max(-1, sp.Min(1, f)),
    "dead zone": lambda f: f - sp.Max(-sp.Rational(1, 2), sp.Min(sp.Rational(1, 2), f)),
    "fold": lambda f: sp.Abs(sp.Abs(f) - 1),
    "elu": lambda f: sp.Piecewise((sp.exp(f) - 1, f < 0), (f, True)),
    "two slopes": lambda f: sp.Piecewise((f / 4, f < sp.Rational(1, 3)), (f - sp.Rational(1, 4), True)),
    "square": lambda f: f**2,
    "pole": lambda f: 1 / f,
    "log": lambda f: sp.log(sp.Abs(f)),
    "root": lambda f: sp.sqrt(sp.Abs(f)),
    "step": sp.sign,
}
BINARY: dict[str, Callable[[sp.Expr, sp.Expr], sp.Expr]] = {
    "sum": lambda f, g: f + g,
    "product": lambda f, g: f * g,
    "larger": sp.Max,
}
_HOSTILE = {"square", "pole", "log", "root", "step"}  # drawn a fifth as often: most are refused


def draw(rng: np.random.Generator, depth: int = 2) -> list[Any]:
    """A random activation; a library name in a third of the cases."""
    if depth == 2 and rng.random() < 1 / 3:
        return ["named", str(rng.choice(ACTIVATIONS))]
    if depth == 0:
        scale, shift = float(rng.choice([0.5, 1.0, 1.0, 2.0])), float(rng.choice([0.0, 0.0, 0.5, -1.0]))
        return ["z"] if (scale, shift) == (1.0, 0.0) else ["scaled", scale, shift, ["z"]]
    if rng.random() < 0.25:
        return [str(rng.choice(list(BINARY))), draw(rng, depth - 1), draw(rng, depth - 1)]
    weights = np.array([0.2 if name in _HOSTILE else 1.0 for name in UNARY])
    return [str(rng.choice(list(UNARY), p=weights / weights.sum())), draw(rng, depth - 1)]


def expression(spec: list[Any]) -> sp.Expr:
    """The SymPy expression in z."""
    name, *parts = spec
    if name == "z":
        return sp.Symbol("z", real=True)
    if name == "scaled":
        scale, shift, part = parts
        return sp.nsimplify(scale) * expression(part) + sp.nsimplify(shift)
    functions = [expression(part) for part in parts]
    return UNARY[name](*functions) if name in UNARY else BINARY[name](*functions)


def simpler(spec: list[Any]) -> list[list[Any]]:
    """Smaller activations to try in place of this one."""
    if spec[0] in ("named", "z"):
        return []
    smaller = [part for part in spec[1:] if isinstance(part, list)]
    for i, part in enumerate(spec):
        if isinstance(part, list):
            smaller += [[*spec[:i], one, *spec[i + 1 :]] for one in simpler(part)]
    return smaller
