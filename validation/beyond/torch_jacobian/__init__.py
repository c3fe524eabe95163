"""Jacobians that autograd computes for PyTorch modules after `rmtrnn.torch.initialize_`, against the library.

Four modules, the whole state over five steps, with tied weights, as a module has them. Beside each the same
module with a mistake of the kind that is easily made (gates in the wrong order), which must be found.
"""

from __future__ import annotations

from validation import core
from validation.beyond.torch_jacobian import cases, findings

STUDY = core.Study.of(
    cases,
    findings,
    name="torch_jacobian",
    summary="autograd's Jacobian of RNN, GRU, LSTM, MinimalRNN in PyTorch after initialize_, against theory",
    cost={"quick": "about 2 minutes of one core", "standard": "about 15 minutes of one core"},
    requires=("torch",),
)
