"""Random-matrix theory of recurrent networks: mean field, Jacobian spectra, dynamical isometry."""

__version__ = "0.1.0"
