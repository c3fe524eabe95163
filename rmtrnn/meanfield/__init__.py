"""Mean field of random recurrent networks: recursions, fixed points, time scales and one-site laws."""

from rmtrnn.meanfield.result import MeanField
from rmtrnn.meanfield.site_law import (
    SitePopulation,
    SiteTrajectory,
    StageSites,
    site_population,
    site_trajectory,
)
from rmtrnn.meanfield.solve import mean_field

__all__ = [
    "MeanField",
    "SitePopulation",
    "SiteTrajectory",
    "StageSites",
    "mean_field",
    "site_population",
    "site_trajectory",
]
