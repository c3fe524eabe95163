"""Finite networks: weights, trajectories, Jacobians, singular values."""

from rmtrnn.sampling.sample import Estimate, Sample

__all__ = ["Estimate", "Sample"]
