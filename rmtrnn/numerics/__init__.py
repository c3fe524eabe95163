"""Numerical methods that know no network: quadrature, fixed points, bisection, small matrices."""
