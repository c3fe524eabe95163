"""The options of every command: one table, read from flags and from a TOML file alike.

A flag ``--sigma-w r=1,u=2,c=1`` and the TOML line ``sigma_w = {r = 1.0, u = 2.0, c = 1.0}`` give the same
value; flags win over the file.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rmtrnn.cells.library import LIBRARY
from rmtrnn.cli import meaning
from rmtrnn.cli.grammar import shown
from rmtrnn.cli.limits import FILES


class UsageError(ValueError):
    """Arguments that make no sense: one line for the user."""


class Option(NamedTuple):
    """``read`` turns the text of a flag, ``check`` a value of a TOML file, into the argument."""

    read: Callable[[str, str], Any]
    check: Callable[[str, Any], Any]
    metavar: str | None
    help: str


def read_integer(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{name} = {shown(text)}: expected an integer") from None


def read_number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{name} = {shown(text)}: expected a number") from None


def read_range(name: str, text: str) -> np.ndarray:
    """The points of "start:stop:count"."""
    parts = text.split(":")
    if len(parts) != 3:
        raise UsageError(f"{name} = {shown(text)}: expected a number, or a grid start:stop:count")
    count = read_integer(f"count of {name}", parts[2])
    if not 1 <= count <= FILES.points:
        raise UsageError(f"count of {name} = {count}: must be from 1 to {FILES.points}")
    return np.linspace(read_number(name, parts[0]), read_number(name, parts[1]), count)


def read_values(name: str, text: str) -> Any:
    """A number, a grid, or "gate=value,gate=value" of them."""
    if "=" not in text:
        return read_range(name, text) if ":" in text else read_number(name, text)
    return {gate: read_values(f"{name}.{gate}", value) for gate, value in _pairs(name, text)}


def check_values(name: str, value: Any) -> Any:
    """The same from TOML: a number, an array of numbers, "start:stop:count", or a table by gate."""
    if isinstance(value, str):
        return read_range(name, value)
    if isinstance(value, Mapping):
        return {gate: check_values(f"{name}.{gate}", item) for gate, item in value.items()}
    if isinstance(value, list):
        return np.array([_check_number(name, item) for item in value])
    return _check_number(name, value)


def read_words(name: str, text: str) -> Any:
    return dict(_pairs(name, text)) if "=" in text else text


def _check_number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{name} = {shown(str(value))}: expected a number")
    return float(value)


def _check_integer(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"{name} = {shown(str(value))}: expected an integer")
    return value


def _check_text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{name} = {shown(str(value))}: expected a string")
    return value


def _check_words(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {gate: _check_text(f"{name}.{gate}", word) for gate, word in value.items()}
    return _check_text(name, value)


def _check_flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{name} = {shown(str(value))}: expected true or false")
    return value


def read_bounds(name: str, text: str) -> tuple[float, float]:
    low, colon, high = text.partition(":")
    if not colon:
        raise UsageError(f"{name} = {shown(text)}: expected low:high")
    return read_number(name, low), read_number(name, high)


def _read_q(name: str, text: str) -> Any:
    return read_bounds(name, text) if ":" in text else read_number(name, text)


def _check_bounds(name: str, value: Any) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) != 2:
        raise UsageError(f"{name} = {shown(str(value))}: expected an array [low, high]")
    return _check_number(name, value[0]), _check_number(name, value[1])


def _check_q(name: str, value: Any) -> Any:
    return _check_bounds(name, value) if isinstance(value, list) else _check_number(name, value)


def _read_free(name: str, text: str) -> dict[str, Any]:
    """ "sigma_w=0.1:10,mu_b.f=-2:6" as {parameter: bounds} with gates inside."""
    free: dict[str, Any] = {}
    for label, bounds in _pairs(name, text):
        parameter, dot, gate = label.partition(".")
        pair = read_bounds(f"{name} {label}", bounds)
        if not dot:
            free[parameter] = pair
        elif isinstance(free.setdefault(parameter, {}), dict):
            free[parameter][gate] = pair
        else:
            raise UsageError(f"{name} = {shown(text)}: {parameter} is free for all gates and for one")
    return free


def _check_free(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{name} = {shown(str(value))}: expected a table, such as {{sigma_w = [0.1, 10]}}")
    return {
        key: {gate: _check_bounds(f"{name}.{key}.{gate}", pair) for gate, pair in item.items()}
        if isinstance(item, Mapping)
        else _check_bounds(f"{name}.{key}", item)
        for key, item in value.items()
    }


def _pairs(name: str, text: str) -> list[tuple[str, str]]:
    pairs = [tuple(part.partition("=")[::2]) for part in text.split(",")]
    keys = [key.strip() for key, _ in pairs]
    if not all(keys) or len(set(keys)) < len(keys) or not all(value for _, value in pairs):
        raise UsageError(f"{name} = {shown(text)}: expected NAME=VALUE,NAME=VALUE with each name once")
    return [(key, value.strip()) for key, (_, value) in zip(keys, pairs, strict=True)]


def _text(metavar: str, help: str) -> Option:
    return Option(lambda name, text: text, _check_text, metavar, help)


def _integer(help: str) -> Option:
    return Option(read_integer, _check_integer, "N", help)


def _number(help: str) -> Option:
    return Option(read_number, _check_number, "X", help)


def _values(help: str) -> Option:
    return Option(read_values, check_values, "X", help)


def _flag(help: str) -> Option:
    return Option(lambda name, given: given, _check_flag, None, help)


OPTIONS: dict[str, Option] = {
    "cell": _text("CELL", f"{', '.join(LIBRARY)}, or a cell file (same as the first argument)"),
    "activation": _text("NAME", "of a vanilla cell: tanh, erf, relu, ... (default tanh)"),
    "peephole": _flag("of an lstm: gates read the cell state c"),
    "reset_after": _flag("of a gru: reset after the product, as in PyTorch"),
    "sigma_w": _values("scale of the recurrent weights; by gate: r=1,u=2,c=1 (default 1)"),
    "sigma_v": _values("scale of the input weights (default 0)"),
    "mu_b": _values("mean of the biases (default 0)"),
    "sigma_b": _values("scale of the biases (default 0)"),
    "R": _values("second moment of the inputs (default 1)"),
    "Sigma": _values("correlation of the inputs of two sequences (default 0)"),
    "weights": Option(read_words, _check_words, "LAW", "gaussian or orthogonal; by gate: r=gaussian,..."),
    "tied": _flag("tied weights: one draw for all steps"),
    "input_law": _text("LAW", "gaussian, rademacher or uniform (default gaussian)"),
    "T": _integer("number of steps of the Jacobian"),
    "method": _text("NAME", "auto, s-transform or dyson (default auto)"),
    "points": _integer("also give the density of log s at N quantiles"),
    "save": _text("FILE", "keep the result (.npz, read by rmtrnn.load)"),
    "population": _integer("sites of the Dyson equation, a power of two: more of them, a smaller error"),
    "tol": _number("error of the cdf from the number of points of the Dyson equation"),
    "sites": _integer("size of a sampled population, a power of two (default 2048)"),
    "steps": _integer("also give the trajectories over N steps"),
    "Q0": _number("second moment of the state at the start"),
    "C0": _number("overlap of two replicas at the start"),
    "quantity": _text("NAME", "what to draw: chi, chi_star, timescale, q, Q or c_star (default chi)"),
    "q": Option(_read_q, _check_q, "X", "variance of the pre-activation, or its bounds low:high"),
    "band": Option(read_bounds, _check_bounds, "A:B", "wanted 5-95 %% range of s (default 0.9:1.1)"),
    "free": Option(_read_free, _check_free, "NAME=A:B", "what may be solved for: sigma_w=0.1:10,mu_b.f=-2:6"),
    "spectrum": _flag("compute the spectrum at the point also where that is slow (gated cells, T > 8)"),
    "N": _integer("units of the sampled network (default 1024)"),
    "trials": _integer("number of sampled networks (default 8)"),
    "seed": _integer("seed (default 0)"),
    "device": _text("NAME", "auto, cpu or cuda (default auto)"),
    "dtype": _text("NAME", "float64 or float32 (default float64)"),
    "burn_in": _integer("steps before the Jacobian starts (default: as many as it takes, 500 to 16000)"),
    "checkpoint": _text("DIR", "folder of finished trials; an interrupted run continues"),
    "jobs": _integer("processes (default 1)"),
    "compare": _flag("also compute the theory and compare"),
    "torch": _flag("print lines of PyTorch that draw these parameters, in place of the table"),
    "plot": _text("FILE", "draw the result (.png, .pdf, .svg)"),
}
ENSEMBLE = (
    "cell", "activation", "peephole", "reset_after", "sigma_w", "sigma_v", "mu_b", "sigma_b",
    "R", "Sigma", "weights", "tied", "input_law",
)  # fmt: skip


_KEPT = "; found if it is not given"
HELP_OF_ONE: dict[str, dict[str, str]] = {  # what an option says otherwise in one command
    "initialize": {
        "sigma_w": "scale of the recurrent weights; by gate: r=1,u=2,c=1" + _KEPT,
        "sigma_v": "scale of the input weights" + _KEPT,
        "mu_b": "mean of the biases" + _KEPT,
        "sigma_b": "scale of the biases" + _KEPT,
        "weights": "gaussian or orthogonal; by gate: r=gaussian,... (default orthogonal)",
        "tied": "tied weights: one draw for all steps (default)",
        "T": "number of steps over which the state has to feel its inputs",
        "N": "width of the networks that the search samples, 8 to 1024 (default 48)",
    }
}
GRID = ("sigma_w", "sigma_v", "mu_b", "sigma_b", "R", "Sigma")  # what the command phase takes as a grid
OUTPUT = ("save", "plot", "points", "torch")


def add_options(parser: argparse.ArgumentParser, names: tuple[str, ...], command: str) -> Any:
    """Add the flags of ``names``, in groups; nothing is in the result that was not given.

    ``command``: whose help it is. Returns the group of what is printed and written.
    """
    network = parser.add_argument_group("the network")
    network.add_argument("cell_argument", nargs="?", metavar="CELL", help=OPTIONS["cell"].help)
    computation = parser.add_argument_group("the computation")
    output = parser.add_argument_group("what is printed and written")
    for name in names:
        option = OPTIONS[name]
        group = network if name in ENSEMBLE else output if name in OUTPUT else computation
        dashed = "--" + name.replace("_", "-")
        flags = [dashed] if dashed == "--" + name else [dashed, "--" + name]
        text = HELP_OF_ONE.get(command, {}).get(name, option.help)
        if command == "phase" and name in GRID:
            text += "; or a grid start:stop:count"
        common: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS, "help": text}
        if option.metavar is None:
            group.add_argument(*flags, action=argparse.BooleanOptionalAction, **common)
        else:
            group.add_argument(*flags, metavar=option.metavar, **common)
    network.add_argument("--config", metavar="FILE", help="TOML file of the options here (sigma_w = 1.5)")
    return output


def settings(options: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    """The arguments of a command: those of the TOML file, then those of the flags."""
    given = vars(options)
    found = _from_file(options.config, names) if options.config else {}
    for name in names:
        if name in given:
            found[name] = OPTIONS[name].read("--" + name.replace("_", "-"), given[name])
    if options.cell_argument is not None:
        if "cell" in given:
            raise UsageError("the cell is given twice: as the first argument and by --cell")
        found["cell"] = options.cell_argument
    return found


def _from_file(path: str, names: tuple[str, ...]) -> dict[str, Any]:
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(FILES.config_bytes + 1)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"--config {shown(path)}: cannot be read: {reason}") from None
    if len(content) > FILES.config_bytes:
        raise UsageError(f"{shown(path)}: a configuration has at most {FILES.config_bytes} bytes")
    try:
        table = tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{shown(path)}: is not TOML: {error}") from None
    except RecursionError:
        raise UsageError(f"{shown(path)}: is nested too deeply") from None
    for key in table:
        if key not in names:
            known = meaning.meant(key, names, meaning.OPTIONS) or f"; known are {', '.join(names)}"
            raise UsageError(f"{shown(path)}: unknown key {shown(key)}{known}")
    return {key: OPTIONS[key].check(key, value) for key, value in table.items()}
