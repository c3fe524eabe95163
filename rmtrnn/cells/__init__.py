"""Cells as symbolic equations: derivatives by differentiation, callables for NumPy, CuPy and mpmath."""

from rmtrnn.cells.activation import ACTIVATIONS, Activation
from rmtrnn.cells.cell import Cell, Gate, NumericCell, NumericStage, Stage
from rmtrnn.cells.functions import logistic, normal_cdf, sech2, softplus
from rmtrnn.cells.library import (
    CFN,
    GRU,
    JANET,
    LIBRARY,
    LSTM,
    MGU,
    UGRNN,
    Leaky,
    MinGRU,
    MinimalRNN,
    MinLSTM,
    VanillaRNN,
)

__all__ = [
    "ACTIVATIONS",
    "CFN",
    "GRU",
    "JANET",
    "LIBRARY",
    "LSTM",
    "MGU",
    "UGRNN",
    "Activation",
    "Cell",
    "Gate",
    "Leaky",
    "MinGRU",
    "MinLSTM",
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
