"""The report of the pairs that are finished, before or without the rest.

python -m validation.initialisation.finished [quick|standard] [FOLDER]

reads the records below ``.cache/validation/initialisation`` and writes table, sentences and curves into
FOLDER (default ``build/figures/SIZE/initialisation``); pairs without a record are said to be not run.
``python -m validation initialisation --standard --resume`` computes them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from validation import core
from validation.core import places
from validation.initialisation import STUDY


def write(size: str, folder: Path) -> int:
    """Write the report of what is finished; returns the number of pairs in it."""
    found = {case.key: core.finished(STUDY, size, case) for case in STUDY.cases(size)}
    results = {key: result for key, result in found.items() if result is not None}
    if results:
        folder.mkdir(parents=True, exist_ok=True)
        STUDY.report(results, size, folder)
        core.save_claims(STUDY, size, results, folder)
    return len(results)


def main(arguments: list[str]) -> int:
    """Do what the text of the module says; exit status 1 if no pair is finished."""
    size = arguments[0] if arguments else "standard"
    folder = Path(arguments[1]) if len(arguments) > 1 else places.DRAFTS / size / STUDY.name
    count = write(size, folder)
    print(f"{count} pairs: {folder}" if count else f"no pair of the size {size} is finished")
    return 0 if count else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
