"""Language models of equal size, their training, and their perplexity."""

from __future__ import annotations

import functools
import math
import os
from typing import Any

import numpy as np

import rmtrnn as rt
from rmtrnn._core import random as _random
from validation import core, data
from validation.paper import training

# For each cell: σ_v of the critical start for inputs of second moment R, and bounds between which χ = 1 is
# solved for by one σ_w for all gates. The embedded words have second moment 1; minimalRNN reads tanh(W_z x),
# scaled to the published R = 0.46 with the published σ_v.
CRITICAL: dict[str, dict[str, float]] = {
    "vanilla": {"sigma_v": 0.25, "R": 1.0, "low": 0.9, "high": 3.0},
    "minimal": {"sigma_v": 1.39, "R": 0.46, "low": 5.0, "high": 9.0},
    "gru": {"sigma_v": 0.5, "R": 1.0, "low": 2.8, "high": 3.6},
    "lstm": {"sigma_v": 0.5, "R": 1.0, "low": 3.7, "high": 4.5},
}
STARTS = ("critical", "default")
SIZES: dict[str, dict[str, Any]] = {
    "quick": {
        "vocabulary": 1000,
        "embedding": 32,
        "budget": 30_000,
        "streams": 64,
        "window": 20,
        "tuning_steps": 10,
        "steps": 30,
        "seeds": 2,
        "held_out": 5_000,
    },
    "standard": {
        "vocabulary": 1000,
        "embedding": 32,
        "budget": 30_000,
        "streams": 64,
        "window": 20,
        "tuning_steps": 800,
        "steps": 6000,
        "seeds": 2,
        "held_out": 20_000,
    },
    "full": {
        "vocabulary": 10_000,
        "embedding": 400,
        "budget": 4_000_000,
        "streams": 20,
        "window": 35,
        "tuning_steps": 2000,
        "steps": 50_000,
        "seeds": 5,
        "held_out": 100_000,
    },
}
RATES = (1e-3, 3e-3, 1e-2)
QUARTERS = 4  # parts of the training after each of which the validation loss is measured
# Of σ_w, and the population of the mean field of GRU and LSTM, which takes seconds each time.
GAIN_TOLERANCE, GAIN_SITES = 5e-3, 512


def corpus() -> data.Corpus:
    """The Penn Treebank if the user names a copy, else the Brown corpus."""
    return data.penn_treebank() if os.environ.get("RMTRNN_PTB") else data.brown()


def list_cases(size: str) -> list[core.Case]:
    """One case for each cell and start."""
    name = "Penn Treebank" if os.environ.get("RMTRNN_PTB") else "Brown corpus"
    shared = {**SIZES[size], "rates": list(RATES), "seed": 23, "weights": "orthogonal", "corpus": name}
    listed = []
    for start in STARTS:
        for cell in CRITICAL:
            settings = {"cell": cell, "start": start, **shared, "N": width(cell, shared)}
            settings |= CRITICAL[cell] if start == "critical" else {}
            listed.append(core.Case(f"{cell}-{start}", settings))
    return listed


def recurrent_parameters(cell: str, N: int, embedding: int) -> int:
    """Parameters that differ between the models: the cell's and those of the map from N back to the words."""
    per_gate = {
        "vanilla": N * (embedding + N + 1),
        "minimal": N * (embedding + 1) + N * (N + N + 1),
        "gru": 3 * N * (embedding + N + 2),
        "lstm": 4 * N * (embedding + N + 2),
    }
    return per_gate[cell] + (N + 1) * embedding


def width(cell: str, sizes: dict[str, Any]) -> int:
    """The largest N within the budget of parameters."""
    N = 1
    while recurrent_parameters(cell, N + 1, sizes["embedding"]) <= sizes["budget"]:
        N += 1
    return N


def ensemble(settings: dict[str, Any], sigma_w: float) -> rt.Ensemble:
    """The critical start of a cell: no biases; PyTorch's GRU has its input part of gate c as gate i."""
    sigma_v: Any = settings["sigma_v"]
    cell: Any = settings["cell"]
    if cell == "gru":
        cell, sigma_v = rt.GRU(reset_after=True), {"r": sigma_v, "u": sigma_v, "c": 0.0, "i": sigma_v}
    return rt.Ensemble(cell, sigma_w=sigma_w, sigma_v=sigma_v, R=settings["R"], weights=settings["weights"])


def compute(case: core.Case, workers: core.Workers) -> core.Result:
    """Solve for χ = 1, tune the learning rate on the validation text, then train every seed at the best."""
    settings = dict(case.settings)
    if settings["start"] == "critical":
        ends = settings["low"], settings["high"]
        settings["sigma_w"] = training.critical_gain(
            ensemble(settings, 1.0), *ends, GAIN_TOLERANCE, GAIN_SITES
        )
    tuned = training.sweep(tune, f"language-tune-{case.key}", settings, len(RATES), workers)
    tuning = np.array([values[0] for values in tuned])
    best = RATES[int(np.argmin(tuning))]
    settings["rate"] = best
    found = np.array(training.sweep(final, f"language-{case.key}", settings, settings["seeds"], workers))
    meta = {
        "chosen rate": best,
        "sigma_w": settings.get("sigma_w", 0.0),
        "recurrent parameters": recurrent_parameters(settings["cell"], settings["N"], settings["embedding"]),
        "training": training.provenance(),
    }
    seconds = np.concatenate([[values[-1] for values in tuned], found[:, -1]])
    curve = found[:, :QUARTERS]
    arrays = {"tuning": tuning, "curve": curve, "valid": curve[:, -1], "test": found[:, -2]}
    return meta, arrays | {"seconds": seconds}


def tune(settings: dict[str, Any], index: int) -> np.ndarray:
    """Validation loss per word of a short run at the ``index``-th learning rate, and the seconds."""
    # A seed apart from the final ones: the choice is not made on the networks that are reported.
    curve, _, seconds = _run(settings, settings["seed"] + 1000, RATES[index], settings["tuning_steps"])
    return np.array([curve[-1], seconds])


def final(settings: dict[str, Any], index: int) -> np.ndarray:
    """One seed at the chosen rate: validation losses per word over the training, test loss, seconds."""
    curve, test, seconds = _run(settings, settings["seed"] + index, settings["rate"], settings["steps"])
    return np.array([*curve, test, seconds])


@functools.cache
def _encoded(vocabulary: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    words = corpus()
    numbers = data.vocabulary(words.train, vocabulary)
    return (
        data.encode(words.train, numbers),
        data.encode(words.valid, numbers),
        data.encode(words.test, numbers),
    )


def streams(words: np.ndarray, count: int) -> np.ndarray:
    """(length, count): the text cut into ``count`` equal pieces, read side by side; the rest is left out."""
    length = len(words) // count
    return words[: length * count].reshape(count, length).T.copy()


def build(settings: dict[str, Any], vocabulary: int, seed: int) -> Any:
    """The parts of a model: words, cell, back (from the state to the words' space), bias.

    The output scores are the embedded words times the state mapped back, over √embedding: input and output
    share their words, so that these, equal for all cells, do not outweigh the recurrent part.
    """
    import torch

    from rmtrnn import torch as rt_torch

    N, inputs = settings["N"], settings["embedding"]
    kinds = {
        "vanilla": rt_torch.VanillaRNN,
        "minimal": rt_torch.MinimalRNN,
        "gru": torch.nn.GRU,
        "lstm": torch.nn.LSTM,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        cell = kinds[settings["cell"]](inputs, N)
        words = torch.nn.Embedding(vocabulary, inputs)
    if settings["start"] == "critical":
        rt_torch.initialize_(
            cell, ensemble(settings, settings["sigma_w"]), _random.stream(seed, training.WEIGHTS)
        )
        if isinstance(cell, rt_torch.MinimalRNN):
            matrix = training.embedding(words.weight.detach().numpy()[:1000], N, settings["R"], seed)
            with torch.no_grad():
                cell.embeddings[0].weight.copy_(torch.from_numpy(matrix))
                cell.embeddings[0].bias.zero_()
    parts = {"words": words, "cell": cell, "back": training.readout(N, inputs, seed)}
    model = torch.nn.ModuleDict(parts)
    model.register_parameter("bias", torch.nn.Parameter(torch.zeros(vocabulary)))
    return model


def _scores(model: Any, words: Any, state: Any) -> tuple[Any, Any]:
    output, state = model["cell"](model["words"](words), state)
    back = model["back"](output)
    return back @ model["words"].weight.T / math.sqrt(back.shape[-1]) + model.bias, state


def _detached(state: Any) -> Any:
    return tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()


def perplexity_loss(model: Any, text: Any, window: int) -> float:
    """Mean −log probability per word of a text of shape (length, streams), the state carried along."""
    import torch

    total, count, state = 0.0, 0, None
    with torch.no_grad():
        for start in range(0, len(text) - 1, window):
            part = text[start : start + window + 1]
            scores, state = _scores(model, part[:-1], state)
            wanted = part[1:].reshape(-1)
            total += float(torch.nn.functional.cross_entropy(scores.flatten(0, 1), wanted, reduction="sum"))
            count += len(wanted)
    return total / count


def _run(settings: dict[str, Any], seed: int, rate: float, steps: int) -> tuple[list[float], float, float]:
    """Train one model; return (validation losses after each quarter, test loss, seconds)."""
    import torch

    where = training.device()
    train, valid, test = _encoded(settings["vocabulary"])
    text = torch.from_numpy(streams(train, settings["streams"])).to(where)
    model = build(settings, settings["vocabulary"], seed).to(where)
    window, position, state = settings["window"], 0, None

    def loss_of() -> Any:
        nonlocal position, state
        if position + 2 > len(text):
            position, state = 0, None
        part = text[position : position + window + 1]
        scores, after = _scores(model, part[:-1], state)
        position, state = position + window, _detached(after)
        return torch.nn.functional.cross_entropy(scores.flatten(0, 1), part[1:].reshape(-1))

    def held_out(words: np.ndarray) -> float:
        rows = streams(words[: settings["held_out"]], settings["streams"])
        return perplexity_loss(model, torch.from_numpy(rows).to(where), window)

    curve: list[float] = []

    def measure(step: int) -> None:
        # Quarters are those of the steps asked for; a run that breaks off keeps its last model.
        if step * QUARTERS // steps > (step - 1) * QUARTERS // steps:
            curve.append(held_out(valid))

    seconds = training.train(model, loss_of, steps, rate, after=measure)
    curve += [held_out(valid)] * (QUARTERS - len(curve))
    return curve, held_out(test), seconds
