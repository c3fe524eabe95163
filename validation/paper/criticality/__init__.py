"""Which critical points are isometric: vanilla cells against q, the whole critical family of the minimalRNN.

The points that `rmtrnn.critical` returns and the published one, sampled over T = 10, 100, 1000 steps with
tied and with untied weights; the exact spread over the minimalRNN's family; ξ against simulated
correlations.
"""

from __future__ import annotations

from validation import core
from validation.paper.criticality import cases, findings

STUDY = core.Study.of(
    cases,
    findings,
    name="criticality",
    summary="how isometric the critical points are: vanilla against q, the minimalRNN's family, ξ simulated",
    cost={"quick": "about 2 minutes of one core", "standard": "about 40 minutes of one core"},
)
