"""Finite networks: weights, trajectories, Jacobians, singular values."""
