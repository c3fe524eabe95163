"""Lyapunov spectra: published numbers of the tanh and the leaky map, and sampled gated networks.

Exponents are per unit of time: a step of the leaky map h' = (1 − δ) h + δ W tanh h is δ. The published
numbers are open data of a public repository (N = 4096; N = 16384 at gain 1.5).

The rule of the verdicts, written before any of the networks below was run. A published number x is that of
one network of N units. Sampled networks of 512, 1024 and 2048 units give the mean m(N) of the same number and
its standard deviation s(N) between networks. Least squares, weighted by standard errors, fit
m = m_∞ (1 + c/N), and s = s_1/√N is pooled over N. Theory t reproduces x if

    |t/x − 1| ≤ 3 % + |c|/N + 2 s_1/(m_∞ √N) + 2 e/t,                                                      (*)

with e the standard error of t over draws of sites (0 of a single draw). 3 % is the issue's; the rest says
what one finite network may differ by. Independent of x, theory and networks agree if |t − m_∞| ≤ 2 standard
errors of m_∞ and t together.
"""

from __future__ import annotations

from validation import core
from validation.beyond.lyapunov import cases, findings

STUDY = core.Study.of(
    cases,
    findings,
    name="lyapunov",
    summary="Lyapunov spectra of the tanh and the leaky map, GRU and LSTM against published and own samples",
    cost={"quick": "about 8 minutes of one core"},
)
