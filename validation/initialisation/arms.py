"""The initialisations that are compared: drawn as PyTorch modules."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import rmtrnn as rt
from rmtrnn import torch as rt_torch
from rmtrnn._core import random as _random
from rmtrnn.initialisation.layouts import framework_ensemble
from validation.initialisation.tasks import Task
from validation.networks.modules import blocks

METHODS = ("default", "orthogonal, bias 1", "chrono", "critical", "initialize")
KEEPING = {"vanilla": "", "minimal": "e", "gru": "u", "lstm": "f"}  # the gate that keeps the state
WEIGHTS, BIASES, SAMPLE = 71, 73, 74  # streams of a seed


class MissingArmError(RuntimeError):
    """The initialisation does not exist for this cell; says why."""


def source(cell: str, method: str, task: Task, N: int) -> Any:
    """What ``rt.torch.initialize_`` draws from: an ensemble or a plan; None for what needs neither.

    Raises MissingArmError where there is no such initialisation.
    """
    if method == "chrono" and not KEEPING[cell]:
        raise MissingArmError("no gate")
    if method == "initialize":
        return rt.initialize(cell, task.T, R=second_moment(cell, task, N))
    if method != "critical":
        return None
    try:
        return _critical(cell, task.T, second_moment(cell, task, N))
    except rt.NoCriticalPointError as error:
        raise MissingArmError(str(error)) from error


def _critical(cell: str, T: int, R: float) -> rt.Ensemble:
    """χ = 1, weights kept. GRU, LSTM: one σ_w, σ_v = 0.5, a bias of 1 for the gate that keeps."""
    if cell in ("vanilla", "minimal"):
        ens = rt.critical(cell, T, weights="orthogonal", R=R, tied=True).ensemble
    else:
        means = {gate: float(gate == KEEPING[cell]) for gate in rt.Ensemble(cell).cell.gates}
        fixed = {"sigma_v": 0.5, "mu_b": means, "free": {"sigma_w": (0.5, 6.0)}, "tied": True}
        ens = rt.critical(cell, T, weights="orthogonal", R=R, **fixed).ensemble
    return framework_ensemble(ens)


def second_moment(cell: str, task: Task, N: int) -> float:
    """R of what the cell reads: 1 for standardised inputs, for minimalRNN that of its z, observed."""
    if cell != "minimal":
        return 1.0
    x, _ = task.batch(_random.stream(0, SAMPLE), 64)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        z = torch.tanh(rt_torch.MinimalRNN(task.inputs, N).embeddings[0](torch.from_numpy(x)))
    return round(float((z**2).mean()), 3)


def module(cell: str, method: str, drawn_from: Any, task: Task, N: int, seed: int) -> tuple[Any, Any]:
    """The recurrent module and its readout, a `torch.nn.Linear` as PyTorch draws it for every arm.

    The embedding of minimalRNN too is the same for all arms.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _module(cell, method, drawn_from, task, N, seed)


def _module(cell: str, method: str, drawn_from: Any, task: Task, N: int, seed: int) -> tuple[Any, Any]:
    kinds = {
        "gru": torch.nn.GRU,
        "lstm": torch.nn.LSTM,
        "vanilla": torch.nn.RNN,
        "minimal": rt_torch.MinimalRNN,
    }
    readout = torch.nn.Linear(N, task.outputs)
    net = kinds[cell](task.inputs, N)
    if drawn_from is not None:
        rt_torch.initialize_(net, drawn_from, _random.stream(seed, WEIGHTS))
    elif method != "default":
        _recipe(net, cell, method, task.T, N, seed)
    return net, readout


def _recipe(net: Any, cell: str, method: str, T: int, N: int, seed: int) -> None:
    """Orthogonal recurrent weights and biases 0, then 1 or log U(1, T − 1) for the gate that keeps."""
    rows = blocks(cell, N)
    biases = [p for name, p in net.named_parameters() if name.startswith("bias")]
    with torch.no_grad():
        for part in rows.values():
            torch.nn.init.orthogonal_(net.weight_hh_l0[part])
        for bias in biases:
            bias.zero_()
        if not KEEPING[cell]:
            return
        times = torch.from_numpy(np.log(_random.stream(seed, BIASES).uniform(1.0, T - 1.0, N))).float()
        biases[0][rows[KEEPING[cell]]] = times if method == "chrono" else 1.0
        if method == "chrono" and cell == "lstm":
            biases[0][rows["i"]] = -times


def described(drawn_from: Any) -> str:
    """The parameters that an ensemble or a plan has, in words."""
    ens = getattr(drawn_from, "ensemble", drawn_from)
    if ens is None:
        return ""
    names = ("mu_b", "sigma_b", "sigma_w", "sigma_v")
    gates = {
        gate: ", ".join(f"{getattr(ens.gate(gate), name):.3g}" for name in names) for gate in ens.cell.gates
    }
    return "; ".join(f"{gate}: {values}" for gate, values in gates.items())
