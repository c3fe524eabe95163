"""The paper's networks: singular values of J_T at and off criticality, predicted and sampled.

Vanilla (tanh) and minimalRNN, Gaussian and orthogonal weights, one ordered, one critical and one chaotic
network each. Vanilla networks up to T = 1000, the last predicted only. The minimalRNN needs the matrix Dyson
equation, whose cost and error grow with T: the steps of a run are those below, and nothing is said beyond.
"""

from __future__ import annotations

from validation import core
from validation.paper.jacobian_spectra import cases, findings

STUDY = core.Study.of(
    cases,
    findings,
    name="jacobian_spectra",
    summary="singular values of J_T at and off criticality, both cells, both weight laws, predicted and "
    "sampled",
    cost={
        "quick": "about 2 minutes of one core",
        "standard": "about 6 minutes of one core",
        "full": "not timed; hours",
    },
)
