"""Cells as symbolic equations: derivatives by differentiation, callables for NumPy, CuPy and mpmath."""

from rmtrnn.cells.activation import ACTIVATIONS, Activation
from rmtrnn.cells.cell import Cell, Gate, NumericCell, NumericStage, Stage
from rmtrnn.cells.functions import logistic, normal_cdf, sech2, softplus
from rmtrnn.cells.library import GRU, LIBRARY, LSTM, MinimalRNN, VanillaRNN

__all__ = [
    "ACTIVATIONS",
    "GRU",
    "LIBRARY",
    "LSTM",
    "Activation",
    "Cell",
    "Gate",
    "MinimalRNN",
    "NumericCell",
    "NumericStage",
    "Stage",
    "VanillaRNN",
    "logistic",
    "normal_cdf",
    "sech2",
    "softplus",
]
