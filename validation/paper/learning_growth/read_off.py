"""Points of the curves in the paper's Fig. 3, read off by eye: (training step, test accuracy).

Widths, batches, optimiser and rates behind them are unknown: they say how the curves of one panel lie to each
other, not where ours should lie.
"""

from __future__ import annotations

_MINIMAL = {
    196: {"critical": [(500, 0.90), (3000, 0.97)], "off-critical": [(200, 0.1), (3000, 0.97)]},
    784: {"critical": [(3000, 0.95), (10_000, 0.98)], "off-critical": [(10_000, 0.1)]},
}

# (cell, weights, T): points of the critical curve and of the one off the critical point.
POINTS: dict[tuple[str, str, int], dict[str, list[tuple[int, float]]]] = {
    ("vanilla", "orthogonal", 196): {
        "critical": [(16, 0.45), (100, 0.80), (2000, 0.95)],
        "off-critical": [(30_000, 0.95)],
    },
    ("vanilla", "gaussian", 196): {
        "critical": [(200, 0.50), (1000, 0.80), (20_000, 0.95)],
        "off-critical": [(30_000, 0.95)],
    },
    ("vanilla", "orthogonal", 784): {"critical": [(50, 0.55), (4000, 0.90), (100_000, 0.97)]},
    ("vanilla", "gaussian", 784): {"critical": [(50_000, 0.1)]},
    **{
        ("minimal", weights, T): points
        for weights in ("orthogonal", "gaussian")
        for T, points in _MINIMAL.items()
    },
}
