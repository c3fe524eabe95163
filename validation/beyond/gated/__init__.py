"""Gated networks, untied and tied weights: the matrix Dyson equation over sampled matrices.

minimalRNN, GRU, LSTM, a leaky RNN written as a user's cell, minGRU; Gaussian and orthogonal weights. Every
sample is also set against laws that it has to reject (`laws.wrong_laws`), by the rules of `verdict`.
"""

from __future__ import annotations

from validation import core
from validation.beyond.gated import cases, findings

STUDY = core.Study.of(
    cases,
    findings,
    name="gated",
    summary="gated cells and a user's cell, tied and untied weights: matrix Dyson equation over samples",
    cost={
        "quick": "about 1 minute on 2 cores",
        "standard": "about half an hour of processor time, half of it for samples",
    },
)
