"""Quantiles of log s of sampled networks with tied weights, and the script that found them.

``python tests/dyson/tied/sampled_quantiles.py NAME T`` prints an entry of `QUANTILES` anew. The error is the
scatter of P(log s <= quantile) over single networks, over the square root of their number: units of one
network share a mean field, so that they scatter by more than independent units would.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np
from reference.cells import leaky

import rmtrnn as rt

LEVELS = np.array([0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98])
NETWORKS = {
    "minimal": rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5, tied=True),
    "leaky": rt.Ensemble(leaky(), sigma_w=1.5, sigma_v=0.5, tied=True),
    "gru": rt.Ensemble("gru", sigma_w=1.5, sigma_v=0.7, mu_b=0.3, R=0.5, tied=True),
    "lstm": rt.Ensemble("lstm", sigma_w=1.5, sigma_v=0.7, mu_b=0.3, R=0.5, tied=True),
    # Orthogonal weights and open update gates; no input.
    "open gru": rt.Ensemble("gru", sigma_v=0.7, mu_b={"u": 2.0}, R=0.5, weights="orthogonal", tied=True),
    "quiet leaky": rt.Ensemble(leaky(), sigma_w=1.5, tied=True),
}
# N, networks and steps before the first: the states have forgotten their start.
SIZE, TRIALS, BURN_IN, SEED = 800, 16, 300, 20261130


class Sampled(NamedTuple):
    """Quantiles of log s at `LEVELS`, and the standard errors of the cdf there."""

    quantiles: list[float]
    errors: list[float]


# 64 other minimal networks (seeds 7 to 10) at the quantiles of T = 30: P(log s <= quantile) differs from the
# levels by -0.2, -0.6, -1.0, -3.3, -3.3, -1.6, -0.5, 0.9, 0.5 in 1e-3, with standard errors of 0.4, 0.5, 0.7,
# 0.9, 1.2, 1.3, 1.0, 0.9, 0.7.
# By network and T; NumPy 2.4, one core of an x86-64 virtual machine, 2026-11-30: 11 to 57 s each. T = 1000,
# T = 2 and 100 of the GRU, T = 16 of the LSTM and the last two networks: 2026-12-01, 10 to 500 s.
QUANTILES = {
    ("minimal", 20): Sampled(
        [-16.8893, -14.6922, -12.7814, -9.9351, -7.4384, -5.6219, -4.458, -3.9392, -3.4578],
        [0.00107, 0.0014, 0.00182, 0.00278, 0.00328, 0.00305, 0.00217, 0.0017, 0.00127],
    ),
    ("minimal", 30): Sampled(
        [-24.6144, -21.4661, -18.7204, -14.718, -11.2294, -8.7229, -7.1372, -6.4287, -5.8261],
        [0.00091, 0.00127, 0.00152, 0.00229, 0.00278, 0.00267, 0.00202, 0.00161, 0.00124],
    ),
    ("minimal", 60): Sampled(
        [-47.4575, -41.4588, -36.3814, -28.8695, -22.4748, -17.9948, -15.2402, -14.0674, -13.0511],
        [0.00065, 0.00099, 0.00132, 0.00149, 0.00193, 0.002, 0.00181, 0.00156, 0.00109],
    ),
    ("minimal", 100): Sampled(
        [-77.7398, -68.1291, -59.8524, -47.6482, -37.3856, -30.3145, -26.0681, -24.2919, -22.7932],
        [0.00057, 0.00103, 0.0013, 0.00175, 0.00192, 0.00206, 0.00161, 0.0015, 0.00103],
    ),
    ("gru", 2): Sampled(
        [-4.5407, -3.5316, -2.7565, -1.7332, -0.932, -0.4159, -0.1175, 0.0064, 0.1016],
        [0.00064, 0.00093, 0.00149, 0.00187, 0.00172, 0.0012, 0.00086, 0.00068, 0.00057],
    ),
    ("gru", 30): Sampled(
        [-53.6107, -43.1442, -35.1488, -24.1729, -15.3973, -9.5542, -6.2085, -4.8835, -3.8472],
        [0.00048, 0.00069, 0.00095, 0.00141, 0.00161, 0.00154, 0.00111, 0.00074, 0.00061],
    ),
    ("lstm", 10): Sampled(
        [-54.8253, -44.9303, -37.193, -26.0903, -14.3184, -4.8764, -2.3527, -1.3662, -0.5887],
        [0.00024, 0.00043, 0.00068, 0.00125, 0.00033, 0.00071, 0.00064, 0.00049, 0.00039],
    ),
    ("leaky", 20): Sampled(
        [-13.9321, -12.6567, -11.2461, -8.4608, -5.4274, -2.7411, -0.885, -0.083, 0.5411],
        [0.00095, 0.00126, 0.00159, 0.00151, 0.00077, 0.00221, 0.00196, 0.00158, 0.00114],
    ),
    ("leaky", 100): Sampled(
        [-65.4036, -60.0135, -53.5852, -40.96, -27.2241, -15.1563, -6.9564, -3.5282, -0.911],
        [0.00099, 0.00117, 0.00143, 0.00143, 0.00065, 0.00211, 0.0019, 0.00155, 0.00107],
    ),
    ("minimal", 1000): Sampled(
        [-760.8192, -668.1699, -587.9463, -470.4049, -374.1004, -309.0348, -271.3902, -256.8412, -245.7662],
        [0.00023, 0.00034, 0.00036, 0.00061, 0.00086, 0.00085, 0.00065, 0.00051, 0.00044],
    ),
    ("gru", 100): Sampled(
        [-176.1763, -141.931, -115.7845, -79.9207, -51.4733, -32.7752, -22.3994, -18.423, -15.3868],
        [0.00038, 0.00066, 0.00093, 0.00135, 0.00167, 0.00141, 0.00117, 0.00097, 0.00073],
    ),
    ("lstm", 16): Sampled(
        [-86.8216, -70.9982, -58.8852, -41.4712, -23.2729, -8.0805, -4.1443, -2.6449, -1.476],
        [0.00021, 0.00035, 0.00068, 0.00116, 0.00027, 0.00073, 0.0006, 0.00048, 0.00037],
    ),
    ("open gru", 20): Sampled(
        [-4.6308, -4.428, -4.207, -3.6866, -2.7298, -1.8835, -1.5665, -1.472, -1.3999],
        [0.00112, 0.00162, 0.00167, 0.00137, 0.00085, 0.0008, 0.00086, 0.00083, 0.00068],
    ),
    ("quiet leaky", 8): Sampled(
        [-6.0875, -5.4604, -4.7503, -3.4564, -2.1781, -0.9901, -0.0834, 0.3027, 0.6023],
        [0.00081, 0.00115, 0.00122, 0.00121, 0.0006, 0.00186, 0.00144, 0.00115, 0.00085],
    ),
    ("open gru", 50): Sampled(
        [-11.0606, -10.732, -10.3419, -9.2373, -6.8633, -4.7398, -4.016, -3.8457, -3.7242],
        [0.00096, 0.00091, 0.00089, 0.00079, 0.00048, 0.0006, 0.00084, 0.00091, 0.00075],
    ),
    ("quiet leaky", 50): Sampled(
        [-33.8537, -30.5675, -26.8644, -20.0681, -13.782, -7.841, -3.1649, -1.1283, 0.4876],
        [0.00093, 0.00129, 0.00161, 0.00183, 0.00091, 0.00239, 0.00177, 0.00149, 0.00104],
    ),
}


def sampled(name: str, T: int) -> Sampled:
    log_s = rt.sample(NETWORKS[name], T, N=SIZE, trials=TRIALS, seed=SEED, burn_in=BURN_IN).log_s
    quantiles = np.quantile(log_s, LEVELS)
    shares = (log_s[:, :, None] <= quantiles).mean(axis=1)
    errors = shares.std(axis=0, ddof=1) / np.sqrt(TRIALS)
    return Sampled(np.round(quantiles, 4).tolist(), np.round(errors, 5).tolist())


if __name__ == "__main__":
    print(sampled(sys.argv[1], int(sys.argv[2])))
