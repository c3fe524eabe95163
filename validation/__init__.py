"""Long checks of theory against simulation, and the scripts that make every figure.

``python -m validation`` lists the studies with their state and cost; ``python -m validation NAME`` runs one.
Tests (in ``tests/``) pass or fail within minutes; a study here computes, saves data and a verdict, and draws
its figures from the saved data.

Sizes: ``--quick`` makes every figure in minutes; ``--standard`` is what two cores do in an hour or two, and
what ``paper_figures/`` holds where a study has it; ``--full`` is the paper's size as far as it is known. A
smaller size never replaces a larger one: its figures go to ``build/figures/SIZE/``, and those of ``all
--quick`` all of them, with a report of their own. ``--output`` overrides. Every case is kept when done,
so that a run stopped at any point goes on with ``--resume``.
"""

import os

# Studies run one process per core; before NumPy is loaded, so that each of them keeps to its own core.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
