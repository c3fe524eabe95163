"""The hunt: seeded random inputs, each answer held against identities and against samples.

``python -m validation hunt --minutes 60``: see `validation.hunt.runner`. A case is a kind and a seed; the
same pair is the same case. Its answer is

    ok          the answer meets every check, within the error that it states
    refused     ValueError or TypeError: the input is named as one without an answer
    no state    ConvergenceError, or a mean field that says it did not converge: no stationary state was found
    unusable    an answer that says of itself that it did not converge, or states an error above 10 %
    wrong       an answer that fails a check by more than it states: a silent wrong answer
    exception   any other exception, or a warning
    slow        no answer within the time allowed

The last three are findings: each is made smaller as long as it stays, and written out as a script.
"""

from validation.hunt.cases import KINDS, answer, draw
from validation.hunt.runner import hunt

__all__ = ["KINDS", "answer", "draw", "hunt"]
