"""Spectra of Jacobians: exact free products for vanilla networks, matrix Dyson equations for all others."""

from rmtrnn.spectra.eigenvalues import eigenvalue_curve, spectral_radius
from rmtrnn.spectra.free_approximation import free_approximation
from rmtrnn.spectra.layers import layer_spectrum
from rmtrnn.spectra.measured import Measured
from rmtrnn.spectra.result import Spectrum
from rmtrnn.spectra.routes import spectrum, vanilla_spectrum
from rmtrnn.spectra.site_moments import Moments, second_moment

__all__ = [
    "Measured",
    "Moments",
    "Spectrum",
    "eigenvalue_curve",
    "free_approximation",
    "layer_spectrum",
    "second_moment",
    "spectral_radius",
    "spectrum",
    "vanilla_spectrum",
]
