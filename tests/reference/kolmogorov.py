"""The Kolmogorov distance of a sample from a law."""

import numpy as np


def distance(law, sample):
    """Largest difference between the cdf of a continuous law and the empirical one, at its steps."""
    x = np.sort(np.ravel(sample))
    below, steps = law.cdf(x), np.arange(x.size + 1) / x.size
    return float(max(np.abs(below - steps[:-1]).max(), np.abs(below - steps[1:]).max()))
