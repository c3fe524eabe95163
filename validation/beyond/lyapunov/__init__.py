"""Lyapunov spectra: published numbers of the tanh and the leaky map, and sampled gated networks.

Exponents are per unit of time: a step of the leaky map h' = (1 − δ) h + δ W tanh h is δ. The published
numbers are open data of a public repository (N = 4096; N = 16384 at gain 1.5). Theory reproduces a number x
of theirs by t if |t/x − 1| ≤ 3 %, nothing being allowed for finite N.
"""

from __future__ import annotations

from validation import core
from validation.beyond.lyapunov import cases, findings

STUDY = core.Study.of(
    cases,
    findings,
    name="lyapunov",
    summary="Lyapunov spectra of the tanh and the leaky map, GRU and LSTM against published and own samples",
    cost={"quick": "about 15 minutes of one core"},
)
