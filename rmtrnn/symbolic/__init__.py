"""Closed forms as SymPy expressions: transforms, moments, edges and kernels, derived rather than typed in."""

from rmtrnn.symbolic.expansions import (
    moment_symbols,
    moments_from_s,
    product_moments,
    product_s_coefficients,
    s_coefficients,
    variance,
)
from rmtrnn.symbolic.kernels import erf_kernel, erf_slope_kernel, relu_kernel, relu_slope_kernel
from rmtrnn.symbolic.transforms import (
    bernoulli_transform,
    edge_discriminant,
    exact_edges,
    lambda_of_m,
    m_from_s,
    r_from_s,
    s_from_free_cumulants,
    s_from_m,
    s_transform,
    slope_moment,
    slope_probabilities,
    slope_transform,
    spectral_polynomial,
    weight_transform,
)

__all__ = [
    "bernoulli_transform",
    "edge_discriminant",
    "erf_kernel",
    "erf_slope_kernel",
    "exact_edges",
    "lambda_of_m",
    "m_from_s",
    "moment_symbols",
    "moments_from_s",
    "product_moments",
    "product_s_coefficients",
    "r_from_s",
    "relu_kernel",
    "relu_slope_kernel",
    "s_coefficients",
    "s_from_free_cumulants",
    "s_from_m",
    "s_transform",
    "slope_moment",
    "slope_probabilities",
    "slope_transform",
    "spectral_polynomial",
    "variance",
    "weight_transform",
]
