"""Spectra, edges, fixed points and critical points at any precision, and certified enclosures of them.

``certified_*`` need python-flint (the extra ``certify``). The other functions need only mpmath; python-flint
makes them faster.
"""

from __future__ import annotations

import importlib
from typing import Any

from rmtrnn.highprec.fixed_points import (
    chi,
    critical_minimal,
    critical_sigma_w,
    fixed_point,
    largest_exponent,
)
from rmtrnn.highprec.spectrum import cdf, density, edge, moment

_CERTIFIED = (
    "Certified",
    "CertificationError",
    "certified_cdf",
    "certified_chi",
    "certified_density",
    "certified_edge",
    "certified_fixed_point",
    "certified_largest_exponent",
)

__all__ = [
    "CertificationError",
    "Certified",
    "cdf",
    "certified_cdf",
    "certified_chi",
    "certified_density",
    "certified_edge",
    "certified_fixed_point",
    "certified_largest_exponent",
    "chi",
    "critical_minimal",
    "critical_sigma_w",
    "density",
    "edge",
    "fixed_point",
    "largest_exponent",
    "moment",
]


def __getattr__(name: str) -> Any:
    if name in _CERTIFIED:
        return getattr(importlib.import_module("rmtrnn.highprec.certified"), name)
    raise AttributeError(f"module 'rmtrnn.highprec' has no attribute {name!r}")
