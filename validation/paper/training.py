"""What the training studies share: inputs made from digits, modules with a readout, one training loop.

PyTorch (extra ``torch``) is imported inside the functions that need it; the pure NumPy parts work without.
A CUDA device is used where PyTorch sees one.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.optimize

import rmtrnn as rt
from rmtrnn._core import progress as _progress
from rmtrnn._core import random as _random
from rmtrnn._core import trials as _trials
from rmtrnn._core import validate as _validate
from validation import core, data
from validation.core import places
from validation.core.provenance import code_digest

# Streams of one training run: (seed, purpose).
WEIGHTS, READOUT, BATCHES, EMBEDDING, HELD_OUT = range(5)
CLASSES = 10
TESTED = 125  # digits that are run at once to be tested
CLIP = 1.0  # largest norm of the gradient: without it a chaotic network ends in NaN, not in a low accuracy


# --- inputs ---------------------------------------------


def digits(size: str) -> data.Digits:
    """All of MNIST, but 5,000 of its digits for the quick size unless the user names a copy."""
    return data.small_mnist() if size == "quick" and not os.environ.get(data.MNIST.variable) else data.mnist()


def digit_vectors(images: np.ndarray) -> np.ndarray:
    """(n, 28, 28) → (n, 100): the central 20 × 20 pixels, which hold the digit, averaged 2 × 2."""
    blocks = images[:, 4:24, 4:24].reshape(-1, 10, 2, 10, 2)
    return blocks.mean(axis=(2, 4)).reshape(-1, 100) / 255.0


def digit_sequences(images: np.ndarray, pixels: int) -> np.ndarray:
    """(n, 28, 28) → (n, 784/pixels, pixels): the pixels in reading order, ``pixels`` at each step."""
    if 784 % _validate.integer("pixels", pixels, low=1, high=784):
        raise ValueError(f"pixels = {pixels}: must divide 784")
    return images.reshape(len(images), 784 // pixels, pixels) / 255.0


def scaled(train: np.ndarray, test: np.ndarray, second_moment: float) -> tuple[np.ndarray, np.ndarray]:
    """Both minus the mean of the training set (one number), times what makes its second moment as asked."""
    second_moment = _validate.real("second_moment", second_moment, low=0.0, low_open=True)
    mean, deviation = train.mean(), train.std()
    factor = math.sqrt(second_moment) / deviation
    return ((train - mean) * factor).astype(np.float32), ((test - mean) * factor).astype(np.float32)


# --- sweeps ---------------------------------------------


def sweep(
    trial: _trials.Trial, name: str, parameters: dict[str, Any], count: int, workers: core.Workers
) -> list[np.ndarray]:
    """``[trial(parameters, i) for i in range(count)]`` on the workers; each is kept as soon as it is done.

    An interrupted sweep continues where it was. Its folder goes when the sweep is complete, because then the
    study keeps the case.
    """
    identity = json.dumps([parameters, code_digest()], sort_keys=True).encode()
    folder = places.CHECKPOINTS / "cells" / f"{name}-{hashlib.sha256(identity).hexdigest()[:12]}"
    results = _trials.run_trials(
        trial,
        parameters,
        count,
        executor=workers.executor,
        checkpoint=folder,
        report=_progress.reporter(None),
        label=name,
    )
    shutil.rmtree(folder)
    return results


def provenance() -> dict[str, str]:
    """PyTorch's version and the device that training runs on."""
    import torch

    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU, one thread a process"
    return {"torch": torch.__version__, "training": where}


# --- networks and training ---------------------------------------------


def device() -> Any:
    """The CUDA device if there is one, else the CPU with one thread (two are slower for small steps)."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda")
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # vanished gradients are zeros, not numbers a hundred times slower
    return torch.device("cpu")


def recurrent(ens: rt.Ensemble, inputs: int, N: int, seed: int, embedding: np.ndarray | None = None) -> Any:
    """A vanilla or minimalRNN module for ``inputs`` numbers a step, drawn from ``ens``.

    embedding : (N, inputs) matrix of minimalRNN's map z = tanh(W_z x), trained with the rest; without it the
        cell reads x itself, which needs inputs = N.
    """
    import torch

    from rmtrnn import torch as rt_torch

    if isinstance(ens.cell, rt.VanillaRNN):
        module = rt_torch.VanillaRNN(inputs, N, activation=ens.cell.activation.name)
    else:
        module = rt_torch.MinimalRNN(inputs, N, embed=embedding is not None)
    rt_torch.initialize_(module, ens, _random.stream(seed, WEIGHTS))
    if embedding is not None and isinstance(module, rt_torch.MinimalRNN):
        with torch.no_grad():
            module.embeddings[0].weight.copy_(torch.from_numpy(embedding))
            module.embeddings[0].bias.zero_()
    return module


def digit_network(ens: rt.Ensemble, x: np.ndarray, N: int, seed: int) -> Any:
    """A module for the sequences ``x`` (n, T, inputs), drawn from ``ens``; minimalRNN with an input map.

    The map has the second moment ``ens.R``, by the first 200 sequences.
    """
    gated = isinstance(ens.cell, rt.MinimalRNN)
    sample = x[:200].reshape(-1, x.shape[2])
    return recurrent(ens, x.shape[2], N, seed, embedding(sample, N, ens.R, seed) if gated else None)


def embedding(sample: np.ndarray, N: int, second_moment: float, seed: int) -> np.ndarray:
    """Gaussian W_z, (N, inputs), scaled: tanh(W_z x) has this mean square over the rows x of ``sample``."""
    matrix = _random.stream(seed, EMBEDDING).standard_normal((N, sample.shape[1]))
    driven = sample @ matrix.T
    low, high = 1e-3, 1e3
    for _ in range(60):
        middle = math.sqrt(low * high)
        enough = (np.tanh(middle * driven) ** 2).mean() >= second_moment
        low, high = (low, middle) if enough else (middle, high)
    return math.sqrt(low * high) * matrix


def readout(N: int, classes: int, seed: int) -> Any:
    """A linear map to the classes, weights N(0, 1/N), biases 0."""
    import torch

    layer = torch.nn.Linear(N, classes)
    weights = _random.stream(seed, READOUT).standard_normal((classes, N)) / math.sqrt(N)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights))
        layer.bias.zero_()
    return layer


def train(
    model: Any,
    loss_of: Callable[[], Any],
    steps: int,
    rate: float,
    after: Callable[[int], None] | None = None,
) -> float:
    """``steps`` steps of Adam on ``loss_of()``, gradient norm clipped at 1; returns the processor's seconds.

    Stops early, before the step is taken, where the loss is not finite: the parameters stay usable.
    """
    import torch

    start = time.process_time()
    parameters = list(model.parameters())
    optimiser = torch.optim.Adam(parameters, rate)
    for step in range(1, steps + 1):
        loss = loss_of()
        if not math.isfinite(loss.item()):
            break
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        if math.isfinite(norm.item()):
            optimiser.step()
        if after is not None:
            after(step)
    return time.process_time() - start


def marks(steps: int) -> list[int]:
    """Training steps at which the accuracy is measured: powers of √2, rounded, from 4 to ``steps``."""
    return sorted({*(round(2 ** (k / 2)) for k in range(4, 64) if 2 ** (k / 2) < steps), steps})


def area(steps: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    """Mean accuracy over the logarithm of the training step (trapezoidal rule): high if learning is fast.

    steps (k,), accuracy (..., k)
    """
    x = np.log(steps)
    return ((accuracy[..., 1:] + accuracy[..., :-1]) / 2 * np.diff(x)).sum(axis=-1) / (x[-1] - x[0])


def first_step(steps: np.ndarray, accuracy: np.ndarray, target: float) -> float:
    """The first measured step with at least this accuracy; inf if there is none."""
    reached = np.flatnonzero(accuracy >= target)
    return float(steps[reached[0]]) if len(reached) else float("inf")


def accuracy_curves(
    nets: Sequence[Any],
    seeds: list[int],
    rates: list[float],
    steps: int,
    batch: int,
    digits: dict[str, np.ndarray],
) -> np.ndarray:
    """Train the modules together, each by its seed and rate; test accuracies (networks, marks).

    digits : x (n, T, inputs) and labels (n,) to learn from, held_out and wanted to be tested on
    """
    import torch

    from validation.networks import side_by_side

    where = device()
    readouts = [readout(net.hidden_size, CLASSES, seed) for net, seed in zip(nets, seeds, strict=True)]
    networks = side_by_side.Networks.of(nets, readouts, rates, where)
    choose = [_random.stream(seed, BATCHES) for seed in seeds]
    tested, wanted = (torch.from_numpy(digits[name]).to(where) for name in ("held_out", "wanted"))
    at = marks(steps)
    accuracy = np.full((len(nets), len(at)), np.nan)
    for step in range(1, steps + 1):
        rows = [rng.integers(len(digits["x"]), size=batch) for rng in choose]
        x = torch.from_numpy(np.stack([digits["x"][r] for r in rows])).to(where).transpose(1, 2)
        labels = torch.from_numpy(np.stack([digits["labels"][r] for r in rows])).to(where)
        networks.update(networks.losses(x, labels[:, None]))
        if step in at:
            found = side_by_side.accuracies(networks.scores, tested, wanted, part=TESTED)
            accuracy[:, at.index(step)] = found.cpu().numpy()
    return accuracy


def critical_gain(
    ens: rt.Ensemble, low: float, high: float, tolerance: float = 1e-4, sites: int = 2048
) -> float:
    """The σ_w between ``low`` and ``high``, the same for all gates, at which χ_1 = 1 (theory.md (6)).

    tolerance : relative, of σ_w; sites : of the population, for cells without closed moments.

    RuntimeError if the mean field does not converge or χ_1 − 1 has one sign at both ends.
    """

    @functools.cache  # the root search asks for both ends again
    def excess(log_gain: float) -> float:
        field = rt.mean_field(ens.replace(sigma_w=math.exp(log_gain)), sites=sites)
        if not field.converged:
            raise RuntimeError(f"the mean field at sigma_w = {math.exp(log_gain):g} did not converge")
        return math.log(field.chi)

    ends = math.log(low), math.log(high)
    values = excess(ends[0]), excess(ends[1])
    if values[0] * values[1] > 0:
        raise RuntimeError(
            f"log χ is {values[0]:.3g} at σ_w = {low:g} and {values[1]:.3g} at {high:g}: no change"
        )
    return math.exp(scipy.optimize.brentq(excess, *ends, xtol=tolerance))  # pyright: ignore[reportArgumentType]
