"""Finite networks: weights, trajectories, Jacobians, singular values."""

from rmtrnn.sampling.sample import Estimate, Sample, load

__all__ = ["Estimate", "Sample", "load"]
