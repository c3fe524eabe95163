"""Is the reported error of a Dyson spectrum honest? Random networks against 16 times as many sites.

Cells, parameters, weight laws and numbers of steps are drawn at random; beside them the minimalRNN at its
published point, T = 4 to 16, whose log s spans more than a hundred. The true error is taken to be the
largest difference of the cdf from that of an independent population 16 times larger, solved by itself, whose
own error (about a quarter; its points are placed more closely) counts against the reported one. The full size
takes the population that laws with untied weights have by default, before it grows. With tied weights a law
costs more: half as many networks in the standard size, of T ≤ 3, and fewer sites; those of their two-time
mean fields grow by 16 too.
"""

from __future__ import annotations

from validation import core
from validation.dyson_error import cases, findings

STUDY = core.Study.of(
    cases,
    findings,
    name="dyson_error",
    summary="random gated networks: reported error of the Dyson spectrum against 16 times as many sites",
    cost={
        "quick": "about 2 minutes on 2 cores",
        "standard": "about 45 minutes of one core",
        "full": "about two hours of one core",
    },
)
