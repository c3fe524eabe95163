"""The oldest versions that pyproject.toml allows, as requirements for pip: ``numpy==2.2.* ...``."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

# Not required by ours, and newer ones do not work with the oldest of ours.
BESIDE = {"pyparsing": "3.2"}


def requirements() -> list[str]:
    """One for each dependency with a lower bound, and what goes with them."""
    project = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text())["project"]
    bounds = dict(re.findall(r"([\w-]+)>=([\d.]+)", " ".join(project["dependencies"])))
    return [f"{name}=={version}.*" for name, version in (bounds | BESIDE).items()]


if __name__ == "__main__":
    print(*requirements())
