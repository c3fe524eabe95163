"""The matrix Dyson equation of infinitely many stationary steps: from sites to Lyapunov exponents."""
