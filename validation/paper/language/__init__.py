"""Language modelling: minimalRNN beside the vanilla RNN, GRU and LSTM at equal numbers of parameters.

Word level, one recurrent layer, the Brown corpus (or the Penn Treebank from ``RMTRNN_PTB``); critical and
PyTorch's default initialisation for each cell; the same small search over learning rates for each; perplexity
on held-out texts with several seeds.
"""

from __future__ import annotations

from validation import core
from validation.paper.language import cases, findings

STUDY = core.Study.of(
    cases,
    findings,
    name="language",
    summary="word-level perplexity of four cells at equal parameter budgets, critical and default start",
    cost={
        "quick": "about 2 minutes of one core; a twentieth of an epoch a network",
        "standard": "about 10 minutes of one core; 1.9 million words a network, small models",
        "full": "not run; days on 2 cores, a GPU is used where there is one",
    },
    requires=("torch",),
)
