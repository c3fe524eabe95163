"""Eigenvalues of the one-step Jacobian: the curve of theory.md (16) over those of sampled networks.

minimalRNN, GRU, LSTM and a leaky RNN with tied weights, Gaussian and orthogonal. Two statistics: the
share of sampled eigenvalues outside the curve, and how far the curve is from the nearest of them.
"""

from __future__ import annotations

from validation import core
from validation.beyond.eigenvalues import cases, findings

STUDY = core.Study.of(
    cases,
    findings,
    name="eigenvalues",
    summary="eigenvalues of the one-step Jacobian of gated networks: the spectral curve over sampled ones",
    cost={"quick": "under a minute on 2 cores", "standard": "about 3 minutes on 2 cores"},
)
