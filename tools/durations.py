"""How long each test takes: from the log of a run into tests/durations.txt, which marks the slow ones.

    pytest -n 1 --durations=0 | tee run.log
    python -m tools.durations run.log > tests/durations.txt

``--times 0.3`` before the logs: of a busy machine, where the run had that share of a core.

Tests that take `SLOW` seconds or more, set-up included, get the mark ``slow`` (tests/conftest.py).
"""

from __future__ import annotations

import argparse
import math
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

SLOW = 1.5
"""Seconds. Empirical: what takes less adds up to about four minutes on two cores, a quarter of the whole."""
LISTED = 1.0
"""Seconds from which on a test is listed."""
FILE = Path(__file__).resolve().parents[1] / "tests" / "durations.txt"
_LINE = re.compile(r"(\d+\.\d+)s (?:call|setup) +(tests/.*)")
HEADER = f"""# Seconds of tests on one core, set-up included, from {LISTED:g} s on; slow from {SLOW:g} s on.
# Written by `python -m tools.durations`; a test that is not listed is quick or new.
"""


def measured(log: Iterable[str]) -> dict[str, float]:
    """Seconds of each test in the output of ``pytest --durations=0``."""
    found: dict[str, float] = defaultdict(float)
    for line in log:
        if match := _LINE.match(line.strip()):
            found[match[2]] += float(match[1])
    return dict(found)


def written(seconds: dict[str, float]) -> str:
    """The text of the file, longest first."""
    rows = sorted(seconds.items(), key=lambda row: (-row[1], row[0]))
    return HEADER + "".join(f"{took:8.1f} {name}\n" for name, took in rows if took >= LISTED)


def known(path: Path = FILE) -> dict[str, float]:
    """Seconds of each listed test, by its name."""
    rows = [
        line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines() if line[:1] != "#"
    ]
    return {name: float(took) for took, name in rows}


def main() -> int:
    """Print the file of one or more logs; where a test is in several the shortest time counts."""
    parser = argparse.ArgumentParser(prog="python -m tools.durations", description=main.__doc__)
    parser.add_argument("--times", type=float, default=1.0, help="factor of all times; default 1")
    parser.add_argument("logs", nargs="+", type=Path)
    options = parser.parse_args()
    found: dict[str, float] = {}
    for log in options.logs:
        for test, took in measured(log.read_text(encoding="utf-8").splitlines()).items():
            found[test] = min(options.times * took, found.get(test, math.inf))
    print(written(found), end="")
    return 0 if found else 2


if __name__ == "__main__":
    raise SystemExit(main())
