"""A small trained network for tests that have no PyTorch: trained_gru.json.

PyTorch's GRU of 32 units, 500 updates on the adding task of 50 steps (`validation.beyond.trained_gru`). The
weights are single-precision numbers, written with the nine digits that determine them. Made by
`PYTHONPATH=. python tests/reference/trained_gru.py`, which needs PyTorch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import rmtrnn as rt

FILE = Path(__file__).with_suffix(".json")
HIDDEN, LENGTH, STEPS, SEED = 32, 50, 500, 0


def trained_network() -> tuple[rt.GivenNetwork, np.ndarray, dict[str, Any]]:
    """The network, one sequence of inputs (T, 2), and what the file says about the training."""
    record = json.loads(FILE.read_text())
    parts = {
        name: {gate: np.array(values, dtype=float) for gate, values in record[name].items()} for name in "WVb"
    }
    net = rt.GivenNetwork(rt.GRU(reset_after=True), parts["W"], parts["V"], parts["b"])
    return net, np.array(record["inputs"]), record["training"]


def main() -> None:
    """Train and write the file."""
    import torch

    from rmtrnn.cells.torch_layout import layer_parameters
    from validation.beyond.trained_gru import AddingTask, train

    task = AddingTask(LENGTH)
    trained = train(task, HIDDEN, STEPS, SEED)
    found = layer_parameters(trained.recurrent)
    record: dict[str, Any] = {
        "training": {
            "hidden": HIDDEN,
            "length": LENGTH,
            "steps": STEPS,
            "seed": SEED,
            "torch": torch.__version__,
            "first_loss": float(trained.losses[:50].mean()),
            "last_loss": float(trained.losses[-50:].mean()),
        },
        "inputs": np.round(task.sample(1, np.random.default_rng(5))[0][0], 12).tolist(),
    }
    for name in "WVb":
        record[name] = {
            gate: np.vectorize(lambda value: float(f"{value:.9g}"))(values).tolist()
            for gate, values in getattr(found, name).items()
        }
    FILE.write_text(json.dumps(record, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
