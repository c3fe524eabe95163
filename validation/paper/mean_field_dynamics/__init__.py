"""Dynamics of the mean field: q^t, c^t, the correlation map and its time scale, theory over simulation.

The paper's figure of the correlation dynamics (minimalRNN, five biases, tied and untied weights), and the
same quantities for one ordered, one critical and one chaotic network of each cell. Untied weights
stand beside the paper's theory, tied ones beside theory.md (19); starts are those of the paper's theory.
"""

from __future__ import annotations

from validation import core
from validation.paper.mean_field_dynamics import cases, findings

STUDY = core.Study.of(
    cases,
    findings,
    name="mean_field_dynamics",
    summary="q, correlation, map and time scale step by step: vanilla and minimalRNN, untied and tied "
    "(Fig. 1)",
    cost={"quick": "about 1.5 minutes on 2 cores", "full": "not timed; about an hour"},
)
