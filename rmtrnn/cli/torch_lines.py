"""A plan as lines of PyTorch that need no rmtrnn: what `rmtrnn initialize --torch` prints.

Letters: n, the number of inputs; N, of units.
"""

from __future__ import annotations

from rmtrnn.cells import VanillaRNN
from rmtrnn.ensemble import Ensemble
from rmtrnn.initialisation.layouts import GateLaws, framework_laws
from rmtrnn.initialisation.plan import Plan

_CLASSES = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM"}
_ROWS = {
    "e": "h",
    "r": "reset",
    "u": "update",
    "c": "new",
    "i": "input",
    "f": "forget",
    "g": "cell",
    "o": "output",
}
_BODY = """
def initialize_(module):
    \"\"\"Draw the parameters of the first layer: rows of a gate after another, scales as in the table.\"\"\"
    n, N = module.input_size, module.hidden_size
    with torch.no_grad():
        for k, (sigma_w, sigma_v, mu_b, sigma_b, own_mu, own_sigma) in enumerate(GATES.values()):
            rows = slice(k * N, (k + 1) * N)
            {draw}
            module.weight_ih_l0[rows].normal_(0.0, sigma_v / n**0.5)
            module.bias_ih_l0[rows].normal_(mu_b, sigma_b)
            module.bias_hh_l0[rows].normal_(own_mu, own_sigma)
{biases}

module = torch.nn.{module}(input_size=28, hidden_size=128{options})  # your sizes
initialize_(module)
"""
_DRAWS = {
    "orthogonal": "torch.nn.init.orthogonal_(module.weight_hh_l0[rows], gain=sigma_w)",
    "gaussian": "module.weight_hh_l0[rows].normal_(0.0, sigma_w / N**0.5)",
}


def check(ens: Ensemble) -> None:
    """ValueError if PyTorch has no such layer, before a plan is looked for."""
    kind, laws = framework_laws(ens)
    if len({law.weights for law in laws.values()}) > 1 or next(iter(laws.values())).weights not in _DRAWS:
        raise ValueError("--torch: all gates must have orthogonal, or all gaussian weights")
    if kind == "rnn" and _activation(ens) not in ("tanh", "relu"):
        raise ValueError(f"--torch: torch.nn.RNN has the activations tanh and relu, not {_activation(ens)}")


def torch_lines(plan: Plan) -> str:
    """The lines: the plan as a comment, its numbers as a table, a function that draws them, and a module."""
    kind, laws = framework_laws(plan.ensemble)
    note = [f"# {line}".rstrip() for line in str(plan).splitlines()]
    if plan.ensemble.cell.name == "gru":
        note.append("# torch.nn.GRU resets after the product with the weights: --reset-after plans for that")
    note.append(f"# Inputs of second moment {plan.ensemble.R:g}. Of stacked layers this is the first one.")
    rows = []
    for gate, law in laws.items():
        numbers = (law.sigma_w, law.sigma_v, *_bias_numbers(law), law.own_mu, law.own_sigma)
        rows.append(f'    "{_ROWS[gate]}": ({", ".join(f"{x:.6g}" for x in numbers)}),')
    options = f', nonlinearity="{_activation(plan.ensemble)}"' if kind == "rnn" else ""
    weights = next(iter(laws.values())).weights
    lines = "".join(f"        {line}\n" for line in _bias_lines(laws))
    body = _BODY.format(draw=_DRAWS[weights], biases=lines, module=_CLASSES[kind], options=options)
    table = [
        "# sigma_w, sigma_v, mu_b and sigma_b; mean and deviation of the bias with W h",
        "GATES = {",
        *rows,
        "}",
    ]
    return "\n".join([*note, "", "import torch", "", *table, "", body.rstrip()])


def _bias_numbers(law: GateLaws) -> tuple[float, float]:
    """Mean and deviation of the biases, of two values that of the slow units."""
    if law.bias.kind == "discrete":
        return max(law.bias.values, key=abs), 0.0
    return (0.0, 0.0) if law.bias.source else (law.mu_b, law.sigma_b)


def _bias_lines(laws: dict[str, GateLaws]) -> list[str]:
    """What makes units fast, and copies the biases of one gate to another."""
    rows = {gate: f"module.bias_ih_l0[{k} * N : {k + 1} * N]" for k, gate in enumerate(laws)}
    split = [gate for gate, law in laws.items() if law.bias.kind == "discrete"]
    lines = []
    if split:
        bias = laws[split[0]].bias
        fast = bias.masses[bias.values.index(0.0)]
        lines.append(f"slow = torch.rand(N) >= {fast:g}  # the other units are fast")
    lines += [f"{rows[gate]} *= slow" for gate in split]
    copied = {gate: law.bias for gate, law in laws.items() if law.bias.source}
    return lines + [
        f"{rows[gate]} = {'-' if bias.sign < 0.0 else ''}{rows[bias.source]}" for gate, bias in copied.items()
    ]


def _activation(ens: Ensemble) -> str:
    cell = ens.cell
    assert isinstance(cell, VanillaRNN)
    return str(cell.options["activation"].get("name", "one of its own"))
