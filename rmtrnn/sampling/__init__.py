"""Finite networks: weights, trajectories, Jacobians, singular values."""

from rmtrnn.sampling.given_network import TrajectoryJacobian
from rmtrnn.sampling.sample import Estimate, Sample

__all__ = ["Estimate", "Sample", "TrajectoryJacobian"]
