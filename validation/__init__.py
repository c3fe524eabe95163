"""Long checks of theory against simulation, and the scripts that make every figure.

``python -m validation`` lists the studies with their state and cost; ``python -m validation NAME`` runs one.
Tests (in ``tests/``) pass or fail within minutes; a study here computes, saves data and a verdict, and draws
its figures from the saved data into ``paper_figures/NAME/``.
"""

import os

# Studies run one process per core; before NumPy is loaded, so that each of them keeps to its own core.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
