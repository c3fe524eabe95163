"""Mean field of random recurrent networks: recursions, fixed points, time scales and one-site laws."""

from rmtrnn.meanfield.result import MeanField
from rmtrnn.meanfield.solve import mean_field

__all__ = ["MeanField", "mean_field"]
