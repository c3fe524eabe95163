"""What all studies share. A study imports this package and needs no more: ``from validation import core``."""

from validation.core.model import SIZES, Case, Claim, Judged, Result, Study, Verdict
from validation.core.provenance import describe, of_other_code
from validation.core.records import cpu_seconds, finished, load_data, save_claims, save_data
from validation.core.runner import Workers, destination, redraw, run
from validation.core.verdicts import BY_CASES, BY_KNOWN_CASES, by_cases, by_theories
from validation.core.writing import CELL_NAMES, WEIGHT_NAMES, save_figure, table

__all__ = [
    "BY_CASES",
    "BY_KNOWN_CASES",
    "CELL_NAMES",
    "SIZES",
    "WEIGHT_NAMES",
    "Case",
    "Claim",
    "Judged",
    "Result",
    "Study",
    "Verdict",
    "Workers",
    "by_cases",
    "by_theories",
    "cpu_seconds",
    "describe",
    "destination",
    "finished",
    "load_data",
    "of_other_code",
    "redraw",
    "run",
    "save_claims",
    "save_data",
    "save_figure",
    "table",
]
