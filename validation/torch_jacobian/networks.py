"""The modules of the study, and the singular values of the Jacobians that autograd computes for them.

The Jacobian is that of the whole state (LSTM: c above h, as in the library's cell) over T steps, after a
burn-in with fresh inputs. PyTorch is imported only where a module is made.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

import rmtrnn as rt
from rmtrnn import _random
from rmtrnn._trials import run_trials
from rmtrnn.sampling import Sample
from rmtrnn.spectra.result import Spectrum
from validation import study

T = 5
BURN_IN = 300
SIZES = {
    "quick": {"N": 256, "trials": 6, "control_trials": 3},
    "full": {"N": 1000, "trials": 6, "control_trials": 3},
}
FOLDER = study.CHECKPOINTS / "torch_jacobian" / "parts"  # theory and samples, each kept by itself
# The LSTM has 20 x 20 strengths at every point; fewer sites carry them, and the error is stated as ever.
ACCURACY = {"lstm": {"population": 2048, "coarse": 128, "medium": 256, "field_population": 2048}}


def ensembles() -> dict[str, rt.Ensemble]:
    """One ensemble for each module, every gate with its own parameters; a module keeps its weights: tied."""
    return {
        "rnn": rt.Ensemble("vanilla", 1.2, 0.5, 0.1, 0.3, tied=True),
        "minimal": rt.Ensemble("minimal", 2.0, 1.0, 1.0, 0.1, R=0.5, weights="orthogonal", tied=True),
        "gru": rt.Ensemble(
            rt.GRU(reset_after=True),
            {"r": 1.5, "u": 1.0, "c": 1.5, "i": 0.0},
            {"r": 0.5, "u": 0.5, "c": 0.0, "i": 0.8},
            {"r": 1.0, "u": -0.5, "c": 0.0, "i": 0.0},
            0.1,
            tied=True,
        ),
        "lstm": rt.Ensemble(
            "lstm",
            {"f": 1.0, "i": 1.2, "o": 0.8, "g": 1.5},
            0.5,
            {"f": 1.5, "i": 0.0, "o": -0.5, "g": 0.0},
            0.1,
            tied=True,
        ),
    }


CONTROLS = {
    "rnn": "recurrent and input weights exchanged",
    "minimal": "u and 1 - u exchanged",
    "gru": "r and u exchanged",
    "lstm": "i and f exchanged",
}


def module(name: str, ens: rt.Ensemble, n: int, rng: np.random.Generator, *, swapped: bool) -> Any:
    """The module in double precision, initialised from ``ens``; if ``swapped``, spoilt as `CONTROLS` says."""
    import torch

    import rmtrnn.torch as rtt

    kinds = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
    built = rtt.MinimalRNN(n, n, embed=False) if name == "minimal" else kinds[name](n, n)
    built = rtt.initialize_(built.double(), ens, rng)
    if swapped:
        with torch.no_grad():
            _spoil(name, dict(built.named_parameters()), n)
    return built


def _spoil(name: str, parameters: dict[str, Any], n: int) -> None:
    if name == "rnn":
        recurrent = parameters["weight_hh_l0"].clone()
        parameters["weight_hh_l0"].copy_(parameters["weight_ih_l0"])
        parameters["weight_ih_l0"].copy_(recurrent)
        return
    for values in parameters.values():
        if name == "minimal":  # 1 - σ(e) = σ(-e)
            values.neg_()
        else:  # the first two blocks of rows: (i, f) or (r, u)
            first = values[:n].clone()
            values[:n].copy_(values[n : 2 * n])
            values[n : 2 * n].copy_(first)


def state_jacobian(
    built: Any, ens: rt.Ensemble, rng: np.random.Generator, burn_in: int = BURN_IN
) -> np.ndarray:
    """∂(state after T steps)/∂(state), (sN, sN), by autograd, after a burn-in from N(0, 1) entries."""
    import torch

    n, parts = built.hidden_size, len(ens.cell.state)
    state = torch.from_numpy(rng.standard_normal((parts, n)))

    def run(state: Any, steps: int) -> Any:
        """State (parts, batch, n) after ``steps`` steps of inputs that the whole batch shares."""
        x = torch.from_numpy(ens.sample_input(rng, (steps, 1, n))).expand(steps, state.shape[1], n)
        if parts == 1:
            return built(x, state.contiguous())[1]
        _, (h, c) = built(x, (state[1:].contiguous(), state[:1].contiguous()))
        return torch.cat([c, h])

    state = state[:, None]
    if burn_in:
        with torch.no_grad():
            state = run(state, burn_in)
    # One copy of the state in the batch for each row of the Jacobian: the gradient of the sum over i of
    # component i of copy i holds row i in copy i.
    width = parts * n
    start = state.expand(parts, width, n).clone().requires_grad_()
    final = run(start, T).transpose(0, 1).reshape(width, width)
    (rows,) = torch.autograd.grad(torch.diagonal(final).sum(), start)
    return rows.transpose(0, 1).reshape(width, width).numpy()


def trial(parameters: dict[str, Any], index: int) -> np.ndarray:
    """Log singular values of one module, ascending."""
    import torch

    torch.set_num_threads(1)
    ens = rt.Ensemble.from_dict(parameters["ensemble"])
    rng = _random.stream(parameters["seed"], index)
    built = module(parameters["name"], ens, parameters["N"], rng, swapped=parameters["swapped"])
    jacobian = state_jacobian(built, ens, rng)
    return np.sort(np.log(np.linalg.svd(jacobian, compute_uv=False)))


def autograd_sample(
    name: str,
    n: int,
    trials: int,
    seed: int,
    *,
    swapped: bool,
    executor: Any = None,
    checkpoint: Path | None = None,
) -> Sample:
    """The singular values of ``trials`` modules, as what `rmtrnn.compare` takes."""
    ens = ensembles()[name]
    parameters = {"name": name, "ensemble": ens.to_dict(), "N": n, "seed": seed, "swapped": swapped}
    rows = run_trials(
        trial,
        parameters,
        trials,
        executor=executor,
        checkpoint=checkpoint,
        report=lambda done, total, label: None,
        label="",
    )
    return Sample(np.array(rows), ens, T, n, {"seed": seed, "burn_in": BURN_IN})


def list_cases(size: str) -> list[study.Case]:
    """One case for each module."""
    sizes = {**SIZES[size], "T": T, "burn_in": BURN_IN}
    return [
        study.Case(name, {"ensemble": ens.to_dict(), **sizes, "seed": 7000 + k})
        for k, (name, ens) in enumerate(ensembles().items())
    ]


def theory(key: str, ens: rt.Ensemble) -> Spectrum:
    """The law of the tied ensemble, read if it is on disk."""
    accuracy = ACCURACY.get(key, {})
    text = json.dumps([ens.to_dict(), T, accuracy, study.versions()["rmtrnn"]], sort_keys=True)
    file = FOLDER / f"{key}-theory-{hashlib.sha256(text.encode()).hexdigest()[:10]}.npz"
    if file.exists():
        return rt.load(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    law = rt.spectrum(ens, T, **accuracy)
    law.save(file)
    return law


def compute(case: study.Case, workers: study.Workers) -> study.Result:
    """Theory, the modules as initialised, and the spoilt ones; `rmtrnn.compare` for both."""
    import torch

    settings = case.settings
    ens = rt.Ensemble.from_dict(settings["ensemble"])
    law = theory(case.key, ens)
    meta: dict[str, Any] = {"torch": str(torch.__version__), "theory error": law.error, "m_1": law.moment(1)}
    meta["theory converged"] = bool(law.converged)
    meta["control"] = CONTROLS[case.key]
    arrays: dict[str, np.ndarray] = {}
    for label, swapped in (("right", False), ("swapped", True)):
        sample = autograd_sample(
            case.key,
            settings["N"],
            settings["control_trials" if swapped else "trials"],
            settings["seed"] + 100 * swapped,
            swapped=swapped,
            executor=workers.executor,
            checkpoint=FOLDER / f"{case.key}-{label}-N{settings['N']}",
        )
        report = rt.compare(law, sample)
        meta[label] = {
            "verdict": report.verdict,
            "p": report.p_value,
            "kolmogorov": report.kolmogorov,
            "wasserstein": report.wasserstein,
            "m_1": list(sample.moment(1)),
            "table": str(report),
        }
        arrays[label] = sample.log_s.astype(np.float32)
    low, high = arrays["right"].min(), arrays["right"].max()
    u = np.linspace(min(low, law.log_s.icdf(0.005)), max(high, law.log_s.support[-1][1]) + 0.1, 400)
    arrays["u"], arrays["density"] = u, np.asarray(law.log_s.pdf(u))
    return meta, arrays
