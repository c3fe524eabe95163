"""Where studies keep their cases and figures. Tests point these names elsewhere."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINTS = ROOT / ".cache" / "validation"
FIGURES = ROOT / "paper_figures"
DRAFTS = ROOT / "build" / "figures"
