"""What a person means by a word that the command line does not know: other names of the same thing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

Meanings = Mapping[str, str]
"""By known name, the other words for it."""

OPTIONS: Meanings = {
    "T": "steps time depth length horizon sequence_length seq_len",
    "steps": "T time length trajectory",
    "N": "width size units neurons hidden hidden_size n_units dim",
    "trials": "networks samples runs repeats realisations realizations",
    "mu_b": "bias biases b mean_bias bias_mean forget_bias mu",
    "sigma_b": "bias_std bias_scale std_b",
    "sigma_w": "gain g scale std w sigma weight_scale weight_std std_w",
    "sigma_v": "input_scale input_gain v u std_v",
    "R": "input input_variance inputs input_moment",
    "Sigma": "correlation input_correlation overlap rho",
    "weights": "orthogonal gaussian haar weight_law init distribution",
    "tied": "shared reused untied redrawn",
    "activation": "nonlinearity phi function act",
    "cell": "model network architecture rnn type",
    "population": "sites size n_sites accuracy",
    "sites": "population size n_sites accuracy",
    "tol": "tolerance accuracy precision eps rtol atol",
    "Q0": "start initial initial_state h0",
    "quantity": "observable metric show value z",
    "jobs": "workers processes cores cpus n_jobs threads parallel",
    "device": "gpu cuda backend",
    "dtype": "precision float32 float64 type",
    "burn_in": "burnin warmup warm_up transient",
    "checkpoint": "resume restart continue folder",
    "compare": "theory test check",
    "save": "output out file o output_file npz export store",
    "plot": "figure picture image fig draw png pdf",
    "points": "density grid quantiles curve bins",
    "free": "bounds range solve search unknown",
    "band": "range isometry interval",
    "config": "toml settings parameters options",
    "json": "format machine",
    "quiet": "silent no_progress q",
}
COMMANDS: Meanings = {
    "spectrum": "singular_values jacobian law density svd distribution",
    "mean-field": "meanfield chi timescale time_scale fixed_point correlation",
    "phase": "phase_diagram diagram phases grid sweep",
    "critical": "critical_point edge_of_chaos isometry",
    "initialize": "init initialise initialization initialisation plan",
    "sample": "simulate simulation monte_carlo mc",
    "reproduce": "figures paper validation studies",
}
QUANTITIES: Meanings = {
    "timescale": "xi time_scale memory",
    "c_star": "c correlation",
    "q": "variance",
    "Q": "second_moment",
    "chi": "growth lyapunov slope chi_1",
}
CELLS: Meanings = {"vanilla": "rnn elman tanh erf relu linear", "minimal": "minimalrnn minimal_rnn"}


def meant(word: str, known: Iterable[str], meanings: Meanings) -> str:
    """ " (did you mean ...?)" for another word for one of ``known``, or a similar one; else "".

    >>> from rmtrnn.cli.meaning import OPTIONS, meant
    >>> meant("--width", ["--weights", "--N"], OPTIONS), meant("--wieghts", ["--weights"], OPTIONS)
    (" (did you mean '--N'?)", " (did you mean '--weights'?)")
    """
    by_name = {_plain(name): name for name in known}
    asked = _plain(word)
    for name, others in meanings.items():
        if {asked, asked.lower()} & set(others.split()) and _plain(name) in by_name:
            return f" (did you mean {by_name[_plain(name)]!r}?)"
    close = difflib.get_close_matches(asked, by_name, n=1)
    return f" (did you mean {by_name[close[0]]!r}?)" if close else ""


def _plain(name: str) -> str:
    return name.lstrip("-").replace("-", "_")
