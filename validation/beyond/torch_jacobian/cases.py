"""The modules of the study, and the singular values of the Jacobians that autograd computes for them.

The Jacobian is that of the whole state (LSTM: c above h, as in the library's cell) over T steps, after a
burn-in with fresh inputs. PyTorch is imported only where a module is made.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from scipy import stats

import rmtrnn as rt
from rmtrnn._core import random as _random
from rmtrnn._core.trials import run_trials
from rmtrnn.sampling.sample import Sample
from rmtrnn.spectra.result import Spectrum
from validation import core
from validation.core import places, provenance

T = 5
BURN_IN = 300
FEW_SITES = {"population": 1024}
# Of the tied law. The LSTM has 20 x 20 self-energy coefficients at every point: on fewer sites the error
# says so.
SIZES: dict[str, dict[str, Any]] = {
    "quick": {"N": 128, "trials": 6, "control_trials": 3, "accuracy": FEW_SITES},
    "standard": {"N": 1000, "trials": 4, "control_trials": 3, "accuracy": {}},
}
LSTM_SITES = {"population": 2048}
FOLDER = places.CHECKPOINTS / "torch_jacobian" / "parts"  # theory and samples, each kept by itself
MODES = 6
LEVEL = 0.01


def ensembles() -> dict[str, rt.Ensemble]:
    """One ensemble for each module, every gate with its own parameters; a module's weights are tied."""
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
) -> Sample:
    """The singular values of ``trials`` modules, as what `rmtrnn.compare` takes."""
    ens = ensembles()[name]
    parameters = {"name": name, "ensemble": ens.to_dict(), "N": n, "seed": seed, "swapped": swapped}
    rows = run_trials(
        trial,
        parameters,
        trials,
        executor=executor,
        checkpoint=None,
        report=lambda done, total, label: None,
        label="",
    )
    return Sample(np.array(rows), ens, T, n, {"seed": seed, "burn_in": BURN_IN})


def list_cases(size: str) -> list[core.Case]:
    """One case for each module."""
    sizes = {**SIZES[size], "T": T, "burn_in": BURN_IN}
    found = []
    for k, (name, ens) in enumerate(ensembles().items()):
        settings = {"ensemble": ens.to_dict(), **sizes, "seed": 7000 + k}
        if name == "lstm" and size == "standard":
            settings["accuracy"] = LSTM_SITES
        if name == "rnn":
            settings["accuracy"] = {}  # exact
        found.append(core.Case(name, settings))
    return found


def theory(key: str, ens: rt.Ensemble, accuracy: dict[str, Any]) -> Spectrum:
    """The law of the tied ensemble, read if it is on disk."""
    text = json.dumps([ens.to_dict(), T, accuracy, provenance.code_digest()], sort_keys=True)
    file = FOLDER / f"{key}-theory-{hashlib.sha256(text.encode()).hexdigest()[:10]}.npz"
    if file.exists():
        return rt.load(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    law = rt.spectrum(ens, T, **accuracy)
    law.save(file)
    return law


def two_samples(one: Sample, other: Sample) -> dict[str, float]:
    """Whether two samples have the same law: the statistic of `rmtrnn.compare`, without a theory.

    y_k = Σ_j cos(kπ F(s_j)) of every network, F the distribution function of both samples pooled; Welch's t
    between the samples for each k = 1 … 6, p-values combined by Bonferroni. Both are finite networks of the
    same size, so that no bias of finite N has to be granted. Also the Kolmogorov distance of the two.
    """
    pooled = np.sort(np.concatenate([one.log_s.ravel(), other.log_s.ravel()]))
    modes = []
    for sample in (one, other):
        rank = np.searchsorted(pooled, sample.log_s, side="right") - 0.5
        phase = np.pi * rank / pooled.size
        modes.append(np.array([np.cos(k * phase).sum(axis=1) for k in range(1, MODES + 1)]))
    _, p = np.asarray(stats.ttest_ind(modes[0], modes[1], axis=1, equal_var=False))
    distance, _ = np.asarray(stats.ks_2samp(one.log_s.ravel(), other.log_s.ravel()))
    return {"p": float(min(1.0, MODES * np.min(p))), "kolmogorov": float(distance)}


def compute(case: core.Case, workers: core.Workers) -> core.Result:
    """Theory, the library's own networks, the modules as initialised, and the spoilt ones."""
    import torch

    settings = case.settings
    ens = rt.Ensemble.from_dict(settings["ensemble"])
    law = theory(case.key, ens, settings["accuracy"])
    simulated = rt.sample(
        ens, T, settings["N"], settings["trials"], settings["seed"] + 500, burn_in=BURN_IN,
        executor=workers.executor,
    )  # fmt: skip
    meta: dict[str, Any] = {"torch": str(torch.__version__), "theory converged": bool(law.converged)}
    # An error that is not known is written as one: JSON has no infinity.
    meta |= {"theory error": min(law.error, 1.0), "m_1": law.moment(1) if law.converged else None}
    meta |= {"control": CONTROLS[case.key], "m_1 simulated": list(simulated.moment(1))}
    arrays: dict[str, np.ndarray] = {"simulated": simulated.log_s.astype(np.float32)}
    for label, swapped in (("right", False), ("swapped", True)):
        sample = autograd_sample(
            case.key,
            settings["N"],
            settings["control_trials" if swapped else "trials"],
            settings["seed"] + 100 * swapped,
            swapped=swapped,
            executor=workers.executor,
        )
        report = rt.compare(law, sample) if law.converged else None
        beside = two_samples(simulated, sample)
        meta[label] = {
            "verdict": report.verdict if report else "no theory",
            "p": report.p_value if report else None,
            "kolmogorov": report.kolmogorov if report else None,
            "m_1": list(sample.moment(1)),
            "table": str(report) if report else "",
            "beside the library": beside | {"agrees": beside["p"] > LEVEL},
        }
        arrays[label] = sample.log_s.astype(np.float32)
    if law.converged:
        low, high = arrays["right"].min(), arrays["right"].max()
        u = np.linspace(min(low, law.log_s.icdf(0.005)), max(high, law.log_s.support[-1][1]) + 0.1, 400)
        arrays["u"], arrays["density"] = u, np.asarray(law.log_s.pdf(u))
    return meta, arrays
